//! Adding, renewing and removing ways: a new number of everything, and then the old one is removed.

use bytes::Bytes;
use futures_util::future::join_all;
use warifu_core::ids::Threshold;
use warifu_core::random::NoRandomness;
use warifu_core::ways::{
    BadWay, Barred, DealWaysError, WAYS_MOST, Way, WayId, WayKey, WayKind, WaysNumber, WaysObject,
    deal_ways,
};

use super::mend::remove;
use super::{
    CHANGES_WITHIN, Held, SHOWS_WITHIN, counting, counting_of, enough_have, fault_of, is_decided,
};
use crate::context::{Act, Context};
use crate::error::{Fault, ServerFault, VaultError};
use crate::seam::catalog::Durability;
use crate::seam::store::{ObjectKey, StoreError};
use crate::servers::enough;
use crate::vault::{Inner, Vault};

/// What the ways of an open vault are.
#[derive(Clone, Debug)]
pub struct WaysStatus {
    /// How often they were changed; `None` where there never were any, or where it is unknown.
    pub number: Option<WaysNumber>,
    /// The ways. Where the vault opens without one, none, or one that is open.
    pub ways: Vec<Way>,
    /// Whether there are ways, and too few servers answer in time to tell which.
    pub unknown: bool,
    /// Whether a first way was begun to be added, and the vault opens without one all the same.
    pub begun: bool,
    /// The ways that were begun so on so many servers that the next change makes them count, too.
    pub pending: Vec<Way>,
    /// Servers whose part is missing, damaged or old, and those that don't answer.
    pub faults: Vec<ServerFault>,
}

impl WaysStatus {
    /// Whether k servers suffice.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.unknown && (self.number.is_none() || self.ways.iter().any(Way::is_open))
    }

    /// The way of this name or number.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Way> {
        let by_name = self.ways.iter().find(|way| way.name() == name);
        by_name.or_else(|| self.ways.iter().find(|way| way.id().to_string() == name))
    }
}

/// A way to be added, or new secrets for one.
#[derive(Debug)]
pub struct Added {
    /// What it takes.
    pub kind: WayKind,
    /// Its secret.
    pub key: WayKey,
}

/// A change of the ways.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaysChange {
    /// One more. The one that is open to everybody goes.
    Add {
        /// What people are to call it.
        name: String,
        /// The way.
        way: Added,
    },
    /// New secrets for one of them.
    Renew {
        /// Which.
        id: WayId,
        /// The secrets.
        way: Added,
    },
    /// These go.
    Remove(Vec<WayId>),
    /// All go: k servers suffice from now on.
    Open,
    /// Nothing but what every change brings: a new bolt, with which what was copied of servers before is of no use.
    Rotate,
}

/// What a change did.
#[derive(Clone, Debug)]
pub struct WaysChanged {
    /// The number that counts now.
    pub number: WaysNumber,
    /// The ways now.
    pub ways: Vec<Way>,
    /// The servers that have their part.
    pub stored: Vec<String>,
    /// Those that don't, or still have something old.
    pub faults: Vec<ServerFault>,
    /// Whether no further server may be lost before those that were away have their part.
    pub at_the_limit: bool,
    /// Whether something was taken out that opens the vault yet: so many servers were not reached, or could not give it up, as it takes.
    pub old_opens: bool,
}

