//! A store's folder on a server, reached over one conversation.
//!
//! As with a directory, a folder whose mark is gone is not an empty store: it is a disk that is not mounted there.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::OnceCell;
use warifu_vault::seam::store::{ObjectKey, StoreError, StoreErrorKind};

use super::put::Placing;
use super::session::{Session, Trouble};
use super::wire::{self, Attrs, Request, Room, Status};
use crate::error::OpenError;
use crate::layout::{
    BadMark, LOST_FOUND, MARKER, MARKER_LIMIT, Mark, OBJECTS, STALE_AFTER_SECS, TMP, is_temp_name,
    shard_folder,
};
use crate::url::SftpUrl;

/// So many pieces of a folder's listing are asked for at once.
const LISTING_AHEAD: usize = 4;

pub(super) struct Root {
    pub session: Session,
    /// The store as people know it.
    pub shown: String,
    /// The folder's path, without a slash at its end: empty for the server's root.
    folder: String,
    pub mark: Mark,
    /// The marker file as it was when its mark was read. One that looks the same is the same.
    marker: Attrs,
    pub placing: OnceCell<Placing>,
    /// Whether the server puts files on disk when it is asked to.
    pub fsync: bool,
    /// Whether it does so for folders too, as far as is known.
    pub folder_fsync: AtomicBool,
    /// Whether the server has opened a folder on this connection.
    pub opens_folders: AtomicBool,
    /// Shard folders that were made or seen.
    made: Vec<AtomicBool>,
    /// Those whose own names are on disk.
    pub durable: Vec<AtomicBool>,
}

pub(super) enum MarkTrouble {
    Trouble(Trouble),
    Bad(BadMark),
}

impl From<Trouble> for MarkTrouble {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// A folder's path as the others are built on.
pub(super) fn trimmed(url: &SftpUrl) -> &str {
    url.path.strip_suffix('/').unwrap_or(&url.path)
}

/// A path of the server, for a folder as [`trimmed`].
pub(super) fn join(folder: &str, path: &str) -> String {
    match (folder, path) {
        ("", ".") => "/".to_owned(),
        (folder, ".") => folder.to_owned(),
        (folder, path) => format!("{folder}/{path}"),
    }
}

/// Reads the marker file of a folder.
pub(super) async fn read_mark(
    session: &Session,
    folder: &str,
) -> Result<(Mark, Attrs), MarkTrouble> {
    let path = join(folder, MARKER);
    let (attrs, handle) = (
        session.ask(Request::Lstat(&path)),
        session.ask(Request::OpenRead(&path)),
    );
    let handle = handle.handle().await?;
    let data = session.ask(Request::Read {
        handle: &handle,
        offset: 0,
        len: MARKER_LIMIT as u32 + 1,
    });
    session.tell(Request::Close(&handle));
    let attrs = attrs.attrs().await?;
    let data = match data.data().await {
        Err(trouble) if trouble.is(Status::END) => Bytes::new(),
        done => done?,
    };
    if data.len() > MARKER_LIMIT {
        return Err(MarkTrouble::Bad(BadMark::Damaged));
    }
    let mark = Mark::parse(&data).map_err(MarkTrouble::Bad)?;
    Ok((mark, attrs))
}

/// So many names are taken in of one folder, and so many bytes of them. Objects are spread over 256 folders.
const MOST_NAMES: usize = 200_000;
const MOST_BYTES: usize = 32 << 20;

/// What has been told of a folder.
#[derive(Default)]
struct Names {
    names: Vec<(String, Attrs)>,
    bytes: usize,
}

impl Names {
    fn add(&mut self, names: Vec<(String, Attrs)>) -> Result<(), Trouble> {
        self.bytes += names.iter().map(|(name, _)| name.len()).sum::<usize>();
        let names = names.into_iter();
        self.names
            .extend(names.filter(|(name, _)| !matches!(name.as_str(), "." | "..")));
        if self.names.len() > MOST_NAMES || self.bytes > MOST_BYTES {
            return Err(Trouble::TooMuch(format!(
                "the folder has more than {MOST_NAMES} names, or than {} MiB of them: there is room for millions of objects in the \
                 others, so something else writes there",
                MOST_BYTES >> 20
            )));
        }
        Ok(())
    }
}

/// All names in a folder but `.` and `..`. One with more than [`MOST_NAMES`] is an error, never a gap.
pub(super) async fn read_folder(
    session: &Session,
    path: &str,
) -> Result<Vec<(String, Attrs)>, Trouble> {
    let handle = session.ask(Request::OpenDir(path)).handle().await?;
    let mut pending = std::collections::VecDeque::new();
    for _ in 0..LISTING_AHEAD {
        pending.push_back(session.ask(Request::ReadDir(&handle)));
    }
    let mut found = Names::default();
    let mut more = true;
    let mut failed = None;
    while let Some(answer) = pending.pop_front() {
        match answer.names().await {
            Ok(Some(names)) => {
                if names.is_empty() {
                    more = false;
                }
                if let Err(trouble) = found.add(names) {
                    more = false;
                    failed.get_or_insert(trouble);
                }
            }
            Ok(None) => more = false,
            Err(trouble) => {
                more = false;
                failed.get_or_insert(trouble);
            }
        }
        if more {
            pending.push_back(session.ask(Request::ReadDir(&handle)));
        }
    }
    session.tell(Request::Close(&handle));
    match failed {
        Some(trouble) => Err(trouble),
        None => Ok(found.names),
    }
}

impl Root {
    /// Finds the store in a folder.
    pub async fn open(session: Session, url: &SftpUrl) -> Result<Self, OpenError> {
        let folder = trimmed(url);
        match read_mark(&session, folder).await {
            Ok((mark, marker)) => Ok(Self::with(session, url, mark, marker)),
            Err(MarkTrouble::Bad(BadMark::Damaged)) => Err(OpenError::DamagedMarker {
                path: url.to_string().into(),
            }),
            Err(MarkTrouble::Bad(BadMark::Newer(version))) => Err(OpenError::Newer {
                path: url.to_string().into(),
                version,
            }),
            Err(MarkTrouble::Trouble(trouble)) if trouble.is(Status::NO_SUCH_FILE) => {
                Err(no_store(&session, url).await)
            }
            Err(MarkTrouble::Trouble(trouble)) => Err(refused(
                url,
                "cannot read the marker file of the store",
                &trouble,
            )),
        }
    }

