//! What a protocol must offer; [`super::store`] makes a share store of it.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_vault::seam::store::{ObjectKey, ObjectStat, Page, Space, StoreError, StoreErrorKind};

use crate::directory::MAX_OBJECT;

/// How an object is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Asks the server to refuse a name that is taken. Only where it was seen to do so.
    pub only_new: bool,
    /// Writes elsewhere first and moves the whole, because this server shows what it has of an object that is still under way, or keeps it
    /// when the connection breaks off.
    pub staged: bool,
}

/// What lies at the top of the place that a URL names.
pub(super) enum Top {
    /// There is no such place.
    Missing,
    /// The names in it; of at most a thousand.
    Names(Vec<String>),
}

/// Why the place cannot be made.
pub(super) enum MakeTrouble {
    /// The folder above is missing.
    NoParent,
    Store(StoreError),
}

impl From<StoreError> for MakeTrouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A place on a server. Paths are relative to it. What the server says is passed on as it is: `NotFound` means that it answered so,
/// and it is for the caller to find out whether the place as a whole is still there.
#[async_trait]
pub(super) trait Service: Send + Sync + fmt::Debug {
    /// Writes an object. `AlreadyExists` only where `manner` asks for it.
    async fn write(&self, path: &str, object: Bytes, manner: Manner) -> Result<(), StoreError>;

    /// Reads an object or a stretch of it.
    async fn read(&self, path: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError>;

    async fn stat(&self, path: &str) -> Result<ObjectStat, StoreError>;

    async fn remove(&self, path: &str) -> Result<(), StoreError>;

    /// One page of objects. A place that is gone may look empty.
    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError>;

    async fn space(&self) -> Result<Space, StoreError>;

    /// Whether [`Manner::staged`] means anything.
    fn can_stage(&self) -> bool;

    /// Whether others see an object before it is whole, or what is left when its writer dies. Makes and removes a file to find out.
    async fn shows_parts(&self) -> Result<bool, StoreError>;

    /// Removes what uploads left behind that never ended, once it is old, and returns how much that was.
    async fn sweep(&self) -> Result<u64, StoreError>;

    /// What lies at the top.
    async fn top(&self) -> Result<Top, StoreError>;

    /// Makes the place itself, its last folder at most.
    async fn make_place(&self) -> Result<(), MakeTrouble>;

    /// Makes the folders that objects will lie in.
    async fn make_folders(&self) -> Result<(), StoreError>;

    /// Reads a file of one of the places around this one, from the nearest outwards: the first one that there is, and its place.
    async fn read_above(&self, name: &str) -> Option<String>;
}

/// The stretch of a whole object that was asked for.
pub(super) fn cut(
    object: Bytes,
    range: Option<Range<u64>>,
    place: &str,
) -> Result<Bytes, StoreError> {
    let Some(range) = range else {
        return Ok(object);
    };
    within(&range, object.len() as u64, place)?;
    let bounds = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    match bounds {
        Some((start, end)) if start <= end && end <= object.len() => Ok(object.slice(start..end)),
        _ => Err(out_of_range(&range, place)),
    }
}

/// Checks that a stretch lies within an object.
pub(super) fn within(range: &Range<u64>, len: u64, place: &str) -> Result<(), StoreError> {
    if range.start <= range.end && range.end <= len {
        Ok(())
    } else {
        Err(out_of_range(range, place))
    }
}

pub(super) fn out_of_range(range: &Range<u64>, place: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::OutOfRange,
        format!(
            "{place}: the bytes {}..{} are not within the object",
            range.start, range.end
        ),
    )
}

/// Whether a stretch can be asked for in HTTP, which has no way to write an empty one. A server need not be troubled with numbers beyond
/// any object either.
pub(super) fn askable(range: &Range<u64>) -> bool {
    range.start < range.end && range.end <= MAX_OBJECT as u64
}
