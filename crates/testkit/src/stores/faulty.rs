//! A server that fails as told: by a switch, by a script, or by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use super::Method;
use crate::world::World;

/// How a server is, until it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Well,
    /// Every call answers `NoAnswer` at once and has no effect.
    Gone,
    /// No call ever returns, against the contract; nothing takes effect. Callers should survive even that.
    Hung,
    /// Writes answer `Full`.
    Full,
    /// Writes and removals answer `Denied`.
    ReadOnly,
    /// Every call answers `Failed`, as a dying disk does.
    Failing,
}

/// What a call of a faulty server meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has no effect and answers this kind of error.
    Refused(StoreErrorKind),
    /// It takes effect, and the answer is lost: the caller sees `NoAnswer`.
    LostReply,
    /// It has no effect and never returns.
    Hangs,
    /// It takes effect after this time.
    Late(Duration),
    /// What is read has one bit flipped. Other methods are spared.
    FlippedBit,
    /// What is read ends early. Other methods are spared.
    CutOff,
}

/// A lasting dishonesty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Every read has one bit flipped.
    FlipsBits,
    /// Every read ends early.
    CutsOff,
    /// What is written from now on is acknowledged and thrown away: the server of last week.
    ForgetsWrites,
    /// `sync` answers OK and does nothing.
    SkipsSync,
    /// Listings show nothing.
    ListsNothing,
    /// Listings leave these out.
    ListsWithout(BTreeSet<ObjectKey>),
    /// Listings show these as well.
    ListsAlso(BTreeSet<ObjectKey>),
}

/// How often, in a hundred calls, chance strikes. Zero everywhere by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// `NoAnswer`, without effect.
    pub no_answer: u8,
    /// `NoAnswer`, with effect.
    pub lost_reply: u8,
    /// `Failed`.
    pub failed: u8,
    /// `Full`, of writes.
    pub full: u8,
    /// A flipped bit, of reads.
    pub flipped_bit: u8,
    /// An early end, of reads.
    pub cut_off: u8,
    /// A delay of up to 20 ms.
    pub late: u8,
}

/// The control of a [`FaultyStore`]. Clones control the same store.
#[derive(Clone, Debug)]
pub struct Faults {
    world: World,
    label: u64,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug)]
struct Script {
    state: State,
    delay: Duration,
    lies: Vec<Lie>,
    rates: Rates,
    forgotten: BTreeSet<ObjectKey>,
    /// By method and the number of its call.
    planned: BTreeMap<(Method, u64), Trouble>,
    calls: BTreeMap<Method, u64>,
    /// Calls by method and name, from which chance is drawn: this does not depend on the order in which tasks run.
    tries: BTreeMap<(Method, Option<ObjectKey>), u64>,
}

