//! Making a store in a new or an empty folder.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::list;
use super::put;
use super::root::{READ_DIR, Root, has_marker, open_folder, top_entries};
use crate::error::{CreateError, OpenError};
use crate::layout::{MARKER, Mark, OBJECTS, Place, TMP, is_temp_name};
use crate::shown::shown;

/// So many names of foreign files are told.
const NAMES_TOLD: usize = 5;

pub(super) fn create(path: &Path) -> Result<Root, CreateError> {
    let made = make_folder(path)?;
    refuse_nested(path)?;
    let dir = open_folder(path)?;
    match Root::open(path) {
        Ok(root) => return unused(root),
        Err(OpenError::NotAStore { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let foreign =
        foreign_entries(path).map_err(|errno| OpenError::io(path, "cannot list", errno))?;
    if !foreign.is_empty() {
        let more = foreign.len().saturating_sub(NAMES_TOLD);
        let found = foreign.iter().take(NAMES_TOLD).map(shown).collect();
        return Err(CreateError::NotEmpty {
            path: path.into(),
            found,
            more,
        });
    }

    let write = |source: StoreError| CreateError::Write {
        path: path.into(),
        source,
    };
    let root = Root::with(path, dir, Mark::fresh().map_err(write)?)?;
    for folder in [OBJECTS, TMP] {
        root.make_folder(folder)
            .map_err(|errno| OpenError::io(path, "cannot make folders in", errno))?;
    }
    // The marker comes last: until it is there, a repetition of all this starts anew.
    let place = Place {
        path: MARKER.to_owned(),
        shard: None,
    };
    match put::write_new(&root, &place, root.mark.line().as_bytes(), true) {
        Ok(_) => {}
        // Somebody else made the store at the same moment.
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            return unused(Root::open(path)?);
        }
        Err(error) => return Err(write(error)),
    }
    if made
        && let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
    {
        rustix::fs::openat(CWD, parent, READ_DIR, Mode::empty())
            .and_then(rustix::fs::fsync)
            .map_err(|errno| OpenError::io(parent, "cannot put on disk", errno))?;
    }
    Ok(root)
}

/// Makes the last folder of the path, unless it is there. The ones above are left to people: a missing one is more
/// often a server that is not mounted than a folder that should be made.
fn make_folder(path: &Path) -> Result<bool, CreateError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(CreateError::NoParent {
            path: path.into(),
            parent: path.parent().unwrap_or(Path::new("/")).into(),
        }),
        Err(source) => Err(OpenError::Io {
            path: path.into(),
            doing: "cannot make the folder",
            source,
        }
        .into()),
    }
}

fn refuse_nested(path: &Path) -> Result<(), CreateError> {
    let whole = std::fs::canonicalize(path).map_err(|source| OpenError::Io {
        path: path.into(),
        doing: "cannot find",
        source,
    })?;
    match whole.ancestors().skip(1).find(|above| has_marker(above)) {
        Some(store) => Err(CreateError::Inside {
            path: path.into(),
            store: store.into(),
        }),
        None => Ok(()),
    }
}

/// A store that was made already is as good as new while nothing was put in it, so that a broken-off `init` can be repeated.
fn unused(root: Root) -> Result<Root, CreateError> {
    match list::list(&root, None, 1) {
        Ok(page) if page.objects.is_empty() && !page.more => Ok(root),
        Ok(_) => Err(CreateError::InUse { path: root.path }),
        Err(source) => Err(CreateError::Write {
            path: root.path,
            source,
        }),
    }
}

/// What is in the folder that is not the beginning of a store.
fn foreign_entries(path: &Path) -> Result<Vec<String>, Errno> {
    let dir = rustix::fs::openat(CWD, path, READ_DIR, Mode::empty())?;
    let mut foreign = top_entries(&dir)?;
    let nothing_in = |folder: &str, ours: fn(&str) -> bool| {
        rustix::fs::openat(&dir, folder, READ_DIR, Mode::empty())
            .and_then(|dir| top_entries(&dir))
            .is_ok_and(|names| names.iter().all(|name| ours(name)))
    };
    foreign.retain(|name| match name.as_str() {
        OBJECTS => !nothing_in(OBJECTS, |_| false),
        TMP => !nothing_in(TMP, is_temp_name),
        _ => true,
    });
    Ok(foreign)
}
