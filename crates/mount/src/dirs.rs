//! Folders: listing them in pieces, while they change.
//!
//! The place of an entry in a listing is its cursor, which depends on its name alone. So a listing neither skips nor
//! repeats an entry because others come and go, and a place noted once stays good, without memory held for it.

use std::collections::VecDeque;

use fuser::FileAttr;
use warifu_vault::node::{NodeId, NodeKind};
use warifu_vault::seam::catalog::{Cursor, Listed};

use crate::attrs::{dots, file_attr};
use crate::caller::Caller;
use crate::drive::{Answer, Drive};

/// The place after `.`.
const AFTER_DOT: u64 = 1;
/// The place after `..`, where the entries begin.
const AFTER_DOTS: u64 = 2;
/// How many entries are fetched at first and at most; a listing that goes on fetches more each time. About as many as the kernel
/// takes at once.
const FIRST: usize = 64;
const MOST: usize = 256;

/// How far one open folder has been listed.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Entries fetched and not yet sent, which follow the place `at`.
    ahead: VecDeque<Listed>,
    at: u64,
    /// The count of changes when `ahead` was fetched: after a change it may show what is no longer so.
    changes: u64,
    /// Whether `ahead` holds all the rest.
    ended: bool,
    /// The exact cursors of the entries that the last answer held: the kernel may go on from the middle of it.
    sent: Vec<(u64, Cursor)>,
    fetch: usize,
}

/// The place of an entry, as the kernel keeps it: positive, above those of `.` and `..`, in the order of the cursors.
fn place(cursor: Cursor) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = cursor.0;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 2) + AFTER_DOTS + 1
}

/// The last cursor that has this place. It stands for the entry when the exact one is no longer known; another entry with
/// the same 62 bits would be passed over then, which needs some 2^31 entries in one folder to be likely.
fn cursor(place: u64) -> Cursor {
    let high = (place.saturating_sub(AFTER_DOTS + 1) << 2) | 3;
    let mut bytes = [0xff; 16];
    for (byte, value) in bytes.iter_mut().zip(high.to_be_bytes()) {
        *byte = value;
    }
    Cursor(bytes)
}

impl Stream {
    /// Where in the catalogue's order the listing goes on after a place.
    fn after(&self, at: u64) -> Option<Cursor> {
        if at <= AFTER_DOTS {
            return None;
        }
        let exact = self
            .sent
            .iter()
            .rev()
            .find(|(place, _)| *place == at)
            .map(|(_, cursor)| *cursor);
        Some(exact.unwrap_or_else(|| cursor(at)))
    }
}

/// What takes the entries of a listing: the place after the entry, the entry's name and attributes. True when it is full
/// and did not take this one.
pub(crate) type Sink<'a> = &'a mut (dyn FnMut(u64, &[u8], &FileAttr) -> bool + Send);

impl Drive {
    /// Opens a folder.
    pub(crate) async fn open_dir(&self, caller: Caller, node: NodeId) -> Answer<u64> {
        let context = self.callers.glance(caller).await;
        let attr = self.vault.attr(&context, node).await?;
        if attr.kind != NodeKind::Dir {
            return Err(fuser::Errno::ENOTDIR.into());
        }
        Ok(self.open.keep_dir(node))
    }

    /// Lists an open folder after a place, until the sink is full or the folder ends.
    pub(crate) async fn read_dir(
        &self,
        caller: Caller,
        number: u64,
        from: u64,
        sink: Sink<'_>,
    ) -> Answer<()> {
        let dir = self.open.dir(number)?;
        let context = self.callers.glance(caller).await;
        let mut stream = dir.stream.lock().await;
        let mut at = from;
        if at == 0 {
            if sink(AFTER_DOT, b".", &dots(dir.node)) {
                return Ok(());
            }
            at = AFTER_DOT;
        }
        if at == AFTER_DOT {
            let parent = self.vault.parent(&context, dir.node).await?;
            if sink(AFTER_DOTS, b"..", &dots(parent)) {
                return Ok(());
            }
            at = AFTER_DOTS;
        }
        let mut sent = Vec::new();
        loop {
            let stale = stream.at != at || stream.changes != self.changes();
            if stale || (stream.ahead.is_empty() && !stream.ended) {
                let after = sent
                    .last()
                    .map(|(_, cursor)| *cursor)
                    .or_else(|| stream.after(at));
                stream.fetch = if from <= AFTER_DOTS && sent.is_empty() {
                    FIRST
                } else {
                    (stream.fetch * 2).clamp(FIRST, MOST)
                };
                stream.changes = self.changes();
                let limit = stream.fetch;
                let listed = self.vault.list(&context, dir.node, after, limit).await?;
                stream.ended = listed.len() < limit;
                stream.ahead = listed.into();
                stream.at = at;
            }
            let Some(listed) = stream.ahead.front() else {
                break;
            };
            let after = place(listed.cursor);
            if sink(after, listed.name.as_bytes(), &file_attr(&listed.attr)) {
                break;
            }
            sent.push((after, listed.cursor));
            stream.ahead.pop_front();
            stream.at = after;
            at = after;
        }
        if !sent.is_empty() {
            stream.sent = sent;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_high(high: u64) -> Cursor {
        let mut bytes = [7; 16];
        for (byte, value) in bytes.iter_mut().zip(high.to_be_bytes()) {
            *byte = value;
        }
        Cursor(bytes)
    }

    #[test]
    fn places_are_positive_above_the_dots_and_in_the_order_of_the_cursors() {
        let highs = [0, 1, 3, 4, 5, 1 << 40, u64::MAX / 2, u64::MAX - 4, u64::MAX];
        for pair in highs.windows(2) {
            assert!(place(with_high(pair[0])) <= place(with_high(pair[1])));
        }
        for high in highs {
            let place = place(with_high(high));
            assert!(place > AFTER_DOTS && i64::try_from(place).is_ok());
        }
        assert_ne!(place(with_high(0)), place(with_high(4)));
    }

    #[test]
    fn a_listing_goes_on_after_the_entry_and_not_at_it() {
        for high in [0, 1, 5, 1 << 40, u64::MAX - 9, u64::MAX] {
            let entry = with_high(high);
            let resumed = cursor(place(entry));
            assert!(resumed >= entry);
            assert!(place(resumed) == place(entry));
        }
    }

    #[test]
    fn the_exact_cursor_is_used_while_it_is_known() {
        let (first, second) = (with_high(8), with_high(9));
        assert_eq!(place(first), place(second));
        let stream = Stream {
            sent: vec![(place(first), first)],
            ..Stream::default()
        };
        assert_eq!(stream.after(place(first)), Some(first));
        assert_eq!(stream.after(AFTER_DOTS), None);
        assert_eq!(
            Stream::default().after(place(first)),
            Some(cursor(place(first)))
        );
    }
}
