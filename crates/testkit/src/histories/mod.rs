//! Whether a history of what several clients asked and were told can be explained by one catalogue that did one thing after another:
//! linearizability, by the search of Wing and Gong with Lowe's memory of what was tried.
//!
//! What a client was told, and when, is written down as [`Event`]s. [`explain`] looks for an order in which each took effect at one moment
//! between its question and its answer, so that every answer is the right one. What was never answered may have taken effect at any
//! moment after the question, or never.

mod life;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};

pub use life::{Life, Machine, Office, life, lives};

/// What a save wrote: each writes something that nobody else ever writes.
pub type Mark = u32;

/// A name, by its number.
pub type NameNo = u8;

/// A node, by its number.
pub type NodeNo = u64;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Makes an empty file.
    Create(NameNo),
    /// What a name stands for.
    Lookup(NameNo),
    /// Opens a file and reads it.
    Read(NodeNo),
    /// Saves a file that was read before.
    Save {
        /// Which.
        node: NodeNo,
        /// What was read; `None` for an empty file.
        base: Option<Mark>,
        /// What is written.
        mark: Mark,
    },
    /// Moves a file, over another where there is one.
    Rename(NameNo, NameNo),
    /// Takes a name away.
    Unlink(NameNo),
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// The file has this number.
    Node(NodeNo),
    /// There is nothing of this name, or the file is gone.
    Nothing,
    /// The name is taken.
    Taken,
    /// The file contains this; `None` when it is empty.
    Contents(Option<Mark>),
    /// It is done.
    Done,
    /// Nothing: the answer was lost, or the client died.
    Silence,
}

/// One question and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Who asked.
    pub client: usize,
    /// What.
    pub ask: Ask,
    /// The answer.
    pub told: Told,
    /// When it was asked, in steps that count up over all clients.
    pub began: u64,
    /// When it was answered; without meaning for [`Told::Silence`].
    pub ended: u64,
}

/// What the one catalogue knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    names: BTreeMap<NameNo, NodeNo>,
    contents: BTreeMap<NodeNo, Option<Mark>>,
    /// What saves wrote that met a newer version.
    copies: BTreeSet<Mark>,
}

/// A node of which no client knows the number: its maker was never told.
const UNTOLD: NodeNo = 1 << 63;

impl State {
    /// What comes of an event if it takes effect now; `None` when its answer would be wrong.
    fn after(&self, place: usize, event: &Event) -> Option<Self> {
        let mut next = self.clone();
        let silent = event.told == Told::Silence;
        let right = match event.ask {
            Ask::Create(name) => match (self.names.get(&name), event.told) {
                (None, Told::Node(node)) if !self.contents.contains_key(&node) => {
                    next.make(name, node);
                    true
                }
                (None, Told::Silence) => {
                    next.make(name, UNTOLD | place as u64);
                    true
                }
                (Some(_), told) => told == Told::Taken || silent,
                _ => false,
            },
            Ask::Lookup(name) => match (self.names.get(&name).copied(), event.told) {
                (None, told) => told == Told::Nothing || silent,
                (Some(there), Told::Node(node)) if there == node => true,
                (Some(there), Told::Node(node)) => {
                    let new = there & UNTOLD != 0 && !self.contents.contains_key(&node);
                    if new {
                        next.call(there, node);
                    }
                    new
                }
                _ => silent,
            },
            Ask::Read(node) => match (self.contents.get(&node), event.told) {
                (Some(contents), Told::Contents(read)) => *contents == read,
                (_, Told::Nothing) => !self.has_name(node),
                _ => silent,
            },
            Ask::Save { node, base, mark } => {
                if self.has_name(node) && self.contents.get(&node) == Some(&base) {
                    next.contents.insert(node, Some(mark));
                } else {
                    next.copies.insert(mark);
                }
                silent || event.told == Told::Done
            }
            Ask::Rename(from, to) => match self.names.get(&from).copied() {
                None => silent || event.told == Told::Nothing,
                Some(node) => {
                    next.names.remove(&from);
                    next.names.insert(to, node);
                    silent || event.told == Told::Done
                }
            },
            Ask::Unlink(name) => match next.names.remove(&name) {
                None => silent || event.told == Told::Nothing,
                Some(_) => silent || event.told == Told::Done,
            },
        };
        right.then_some(next)
    }

