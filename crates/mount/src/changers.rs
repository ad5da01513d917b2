//! Whose changes a `close` saves.
//!
//! The kernel says "flush" each time somebody closes a descriptor of an open file, and that is not only the program that
//! writes: a child that it starts meanwhile has a copy of every descriptor and closes it when it becomes another
//! program. A save at that moment would make half a document the current version. So only who has changed the file
//! through a handle since its last save ends a save by closing; what others close waits for them, or for the last close.
//!
//! Changes are numbered, and forgotten when a save that came after them has succeeded, not when it begins: whoever closes the file meanwhile
//! waits for the same save, and hears what became of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fuser::LockOwner;

use crate::caller::Caller;

/// Who has changed a file through one handle, and has not saved it.
#[derive(Debug, Default)]
pub(crate) struct Changers(Mutex<Changed>);

#[derive(Debug, Default)]
struct Changed {
    /// The number of the last change.
    last: u64,
    /// The descriptor tables from which it was written, each with its last change. A forked child has one of its own, threads share
    /// theirs.
    tables: Vec<(LockOwner, u64)>,
    /// The processes that set its size or made holes in it: there the kernel does not name the table.
    processes: Vec<(u32, u64)>,
    /// The last change of somebody whom the kernel does not name.
    unnamed: Option<u64>,
}

/// Notes that somebody has made this change.
fn note<T: PartialEq>(changed: &mut Vec<(T, u64)>, who: T, number: u64) {
    match changed.iter_mut().find(|(known, _)| *known == who) {
        Some((_, last)) => *last = number,
        None => changed.push((who, number)),
    }
}

impl Changers {
    /// Notes a write, once it was made.
    pub(crate) fn wrote(&self, table: Option<LockOwner>) {
        let mut changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changed.last += 1;
        let number = changed.last;
        match table {
            None => changed.unnamed = Some(number),
            Some(table) => note(&mut changed.tables, table, number),
        }
    }

    /// Notes a change of size, or zeros, once it was made.
    pub(crate) fn shaped(&self, caller: Caller) {
        let process = caller.process();
        let mut changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changed.last += 1;
        let number = changed.last;
        match process {
            None => changed.unnamed = Some(number),
            Some(process) => note(&mut changed.processes, process, number),
        }
    }

    /// Whether nobody has changed it since it was saved.
    pub(crate) fn is_empty(&self) -> bool {
        let changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changed.tables.is_empty() && changed.processes.is_empty() && changed.unnamed.is_none()
    }

    /// Whether a close by this caller, from this table, ends a save.
    pub(crate) fn includes(&self, table: LockOwner, caller: Caller) -> bool {
        let (named, processes) = {
            let changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let by_table = changed.tables.iter().any(|(known, _)| *known == table);
            let processes: Vec<u32> = changed.processes.iter().map(|(known, _)| *known).collect();
            (changed.unnamed.is_some() || by_table, processes)
        };
        named
            || (!processes.is_empty()
                && caller
                    .process()
                    .is_some_and(|process| processes.contains(&process)))
    }

    /// The number of the last change so far, to be asked before a save.
    pub(crate) fn last(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// Forgets the changes up to this one: they are saved.
    pub(crate) fn saved(&self, last: u64) {
        let mut changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changed.tables.retain(|(_, number)| *number > last);
        changed.processes.retain(|(_, number)| *number > last);
        changed.unnamed = changed.unnamed.filter(|number| *number > last);
    }
}

/// What the kernel has written back of the mappings of a file. It says through some handle, not for whom.
#[derive(Debug, Default)]
pub(crate) struct WrittenBack {
    last: AtomicU64,
    saved: AtomicU64,
}

impl WrittenBack {
    /// Notes a page, once it was written.
    pub(crate) fn note(&self) {
        self.last.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of the last page so far, to be asked before a save.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Notes that everything up to this page is saved.
    pub(crate) fn saved(&self, last: u64) {
        self.saved.fetch_max(last, Ordering::AcqRel);
    }

    /// Whether anything is not saved.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.last() > self.saved.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(pid: u32) -> Caller {
        Caller {
            uid: 0,
            gid: 0,
            pid,
        }
    }

    #[test]
    fn only_who_changed_the_file_ends_a_save() {
        let (writer, child) = (LockOwner(1), LockOwner(2));
        let (me, init) = (caller(std::process::id()), caller(1));
        let changers = Changers::default();
        assert!(!changers.includes(writer, me), "nothing has changed");
        changers.wrote(Some(writer));
        assert!(changers.includes(writer, me) && changers.includes(writer, init));
        assert!(!changers.includes(child, me));
        let before = changers.last();
        assert!(
            changers.includes(writer, me),
            "also while it is being saved, and when that failed"
        );
        changers.saved(before);
        assert!(
            !changers.includes(writer, me) && changers.is_empty(),
            "saved"
        );
        let before = changers.last();
        changers.shaped(me);
        changers.saved(before);
        assert!(changers.includes(child, me) && !changers.includes(child, init));
        changers.wrote(None);
        assert!(
            changers.includes(child, init),
            "whoever it was, it may have been this one"
        );
    }

    #[test]
    fn what_came_after_the_beginning_of_a_save_is_not_saved_by_it() {
        let changers = Changers::default();
        let (first, second) = (LockOwner(1), LockOwner(2));
        changers.wrote(Some(first));
        changers.wrote(Some(second));
        let before = changers.last();
        changers.wrote(Some(second));
        changers.saved(before);
        let me = caller(1);
        assert!(!changers.includes(first, me) && changers.includes(second, me));

        let pages = WrittenBack::default();
        pages.note();
        let before = pages.last();
        pages.note();
        pages.saved(before);
        assert!(pages.is_unsaved());
        pages.saved(pages.last());
        pages.saved(before);
        assert!(!pages.is_unsaved());
    }
}
