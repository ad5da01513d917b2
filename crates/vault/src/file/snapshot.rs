//! The moment of a save: everything that a version consists of, dealt while nobody changes the file.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedRwLockReadGuard;
use warifu_core::format::{self, ExtentKind};
use warifu_core::head::{Content, Head};
use warifu_core::ids::ExtentId;
use warifu_core::secret::SecretBytes;

use super::EXTENT;
use super::contents::span;
use super::plain::Plain;
use super::state::{FileState, OpenFile, Slot};
use crate::dealing::{self, Dealt, Purpose};
use crate::error::{Result, VaultError};
use crate::seam::clock::Timestamp;
use crate::servers::Servers;

/// What a save found at its moment, dealt and ready to be put.
pub(crate) struct Snapshot {
    pub(crate) stamp: u64,
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) head: Option<ExtentId>,
    pub(crate) layout: Vec<Option<ExtentId>>,
    /// The stamps of the buffers that this save stores, to tell later whether they changed meanwhile.
    pub(crate) stamps: HashMap<u64, u64>,
    /// Where the contents lay before; a place that changed meanwhile is left as it is.
    pub(crate) slots_before: Vec<Slot>,
    /// Where they lie once it is committed.
    pub(crate) slots: Vec<Slot>,
    pub(crate) dealt: Vec<Dealt>,
}

/// A moment at which a save can be made, or what must be fetched first.
pub(crate) enum Moment {
    Clean,
    Missing(u64),
    Ready(OwnedRwLockReadGuard<FileState>),
}

/// Waits for a moment at which the file can be saved.
pub(crate) async fn moment(file: &OpenFile) -> Moment {
    let guard = Arc::clone(&file.state).read_owned().await;
    if !guard.needs_saving() {
        return Moment::Clean;
    }
    let first_absent = guard.size > 0 && !guard.buffers.contains_key(&0);
    let must_move = guard.slot(0) == Slot::InHead;
    if first_absent && must_move {
        Moment::Missing(0)
    } else {
        Moment::Ready(guard)
    }
}

/// Deals the extent's contents; `None` for zeros, which are kept nowhere.
pub(crate) fn deal_data(
    servers: &Servers,
    purpose: Purpose,
    plain: &Plain,
    extent: ExtentId,
) -> Result<Option<Dealt>> {
    if plain.is_zero() {
        return Ok(None);
    }
    let contents = plain.contents();
    let len = padded(contents.len())?;
    if len == contents.len() {
        return dealing::deal(servers, purpose, extent, contents).map(Some);
    }
    let mut secret = SecretBytes::with_len(len);
    if let Some(place) = secret.expose_mut().get_mut(..contents.len()) {
        place.copy_from_slice(contents);
    }
    dealing::deal(servers, purpose, extent, secret.expose()).map(Some)
}

fn padded(len: usize) -> Result<usize> {
    usize::try_from(format::bucket(len as u64)).map_err(|_| VaultError::TooLarge {
        size: len as u64,
        limit: super::FILE_MAX,
    })
}

/// Numbers for the extents that a save of this state deals beside those drawn before: one for each changed buffer that is not all zeros, and
/// the head's.
pub(crate) fn fresh_extents(state: &FileState, drawn: usize) -> Result<Vec<ExtentId>> {
    if state.size == 0 {
        return Ok(Vec::new());
    }
    let data = state
        .buffers
        .iter()
        .filter(|(number, plain)| is_dealt(state, **number, plain) && !plain.is_zero());
    let data = if is_inline(state) { 0 } else { data.count() };
    let fresh = (drawn..=data).map(|_| ExtentId::fresh());
    Ok(fresh.collect::<std::result::Result<_, _>>()?)
}

/// Whether all lies in the head. A small file does, in one object; one whose only extent is stored already, or is all zeros, need not
/// move there.
fn is_inline(state: &FileState) -> bool {
    let first = state.buffers.get(&0);
    state.size <= EXTENT && first.is_some_and(|plain| plain.dirty || state.slot(0) == Slot::InHead)
}

/// Whether a save deals this buffer, where it does not lie in the head.
fn is_dealt(state: &FileState, number: u64, plain: &Plain) -> bool {
    plain.dirty || state.slot(number) == Slot::InHead
}

/// Deals everything that a save stores, as of this moment, under these numbers ([`fresh_extents`]).
pub(crate) fn take_snapshot(
    servers: &Servers,
    state: &FileState,
    purpose: Purpose,
    mut head: Head,
    mut extents: Vec<ExtentId>,
) -> Result<Snapshot> {
    let mut fresh = || match extents.pop() {
        Some(extent) => Ok(extent),
        // One that no intent names must not get onto a server.
        None => Err(VaultError::Damaged {
            what: "a save deals more extents than it has".into(),
        }),
    };
    let mut snapshot = Snapshot {
        stamp: state.stamp,
        size: state.size,
        mtime: state.mtime,
        head: None,
        layout: Vec::new(),
        stamps: HashMap::new(),
        slots_before: state.slots.clone(),
        slots: Vec::new(),
        dealt: Vec::new(),
    };
    if state.size == 0 {
        return Ok(snapshot);
    }
    let first = state.buffers.get(&0);
    let inline = is_inline(state);
    if !inline {
        for number in 0..state.extents() {
            let dealt = match state.buffers.get(&number) {
                Some(plain) if is_dealt(state, number, plain) => {
                    snapshot.stamps.insert(number, plain.stamp);
                    if plain.is_zero() {
                        None
                    } else {
                        deal_data(servers, Purpose { number, ..purpose }, plain, fresh()?)?
                    }
                }
                _ => {
                    let (kept, slot) = match state.slot(number) {
                        Slot::Stored(extent) | Slot::Fresh(extent) => {
                            (Some(extent), Slot::Stored(extent))
                        }
                        Slot::Hole | Slot::InHead => (None, Slot::Hole),
                    };
                    snapshot.layout.push(kept);
                    snapshot.slots.push(slot);
                    continue;
                }
            };
            let extent = dealt.as_ref().map(|dealt| dealt.record.extent);
            snapshot.layout.push(extent);
            snapshot.slots.push(extent.map_or(Slot::Hole, Slot::Stored));
            snapshot.dealt.extend(dealt);
        }
        let extent_size = u32::try_from(EXTENT).unwrap_or(u32::MAX);
        head.content = Content::Extents {
            extent_size,
            list: snapshot.layout.clone(),
        };
    } else {
        snapshot.slots.push(Slot::InHead);
        snapshot.stamps.extend(first.map(|plain| (0, plain.stamp)));
    }
    let records = head.encode();
    let contents = if inline { span(state.size, 0) } else { 0 };
    let mut secret = SecretBytes::with_len(padded(records.len() + contents)?);
    let (front, back) = secret
        .expose_mut()
        .split_at_mut_checked(records.len())
        .unwrap_or_default();
    front.copy_from_slice(&records);
    if let (true, Some(plain), Some(place)) = (inline, first, back.get_mut(..contents)) {
        plain.read(0, place);
    }
    let extent = fresh()?;
    let purpose = Purpose {
        kind: ExtentKind::Head,
        number: 0,
        ..purpose
    };
    snapshot
        .dealt
        .push(dealing::deal(servers, purpose, extent, secret.expose())?);
    snapshot.head = Some(extent);
    Ok(snapshot)
}
