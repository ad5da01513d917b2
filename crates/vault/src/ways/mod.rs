//! Ways in: a vault that takes more to open than k of its servers.
//!
//! What the bytes are is told by [`warifu_core::ways`]. Here they are put on servers and read from them, in an order in which each step can
//! be the last.
//!
//! # Changing
//! 1. Every server that is there gets its ways object of the next number, beside the one that it has. Nothing that somebody else has put under that number is
//!    touched. Enough must take it: k, and more than half of all. Otherwise it is taken back.
//! 2. All is read back. Enough must show what they got, and none a number that was not there before step 1: somebody else would be changing the ways at the same
//!    time. Otherwise it is taken back as well. Since two sets of more than half have a server in common, and each of two puts there before it looks, at least one of the two sees the other.
//!    Who finds a part that was there before, of a change after the one that it goes by, counts those that are silent as having it too: with them it may be done.
//! 3. Where the vault had none, the pieces of the vault key make way for objects that say that there are ways in.
//! 4. Ways objects of smaller numbers are removed.
//!
//! Cut off in step 1 or 2, the vault opens as before: fewer than k servers have the new number, or, where k have it, as it was to be. Cut off in step 3, it
//! opens without a way as long as k pieces are left, and by the ways then; whoever opens it goes on with that where one piece is gone already. Cut
//! off in step 4, the new number counts. The command repeated begins with a greater number, and removes what is left.
//!
//! What counts goes nowhere before what is to count lies on enough servers: nobody takes back what others may have begun to rely on
//! (`Inner::take_back`), and who mends removes older numbers only where enough servers have the newer one.
//!
//! # Refreshing
//! A refresh of all shares (`refresh`) puts the objects that say that there are ways in under the number of the new generation, and never a piece of the
//! vault key; and it makes a change of its own, [`WaysChange::Rotate`]: so pieces of the bolt that were stolen before it do not add up with those
//! of today. A first way may be added while somebody else refreshes, with a vault opened before: whoever adds it looks for pieces once more after putting
//! what says so in their place, and whoever refreshes looks for what says so after putting pieces. One of the two sees the other.
//!
//! # Servers that were away
//! keep what they had, and get what counts at the next repair, the next time that somebody opens the vault to change it, or from a mounted drive as
//! soon as they answer again ([`Vault::mend_ways`]). Until then they count as not having it: as long as only k servers do, the loss of one of these
//! keeps everybody out. A change says so.
//!
//! A server that has nothing at all any more, neither a piece nor a part, may be the wrong place, and its shares are gone too: only a repair that somebody
//! asked for gives it its part again. Until then it goes on looking as empty as it is.
//!
//! # What a server can do
//! It can bring back an old object. That counts where k servers do so, or stay behind: then a way that was taken out is back. Nobody can tell from
//! the servers alone. Fewer than k can do nothing but be in the way.

mod approach;
mod change;
mod mend;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use warifu_core::ids::Generation;
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::VaultObject;
use warifu_core::ways::{Barred, WaysNumber, WaysObject, recover_bolt};

pub use self::approach::{ApproachError, Approached, approach};
pub(crate) use self::change::needed;
pub use self::change::{Added, WaysChange, WaysChanged, WaysError, WaysStatus};
use crate::error::{Fault, ServerFault};
use crate::seam::store::{ObjectKey, ShareStore, StoreError, StoreErrorKind};
use crate::servers::Server;
use crate::vault::Inner;
#[cfg(doc)]
use crate::vault::Vault;

/// How long a server is given to show what it has, where somebody waits for it who can do without it.
const SHOWS_WITHIN: Duration = Duration::from_secs(3);

/// The same where the ways are to be changed: each request has a limit of its own.
const CHANGES_WITHIN: Duration = Duration::from_secs(120);

/// How many ways objects of one server are looked at, the newest first. There is one, and a few more where changes were cut off.
const LOOKED_AT: usize = 8;

/// How many such names a place has at most: no more than a few, unless it lies.
const FIXED_MOST: usize = 4_096;