    /// Takes up a folder whose mark is known.
    pub fn with(session: Session, url: &SftpUrl, mark: Mark, marker: Attrs) -> Self {
        let flags = || (0..=u8::MAX).map(|_| AtomicBool::new(false)).collect();
        Self {
            fsync: session.has(wire::FSYNC),
            folder_fsync: AtomicBool::new(true),
            opens_folders: AtomicBool::new(false),
            session,
            shown: url.to_string(),
            folder: trimmed(url).to_owned(),
            mark,
            marker,
            placing: OnceCell::new(),
            made: flags(),
            durable: flags(),
        }
    }

    /// A path below the store's folder, `.` for itself.
    pub fn at(&self, path: &str) -> String {
        join(&self.folder, path)
    }

    /// Whether the marker file looks as it did. Asked for along with other requests, it costs no waiting.
    pub fn looks_the_same(&self, marker: &Result<Attrs, Trouble>) -> bool {
        marker.as_ref().is_ok_and(|now| *now == self.marker)
    }

    /// Checks that the folder is still the store that was opened.
    pub async fn confirm(&self) -> Result<(), StoreError> {
        match read_mark(&self.session, &self.folder).await {
            Ok((mark, _)) if mark == self.mark => Ok(()),
            Err(MarkTrouble::Trouble(trouble)) if !trouble.is(Status::NO_SUCH_FILE) => Err(trouble
                .during(format_args!(
                    "cannot read the marker file of {}",
                    self.shown
                ))),
            _ => Err(StoreError::new(
                StoreErrorKind::NoAnswer,
                format!(
                    "the folder {} is not the store that was opened (a disk not mounted there?)",
                    self.shown
                ),
            )),
        }
    }

    /// What to answer when the server says that `name` is not there.
    pub async fn absent(&self, name: &ObjectKey) -> StoreError {
        match self.confirm().await {
            Ok(()) => StoreError::new(
                StoreErrorKind::NotFound,
                format!("there is no object {name} in {}", self.shown),
            ),
            Err(error) => error,
        }
    }

    /// What an error of a write is about. Servers say "failure" for a full disk and for one that is read-only.
    pub async fn explain(&self, trouble: Trouble, doing: &str, needed: usize) -> StoreError {
        let plain = trouble.kind() == StoreErrorKind::Failed;
        if plain && let Ok(Some(room)) = self.room().await {
            let needed = u64::try_from(needed).unwrap_or(u64::MAX).max(1);
            let no_names = room.names > 0 && room.free_names == 0;
            let kind = if room.read_only {
                Some((StoreErrorKind::Denied, "the file system is read-only"))
            } else if room.free < needed || no_names {
                Some((StoreErrorKind::Full, "no room left"))
            } else {
                None
            };
            if let Some((kind, why)) = kind {
                return StoreError::new(kind, format!("{doing} in {}: {why}", self.shown));
            }
        }
        trouble.during(format_args!("{doing} in {}", self.shown))
    }

