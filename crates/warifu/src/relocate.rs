//! [`Warifu::plan_relocation`], [`Warifu::relocate`]: the catalogue moves to another engine or another place, with all that it knows.
//!
//! 1. The vault is opened and closed once, so that nothing is under way: saves settled, what was left behind swept, the journal written.
//! 2. The old catalogue refuses every change from now on, whoever has it open ([`Engine::freeze`]). A save that is under way ends this here.
//! 3. Everything is copied into a catalogue beside the new place, and both are compared, row by row and line by line.
//! 4. The new catalogue gets its place in one step; the old one is told that it is given up, for good; and then the vault file names the new one. Cut off before, the old one is what the vault file names:
//!    frozen, so that the same command goes on, or the move to its own place takes the freeze away.
//!
//! The old catalogue stays as it is and goes on refusing: a drive that still uses it cannot write to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use warifu_catalog::MoveId;
use warifu_core::format::ExtentKind;
use warifu_core::keys::CatalogKey;
use warifu_store::Credentials;
use warifu_vault::context::{Act, AuditEntry};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, CatalogError, Durability};
use warifu_vault::seam::clock::{Clock, SystemClock};
use warifu_vault::seam::journal::{Restored, Resume, Row};

use crate::catalog::{CatalogPlace, Engine, NewCatalog};
use crate::context::process_context;
use crate::error::Error;
use crate::open::{OpenOptions, Warifu, absolute, catalog_error, current_folder, unlock_file};
use crate::vault_file::{VaultFile, folder_of};
use crate::ways::Keyring;

/// So many rows are read at once, and so many such pages wait for being written.
const PAGE: usize = 1000;
const WAITING: usize = 4;

/// What a move of the catalogue will do.
#[derive(Clone, Debug)]
pub struct RelocationPlan {
    /// Where the catalogue is.
    pub from: PathBuf,
    /// Where it goes.
    pub to: PathBuf,
    /// Whether both are the same place: then an interrupted move is taken back, and nothing else.
    pub same: bool,
    /// Files with a name.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Versions.
    pub versions: u64,
    /// Saves that have begun and not ended: somebody is writing, or died writing.
    pub open_saves: u64,
    /// Whether a move was begun before and not ended.
    pub begun: bool,
}

/// How far a move is: so many rows and lines of so many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocationProgress {
    /// Rows and lines of the log that were copied.
    Copied(u64),
    /// Rows and lines of the log that were compared.
    Compared(u64),
}

/// Why a copy is given up although it is good.
const TAKEN_OVER: &str = "somebody else has taken this move over, or has taken it back; wait for the other one, or repeat the command";

/// What a move has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relocated {
    /// Rows of the catalogue, the same in both.
    pub rows: u64,
    /// Lines of the audit log, the same in both.
    pub lines: u64,
}

/// The vault file as it will be.
fn moved_file(
    file: &VaultFile,
    path: &Path,
    url: &str,
    credentials: &Credentials,
) -> Result<VaultFile, Error> {
    let rebased = credentials
        .clone()
        .rebased(&current_folder()?, folder_of(path));
    let moved = VaultFile {
        catalog: url.to_owned(),
        catalog_credentials: rebased,
        ..file.clone()
    };
    // What the vault file could not say is refused here, with the same words.
    Ok(VaultFile::parse(&moved.render(), path)?)
}