    fn make(&mut self, name: NameNo, node: NodeNo) {
        self.names.insert(name, node);
        self.contents.insert(node, None);
    }

    fn call(&mut self, untold: NodeNo, node: NodeNo) {
        for there in self.names.values_mut().filter(|there| **there == untold) {
            *there = node;
        }
        if let Some(contents) = self.contents.remove(&untold) {
            self.contents.insert(node, contents);
        }
    }

    fn has_name(&self, node: NodeNo) -> bool {
        self.names.values().any(|there| *there == node)
    }
}

/// Which events have taken effect.
type Done = Vec<u64>;

fn is_done(done: &Done, place: usize) -> bool {
    done[place / 64] >> (place % 64) & 1 == 1
}

/// How many steps are tried before giving up.
const PATIENCE: u64 = 20_000_000;

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains everything.
    Explained,
    /// There is none.
    Impossible,
    /// Nobody knows: the search took too long.
    Undecided,
}

/// Looks for an order that explains a history.
#[must_use]
pub fn explain(events: &[Event]) -> Verdict {
    let mut done: Done = vec![0; events.len().div_ceil(64)];
    let mut tried = HashSet::new();
    let mut left = PATIENCE;
    match search(events, &State::default(), &mut done, &mut tried, &mut left) {
        Some(true) => Verdict::Explained,
        Some(false) => Verdict::Impossible,
        None => Verdict::Undecided,
    }
}

