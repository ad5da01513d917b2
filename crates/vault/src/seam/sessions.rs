//! [`Sessions`]: who works on the vault at this moment, what they change, lock and hold open.
//!
//! A session is one mounted drive on one machine. What is kept of it has an end: its lease, by **one** clock, the
//! catalogue's. So no decision compares the clocks of two machines, and what a dead machine held is free when its lease ends.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::head::Timestamp;
use warifu_core::ids::ExtentId;
use warifu_core::random::NoRandomness;

use crate::node::{Name, NodeId};
use crate::seam::catalog::CatalogError;
use crate::seam::locks::{Lock, LockRequest};

/// One session: fresh for each opening of a catalogue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// Draws a fresh id from the operating system's generator.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn fresh() -> Result<Self, NoRandomness> {
        ExtentId::fresh().map(|id| Self(*id.as_bytes()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// What people are told of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Who mounted it.
    pub actor: String,
    /// On which machine.
    pub host: String,
    /// Where it is mounted.
    pub place: String,
    /// The number of its process on that machine.
    pub pid: u32,
    /// Since when, by its machine's clock. For people: nothing is decided by it.
    pub since: Timestamp,
}

/// A file that a program has open for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its number among those of its session.
    pub number: u64,
    /// Which file.
    pub node: NodeId,
    /// Who opened it.
    pub actor: String,
    /// With which program; empty where it is not known.
    pub program: String,
    /// Since when, by its machine's clock. For people: nothing is decided by it.
    pub since: Timestamp,
}

/// A session whose lease has not ended, with all that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which one.
    pub id: SessionId,
    /// Who and where it is.
    pub info: SessionInfo,
    /// What is open in it for writing, by number.
    pub holds: Vec<Hold>,
    /// What is locked by it.
    pub locks: Vec<(NodeId, Lock)>,
}

/// One thing that changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// A node's attributes, contents or extended attributes.
    Node(NodeId),
    /// What a name in a folder stands for.
    Entry {
        /// The folder.
        parent: NodeId,
        /// The name.
        name: Name,
        /// The node that lost its last name by it.
        removed: Option<NodeId>,
    },
}

/// Silent about the name.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "Node({node})"),
            Self::Entry {
                parent, removed, ..
            } => write!(f, "Entry({parent}, .., {removed:?})"),
        }
    }
}

/// What others have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notices {
    /// What changed, oldest first; what changed twice may be there twice.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub next: u64,
    /// Whether something was missed, because it was too long ago: then everything may have changed.
    pub missed: bool,
}

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Whether it was renewed. Otherwise it had ended: the session's locks and holds are gone, and notices were missed.
    pub kept: bool,
    /// Whether there are other sessions.
    pub others: bool,
    /// Whether its id is the first of all: what one of them has to do for all is its to do. For a moment two may think so, or none.
    pub first: bool,
}

/// What became of a request for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// A lock that stands against it; `None` when the request was granted.
    pub blocker: Option<Lock>,
    /// Whether there are other sessions.
    pub others: bool,
}

/// The part of a catalogue that several machines, or several drives of one, share.
///
/// # Contract
/// - Each value of a catalogue that was opened is one possible session, [`me`](Self::me). What it changes is told to the others.
/// - A session lives from [`begin_session`](Self::begin_session) to [`end_session`](Self::end_session) or to the end of its lease, by the
///   catalogue's clock, which is never set back and goes on while a machine sleeps. From that moment on nobody sees its locks
///   and holds, whether or not anybody has removed them yet.
/// - **A notice comes with its change**, in one transaction: who has heard of it sees the change, and who does not hear of it in
///   time [missed](Notices::missed) something and knows it. Changes may go untold while there is no session but one's own.
/// - **A lock is one transaction**: two sessions never hold locks that stand against each other.
/// - Nothing of this is audited or journalled, and none of it need survive a power cut.
#[async_trait]
pub trait Sessions: Send + Sync + fmt::Debug {
    /// The session that this catalogue's changes count as.
    fn me(&self) -> SessionId;

    /// Begins the session, without locks and holds. Returns where its notices begin.
    async fn begin_session(&self, info: &SessionInfo, lease: Duration)
    -> Result<u64, CatalogError>;

    /// Renews the lease, and forgets the sessions whose lease has ended.
    async fn renew_session(&self, lease: Duration) -> Result<Renewed, CatalogError>;

    /// Ends the session, its locks and holds.
    async fn end_session(&self) -> Result<(), CatalogError>;

    /// The sessions there are.
    async fn present(&self) -> Result<Vec<Session>, CatalogError>;

    /// What other sessions have changed since, up to `limit` notices; fewer, or none, are no sign of the end.
    async fn notices(&self, after: u64, limit: usize) -> Result<Notices, CatalogError>;

    /// Waits until there may be notices after this place. May return before there are.
    async fn noticed(&self, after: u64);

    /// Sets or takes away a lock of this session, or says what stands against it.
    /// [`CatalogError::SessionEnded`] when the session's lease has ended.
    async fn lock(&self, node: NodeId, request: &LockRequest) -> Result<Locked, CatalogError>;

    /// The locks on a node, of all sessions.
    async fn locks(&self, node: NodeId) -> Result<Vec<Lock>, CatalogError>;

    /// Notes what was opened for writing in this session, and by their numbers what was closed. Whoever is no session (any
    /// more) notes nothing, which is no error.
    async fn hold(&self, opened: &[Hold], closed: &[u64]) -> Result<(), CatalogError>;

    /// Who has a node open for writing, the oldest first.
    async fn holders(&self, node: NodeId) -> Result<Vec<(SessionInfo, Hold)>, CatalogError>;
}