impl Faults {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("no test panics while it sets faults")
    }

    /// Puts the server in a state.
    pub fn set(&self, state: State) {
        self.script().state = state;
    }

    /// Makes every call wait before it takes effect.
    pub fn set_delay(&self, delay: Duration) {
        self.script().delay = delay;
    }

    /// Lets the server lie from now on, beside the lies it tells already.
    pub fn tell(&self, lie: Lie) {
        self.script().lies.push(lie);
    }

    /// Lets chance strike from now on.
    pub fn set_rates(&self, rates: Rates) {
        self.script().rates = rates;
    }

    /// Plans trouble for the `nth` call of a method from now on (the next is 1). It strikes once.
    pub fn plan(&self, method: Method, nth: u64, trouble: Trouble) {
        let mut script = self.script();
        let number = script.calls.get(&method).copied().unwrap_or(0) + nth;
        script.planned.insert((method, number), trouble);
    }

    /// Ends all faults. What the server has forgotten stays forgotten.
    pub fn heal(&self) {
        let mut script = self.script();
        script.state = State::Well;
        script.delay = Duration::ZERO;
        script.lies.clear();
        script.rates = Rates::default();
        script.planned.clear();
    }

    /// How often a method was called, whatever came of it.
    #[must_use]
    pub fn calls(&self, method: Method) -> u64 {
        self.script().calls.get(&method).copied().unwrap_or(0)
    }

    fn tells(&self, lie: &Lie) -> bool {
        self.script().lies.contains(lie)
    }

    fn forgot(&self, name: &ObjectKey) -> bool {
        self.script().forgotten.contains(name)
    }

    /// Counts a call and says what it meets.
    fn meet(&self, method: Method, name: Option<&ObjectKey>) -> Met {
        let mut script = self.script();
        let number = script.calls.entry(method).or_default();
        *number += 1;
        let number = *number;
        let tries = script.tries.entry((method, name.cloned())).or_default();
        *tries += 1;
        let tries = *tries;
        let changes = matches!(method, Method::Put | Method::Delete);
        let standing = match script.state {
            State::Well => None,
            State::Gone => Some(Trouble::Refused(StoreErrorKind::NoAnswer)),
            State::Hung => Some(Trouble::Hangs),
            State::Full => {
                (method == Method::Put).then_some(Trouble::Refused(StoreErrorKind::Full))
            }
            State::ReadOnly => changes.then_some(Trouble::Refused(StoreErrorKind::Denied)),
            State::Failing => Some(Trouble::Refused(StoreErrorKind::Failed)),
        };
        let planned = script.planned.remove(&(method, number));
        let draw = [
            &self.label.to_le_bytes()[..],
            &[method as u8],
            name.map_or(&[][..], |name| name.as_str().as_bytes()),
            &tries.to_le_bytes(),
        ];
        let trouble = planned
            .or(standing)
            .or_else(|| self.by_chance(script.rates, method, &draw));
        Met {
            trouble,
            delay: script.delay,
            draw: self.world.draw(&draw),
        }
    }

    fn by_chance(&self, rates: Rates, method: Method, draw: &[&[u8]; 4]) -> Option<Trouble> {
        let strikes = |percent: u8, what: &str| {
            let [label, method, name, tries] = *draw;
            self.world
                .chance(percent, &[what.as_bytes(), label, method, name, tries])
        };
        let reads = method == Method::Get;
        if strikes(rates.no_answer, "no answer") {
            Some(Trouble::Refused(StoreErrorKind::NoAnswer))
        } else if strikes(rates.lost_reply, "lost reply") {
            Some(Trouble::LostReply)
        } else if strikes(rates.failed, "failed") {
            Some(Trouble::Refused(StoreErrorKind::Failed))
        } else if method == Method::Put && strikes(rates.full, "full") {
            Some(Trouble::Refused(StoreErrorKind::Full))
        } else if reads && strikes(rates.flipped_bit, "flipped bit") {
            Some(Trouble::FlippedBit)
        } else if reads && strikes(rates.cut_off, "cut off") {
            Some(Trouble::CutOff)
        } else if strikes(rates.late, "late") {
            Some(Trouble::Late(Duration::from_millis(
                self.world.draw(draw) % 20 + 1,
            )))
        } else {
            None
        }
    }

    fn spoil(&self, object: Bytes, met: &Met) -> Bytes {
        let len = object.len();
        let at = if len == 0 {
            0
        } else {
            (met.draw % len as u64) as usize
        };
        if len > 0 && (met.trouble == Some(Trouble::CutOff) || self.tells(&Lie::CutsOff)) {
            return object.slice(..at);
        }
        if len > 0 && (met.trouble == Some(Trouble::FlippedBit) || self.tells(&Lie::FlipsBits)) {
            let mut bytes = object.to_vec();
            bytes[at] ^= 1 << (met.draw >> 61);
            return bytes.into();
        }
        object
    }
}

struct Met {
    trouble: Option<Trouble>,
    delay: Duration,
    draw: u64,
}

/// A store between a client and a real one, that fails as its [`Faults`] say.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use warifu_testkit::stores::{FaultyStore, MemoryStore, Method, Trouble, share_name};
/// use warifu_testkit::world::World;
/// use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};
///
/// let (server, faults) = FaultyStore::new(&World::new(1), 0, Arc::new(MemoryStore::new()));
/// faults.plan(Method::Put, 1, Trouble::LostReply);
/// let first = server.put_new(&share_name(1), "share".into(), Durability::Now).await.unwrap_err();
/// assert_eq!(first.kind, StoreErrorKind::NoAnswer);
/// let again = server.put_new(&share_name(1), "share".into(), Durability::Now).await.unwrap_err();
/// assert_eq!(again.kind, StoreErrorKind::AlreadyExists); // it was there all the time
/// # });
/// ```
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ShareStore>,
    faults: Faults,
}

