//! Whose changes a `close` saves.
//!
//! The kernel says "flush" each time somebody closes a descriptor of an open file, and that is not only the program that
//! writes: a child that it starts meanwhile has a copy of every descriptor and closes it when it becomes another
//! program. A save at that moment would make half a document the current version. So only who has changed the file
//! through a handle since its last save ends a save by closing; what others close waits for them, or for the last close.

use std::sync::{Mutex, PoisonError};

use fuser::LockOwner;

use crate::caller::Caller;

/// Who has changed a file through one handle, and has not saved it.
#[derive(Debug, Default)]
pub(crate) struct Changers(Mutex<Changed>);

#[derive(Debug, Default)]
struct Changed {
    /// The descriptor tables from which it was written. A forked child has one of its own, threads share theirs.
    tables: Vec<LockOwner>,
    /// The processes that set its size or made holes in it: there the kernel does not name the table.
    processes: Vec<u32>,
    /// Somebody did whom the kernel does not name.
    unnamed: bool,
}

impl Changers {
    /// Notes a write.
    pub(crate) fn wrote(&self, table: Option<LockOwner>) {
        let mut changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match table {
            None => changed.unnamed = true,
            Some(table) if changed.tables.contains(&table) => {}
            Some(table) => changed.tables.push(table),
        }
    }

    /// Notes a change of size, or zeros.
    pub(crate) fn shaped(&self, caller: Caller) {
        let process = caller.process();
        let mut changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match process {
            None => changed.unnamed = true,
            Some(process) if changed.processes.contains(&process) => {}
            Some(process) => changed.processes.push(process),
        }
    }

    /// Whether a close by this caller, from this table, ends a save.
    pub(crate) fn includes(&self, table: LockOwner, caller: Caller) -> bool {
        let (named, processes) = {
            let changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (
                changed.unnamed || changed.tables.contains(&table),
                changed.processes.clone(),
            )
        };
        named
            || (!processes.is_empty()
                && caller
                    .process()
                    .is_some_and(|process| processes.contains(&process)))
    }

    /// Forgets them: everything is saved. Called before the save, so that a change during it is not forgotten.
    pub(crate) fn take(&self) -> Kept {
        Kept(std::mem::take(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// Notes them again, because the save failed.
    pub(crate) fn put_back(&self, kept: Kept) {
        let mut changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changed.tables.extend(kept.0.tables);
        changed.processes.extend(kept.0.processes);
        changed.unnamed |= kept.0.unnamed;
    }
}

/// Changers taken out for a save.
#[derive(Debug)]
pub(crate) struct Kept(Changed);

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
        let kept = changers.take();
        assert!(!changers.includes(writer, me), "saved");
        changers.put_back(kept);
        assert!(changers.includes(writer, me), "the save failed");
        changers.take();
        changers.shaped(me);
        assert!(changers.includes(child, me) && !changers.includes(child, init));
        changers.wrote(None);
        assert!(
            changers.includes(child, init),
            "whoever it was, it may have been this one"
        );
    }
}