/// The names of the ways objects and of the pieces of the vault key in a place, ascending.
pub(crate) async fn fixed_names(store: &dyn ShareStore) -> Result<Vec<ObjectKey>, StoreError> {
    const PAGE: usize = 1_000;
    let mut found = Vec::new();
    // Names of shares come before these.
    let mut after = ObjectKey::vault_object(Generation(0));
    loop {
        let page = store.list(Some(&after), PAGE).await?;
        let names = page.objects.iter().map(|(name, _)| name);
        found.extend(names.filter(|name| !name.is_share()).cloned());
        if found.len() > FIXED_MOST {
            let detail = format!(
                "it lists more than {FIXED_MOST} pieces of the vault key and parts of the ways in"
            );
            return Err(StoreError::new(StoreErrorKind::Failed, detail));
        }
        match page.objects.into_iter().last() {
            Some((last, _)) if page.more && last > after => after = last,
            _ => return Ok(found),
        }
    }
}

/// The ways objects in a place, the newest first, and what was no such thing. Nobody is believed yet.
async fn objects_in(
    store: &dyn ShareStore,
) -> Result<Vec<(WaysNumber, Option<WaysObject>)>, StoreError> {
    let names = fixed_names(store).await?;
    objects_of(store, &names).await
}

/// Those of these names.
async fn objects_of(
    store: &dyn ShareStore,
    names: &[ObjectKey],
) -> Result<Vec<(WaysNumber, Option<WaysObject>)>, StoreError> {
    let mut numbers: Vec<WaysNumber> = names.iter().filter_map(ObjectKey::ways_number).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    numbers.truncate(LOOKED_AT);
    let mut objects = Vec::with_capacity(numbers.len());
    for number in numbers {
        match store.get(&ObjectKey::ways_object(number), None).await {
            Ok(bytes) => {
                let object = WaysObject::parse(&bytes).ok();
                objects.push((number, object.filter(|object| object.number() == number)));
            }
            // Somebody has just put another one in its place.
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(objects)
}

/// What one server has of the ways, as whoever has the vault key sees it.
struct Held {
    server: Arc<Server>,
    /// Its own parts, that the vault key vouches for.
    good: Vec<WaysObject>,
    /// Names under which something else lies.
    bad: Vec<WaysNumber>,
    /// Names of pieces of the vault key, of whatever generation, that should not be there where there are ways, and whether what says so is
    /// there.
    pieces: Vec<ObjectKey>,
    has_sign: bool,
    /// The newest generation of which it has one or the other; where it has neither, that of which the others have.
    newest: Option<Generation>,
    /// Whether it has nothing at all in the place of a piece: a change was cut off between taking one away and saying so.
    blank: bool,
    /// Why it could not be looked at.
    silent: Option<ServerFault>,
    /// Whether it is called silent because it has nothing any more, and is to stay like that.
    is_left_out: bool,
}

impl Held {
    fn nothing(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::clone(server),
            good: Vec::new(),
            bad: Vec::new(),
            pieces: Vec::new(),
            has_sign: false,
            newest: None,
            blank: false,
            silent: None,
            is_left_out: false,
        }
    }

    /// Whether it has lost everything, or is another place than the one that it was.
    fn is_emptied(&self) -> bool {
        self.silent.is_none() && self.blank && self.good.is_empty() && self.bad.is_empty()
    }

    fn has(&self, number: WaysNumber) -> bool {
        self.good.iter().any(|object| object.number() == number)
    }

    /// Whether it has this very object.
    fn shows(&self, object: &WaysObject) -> bool {
        let mut good = self.good.iter();
        good.any(|found| found.number() == object.number() && found.encode() == object.encode())
    }
}

impl Inner {
    async fn ways_held_by(&self, server: &Arc<Server>, patience: Duration) -> Held {
        let mut held = Held::nothing(server);
        let seen = tokio::time::timeout(patience, self.ways_seen(server, &mut held)).await;
        match seen {
            Ok(Ok(())) => {}
            Ok(Err(error)) => held.silent = Some(ServerFault::of_store(server.name(), &error)),
            Err(_) => held.silent = Some(fault_of(server, Fault::NoAnswer, "no answer yet")),
        }
        held
    }

    async fn ways_seen(&self, server: &Arc<Server>, held: &mut Held) -> Result<(), StoreError> {
        let (key, store) = (self.servers.vault_key(), server.seat.store.as_ref());
        let mut names = server.ask(fixed_names(store)).await?;
        for (number, object) in server.ask(objects_of(store, &names)).await? {
            match object {
                Some(object) if is_own(server, &object) && object.is_authentic(key) => {
                    held.good.push(object);
                }
                _ => held.bad.push(number),
            }
        }
        names.retain(|name| name.piece_generation().is_some());
        held.blank = names.is_empty();
        for name in names {
            let bytes = match server.ask(store.get(&name, None)).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind == StoreErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // What is no piece of this vault is nothing that is known here.
            if let Ok(object) = VaultObject::parse(&bytes)
                && object.is_authentic(key)
            {
                held.newest = held.newest.max(Some(object.generation()));
                match object.is_bound() {
                    true => held.has_sign = true,
                    false => held.pieces.push(name),
                }
            }
        }
        Ok(())
    }

    /// What each server has. One that takes longer than this is silent.
    async fn held(&self, patience: Duration) -> Vec<Held> {
        let servers = self.servers.all().iter();
        let held = servers.map(|server| self.ways_held_by(server, patience));
        let mut held = join_all(held).await;
        let newest = held.iter().filter_map(|held| held.newest).max();
        for held in &mut held {
            held.newest = held.newest.or(newest);
        }
        held
    }

    /// What those have now that could be looked at before.
    async fn look_again(&self, before: &[Held]) -> Vec<Held> {
        let looks = before.iter().map(|before| async move {
            let server = &before.server;
            match &before.silent {
                None => self.ways_held_by(server, CHANGES_WITHIN).await,
                Some(fault) => Held {
                    silent: Some(fault.clone()),
                    is_left_out: before.is_left_out,
                    ..Held::nothing(server)
                },
            }
        });
        join_all(looks).await
    }
}

fn is_own(server: &Server, object: &WaysObject) -> bool {
    object.server() == server.seat.id && object.index() == server.index()
}

/// What counts of what the servers have, and what the vault key vouches for.
fn counting(held: &[Held], key: &VaultKey) -> Option<Barred> {
    counting_of(held, key, |_| true)
}

/// The same if there were only these numbers.
fn counting_of(held: &[Held], key: &VaultKey, of: impl Fn(WaysNumber) -> bool) -> Option<Barred> {
    let objects: Vec<WaysObject> = held
        .iter()
        .flat_map(|held| &held.good)
        .filter(|object| of(object.number()))
        .filter_map(|object| WaysObject::parse(&object.encode()).ok())
        .collect();
    let barred = recover_bolt(&objects).ok()?;
    barred.kept(key).is_some().then_some(barred)
}

/// Whether the vault has ways in: whether a change got as far as to take the first piece away.
fn is_decided(held: &[Held], key: &VaultKey) -> bool {
    key.is_bound() || held.iter().any(|held| held.has_sign)
}

/// Whether so many have their part of this number that the change counts which made it: as many as the threshold wants by which it was dealt.
fn enough_have(held: &[Held], number: WaysNumber) -> bool {
    let mut parts = held.iter().flat_map(|held| &held.good);
    let dealt = parts.find(|part| part.number() == number);
    let has = held.iter().filter(|held| held.has(number)).count();
    dealt.is_some_and(|part| has >= needed(part.threshold()))
}

fn fault_of(server: &Server, fault: Fault, detail: &str) -> ServerFault {
    ServerFault {
        server: server.name().to_owned(),
        fault,
        detail: detail.to_owned(),
    }
}