impl Warifu {
    /// What a move of the catalogue to `url` (`postgres://…` or `sqlite:PATH`) would do. Changes nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn plan_relocation(
        path: &Path,
        url: &str,
        credentials: &Credentials,
        keyring: &Keyring,
    ) -> Result<RelocationPlan, Error> {
        let path = absolute(path)?;
        let file = VaultFile::read(&path)?;
        let moved = moved_file(&file, &path, url, credentials)?;
        let (from, to) = (
            CatalogPlace::of(&file, &path)?.shown(),
            CatalogPlace::of(&moved, &path)?.shown(),
        );
        let (_, unlocked) = unlock_file(&file, &path, keyring).await?;
        let old = Engine::open(&file, &path, unlocked.key.catalog_key(file.vault)).await?;
        let wrong = |source| catalog_error(&from, source);
        let usage = old.catalog().usage().await.map_err(wrong)?;
        Ok(RelocationPlan {
            same: from == to,
            files: usage.files,
            folders: usage.dirs,
            versions: usage.versions,
            open_saves: usage.open_saves,
            begun: old.is_frozen().await.map_err(wrong)?,
            from,
            to,
        })
    }

    /// Moves the catalogue to `url`.
    ///
    /// # Errors
    /// [`Error::CatalogBusy`] when somebody is saving; [`Error::Catalog`] when a move that is done shall be taken back; [`Error::CatalogDiffers`] when what was copied is not the same: then nothing
    /// was moved; [`Error`]. After any of them the vault is as it was, but where the old catalogue could not be told to take changes again.
    pub async fn relocate(
        path: &Path,
        url: &str,
        credentials: &Credentials,
        keyring: &Keyring,
        program: &str,
        progress: &(dyn Fn(RelocationProgress) + Send + Sync),
    ) -> Result<Relocated, Error> {
        let path = absolute(path)?;
        let file = VaultFile::read(&path)?;
        let moved = moved_file(&file, &path, url, credentials)?;
        let (_, unlocked) = unlock_file(&file, &path, keyring).await?;
        let key = || unlocked.key.catalog_key(file.vault);
        let from = CatalogPlace::of(&file, &path)?.shown();
        let wrong = |source| catalog_error(&from, source);
        let old = Engine::open(&file, &path, key()).await?;
        if CatalogPlace::of(&moved, &path)?.shown() == from {
            old.thaw(None).await.map_err(wrong)?;
            return Ok(Relocated::default());
        }
        if old.is_given_up().await.map_err(wrong)? {
            // The move is done and the new catalogue worked on. Where it is this place, only this machine's vault file does not know.
            Engine::open(&moved, &path, key()).await?;
            moved.replace_catalog(&path)?;
            return Ok(Relocated::default());
        }
        let begun = old.is_frozen().await.map_err(wrong)?;
        let run = MoveId::fresh().map_err(|error| {
            let detail = error.to_string();
            wrong(CatalogError::Failed { detail })
        })?;
        if !begun {
            // Settles what a power cut may have swallowed, sweeps what was left behind, and writes the journal.
            let alone = OpenOptions::new(program).without_upkeep();
            let warifu = Self::open(&path, alone.keyring(keyring.clone())).await?;
            let lost = warifu.close().await;
            if !lost.is_empty() {
                return Err(Error::CatalogBusy {
                    saves: lost.len() as u64,
                });
            }
        }
        // Whoever was cut off, or is at it somewhere else at this moment, has no say in it from now on.
        old.freeze(run).await.map_err(wrong)?;
        let work = async {
            let saves = old.catalog().usage().await.map_err(wrong)?.open_saves;
            if saves > 0 {
                return Err(Error::CatalogBusy { saves });
            }
            move_all(&old, &moved, &path, &key, (run, begun), program, progress).await
        };
        let done = match work.await {
            Ok(done) => done,
            Err(error) => {
                // Only what this run has frozen: somebody else may be in the middle of it.
                if !begun {
                    old.thaw(Some(run)).await.map_err(wrong)?;
                }
                return Err(error);
            }
        };
        old.give_up().await.map_err(wrong)?;
        moved.replace_catalog(&path)?;
        Ok(done)
    }
}

