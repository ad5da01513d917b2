//! Who has what open for writing. Told to the others a moment later and many at once, so that no open or close waits for it, and a
//! file that is open for an instant costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Joined;
use crate::context::Context;
use crate::node::NodeId;
use crate::seam::sessions::Hold;
use crate::vault::{Inner, lock};

/// How long openings and closings are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// How soon it is tried again when the catalogue did not answer.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Book {
    last: u64,
    live: BTreeMap<u64, Hold>,
    published: BTreeSet<u64>,
}

/// What is open for writing here, and what of it the others know.
#[derive(Debug, Default)]
pub(super) struct Holds {
    book: Mutex<Book>,
    news: Notify,
}

impl Holds {
    /// The catalogue has forgotten what it was told.
    pub(super) fn publish_anew(&self) {
        lock(&self.book).published.clear();
        self.news.notify_one();
    }

    /// What the others do not know yet: what was opened, and what was closed.
    fn unknown(&self) -> (Vec<Hold>, Vec<u64>) {
        let book = lock(&self.book);
        let opened = book
            .live
            .iter()
            .filter(|(number, _)| !book.published.contains(number))
            .map(|(_, hold)| hold.clone())
            .collect();
        let closed = book
            .published
            .iter()
            .filter(|number| !book.live.contains_key(number))
            .copied()
            .collect();
        (opened, closed)
    }
}

/// A file that is open for writing, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    joined: Arc<Joined>,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let holds = &self.joined.holds;
        lock(&holds.book).live.remove(&self.number);
        holds.news.notify_one();
    }
}

impl Inner {
    /// Notes that somebody has a file open for writing.
    pub(crate) fn hold(&self, ctx: &Context, node: NodeId) -> Option<Held> {
        let (joined, _) = self.joined()?;
        let number = {
            let mut book = lock(&joined.holds.book);
            book.last += 1;
            let hold = Hold {
                number: book.last,
                node,
                actor: ctx.actor.clone(),
                program: ctx.program.clone(),
                since: self.clock.now(),
            };
            book.live.insert(hold.number, hold);
            book.last
        };
        joined.holds.news.notify_one();
        Some(Held {
            joined: Arc::clone(joined),
            number,
        })
    }
}

/// Tells the others as long as the vault lives.
pub(super) async fn publish(vault: Weak<Inner>, joined: Arc<Joined>) {
    loop {
        joined.holds.news.notified().await;
        tokio::time::sleep(GATHER).await;
        let (opened, closed) = joined.holds.unknown();
        if opened.is_empty() && closed.is_empty() {
            continue;
        }
        let Some(inner) = vault.upgrade().filter(|inner| !inner.has_left()) else {
            return;
        };
        let Some((_, sessions)) = inner.joined() else {
            return;
        };
        match sessions.hold(&opened, &closed).await {
            Ok(()) => {
                let mut book = lock(&joined.holds.book);
                book.published.extend(opened.iter().map(|hold| hold.number));
                book.published.retain(|number| !closed.contains(number));
            }
            Err(error) => {
                tracing::debug!(%error, "what is open could not be told to the others; trying again");
                drop(inner);
                tokio::time::sleep(AGAIN).await;
                joined.holds.news.notify_one();
            }
        }
    }
}
