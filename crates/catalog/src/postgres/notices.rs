//! What others change, as this process reads it.
//!
//! Transactions end in another order than their numbers tell, so a place among the notices is a *snapshot*: what it did not see yet is
//! new. A place has a number here, which means nothing to anybody else.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio_postgres::Row;
use warifu_core::keys::Field;
use warifu_vault::node::{Name, NodeId};
use warifu_vault::seam::sessions::{Change, Notices};

use super::PostgresCatalog;
use super::rows::{bytes, number};
use super::write::only;
use crate::error::{Outcome, damaged};
use crate::names::entry_row;

/// So many places are remembered: a reader goes back to the last one only, when an answer was lost.
const PLACES: usize = 16;

/// With more than so many at once it is quicker to look at everything anew.
const MOST: i64 = 10_000;

/// Where a reader is.
#[derive(Clone, Debug)]
struct Place {
    number: u64,
    /// What was seen: the database's snapshot, when it was taken, and since when the database runs.
    snapshot: String,
    taken: String,
    running: String,
    /// What was read and not handed out yet.
    rest: VecDeque<Change>,
}

/// The places of this process.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<(u64, VecDeque<Place>)>);

impl Places {
    fn find(&self, number: u64) -> Option<Place> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places
            .1
            .iter()
            .find(|place| place.number == number)
            .cloned()
    }

    /// Remembers a place under a number of its own, and returns that.
    fn add(&self, mut place: Place) -> u64 {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.0 += 1;
        place.number = places.0;
        places.1.push_back(place);
        if places.1.len() > PLACES {
            places.1.pop_front();
        }
        places.0
    }

    /// A place from which nothing is new any more moves on under its number.
    fn move_on(&self, place: Place) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = places
            .1
            .iter_mut()
            .find(|found| found.number == place.number)
        {
            *found = place;
        }
    }
}

const HERE: &str =
    "SELECT pg_current_snapshot()::text, clock_timestamp()::text, pg_postmaster_start_time()::text";

/// A database that was started anew may have become another one, which gives numbers of transactions out a second time. Our own
/// transactions last for less than a minute.
const NEWS: &str = "SELECT pg_current_snapshot()::text, clock_timestamp()::text, pg_postmaster_start_time()::text,
     f.at > $2::text::timestamptz - INTERVAL '1 minute' OR pg_postmaster_start_time() <> $3::text::timestamptz,
     n.node, n.tag, n.sealed, n.removed
   FROM notice_floor f LEFT JOIN notice n ON n.xid >= pg_snapshot_xmin($1::text::pg_snapshot)
     AND NOT pg_visible_in_snapshot(n.xid, $1::text::pg_snapshot) AND n.origin <> $4
   WHERE f.id = 1 ORDER BY n.seq LIMIT $5";

fn place_of(row: &Row) -> Outcome<Place> {
    Ok(Place {
        number: 0,
        snapshot: row.try_get(0)?,
        taken: row.try_get(1)?,
        running: row.try_get(2)?,
        rest: VecDeque::new(),
    })
}

impl PostgresCatalog {
    /// What is committed from now on is new here.
    pub(super) async fn place_now(&self) -> Outcome<u64> {
        // Whoever begins anew has heard of nothing before.
        self.pool.lately.forget();
        let here = self.pool.read(HERE, &[]).await?;
        Ok(self.places.add(place_of(only(&here)?)?))
    }

    pub(super) async fn read_notices(&self, after: u64, limit: usize) -> Outcome<Notices> {
        let missed = |next| Notices {
            changes: Vec::new(),
            next,
            missed: true,
        };
        let Some(mut from) = self.places.find(after) else {
            return Ok(missed(self.place_now().await?));
        };
        if from.rest.is_empty() {
            let me = self.me.0.as_slice();
            let rows = self
                .pool
                .read(
                    NEWS,
                    &[&from.snapshot, &from.taken, &from.running, &me, &(MOST + 1)],
                )
                .await?;
            let first = only(&rows)?;
            let mut now = place_of(first)?;
            if first.try_get(3)? || rows.len() > MOST as usize {
                self.pool.lately.forget();
                return Ok(missed(self.places.add(now)));
            }
            for row in &rows {
                now.rest.extend(self.change_of(row)?);
            }
            if now.rest.is_empty() {
                now.number = after;
                self.places.move_on(now);
                return Ok(Notices {
                    changes: Vec::new(),
                    next: after,
                    missed: false,
                });
            }
            // At least one of them is another's.
            self.pool.lately.forget();
            from = now;
        }
        let some = limit.clamp(1, from.rest.len());
        let changes = from.rest.drain(..some).collect();
        Ok(Notices {
            changes,
            next: self.places.add(from),
            missed: false,
        })
    }

    fn change_of(&self, row: &Row) -> Outcome<Option<Change>> {
        if row.try_get::<_, Option<i64>>(4)?.is_none() {
            return Ok(None);
        }
        let node = NodeId(number(row, 4)?);
        let Some(tag) = row.try_get::<_, Option<&[u8]>>(5)? else {
            return Ok(Some(Change::Node(node)));
        };
        let tag: [u8; 16] = bytes(tag)?;
        let opened = self
            .key
            .open(Field::Name, &entry_row(node, &tag), row.try_get(6)?)
            .map_err(|_| damaged("a notice does not open under the vault's key"))?;
        let removed: Option<i64> = row.try_get(7)?;
        Ok(Some(Change::Entry {
            parent: node,
            name: Name::new(opened.expose())
                .map_err(|_| damaged("a notice tells of a name that no file can have"))?,
            removed: removed
                .map(|node| u64::try_from(node).map(NodeId))
                .transpose()
                .map_err(|_| damaged("a notice tells of a node with a negative number"))?,
        }))
    }
}