fn search(
    events: &[Event],
    state: &State,
    done: &mut Done,
    tried: &mut HashSet<(Done, u64)>,
    left: &mut u64,
) -> Option<bool> {
    *left = left.checked_sub(1)?;
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    if !tried.insert((done.clone(), hasher.finish())) {
        return Some(false);
    }
    let open = |done: &Done| {
        let all = events.iter().enumerate();
        all.filter(|(place, _)| !is_done(done, *place))
            .collect::<Vec<_>>()
    };
    let waiting = open(done);
    // Whatever takes effect next was asked before the first answer that is still to come.
    let Some(horizon) = waiting
        .iter()
        .filter(|(_, event)| event.told != Told::Silence)
        .map(|(_, event)| event.ended)
        .min()
    else {
        return Some(true);
    };
    let mut next: Vec<_> = waiting
        .into_iter()
        .filter(|(_, event)| event.began < horizon)
        .filter_map(|(place, event)| Some((place, event, state.after(place, event)?)))
        .collect();
    // An answer that is right now and changes nothing can be had out of the way.
    if let Some(at) = next
        .iter()
        .position(|(_, event, after)| event.told != Told::Silence && after == state)
    {
        next = vec![next.swap_remove(at)];
    }
    // What was answered first is the likeliest, and what never was answered the least.
    next.sort_by_key(|(_, event, _)| (event.told == Told::Silence, event.ended));
    for (place, event, after) in next {
        if event.told == Told::Silence && after == *state {
            continue;
        }
        done[place / 64] |= 1 << (place % 64);
        if search(events, &after, done, tried, left)? {
            return Some(true);
        }
        done[place / 64] &= !(1 << (place % 64));
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events one after another; `(client, ask, told, began, ended)` where they overlap.
    fn history(events: &[(usize, Ask, Told, u64, u64)]) -> Verdict {
        let all: Vec<_> = events
            .iter()
            .map(|(client, ask, told, began, ended)| Event {
                client: *client,
                ask: *ask,
                told: *told,
                began: *began,
                ended: *ended,
            })
            .collect();
        explain(&all)
    }

    const fn save(base: Option<Mark>, mark: Mark) -> Ask {
        Ask::Save {
            node: 7,
            base,
            mark,
        }
    }

    const MADE: (usize, Ask, Told, u64, u64) = (0, Ask::Create(0), Told::Node(7), 0, 1);

    #[test]
    fn a_new_version_is_never_followed_by_an_old_one() {
        let first = (1, save(None, 1), Told::Done, 2, 3);
        let read = |contents, at| (2, Ask::Read(7), Told::Contents(contents), at, at + 1);
        assert_eq!(
            history(&[MADE, first, read(Some(1), 4)]),
            Verdict::Explained
        );
        assert_eq!(
            history(&[MADE, first, read(None, 4)]),
            Verdict::Impossible,
            "an open after the close read the old version"
        );
        // While the save is under way either will do, but not both in the wrong order.
        let slow = (1, save(None, 1), Told::Done, 2, 20);
        assert_eq!(
            history(&[MADE, slow, read(None, 4), read(Some(1), 6)]),
            Verdict::Explained
        );
        assert_eq!(
            history(&[MADE, slow, read(Some(1), 4), read(None, 6)]),
            Verdict::Impossible
        );
    }

    #[test]
    fn a_save_without_an_answer_may_or_may_not_be_there_but_does_not_go_again() {
        let lost = (1, save(None, 1), Told::Silence, 2, 3);
        let read = |contents, at| (2, Ask::Read(7), Told::Contents(contents), at, at + 1);
        for contents in [None, Some(1)] {
            assert_eq!(
                history(&[MADE, lost, read(contents, 4)]),
                Verdict::Explained
            );
        }
        assert_eq!(
            history(&[MADE, lost, read(None, 4), read(Some(1), 6)]),
            Verdict::Explained,
            "it may come late"
        );
        assert_eq!(
            history(&[MADE, lost, read(Some(1), 4), read(None, 6)]),
            Verdict::Impossible
        );
    }

    #[test]
    fn of_two_saves_upon_one_version_one_becomes_a_copy() {
        let saves = [
            (1, save(None, 1), Told::Done, 2, 10),
            (2, save(None, 2), Told::Done, 2, 10),
        ];
        let read = |mark, at| (3, Ask::Read(7), Told::Contents(Some(mark)), at, at + 1);
        for mark in [1, 2] {
            let events = [MADE, saves[0], saves[1], read(mark, 11)];
            assert_eq!(history(&events), Verdict::Explained);
        }
        let overwritten = [MADE, saves[0], saves[1], read(1, 11), read(2, 13)];
        assert_eq!(
            history(&overwritten),
            Verdict::Impossible,
            "a silent overwrite"
        );
    }

    #[test]
    fn a_name_is_neither_doubled_nor_lost() {
        let look = |name, told, at| (2, Ask::Lookup(name), told, at, at + 1);
        let moved = (1, Ask::Rename(0, 1), Told::Done, 2, 3);
        let there = Told::Node(7);
        assert_eq!(
            history(&[MADE, moved, look(0, Told::Nothing, 4), look(1, there, 6)]),
            Verdict::Explained
        );
        assert_eq!(
            history(&[MADE, moved, look(0, there, 4), look(1, there, 6)]),
            Verdict::Impossible
        );
        assert_eq!(
            history(&[MADE, moved, look(1, Told::Nothing, 4)]),
            Verdict::Impossible
        );
        let twice = (1, Ask::Create(0), Told::Node(8), 2, 3);
        assert_eq!(history(&[MADE, twice]), Verdict::Impossible);
    }

    #[test]
    fn a_file_whose_maker_was_never_told_has_one_number() {
        let made = (1, Ask::Create(0), Told::Silence, 0, 1);
        let look = |told, at| (2, Ask::Lookup(0), told, at, at + 1);
        assert_eq!(
            history(&[made, look(Told::Nothing, 2), look(Told::Node(9), 4)]),
            Verdict::Explained
        );
        assert_eq!(
            history(&[made, look(Told::Node(9), 2), look(Told::Node(10), 4)]),
            Verdict::Impossible
        );
    }
}