/// Why the ways were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaysError {
    /// The vault was opened for reading only, or its catalogue failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A way that cannot be.
    #[error(transparent)]
    Bad(#[from] BadWay),
    /// There is one of this name.
    #[error("there is a way in of the name {name} already")]
    Taken {
        /// The name.
        name: String,
    },
    /// There is none of this number.
    #[error("there is no way in with the number {id}")]
    NoWay {
        /// The number.
        id: WayId,
    },
    /// It would leave the vault without a way that this warifu can use; that there is to be none, only [`WaysChange::Open`] says.
    #[error("that is the last way in")]
    Last,
    /// Somebody else is changing the ways at the same time. What was put of this change is taken back.
    #[error("somebody else is changing the ways in at the same time")]
    Overtaken {
        /// Whether what they have made counts, and has this change in it. Where it does not yet, it still may.
        taken_over: bool,
    },
    /// Too few servers have taken it or show it, and it was taken back where it could be.
    #[error("{needed} servers must take their part of the ways in, and {got} did")]
    TooFewServers {
        /// How many are needed.
        needed: usize,
        /// How many did.
        got: usize,
        /// What the others said.
        faults: Vec<ServerFault>,
    },
    /// So many servers may have it that it counts with them, and they don't answer, or could not take it back: nobody knows whether it does.
    #[error("it is not known whether change {number} of the ways in counts")]
    Unsure {
        /// The number of the change.
        number: WaysNumber,
        /// The servers that may have it.
        faults: Vec<ServerFault>,
    },
    /// What the servers have does not tell which ways there are, so that they cannot be written anew.
    #[error("too few servers tell which ways in there are")]
    Unknown {
        /// What is wrong with them.
        faults: Vec<ServerFault>,
    },
    /// It could not be dealt.
    #[error(transparent)]
    Deal(#[from] DealWaysError),
    /// The operating system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl Vault {
    /// Which ways there are, as the servers have it now.
    pub async fn ways(&self) -> WaysStatus {
        let inner = &self.inner;
        let key = inner.servers.vault_key();
        let held = inner.held(SHOWS_WITHIN).await;
        let mut faults = inner.lost_of(&held);
        faults.extend(held.iter().filter_map(|held| held.silent.clone()));
        let barred = counting(&held, key);
        let decided = is_decided(&held, key);
        match barred {
            Some(barred) if decided => WaysStatus {
                number: Some(barred.number()),
                ways: barred.ways().cloned().collect(),
                unknown: false,
                begun: false,
                pending: Vec::new(),
                faults,
            },
            barred => WaysStatus {
                number: None,
                ways: Vec::new(),
                unknown: decided,
                begun: !decided && held.iter().any(|held| !held.good.is_empty()),
                pending: barred
                    .filter(|barred| enough_have(&held, barred.number()))
                    .map_or_else(Vec::new, |barred| barred.ways().cloned().collect()),
                faults,
            },
        }
    }

    /// Whether the ways could be changed now, as far as that can be known without doing it; `adding` is the name of a way that is to be added. For whoever
    /// hands out secrets before the change is made.
    ///
    /// # Errors
    /// Those of [`change_ways`](Self::change_ways).
    pub async fn may_change_ways(&self, adding: Option<&str>) -> Result<(), WaysError> {
        let inner = &self.inner;
        inner.writable()?;
        let (_, base) = inner.base_of_change().await?;
        let Some(name) = adding else { return Ok(()) };
        Way::new(WayId(0), WayKind::Open, name, inner.clock.now())?;
        let mut known = base.known.iter().map(|(way, _)| way);
        if base.decided && known.any(|known| known.name() == name) {
            return Err(WaysError::Taken {
                name: name.to_owned(),
            });
        }
        let stay = base.known.iter();
        let stay = stay.filter(|(way, _)| !way.is_open() && way.name() != name);
        match stay.count() < WAYS_MOST {
            true => Ok(()),
            false => Err(DealWaysError::Ways.into()),
        }
    }

    /// Changes the ways. What a file consists of is not touched.
    ///
    /// # Errors
    /// [`WaysError`]. Cut off anywhere, the vault opens as before or as it was to be, and the change can be made again.
    pub async fn change_ways(
        &self,
        ctx: &Context,
        change: WaysChange,
    ) -> Result<WaysChanged, WaysError> {
        let inner = &self.inner;
        inner.writable()?;
        let _repairing = inner.repairing.lock().await;
        inner.change_ways(ctx, change).await
    }
}

/// How many servers must take their part: so many that two changes at once cannot both get through.
pub(crate) fn needed(threshold: Threshold) -> usize {
    usize::from(threshold.k()).max(usize::from(threshold.n()) / 2 + 1)
}

/// Whether another change than this one may count that came after what this one goes by: some have it, and with those that are silent as many as it
/// takes. What somebody else was told to be done would be undone without a word.
fn may_count(held: &[Held], base: Option<WaysNumber>, mine: Option<WaysNumber>) -> bool {
    let is_silent = |held: &&Held| held.silent.is_some() && !held.is_left_out;
    let silent = held.iter().filter(is_silent).count();
    let mut parts = held.iter().flat_map(|held| &held.good);
    silent > 0
        && parts.any(|part| {
            let number = part.number();
            let has = held.iter().filter(|held| held.has(number)).count();
            let is_later = Some(number) > base && Some(number) != mine;
            is_later && has + silent >= needed(part.threshold())
        })
}

type Known = Vec<(Way, WayKey)>;

/// What there is to be after a change.
struct Changed {
    ways: Known,
    /// What the log says of it.
    detail: String,
    /// The ways that are new, or have new secrets.
    new: Vec<WayId>,
    /// Those that are no more.
    gone: Vec<WayId>,
    /// Whether something that opens the vault is not to open it any more: a way, the old secrets of one, or the servers alone.
    takes_out: bool,
}

impl Changed {
    /// Whether these ways have this change in them.
    fn is_in(&self, kept: &Known) -> bool {
        let has = |id: &WayId| {
            let same = |(way, key): &(Way, WayKey), (other, its): &(Way, WayKey)| {
                way.id() == *id && way == other && key.expose() == its.expose()
            };
            let mut own = self.ways.iter();
            own.any(|own| kept.iter().any(|kept| same(own, kept)))
        };
        let is_there = |id: &WayId| kept.iter().any(|(way, _)| way.id() == *id);
        self.new.iter().all(has) && !self.gone.iter().any(is_there)
    }
}

/// What a change goes by.
struct Base {
    /// The number of what there is, where there is something.
    now: Option<WaysNumber>,
    /// Whether it counts yet.
    decided: bool,
    known: Known,
}

impl Inner {
    /// What the servers have before a change, and what that comes to. Whatever can be known then to be in the way of every change is an error.
    async fn base_of_change(&self) -> Result<(Vec<Held>, Base), WaysError> {
        let key = self.servers.vault_key();
        let mut held = self.held(CHANGES_WITHIN).await;
        for held in held.iter_mut().filter(|held| held.is_emptied()) {
            // With a part of the ways it would look as if it had all the rest as well.
            let detail = "it has nothing of this vault any more";
            held.silent = Some(fault_of(&held.server, Fault::Missing, detail));
            held.is_left_out = true;
        }
        let silent = || held.iter().filter_map(|held| held.silent.clone()).collect();
        let decided = is_decided(&held, key);
        if decided {
            key.bind();
        }
        let barred = counting(&held, key);
        let kept = barred.and_then(|barred| Some((barred.number(), barred.kept(key)?)));
        let (now, known): (_, Known) = match kept {
            Some((number, kept)) if decided => (Some(number), kept),
            None if decided => return Err(WaysError::Unknown { faults: silent() }),
            // A first way that enough servers have was cut off, or somebody is about to say so everywhere: this one goes on with it.
            Some((number, kept)) if enough_have(&held, number) => (Some(number), kept),
            _ => (None, Vec::new()),
        };
        if may_count(&held, now, None) {
            return Err(WaysError::Unknown { faults: silent() });
        }
        let threshold = self.servers.thresholds().target();
        let own = held
            .iter()
            .filter(|held| held.server.index().get() <= threshold.n());
        let (needed, got) = (
            needed(threshold),
            own.filter(|held| held.silent.is_none()).count(),
        );
        if got < needed {
            return Err(WaysError::TooFewServers {
                needed,
                got,
                faults: silent(),
            });
        }
        let base = Base {
            now,
            decided,
            known,
        };
        Ok((held, base))
    }

    /// The caller holds `repairing`.
    pub(crate) async fn change_ways(
        &self,
        ctx: &Context,
        change: WaysChange,
    ) -> Result<WaysChanged, WaysError> {
        let (held, base) = self.base_of_change().await?;
        let good = held.iter().flat_map(|held| &held.good);
        let newest = good.map(WaysObject::number).max();
        let number = WaysNumber(newest.map_or(0, |newest| newest.0).saturating_add(1));
        let Base {
            now,
            decided,
            known,
        } = base;
        let changed = self.changed((known, decided), change, number)?;
        // Before anything is done, as every act.
        let detail = format!("ways in, change {number}: {}", changed.detail);
        let entry = ctx.entry(Act::Ways, None, detail, self.clock.now());
        let recorded = self.catalog.record(vec![entry], Durability::Now).await;
        recorded.map_err(VaultError::from)?;
        self.put_ways(&held, (now, number), &changed).await
    }

    /// What there is to be after the change.
    fn changed(
        &self,
        (mut known, decided): (Known, bool),
        change: WaysChange,
        number: WaysNumber,
    ) -> Result<Changed, WaysError> {
        let now = self.clock.now();
        let before: Vec<WayId> = known.iter().map(|(way, _)| way.id()).collect();
        let mut new = Vec::new();
        let detail = match change {
            WaysChange::Add { name, way } => {
                if decided && known.iter().any(|(known, _)| known.name() == name) {
                    return Err(WaysError::Taken { name });
                }
                known.retain(|(way, _)| !way.is_open() && way.name() != name);
                // Numbers of changes are never used again, so neither are those of ways.
                let added = Way::new(WayId(number.0), way.kind, &name, now)?;
                new.push(added.id());
                known.push((added, way.key));
                format!("added: {name}")
            }
            WaysChange::Renew { id, way } => {
                let old = known.iter_mut().find(|(known, _)| known.id() == id);
                let old = old.ok_or(WaysError::NoWay { id })?;
                let name = old.0.name().to_owned();
                *old = (Way::new(id, way.kind, &name, now)?, way.key);
                new.push(id);
                format!("renewed: {name}")
            }
            WaysChange::Remove(ids) => {
                let mut names = Vec::new();
                for id in ids {
                    let at = known.iter().position(|(known, _)| known.id() == id);
                    let (way, _) = known.remove(at.ok_or(WaysError::NoWay { id })?);
                    names.push(way.name().to_owned());
                }
                let usable =
                    |(way, _): &(Way, WayKey)| !matches!(way.kind(), WayKind::Newer { .. });
                if !known.iter().any(usable) {
                    return Err(WaysError::Last);
                }
                format!("removed: {}", names.join(", "))
            }
            WaysChange::Open => {
                let open = Way::new(WayId(number.0), WayKind::Open, "open", now)?;
                new.push(open.id());
                known = vec![(open, WayKey::open())];
                "opened to everybody who reaches enough servers".to_owned()
            }
            WaysChange::Rotate => {
                if known.is_empty() {
                    return Err(WaysError::NoWay { id: WayId(0) });
                }
                "rotated".to_owned()
            }
        };
        let stays = |id: &WayId| known.iter().any(|(way, _)| way.id() == *id);
        let gone: Vec<WayId> = before.iter().copied().filter(|id| !stays(id)).collect();
        let renewed = new.iter().any(|id| before.contains(id));
        Ok(Changed {
            ways: known,
            detail,
            new,
            takes_out: !decided || renewed || !gone.is_empty(),
            gone,
        })
    }

    async fn put_ways(
        &self,
        held: &[Held],
        (base, number): (Option<WaysNumber>, WaysNumber),
        changed: &Changed,
    ) -> Result<WaysChanged, WaysError> {
        let (servers, ways) = (&self.servers, &changed.ways);
        let key = servers.vault_key();
        // While the threshold changes, by the one that it is to be: what comes after this needs no other one.
        let threshold = servers.thresholds().target();
        let ids: Vec<_> = servers.of(threshold).map(|server| server.seat.id).collect();
        let borrowed: Vec<_> = ways.iter().map(|(way, key)| (way, key)).collect();
        let dealt = deal_ways(key, self.vault, threshold, number, &ids, &borrowed)?;
        let puts = held.iter().zip(&dealt).map(|(held, object)| async move {
            if let Some(fault) = &held.silent {
                return Err(fault.clone());
            }
            let bytes = Bytes::from(object.encode());
            let put = self.put_part(&held.server, number, bytes).await;
            put.map_err(|error| ServerFault::of_store(held.server.name(), &error))
        });
        let answers = join_all(puts).await;
        let got = answers.iter().filter(|answer| answer.is_ok()).count();
        let needed = needed(threshold);
        let mut faults: Vec<ServerFault> = Vec::new();
        let mut there: Vec<&Held> = Vec::new();
        for (held, answer) in held.iter().zip(answers) {
            match answer {
                Ok(()) => there.push(held),
                Err(fault) => faults.push(fault),
            }
        }
        // Nothing is taken away before it is seen that what takes its place is there, and that nobody else is at it.
        let now = self.look_again(held).await;
        let counted = is_decided(held, key).then(|| counting(held, key)).flatten();
        let old_threshold = counted.as_ref().map(Barred::threshold);
        let old_needed = usize::from(old_threshold.unwrap_or(servers.thresholds().now).k());
        let counted = counted.map(|barred| barred.number());
        let shown = now.iter().zip(&dealt);
        let shown = shown.filter(|(now, object)| now.shows(object)).count();
        let is_strange = |before: &Held, now: &Held, object: &WaysObject| {
            let mut good = now.good.iter();
            good.any(|found| match found.number() == number {
                true => !now.shows(object),
                // A drive that mends puts what counted.
                false => Some(found.number()) != counted && !before.has(found.number()),
            })
        };
        let mut looks = held.iter().zip(&now).zip(&dealt);
        let strange = looks.any(|((before, now), object)| is_strange(before, now, object))
            || may_count(&now, base, Some(number));
        if strange || got.min(shown) < needed {
            let left = self.take_back(counted, (held, &now), &dealt).await;
            if self.is_taken_over(&now, number, changed).await {
                return Err(WaysError::Overtaken { taken_over: true });
            }
            if left.len() >= usize::from(threshold.k()) {
                return Err(WaysError::Unsure {
                    number,
                    faults: left,
                });
            }
            if strange {
                return Err(WaysError::Overtaken { taken_over: false });
            }
            for silent in now.into_iter().filter_map(|now| now.silent) {
                if faults.iter().all(|known| known.server != silent.server) {
                    faults.push(silent);
                }
            }
            let got = got.min(shown);
            return Err(WaysError::TooFewServers {
                needed,
                got,
                faults,
            });
        }
        key.bind();
        let is_there = |held: &Held| {
            let mut there = there.iter();
            there.any(|there| there.server.index() == held.server.index())
        };
        let unreached = |held: &&Held| held.silent.is_some() && !held.is_left_out;
        let (own, going) = held.split_at(dealt.len().min(held.len()));
        // What was not reached may have everything of before; what did not take its part has what was seen on it.
        let lacks = own.iter().filter(|held| !is_there(held));
        let keeps = lacks
            .filter(|held| unreached(held) || !held.good.is_empty() || !held.pieces.is_empty());
        let mut old_there = keeps.count() + going.iter().filter(unreached).count();
        let old = there.iter().map(|held| self.leave_old(held, number));
        let old = join_all(old).await;
        // A server that is to go has no part any more.
        let going = going.iter().filter(|held| held.silent.is_none());
        let gone = join_all(going.map(|held| leave_parts(held, number))).await;
        let old: Vec<_> = old.into_iter().chain(gone).flatten().collect();
        old_there += old.len();
        faults.extend(old);
        // A drive that mended something meanwhile may have put back what was taken away.
        for held in self.look_again(held).await {
            if there
                .iter()
                .any(|there| there.server.index() == held.server.index())
                && !held.pieces.is_empty()
                && let Err(error) = self.take_pieces(&held).await
            {
                faults.push(ServerFault::of_store(held.server.name(), &error));
            }
        }
        Ok(WaysChanged {
            number,
            ways: ways.iter().map(|(way, _)| way.clone()).collect(),
            stored: there
                .iter()
                .map(|held| held.server.name().to_owned())
                .collect(),
            faults,
            at_the_limit: got < dealt.len() && got < enough(threshold),
            old_opens: changed.takes_out && old_there >= old_needed,
        })
    }

    /// Whether something later counts that has this change in it: whoever made that had seen this one on enough servers, and went on with it.
    async fn is_taken_over(&self, held: &[Held], number: WaysNumber, changed: &Changed) -> bool {
        let key = self.servers.vault_key();
        let now = self.look_again(held).await;
        let later = counting(&now, key).filter(|barred| barred.number() > number);
        let kept = later.and_then(|barred| barred.kept(key));
        kept.is_some_and(|kept| changed.is_in(&kept))
    }

    /// Takes back what was put of a change that is not to be, also from those that gave no answer and may have it. Only the very objects: somebody else's may
    /// lie under the same name. And only where something else counts without them: a drive that mends may have taken what counted before for old already.
    /// Returns those that may have it all the same.
    async fn take_back(
        &self,
        counted: Option<WaysNumber>,
        (held, now): (&[Held], &[Held]),
        dealt: &[WaysObject],
    ) -> Vec<ServerFault> {
        let mine = dealt.first().map(WaysObject::number);
        let key = self.servers.vault_key();
        // Where what counted has made way for something else than this, that lies on enough servers, of which some may be silent: nobody removes sooner, and
        // whoever mends removes the newest of what is old first.
        let has_other = |now: &Held, than: WaysNumber| {
            let mut numbers = now.good.iter().map(WaysObject::number);
            numbers.any(|number| number > than && Some(number) != mine)
        };
        let made_way = |counted: WaysNumber| {
            let mut looks = held.iter().zip(now);
            looks.any(|(before, now)| {
                before.has(counted) && !now.has(counted) && has_other(now, counted)
            })
        };
        let stays = counted.is_some_and(|counted| {
            counting_of(now, key, |number| Some(number) != mine).is_none() && !made_way(counted)
        });
        if stays {
            tracing::warn!(
                "a change of the ways in that did not get through stays where it is: what was before is gone from too many servers"
            );
        }
        let looks = held.iter().zip(now).zip(dealt);
        let back = looks.map(|((before, now), object)| async move {
            if let Some(fault) = &now.silent {
                // What was sent to it may have come.
                return before.silent.is_none().then(|| fault.clone());
            }
            if !now.shows(object) {
                return None;
            }
            if stays {
                let detail = "it has the change, and keeps it";
                return Some(fault_of(&now.server, Fault::Stale, detail));
            }
            let name = ObjectKey::ways_object(object.number());
            let error = remove(&now.server, &name).await.err()?;
            tracing::warn!(server = now.server.name(), %error, "a change of the ways in that did not get through could not be taken back there");
            let detail = format!("the change could not be taken back there: {error}");
            Some(fault_of(&now.server, Fault::Stale, &detail))
        });
        join_all(back).await.into_iter().flatten().collect()
    }

    /// Takes away what does not count any more.
    async fn leave_old(&self, held: &Held, number: WaysNumber) -> Option<ServerFault> {
        match self.take_pieces(held).await {
            Ok(()) => leave_parts(held, number).await,
            Err(error) => Some(still_there(held, &error)),
        }
    }
}

/// Takes away the parts of other numbers.
pub(super) async fn leave_parts(held: &Held, number: WaysNumber) -> Option<ServerFault> {
    let good = held.good.iter().map(WaysObject::number);
    for old in good.chain(held.bad.iter().copied()) {
        if old != number
            && let Err(error) = remove(&held.server, &ObjectKey::ways_object(old)).await
        {
            return Some(still_there(held, &error));
        }
    }
    None
}

fn still_there(held: &Held, error: &StoreError) -> ServerFault {
    let detail = format!("what it had of the ways before is still there: {error}");
    fault_of(&held.server, Fault::Stale, &detail)
}
