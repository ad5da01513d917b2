//! What can be wrong with a server, and the hand that decides it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use warifu_vault::seam::store::{ObjectKey, StoreErrorKind};

use super::super::Method;
use super::past::Change;
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
    /// By turns well for `up` and gone for `down`, beginning with `up` when the state is set.
    Flapping {
        /// How long it is there.
        up: Duration,
        /// How long it is away.
        down: Duration,
    },
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
    /// It takes effect at once, and the answer comes after this time: whoever waits less sees no answer to what was done.
    LateReply(Duration),
    /// A write is cut off half-way: a part of the object is visible under its name, and the caller sees `NoAnswer`. Other
    /// methods lose their reply.
    PartialWrite,
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
    /// What is written from now on is acknowledged and kept only in part.
    KeepsParts,
    /// `sync` answers OK and does nothing.
    SkipsSync,
    /// Listings show nothing.
    ListsNothing,
    /// Listings leave these out.
    ListsWithout(BTreeSet<ObjectKey>),
    /// Listings show these as well.
    ListsAlso(BTreeSet<ObjectKey>),
    /// Listings show every object twice.
    ListsTwice,
    /// Every listing begins at the beginning and promises more, for ever.
    ListsInCircles,
    /// Listings are in descending order.
    ListsBackwards,
}

/// How long a server takes to answer: a time between two bounds, and now and then a much longer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub least: Duration,
    /// The longest of the usual ones.
    pub most: Duration,
    /// How many calls in a hundred take [`tail`](Self::tail) instead.
    pub tail_percent: u8,
    /// How long those take.
    pub tail: Duration,
}

impl Latency {
    /// Always the same.
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        Self {
            least: delay,
            most: delay,
            ..Self::default()
        }
    }

    fn drawn(self, draw: u64) -> Duration {
        // Two independent parts of one draw.
        let (which, where_) = (draw % 100, (draw / 100) % 1_000);
        if which < u64::from(self.tail_percent) {
            return self.tail;
        }
        let spread = self.most.saturating_sub(self.least);
        self.least + spread * u32::try_from(where_).unwrap_or(0) / 1_000
    }
}

/// How often, in a hundred calls, chance strikes. Zero everywhere by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// `NoAnswer`, without effect.
    pub no_answer: u8,
    /// `NoAnswer`, with effect.
    pub lost_reply: u8,
    /// `NoAnswer`, and of a write a part is visible.
    pub partial_write: u8,
    /// `Failed`.
    pub failed: u8,
    /// Never an answer, without effect.
    pub hangs: u8,
    /// `Full`, of writes.
    pub full: u8,
    /// A flipped bit, of reads.
    pub flipped_bit: u8,
    /// An early end, of reads.
    pub cut_off: u8,
    /// A delay of up to 20 ms.
    pub late: u8,
    /// An effect at once, and an answer up to 40 s later.
    pub late_reply: u8,
}

/// The control of a [`FaultyStore`](super::FaultyStore). Clones control the same store.
#[derive(Clone, Debug)]
pub struct Faults {
    pub(super) world: World,
    label: u64,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug)]
pub(super) struct Script {
    state: State,
    since: Instant,
    latency: Latency,
    pub(super) lies: Vec<Lie>,
    rates: Rates,
    pub(super) forgotten: BTreeSet<ObjectKey>,
    /// What was changed since the first mark was set; `None` before that.
    pub(super) changes: Option<Vec<Change>>,
    /// By method and the number of its call.
    planned: BTreeMap<(Method, u64), Trouble>,
    calls: BTreeMap<Method, u64>,
    /// Names by when they were first heard of: chance is drawn from that, because the names themselves are random.
    heard: BTreeMap<ObjectKey, u64>,
    /// Calls by method and name, from which chance is drawn: this does not depend on the order in which tasks run.
    tries: BTreeMap<(Method, Option<u64>), u64>,
}

impl Faults {
    pub(super) fn new(world: &World, label: u64) -> Self {
        let script = Script {
            state: State::Well,
            since: Instant::now(),
            latency: Latency::default(),
            lies: Vec::new(),
            rates: Rates::default(),
            forgotten: BTreeSet::new(),
            changes: None,
            planned: BTreeMap::new(),
            calls: BTreeMap::new(),
            heard: BTreeMap::new(),
            tries: BTreeMap::new(),
        };
        Self {
            world: world.clone(),
            label,
            script: Arc::new(Mutex::new(script)),
        }
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("no test panics while it sets faults")
    }

    /// Puts the server in a state.
    pub fn set(&self, state: State) {
        let mut script = self.script();
        (script.state, script.since) = (state, Instant::now());
    }

    /// Makes every call wait before it takes effect.
    pub fn set_delay(&self, delay: Duration) {
        self.set_latency(Latency::fixed(delay));
    }