/// Copies and compares, and gives the new catalogue its place.
async fn move_all(
    old: &Engine,
    moved: &VaultFile,
    path: &Path,
    key: &(dyn Fn() -> CatalogKey + Send + Sync),
    (run, begun): (MoveId, bool),
    program: &str,
    progress: &(dyn Fn(RelocationProgress) + Send + Sync),
) -> Result<Relocated, Error> {
    let new = match NewCatalog::begin(moved, path, key()).await {
        Ok(new) => new,
        // Cut off between the catalogue's getting its place and the vault file's naming it.
        Err(Error::CatalogExists { .. }) if begun => {
            let there = Engine::open(moved, path, key()).await?.catalog();
            return compare(&*old.catalog(), &*there, progress).await;
        }
        Err(error) => return Err(error),
    };
    let shown = new.shown();
    let (new, copied) = copy(old.catalog(), new, progress).await;
    let checked = match copied {
        Ok(()) => compare(&*old.catalog(), new.catalog(), progress).await,
        Err(source) => Err(catalog_error(&shown, source)),
    };
    let told = match checked {
        Ok(done) => {
            let entry = AuditEntry {
                at: SystemClock.now(),
                context: process_context(program),
                act: Act::Rebuild,
                node: None,
                detail: "the catalogue was moved here".into(),
            };
            let told = new.catalog().record(vec![entry], Durability::Now).await;
            told.map(|()| done)
                .map_err(|source| catalog_error(&shown, source))
        }
        Err(error) => Err(error),
    };
    let ours = match told {
        Ok(done) => match old.is_frozen_by(run).await {
            Ok(true) => Ok(done),
            Ok(false) => Err(catalog_error(
                &shown,
                CatalogError::Failed {
                    detail: TAKEN_OVER.into(),
                },
            )),
            Err(source) => Err(catalog_error(&shown, source)),
        },
        Err(error) => Err(error),
    };
    match ours {
        Ok(done) => new.finish().await.map(|()| done),
        Err(error) => {
            new.abandon().await;
            Err(error)
        }
    }
}

