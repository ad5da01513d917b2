//! What a rebuild is told and what it tells.

use std::ops::RangeInclusive;
use std::time::Duration;

use warifu_core::ids::{ServerId, ShareIndex, VersionNo};
use warifu_core::random::NoRandomness;

use crate::error::ServerFault;
use crate::seam::catalog::CatalogError;
use crate::seam::clock::Timestamp;

/// How a rebuild works.
#[derive(Clone, Debug)]
pub struct RebuildOptions {
    /// How long an answer of a server is waited for.
    pub server_timeout: Duration,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self {
            server_timeout: Duration::from_secs(30),
        }
    }
}

/// What a rebuild is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading what the servers hold.
    Survey,
    /// Reading the journal.
    Journal,
    /// Reading heads that the journal does not know.
    Heads,
    /// Writing the catalogue.
    Writing,
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildProgress {
    /// What it is at.
    pub stage: Stage,
    /// How many objects, segments, heads or rows are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// A server of the rebuilt vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFound {
    /// Which share it keeps.
    pub index: ShareIndex,
    /// Its id: of one that was not given and that the journal does not name, a new one.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// Whether it was given.
    pub given: bool,
}

/// What the journal was good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalFound {
    /// How many segments were read.
    pub segments: u64,
    /// When the last one was written; `None` without a journal: then moves, deletions, empty folders and links are not in.
    pub up_to: Option<Timestamp>,
    /// Segments that are missing or cannot be read. What changed in them alone may be old, gone again, or absent.
    pub gaps: Vec<RangeInclusive<u64>>,
    /// Segments after the last one that was read of which the servers given have too few shares: they were being written when
    /// the catalogue was lost, or the servers that were not given have the rest.
    pub unfinished: u64,
    /// What is wrong with those that are there.
    pub faults: Vec<String>,
    /// Timelines beside the one that was taken, which is the one that was written last: an old catalogue was brought back from
    /// a backup and worked on. Their saves are adopted; what else was done in them (moves, removals) is not in.
    pub others: Vec<OtherTimeline>,
}

/// Segments of the journal beside the timeline that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherTimeline {
    /// Their numbers.
    pub segments: RangeInclusive<u64>,
    /// When the last one was written.
    pub up_to: Timestamp,
    /// How many versions they tell of that the other does not know. They are among the [adopted](RebuildReport::adopted).
    pub saves: u64,
}

/// Objects on a server that could not be read although it was asked again. Their names do not tell of which file they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadObjects {
    /// How many.
    pub objects: u64,
    /// Which server, and what it said the first time.
    pub fault: ServerFault,
}

/// How a save that the journal does not know was put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptedAs {
    /// As the next version of its document.
    Version,
    /// As a file that the journal did not know.
    File,
    /// As a copy beside the file, whose version was another.
    Copy,
}

/// A save that the journal does not know. Whether its program was told that it is saved is not known either; it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The file's path.
    pub path: String,
    /// The version's number.
    pub version: VersionNo,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// How it was put in place.
    pub how: AdoptedAs,
}

/// A version of which the servers that were given do not have enough shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostVersion {
    /// The file's path; empty where the version belongs to no file any more.
    pub path: String,
    /// Its number.
    pub version: VersionNo,
    /// How many shares are needed.
    pub needed: u8,
    /// How many there are of the extent with the fewest.
    pub there: u8,
    /// Whether the servers that were not given could not change that.
    pub for_good: bool,
}

/// What a rebuild made, and what it could not.
#[derive(Clone, Debug, Default)]
pub struct RebuildReport {
    /// Files that have a name.
    pub files: u64,
    /// Folders, the root among them.
    pub dirs: u64,
    /// Versions.
    pub versions: u64,
    /// Lines of the audit log.
    pub audit_lines: u64,
    /// Lines of the audit log that are missing.
    pub audit_missing: u64,
    /// What the journal was good for.
    pub journal: JournalFound,
    /// Saves that the journal does not know. Without a journal all are such, and only counted.
    pub adopted: Vec<Adopted>,
    /// How many saves were put in place that the journal does not know.
    pub adopted_count: u64,
    /// What did not fit together and was moved into a folder of its own.
    pub moved: Vec<String>,
    /// Versions that cannot be read from the servers given.
    pub lost: Vec<LostVersion>,
    /// Saves that the journal does not know and of which the servers given have too few shares: they came to nothing, or servers that
    /// were not given, or could not be read, have the rest. Not counted where all servers were read.
    pub unread: u64,
    /// What could not be read on servers that were given.
    pub unreadable: Vec<UnreadObjects>,
    /// Shares that servers which were given do not have.
    pub owed_shares: u64,
    /// Extents that no version needs: left by saves that came to nothing, or of versions that could not be put in place.
    pub unused: u64,
    /// Files on servers that no warifu wrote.
    pub foreign: u64,
    /// The servers of the vault.
    pub servers: Vec<ServerFound>,
    /// What is wrong with servers that were given.
    pub faults: Vec<ServerFault>,
    /// Whether somebody has to decide before the vault can be changed, because something of the journal is not in the catalogue and
    /// could be got by another rebuild: with more servers, or from another timeline. See
    /// [`Vault::accept_rebuild`](crate::Vault::accept_rebuild).
    pub undecided: bool,
}

impl RebuildReport {
    /// Whether everything is as it was when the last segment of the journal was written, or newer.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.journal.up_to.is_some()
            && self.journal.gaps.is_empty()
            && self.journal.unfinished == 0
            && self.journal.others.is_empty()
            && self.unread == 0
            && self.moved.is_empty()
            && self.lost.is_empty()
            && self.audit_missing == 0
    }

    /// Whether the journal is not in the catalogue with all that it tells.
    pub(super) fn lacks_journal(&self) -> bool {
        let journal = &self.journal;
        journal.up_to.is_none()
            || !journal.gaps.is_empty()
            || journal.unfinished > 0
            // Lines that an earlier rebuild had to go on without come back by no other one.
            || (self.audit_missing > 0 && !journal.faults.is_empty())
    }
}

/// Why a catalogue could not be rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// Fewer than k servers can be read.
    #[error("{needed} servers are needed, and {got} can be read")]
    TooFewServers {
        /// How many are needed.
        needed: u8,
        /// How many can be read.
        got: usize,
        /// What is wrong with the others.
        faults: Vec<ServerFault>,
    },
    /// A server stopped answering in the middle.
    #[error("a server stopped answering: {0}")]
    Server(ServerFault),
    /// The new catalogue failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The operating system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}
