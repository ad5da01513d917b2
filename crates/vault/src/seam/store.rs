//! [`ShareStore`]: a place that keeps objects under unguessable names.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_core::head::Timestamp;
use warifu_core::keys::ObjectName;

/// The name under which a store keeps an object.
///
/// Share objects have names that nobody can guess ([`ObjectName`], 64 hexadecimal digits); the few fixed names begin
/// with `vault-` or `ways-`. All are plain lower-case ASCII, so that no server can change their case or encoding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// The place of the server's piece of the vault key of one generation.
    #[must_use]
    pub fn vault_object(generation: warifu_core::ids::Generation) -> Self {
        Self(format!("vault-{:08x}", generation.0).into())
    }

    /// The generation of the piece of the vault key that has this name; `None` for any other object.
    #[must_use]
    pub fn piece_generation(&self) -> Option<warifu_core::ids::Generation> {
        let digits = self.0.strip_prefix("vault-")?;
        let number = u32::from_str_radix(digits, 16).ok()?;
        let generation = warifu_core::ids::Generation(number);
        (Self::vault_object(generation) == *self).then_some(generation)
    }

    /// The place of the server's part of the vault's [ways in](warifu_core::ways) of one number.
    #[must_use]
    pub fn ways_object(number: warifu_core::ways::WaysNumber) -> Self {
        Self(format!("ways-{:08x}", number.0).into())
    }

    /// The number of the ways object that has this name; `None` for any other object.
    #[must_use]
    pub fn ways_number(&self) -> Option<warifu_core::ways::WaysNumber> {
        let digits = self.0.strip_prefix("ways-")?;
        let number = warifu_core::ways::WaysNumber(u32::from_str_radix(digits, 16).ok()?);
        (Self::ways_object(number) == *self).then_some(number)
    }

    /// Reads a name as it was listed. `None` for what no warifu wrote: such files are foreign and left alone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower_hex = |digits: &str| {
            digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let fixed = text.strip_prefix("vault-").or(text.strip_prefix("ways-"));
        let known = match fixed {
            Some(digits) => digits.len() == 8 && lower_hex(digits),
            None => text.len() == 64 && lower_hex(text),
        };
        known.then(|| Self(text.into()))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this names a share object (and not one of the few with fixed names).
    #[must_use]
    pub fn is_share(&self) -> bool {
        self.0.len() == 64
    }
}

impl From<ObjectName> for ObjectKey {
    fn from(name: ObjectName) -> Self {
        Self(name.to_string().into())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({})", self.0)
    }
}

/// When an acknowledged object must be safe from a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the answer.
    Now,
    /// Before the next [`ShareStore::sync`] answers. Until then the object survives the death of every process, not of the machine.
    Soon,
}

/// What a store knows of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectStat {
    /// Its size in bytes.
    pub len: u64,
    /// When it was written, by the server's own clock; `None` where the server does not say. Only ever used to leave young
    /// objects alone.
    pub modified: Option<Timestamp>,
}

/// A stretch of a listing, ordered by name.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Objects and their sizes, ascending by name.
    pub objects: Vec<(ObjectKey, ObjectStat)>,
    /// Whether names after the last one may exist.
    pub more: bool,
    /// How many entries were found that no warifu wrote. They are left alone.
    pub foreign: u64,
}

/// The room on a server, in bytes. `None` where the server does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: Option<u64>,
    /// What is left for us.
    pub free: Option<u64>,
}

/// What went wrong at a store. The kinds are what callers decide on, so each means exactly one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The server answered: there is no such object.
    NotFound,
    /// The server answered: the name is taken, and what is there was not touched.
    AlreadyExists,
    /// The server answered: there is no room (or no quota) left.
    Full,
    /// The server answered: we may not.
    Denied,
    /// The range asked for lies outside the object.
    OutOfRange,
    /// No answer: gone, unreachable, timed out, or cut off half-way. Whether a write took effect is unknown.
    NoAnswer,
    /// The server answered with something else (an I/O error of its disk, a protocol error). Not evidence of absence.
    Failed,
}

/// A failed request to a store.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    /// What callers decide on.
    pub kind: StoreErrorKind,
    /// What was being done, and what the server said.
    pub detail: String,
    /// The error below, where there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error of this kind, in words.
    #[must_use]
    pub fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    /// The same error, with the one that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

/// What came of each of many requests.
pub type Answers = Vec<Result<(), StoreError>>;

/// A server that keeps objects. It never sees a plaintext, a name or a key.
///
/// # Contract
/// - An object is written once and never changed: no overwrite, no rename. Names are fresh, so two writers never meet
///   under one name; only a repetition of a write whose answer was lost can find its own object there.
/// - After `Ok` from [`put_new`](Self::put_new) every reader sees the whole object. After an error, readers see either
///   nothing or the whole object, never a part of it under that name, as far as the server's protocol allows; where it
///   does not, the seal over each chunk finds the part out.
/// - [`StoreErrorKind::NotFound`] is an answer. Silence is [`StoreErrorKind::NoAnswer`], and nothing may be concluded from it.
/// - Every call ends within a bounded time.
/// - Calls may be made at once from many tasks, and a call dropped half-way leaves nothing worse than an orphan.
#[async_trait]
pub trait ShareStore: Send + Sync + fmt::Debug {
    /// Keeps `object` under a name that is not taken.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, even by the same bytes; `Full`, `Denied`, `NoAnswer`, `Failed`.
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError>;

    /// Reads an object, or the bytes `range` of it.
    ///
    /// # Errors
    /// `NotFound`, `OutOfRange` when the range does not lie within the object; `Denied`, `NoAnswer`, `Failed`.
    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError>;

    /// Says that an object will probably be read next. A store that can begin to fetch it at no cost to anybody does; nobody is
    /// told what becomes of it. Never waits. Returns whether a small object, got now, would most likely come without any waiting.
    /// Called on a tokio runtime.
    fn expect(&self, _name: &ObjectKey) -> bool {
        false
    }

    /// Says whether an object is there and how large it is.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `NoAnswer`, `Failed`.
    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError>;

    /// Lists up to `limit` objects whose names come after `after`, ascending. What cannot be listed is an error, never a gap.
    ///
    /// # Errors
    /// `Denied`, `NoAnswer`, `Failed`.
    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError>;

    /// Removes an object.
    ///
    /// # Errors
    /// `NotFound` when it is not there (for most callers as good as done); `Denied`, `NoAnswer`, `Failed`.
    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError>;

    /// As [`put_new`](Self::put_new) with [`Durability::Soon`] for each of many small objects, in one turn: the answers, in their order. `None`, and nothing is
    /// done, where a turn for many costs as much as one for each.
    async fn put_many(&self, _objects: &[(ObjectKey, Bytes)]) -> Option<Answers> {
        None
    }

    /// As [`delete`](Self::delete) for each of many, in one turn; `None` as for [`put_many`](Self::put_many).
    async fn delete_many(&self, _names: &[ObjectKey]) -> Option<Answers> {
        None
    }

    /// Makes every object acknowledged before this call safe from a power cut.
    ///
    /// # Errors
    /// `Full`, `Denied`, `NoAnswer`, `Failed`: what was written with [`Durability::Soon`] since the last good `sync` may be lost.
    async fn sync(&self) -> Result<(), StoreError>;

    /// The room left.
    ///
    /// # Errors
    /// `Denied`, `NoAnswer`, `Failed`.
    async fn space(&self) -> Result<Space, StoreError>;
}