    /// Makes every call wait before it takes effect, for a time drawn for each.
    pub fn set_latency(&self, latency: Latency) {
        self.script().latency = latency;
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

    /// Ends all faults. What the server has forgotten stays forgotten, and what it kept in part stays so.
    pub fn heal(&self) {
        let mut script = self.script();
        script.state = State::Well;
        script.latency = Latency::default();
        script.lies.clear();
        script.rates = Rates::default();
        script.planned.clear();
    }

    /// How often a method was called, whatever came of it.
    #[must_use]
    pub fn calls(&self, method: Method) -> u64 {
        self.script().calls.get(&method).copied().unwrap_or(0)
    }

    pub(super) fn tells(&self, lie: &Lie) -> bool {
        self.script().lies.contains(lie)
    }

    pub(super) fn forgot(&self, name: &ObjectKey) -> bool {
        self.script().forgotten.contains(name)
    }

    /// Counts a call and says what it meets.
    pub(super) fn meet(&self, method: Method, name: Option<&ObjectKey>) -> Met {
        let mut script = self.script();
        let number = script.calls.entry(method).or_default();
        *number += 1;
        let number = *number;
        let known = script.heard.len() as u64;
        let name = name.map(|name| *script.heard.entry(name.clone()).or_insert(known));
        let tries = script.tries.entry((method, name)).or_default();
        *tries += 1;
        let tries = *tries;
        let changes = matches!(method, Method::Put | Method::Delete);
        let gone = Trouble::Refused(StoreErrorKind::NoAnswer);
        let standing = match script.state {
            State::Well => None,
            State::Gone => Some(gone),
            State::Hung => Some(Trouble::Hangs),
            State::Full => {
                (method == Method::Put).then_some(Trouble::Refused(StoreErrorKind::Full))
            }
            State::ReadOnly => changes.then_some(Trouble::Refused(StoreErrorKind::Denied)),
            State::Failing => Some(Trouble::Refused(StoreErrorKind::Failed)),
            State::Flapping { up, down } => {
                let round = (up + down).max(Duration::from_nanos(1)).as_nanos();
                let into = script.since.elapsed().as_nanos() % round;
                (into >= up.as_nanos()).then_some(gone)
            }
        };
        let planned = script.planned.remove(&(method, number));
        let draw = [
            &self.label.to_le_bytes()[..],
            &[method as u8],
            &name.map_or([0; 8], |name| (name + 1).to_le_bytes()),
            &tries.to_le_bytes(),
        ];
        let trouble = planned
            .or(standing)
            .or_else(|| self.by_chance(script.rates, method, &draw));
        let drawn = self.world.draw(&draw);
        Met {
            method,
            trouble,
            delay: script.latency.drawn(drawn),
            draw: drawn,
        }
    }

    fn by_chance(&self, rates: Rates, method: Method, draw: &[&[u8]; 4]) -> Option<Trouble> {
        let strikes = |percent: u8, what: &str| {
            let [label, method, name, tries] = *draw;
            self.world
                .chance(percent, &[what.as_bytes(), label, method, name, tries])
        };
        let up_to = |millis: u64| Duration::from_millis(self.world.draw(draw) % millis + 1);
        let (reads, writes) = (method == Method::Get, method == Method::Put);
        if strikes(rates.no_answer, "no answer") {
            Some(Trouble::Refused(StoreErrorKind::NoAnswer))
        } else if strikes(rates.lost_reply, "lost reply") {
            Some(Trouble::LostReply)
        } else if strikes(rates.failed, "failed") {
            Some(Trouble::Refused(StoreErrorKind::Failed))
        } else if strikes(rates.hangs, "hangs") {
            Some(Trouble::Hangs)
        } else if writes && strikes(rates.partial_write, "partial write") {
            Some(Trouble::PartialWrite)
        } else if writes && strikes(rates.full, "full") {
            Some(Trouble::Refused(StoreErrorKind::Full))
        } else if reads && strikes(rates.flipped_bit, "flipped bit") {
            Some(Trouble::FlippedBit)
        } else if reads && strikes(rates.cut_off, "cut off") {
            Some(Trouble::CutOff)
        } else if strikes(rates.late, "late") {
            Some(Trouble::Late(up_to(20)))
        } else if strikes(rates.late_reply, "late reply") {
            Some(Trouble::LateReply(up_to(40_000)))
        } else {
            None
        }
    }

    /// What is read of an object, whose bytes these are.
    pub(super) fn spoil(&self, object: Bytes, met: &Met) -> Bytes {
        if object.is_empty() {
            return object;
        }
        let at = met.part(object.len());
        if met.trouble == Some(Trouble::CutOff) || self.tells(&Lie::CutsOff) {
            return object.slice(..at);
        }
        if met.trouble == Some(Trouble::FlippedBit) || self.tells(&Lie::FlipsBits) {
            let mut bytes = object.to_vec();
            bytes[at] ^= 1 << (met.draw >> 61);
            return bytes.into();
        }
        object
    }
}

/// What a call meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    pub(super) method: Method,
    pub(super) trouble: Option<Trouble>,
    pub(super) delay: Duration,
    draw: u64,
}

impl Met {
    /// A place before the end of something of this length; 0 of nothing.
    pub(super) fn part(&self, len: usize) -> usize {
        if len == 0 {
            0
        } else {
            (self.draw % len as u64) as usize
        }
    }
}
