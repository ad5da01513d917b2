//! Ways in: what it takes to open a vault beside k of its servers. A passphrase, somebody's key, paper shares of which j suffice: any one of
//! the ways does, and without one the servers give nothing.
//!
//! The servers of such a vault hold no pieces of the vault key. They hold pieces of a *bolt*, 32 random bytes, and beside it the *door*: the
//! vault key, sealed once for each way under a key from the bolt and from the way's own secret, its [`WayKey`]. The door as a whole is
//! sealed under the bolt, so fewer than k servers don't even tell which ways there are, and nobody can try passphrases on what they hold.
//!
//! ```text
//! pieces on k servers ── bolt ─┬─ door ── which ways there are
//!                              │
//! passphrase, key, paper ── way key ──┴─ vault key
//! ```
//!
//! Each change (a way more, a way less, new secrets for one) is a new bolt and a new door under the next [number](WaysNumber). So who knew a
//! way that was taken out has no use for the pieces of today, and those of yesterday are gone where servers delete. The way keys
//! themselves are kept in the door, sealed under the bolt *and* the vault key, so that whoever changes one way need not know the secrets of the others.
//!
//! A vault that is to open without a further factor again gets a way that is [open](WayKind::Open) to everybody who has reached k servers.
//!
//! ```
//! use warifu_core::ids::{ServerId, Threshold, VaultId};
//! use warifu_core::keys::VaultKey;
//! use warifu_core::ways::{WayId, WayKey, WayKind, Way, WaysNumber, deal_ways, recover_bolt};
//!
//! let (key, vault) = (VaultKey::generate()?, VaultId::fresh()?);
//! let servers = [ServerId::fresh()?, ServerId::fresh()?, ServerId::fresh()?];
//! let way = Way::new(WayId(1), WayKind::Open, "everybody", Default::default())?;
//! let mut objects = deal_ways(&key, vault, Threshold::new(2, 3)?, WaysNumber(1), &servers, &[(&way, &WayKey::open())])?;
//! objects.remove(1);
//! let barred = recover_bolt(&objects)?;
//! let again = barred.unseal(WayId(1), &WayKey::open())?;
//! assert!(objects.iter().all(|object| object.is_authentic(&again)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod door;
mod object;
mod paper;
mod passphrase;
mod recipients;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use self::door::{DoorError, UnsealError};
#[cfg(test)]
pub(crate) use self::object::deal_ways_with;
pub use self::object::{
    Barred, DealWaysError, RecoverBoltError, WAYS_OBJECT_MAX, WaysFormatError, WaysObject,
    deal_ways, rebuild_ways_object, recover_bolt,
};
#[cfg(test)]
pub(crate) use self::paper::deal_paper_with;
pub use self::paper::{
    CustodianSet, JoinPaperError, PAPER_MOST, PAPER_SECRET, PAPER_WORDS, PaperShare, PaperWords,
    Suspicion, WordsError, deal_paper, join_paper,
};
pub use self::passphrase::{DeriveError, PassphraseCost};
pub use self::recipients::{
    Identity, KeyTextError, NotForThisKey, RECIPIENTS_MOST, Recipient, SealForError, open_with,
    seal_for,
};

use crate::head::Timestamp;
use crate::keys::derive;
use crate::random::NoRandomness;
use crate::secret::Secret;

/// How often the ways of a vault were changed. Of two that servers tell of, the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaysNumber(pub u32);

impl fmt::Display for WaysNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One way of one vault; its number is never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WayId(pub u32);

impl fmt::Display for WayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What it takes to use a way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WayKind {
    /// Nothing: whoever has reached k servers is in.
    Open,
    /// A passphrase, and some work with it.
    Passphrase(PassphraseCost),
    /// A private key of one of these people.
    Keys {
        /// The public keys, as text, one a line.
        recipients: String,
        /// The way key, sealed for them.
        sealed: Vec<u8>,
    },
    /// Paper shares.
    Custodians(CustodianSet),
    /// One that a newer warifu knows. It is kept as it is.
    Newer {
        /// Its number among the kinds.
        code: u8,
        /// What is said of it.
        bytes: Vec<u8>,
    },
}

/// How many bytes the name of a way may have.
pub const WAY_NAME_MAX: usize = 200;

/// How many ways a vault may have.
pub const WAYS_MOST: usize = 64;

/// How many bytes a kind's own part may have.
const PARAMETERS_MAX: usize = 16 << 10;

/// A way, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    id: WayId,
    kind: WayKind,
    name: String,
    made: Timestamp,
}

/// Why a way cannot be like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadWay {
    /// Its name is empty, too long, or has control characters.
    #[error("the name of a way in must have 1 to {WAY_NAME_MAX} bytes and no control characters")]
    Name,
    /// Too much is said of it.
    #[error("a way in may not say more than {PARAMETERS_MAX} bytes of itself; this one says {got}")]
    Long {
        /// How many bytes.
        got: usize,
    },
}

impl Way {
    /// A way of this kind.
    ///
    /// # Errors
    /// [`BadWay`].
    pub fn new(id: WayId, kind: WayKind, name: &str, made: Timestamp) -> Result<Self, BadWay> {
        if name.is_empty() || name.len() > WAY_NAME_MAX || name.chars().any(char::is_control) {
            return Err(BadWay::Name);
        }
        let way = Self {
            id,
            kind,
            name: name.into(),
            made,
        };
        let got = door::parameters(&way.kind).len();
        if got > PARAMETERS_MAX {
            return Err(BadWay::Long { got });
        }
        Ok(way)
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> WayId {
        self.id
    }

    /// What it takes.
    #[must_use]
    pub fn kind(&self) -> &WayKind {
        &self.kind
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was added, or given new secrets.
    #[must_use]
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// Whether it can be used by everybody who has reached k servers.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.kind, WayKind::Open)
    }
}

/// The secret of one way.
pub struct WayKey(Secret<32>);

impl WayKey {
    /// That of the way that is open to everybody.
    #[must_use]
    pub fn open() -> Self {
        Self(Secret::zeroed())
    }

    /// A fresh one, to be sealed for people's keys.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> Result<Self, NoRandomness> {
        Secret::random().map(Self)
    }

    /// The one with these bytes.
    #[must_use]
    pub fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Its bytes, to be sealed for people's keys.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    pub(crate) fn of_paper(secret: &Secret<PAPER_SECRET>, set: u32) -> Self {
        Self(derive(
            "warifu 2026-11 v1 paper shares",
            &[secret.expose(), &set.to_le_bytes()],
        ))
    }
}

impl fmt::Debug for WayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WayKey(..)")
    }
}