/// Fills a new catalogue from an old one that nobody changes.
async fn copy(
    old: Arc<dyn Catalog>,
    new: NewCatalog,
    progress: &(dyn Fn(RelocationProgress) + Send + Sync),
) -> (NewCatalog, Result<(), CatalogError>) {
    let resume = match resume_of(&*old).await {
        Ok(resume) => resume,
        Err(error) => return (new, Err(error)),
    };
    let (send, receive) = sync_channel::<Vec<Restored>>(WAITING);
    // The seam takes what it is filled with one by one, and may wait for it: so it waits on a thread of its own.
    let handle = tokio::runtime::Handle::current();
    let writing = tokio::task::spawn_blocking(move || {
        let rows = receive.into_iter().flatten();
        let done = handle.block_on(new.catalog().restore(Box::new(rows), resume));
        (new, done)
    });
    let mut copied = 0;
    let mut give = async |page: Vec<Restored>| {
        copied += page.len() as u64;
        let send = send.clone();
        // Where nobody takes it, writing has failed, and says why.
        let _ = tokio::task::spawn_blocking(move || send.send(page)).await;
        progress(RelocationProgress::Copied(copied));
    };
    let reading = read_all(&*old, &mut give).await;
    drop(send);
    match writing.await {
        Ok((new, Ok(()))) => (new, reading),
        Ok((new, Err(error))) => (new, Err(error)),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn read_all(
    old: &dyn Catalog,
    give: &mut impl AsyncFnMut(Vec<Restored>),
) -> Result<(), CatalogError> {
    // Versions must come in the order in which they were saved only where they are not settled, and none is.
    let mut after = None;
    loop {
        let page = old.rows(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key());
        give(page.into_iter().map(Restored::Row).collect()).await;
    }
    // The journal's own extents are not among the rows.
    let mut after = None;
    loop {
        let page = old.extents(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.extent);
        let journal = page
            .into_iter()
            .filter(|extent| extent.kind == ExtentKind::Journal);
        give(
            journal
                .map(|extent| Restored::Row(Row::Extent(extent)))
                .collect(),
        )
        .await;
    }
    let mut after = 0;
    loop {
        let page = old.audit(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        give(page.into_iter().map(Restored::Audit).collect()).await;
    }
    let positions = old.positions().await?.into_iter();
    give(
        positions
            .map(|(what, at)| Restored::Position(what, at))
            .collect(),
    )
    .await;
    Ok(())
}

/// Where the new catalogue goes on. Numbers of nodes are not used again: no node that is there, and none that the log tells of.
async fn resume_of(old: &dyn Catalog) -> Result<Resume, CatalogError> {
    let state = old.journal().await?;
    let mut last_node = NodeId::ROOT;
    let mut after = None;
    loop {
        let page = old.rows(after, PAGE).await?;
        let Some(Row::Node(last)) = page.last() else {
            break;
        };
        last_node = last_node.max(last.node);
        after = page.last().map(Row::key);
    }
    let mut after = 0;
    loop {
        let page = old.audit(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        let told = page.iter().filter_map(|row| row.entry.node).max();
        last_node = last_node.max(told.unwrap_or(last_node));
    }
    Ok(Resume {
        next: state.next,
        tip: state.tip,
        undecided: state.undecided,
        archived: state.archived,
        last_node,
        generations: old.generations().await?,
    })
}

/// Compares two catalogues, both ways: what is in one and not in the other, or otherwise, is found whichever it is.
async fn compare(
    old: &dyn Catalog,
    new: &dyn Catalog,
    progress: &(dyn Fn(RelocationProgress) + Send + Sync),
) -> Result<Relocated, Error> {
    let wrong = |source| Error::Catalog {
        path: "the comparison of both catalogues".into(),
        source,
    };
    let differs = |what: String| Error::CatalogDiffers { what };
    let mut done = Relocated::default();
    let tell = |done: &Relocated| progress(RelocationProgress::Compared(done.rows + done.lines));
    let mut after = None;
    loop {
        let here = old.rows(after, PAGE).await.map_err(wrong)?;
        let there = new.rows(after, PAGE).await.map_err(wrong)?;
        if let Some(at) = first_difference(&here, &there) {
            let row = here.get(at).or_else(|| there.get(at)).map(Row::key);
            return Err(differs(format!("{row:?}")));
        }
        let Some(last) = here.last() else { break };
        after = Some(last.key());
        done.rows += here.len() as u64;
        tell(&done);
    }
    let mut after = None;
    loop {
        let here = old.extents(after, PAGE).await.map_err(wrong)?;
        let there = new.extents(after, PAGE).await.map_err(wrong)?;
        if let Some(at) = first_difference(&here, &there) {
            let row = here.get(at).or_else(|| there.get(at));
            return Err(differs(format!("extent {:?}", row.map(|row| row.extent))));
        }
        let Some(last) = here.last() else { break };
        after = Some(last.extent);
    }
    let mut after = 0;
    loop {
        let here = old.audit(after, PAGE).await.map_err(wrong)?;
        let mut there = new.audit(after, PAGE).await.map_err(wrong)?;
        // The new one may have a line more: that it was moved there.
        if here.len() < PAGE {
            there.truncate(here.len());
        }
        if let Some(at) = first_difference(&here, &there) {
            return Err(differs(format!(
                "line {} of the audit log",
                after + at as u64 + 1
            )));
        }
        let Some(last) = here.last() else { break };
        after = last.seq;
        done.lines += here.len() as u64;
        tell(&done);
    }
    let (here, there) = (
        old.journal().await.map_err(wrong)?,
        new.journal().await.map_err(wrong)?,
    );
    if (here.next, here.tip, here.undecided) != (there.next, there.tip, there.undecided) {
        return Err(differs("how far the journal has come".into()));
    }
    if old.positions().await.map_err(wrong)? != new.positions().await.map_err(wrong)? {
        return Err(differs(
            "how far the log was sent elsewhere, or the threshold".into(),
        ));
    }
    let (here, there) = (old.generations().await, new.generations().await);
    if here.map_err(wrong)? != there.map_err(wrong)? {
        return Err(differs("the generations of shares".into()));
    }
    Ok(done)
}

fn first_difference<T: PartialEq>(here: &[T], there: &[T]) -> Option<usize> {
    if here == there {
        return None;
    }
    Some(
        here.iter()
            .zip(there)
            .position(|(one, other)| one != other)
            .unwrap_or_else(|| here.len().min(there.len())),
    )
}