    /// The room of the file system; `None` where the server does not say.
    pub async fn room(&self) -> Result<Option<Room>, Trouble> {
        if !self.session.has(wire::STATVFS) {
            return Ok(None);
        }
        let path = self.at(".");
        let body = self.session.ask(Request::Statvfs(&path)).extended().await?;
        Ok(Room::parse(body).ok())
    }

    /// Sends the making of a shard's folder ahead of what needs it, once for each. That it was there already is no error.
    pub fn make_ahead(&self, shard: Option<u8>) {
        let Some(known) = shard.and_then(|shard| self.made.get(usize::from(shard))) else {
            return;
        };
        if !known.swap(true, Ordering::AcqRel)
            && let Some(shard) = shard
        {
            let path = self.at(&shard_folder(shard));
            self.session.tell(Request::MakeDir(&path));
        }
    }

    /// Makes the folders that a store needs, where one was found missing.
    pub async fn make_folders(&self, shard: Option<u8>) {
        for folder in [OBJECTS, TMP] {
            let path = self.at(folder);
            let _ = self.session.ask(Request::MakeDir(&path)).done().await;
        }
        if let Some(shard) = shard {
            let path = self.at(&shard_folder(shard));
            let _ = self.session.ask(Request::MakeDir(&path)).done().await;
        }
    }

    /// Removes temporary files that a crash left behind. They are in nobody's way, so failures are only noted.
    pub async fn sweep(&self, now_secs: i64) {
        let tmp = self.at(TMP);
        let Ok(names) = read_folder(&self.session, &tmp).await else {
            return;
        };
        let mut swept = 0_u64;
        for (name, attrs) in names {
            let old = attrs.modified.is_some_and(|modified| {
                now_secs.saturating_sub(i64::from(modified)) > STALE_AFTER_SECS
            });
            if is_temp_name(&name) && attrs.is_file() && old {
                let path = self.at(&format!("{TMP}/{name}"));
                swept += u64::from(
                    self.session
                        .ask(Request::Remove(&path))
                        .done()
                        .await
                        .is_ok(),
                );
            }
        }
        if swept > 0 {
            tracing::info!(store = %self.shown, swept, "removed temporary files left by a crash");
        }
    }
}

/// Why there is no store in a folder without a marker.
async fn no_store(session: &Session, url: &SftpUrl) -> OpenError {
    let path: std::path::PathBuf = url.to_string().into();
    let here = join(trimmed(url), ".");
    match session.ask(Request::Lstat(&here)).attrs().await {
        Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => OpenError::Missing { path },
        Err(trouble) => refused(url, "cannot look at the folder", &trouble),
        Ok(attrs) if attrs.mode.is_some() && attrs.is_file() => OpenError::NotAFolder { path },
        Ok(_) => match read_folder(session, &here).await {
            Ok(names) => OpenError::NotAStore {
                path,
                empty: names.iter().all(|(name, _)| name == LOST_FOUND),
            },
            Err(trouble) => refused(url, "cannot list the folder", &trouble),
        },
    }
}

/// What the server said to something that opening a store needs.
pub(super) fn refused(url: &SftpUrl, doing: &'static str, trouble: &Trouble) -> OpenError {
    let server = url.to_string();
    match trouble {
        Trouble::Lost(detail) => OpenError::Unreachable {
            server,
            detail: detail.clone(),
        },
        Trouble::TooMuch(detail) => OpenError::Protocol {
            server,
            detail: format!("{doing}: {detail}"),
        },
        Trouble::Status(status) if status.code == Status::DENIED => OpenError::Io {
            path: server.into(),
            doing,
            source: std::io::ErrorKind::PermissionDenied.into(),
        },
        Trouble::Status(status) => OpenError::Protocol {
            server,
            detail: format!("{doing}: {}", status.words()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_folder_without_end_is_refused() {
        let page = |name: &str, count| vec![(name.to_owned(), Attrs::default()); count];
        let mut found = Names::default();
        found.add(page("..", 2)).unwrap();
        for _ in 0..200 {
            found.add(page("a", 1_000)).unwrap();
        }
        let trouble = found.add(page("a", 1)).unwrap_err();
        assert_eq!(trouble.kind(), StoreErrorKind::Failed, "{trouble}");
        let mut found = Names::default();
        let long = "x".repeat(1 << 20);
        found.add(page(&long, 32)).unwrap();
        assert!(found.add(page(&long, 1)).is_err());
    }
}