impl FaultyStore {
    /// Puts faults before `inner`. `label` tells this server from the others of the world, so that chance strikes each by itself.
    #[must_use]
    pub fn new(world: &World, label: u64, inner: Arc<dyn ShareStore>) -> (Arc<Self>, Faults) {
        let script = Script {
            state: State::Well,
            delay: Duration::ZERO,
            lies: Vec::new(),
            rates: Rates::default(),
            forgotten: BTreeSet::new(),
            planned: BTreeMap::new(),
            calls: BTreeMap::new(),
            tries: BTreeMap::new(),
        };
        let faults = Faults {
            world: world.clone(),
            label,
            script: Arc::new(Mutex::new(script)),
        };
        (
            Arc::new(Self {
                inner,
                faults: faults.clone(),
            }),
            faults,
        )
    }

    /// Takes `act` through what the call meets.
    async fn through<T>(
        &self,
        method: Method,
        name: Option<&ObjectKey>,
        act: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> (Result<T, StoreError>, Met) {
        let met = self.faults.meet(method, name);
        let trouble = met.trouble;
        let delay = met.delay;
        let refused = |kind| StoreError::new(kind, format!("fault: {method:?} {kind:?}"));
        let done = self
            .faults
            .world
            .call(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                match trouble {
                    Some(Trouble::Refused(kind)) => Err(refused(kind)),
                    Some(Trouble::Hangs) => std::future::pending().await,
                    Some(Trouble::LostReply) => {
                        let _ = act.await;
                        Err(refused(StoreErrorKind::NoAnswer))
                    }
                    Some(Trouble::Late(late)) => {
                        tokio::time::sleep(late).await;
                        act.await
                    }
                    Some(Trouble::FlippedBit | Trouble::CutOff) | None => act.await,
                }
            })
            .await;
        (done, met)
    }

    fn absent(&self, name: &ObjectKey) -> Result<(), StoreError> {
        if self.faults.forgot(name) {
            return Err(StoreError::new(
                StoreErrorKind::NotFound,
                format!("there is no object {name}"),
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl ShareStore for FaultyStore {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let act = async {
            if self.faults.tells(&Lie::ForgetsWrites) {
                self.faults.script().forgotten.insert(name.clone());
                return Ok(());
            }
            self.inner.put_new(name, object, durability).await?;
            self.faults.script().forgotten.remove(name);
            Ok(())
        };
        self.through(Method::Put, Some(name), act).await.0
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let act = async {
            self.absent(name)?;
            self.inner.get(name, range).await
        };
        let (done, met) = self.through(Method::Get, Some(name), act).await;
        done.map(|object| self.faults.spoil(object, &met))
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        let act = async {
            self.absent(name)?;
            self.inner.stat(name).await
        };
        self.through(Method::Stat, Some(name), act).await.0
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        let (done, _) = self
            .through(Method::List, None, self.inner.list(after, limit))
            .await;
        let mut page = done?;
        let script = self.faults.script();
        for lie in &script.lies {
            match lie {
                Lie::ListsNothing => {
                    page.objects.clear();
                    page.more = false;
                }
                Lie::ListsWithout(hidden) => {
                    page.objects.retain(|(name, _)| !hidden.contains(name))
                }
                Lie::ListsAlso(invented) => {
                    // Into the stretch of names that this page covers, so that the order holds.
                    let last = page
                        .objects
                        .last()
                        .filter(|_| page.more)
                        .map(|(name, _)| name.clone());
                    let fits = |name: &&ObjectKey| {
                        after.is_none_or(|after| *name > after)
                            && last.as_ref().is_none_or(|last| *name < last)
                    };
                    page.objects
                        .extend(invented.iter().filter(fits).map(|name| {
                            (
                                name.clone(),
                                ObjectStat {
                                    len: 1,
                                    modified: None,
                                },
                            )
                        }));
                    page.objects.sort_by(|(one, _), (other, _)| one.cmp(other));
                    page.objects.dedup_by(|(one, _), (other, _)| one == other);
                }
                Lie::FlipsBits | Lie::CutsOff | Lie::ForgetsWrites | Lie::SkipsSync => {}
            }
        }
        Ok(page)
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        let act = async {
            if self.faults.script().forgotten.remove(name) {
                return Ok(());
            }
            self.inner.delete(name).await
        };
        self.through(Method::Delete, Some(name), act).await.0
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let act = async {
            if self.faults.tells(&Lie::SkipsSync) {
                return Ok(());
            }
            self.inner.sync().await
        };
        self.through(Method::Sync, None, act).await.0
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.through(Method::Space, None, self.inner.space())
            .await
            .0
    }
}
