//! Ways in: what it takes to open a vault beside k of its servers.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use warifu::ways::{Keyring, NewWay, PassphraseCost, WaysChange};
//! use warifu::{InitOptions, NewServer, OpenOptions, SecretBytes, Threshold, Warifu};
//!
//! let dir = tempfile::tempdir()?;
//! let servers =
//!     ["a", "b", "c"].map(|name| NewServer::new(name, dir.path().join(name).display().to_string()));
//! let path = dir.path().join("office.toml");
//! Warifu::init(&path, Threshold::new(2, 3)?, servers.into(), InitOptions::new("example")).await?;
//!
//! let warifu = Warifu::open(&path, OpenOptions::new("example")).await?;
//! let passphrase = SecretBytes::from_slice("四つ辻の郵便局".as_bytes());
//! let way = NewWay::passphrase(&passphrase, PassphraseCost::LEAST).await?;
//! let change = WaysChange::Add { name: "総務課".into(), way: way.0 };
//! warifu.vault().change_ways(warifu.context(), change).await?;
//! warifu.close().await;
//!
//! // The servers alone do not open it any more.
//! assert!(Warifu::open(&path, OpenOptions::new("example")).await.is_err());
//! let keyring = Keyring::passphrase(passphrase);
//! let warifu = Warifu::open(&path, OpenOptions::new("example").keyring(keyring)).await?;
//! warifu.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;
use warifu_core::keys::VaultKey;
use warifu_core::random::NoRandomness;
use warifu_core::secret::{Secret, SecretBytes};
use warifu_core::ways::{Identity, Recipient, SealForError, open_with, seal_for};
use warifu_store::CredentialRef;
use warifu_vault::keys::{Candidate, Expected, UnlockError, unlock};
use warifu_vault::ways::{ApproachError, Approached, approach};
use zeroize::Zeroizing;

pub use warifu_core::ways::{
    BadWay, CustodianSet, DeriveError, JoinPaperError, PAPER_MOST, PAPER_WORDS, PaperShare,
    PaperWords, PassphraseCost, Way, WayId, WayKey, WayKind, WaysNumber, deal_paper, join_paper,
};
pub use warifu_vault::ways::{Added, WaysChange, WaysChanged, WaysError, WaysStatus};

use crate::error::Error;
use crate::open::{Warifu, absolute, candidates_of, unlock_error};
use crate::vault_file::{VaultFile, folder_of};

/// What somebody answers who is asked for one of the ways.
#[derive(Debug)]
#[non_exhaustive]
pub enum WayAnswer {
    /// A passphrase.
    Passphrase(SecretBytes),
    /// Private keys of people, to be tried one after the other.
    Identities(Arc<Vec<Identity>>),
    /// What paper shares were joined to.
    Paper {
        /// The set that they are of.
        set: u32,
        /// Their way key.
        key: WayKey,
    },
    /// The key of one of the ways itself.
    Key {
        /// The way.
        way: WayId,
        /// Its key.
        key: WayKey,
    },
}

impl WayAnswer {
    /// Paper shares, as many as are needed.
    ///
    /// # Errors
    /// [`JoinPaperError`].
    pub fn paper(shares: &[PaperShare]) -> Result<Self, JoinPaperError> {
        let (set, key) = join_paper(shares)?;
        Ok(Self::Paper { set, key })
    }

    /// The same answer once more. Not `Clone`, so that it is only done where it is meant.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Passphrase(text) => Self::Passphrase(SecretBytes::from_slice(text.expose())),
            Self::Identities(identities) => Self::Identities(Arc::clone(identities)),
            Self::Paper { set, key } => Self::Paper {
                set: *set,
                key: copied(key),
            },
            Self::Key { way, key } => Self::Key {
                way: *way,
                key: copied(key),
            },
        }
    }
}

fn copied(key: &WayKey) -> WayKey {
    let copy = Secret::filled(|out| {
        out.copy_from_slice(key.expose());
        Ok::<(), std::convert::Infallible>(())
    });
    match copy {
        Ok(secret) => WayKey::from_secret(secret),
        Err(never) => match never {},
    }
}

/// Somebody who can be asked for one of the ways.
pub trait AskForWay: Send + Sync + fmt::Debug {
    /// What there is without asking anybody. It is tried before what the vault file refers to.
    fn at_hand(&self) -> Option<WayAnswer> {
        None
    }

    /// Called on a thread that may wait as long as it likes. `refused` says why the answer before was of no use. `None` gives up.
    fn ask(&self, ways: &[Way], refused: Option<&WayRefusal>) -> Option<WayAnswer>;
}

/// Why an answer was of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WayRefusal {
    /// The passphrase is not that of any of the ways.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// No way takes a passphrase.
    #[error("none of the ways in takes a passphrase")]
    NoPassphrase,
    /// No way takes a private key.
    #[error("none of the ways in takes somebody's key")]
    NoKeys,
    /// The private keys are of nobody for whom one of the ways is.
    #[error("none of the ways in is for these keys")]
    OtherKeys,
    /// The paper shares are of a set that is no way of this vault, or no longer.
    #[error("the paper shares are of set {set:05x}, which is none of this vault's ways in")]
    OtherSheets {
        /// The set.
        set: u32,
    },
    /// It is not the key of this way.
    #[error("this does not open the way in")]
    WrongKey,
    /// The work that a passphrase takes cannot be done here.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// Who is asked for a way when a vault takes one. Whoever opens a vault without this opens only those of which k servers suffice, or whose
/// vault file says where a passphrase is.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    source: Option<Arc<dyn AskForWay>>,
}

impl Keyring {
    /// Asks this one.
    #[must_use]
    pub fn asking(source: Arc<dyn AskForWay>) -> Self {
        Self {
            source: Some(source),
        }
    }

    /// Has one answer.
    #[must_use]
    pub fn answer(answer: WayAnswer) -> Self {
        Self::asking(Arc::new(Fixed(answer)))
    }

    /// Has a passphrase.
    #[must_use]
    pub fn passphrase(passphrase: SecretBytes) -> Self {
        Self::answer(WayAnswer::Passphrase(passphrase))
    }
}

#[derive(Debug)]
struct Fixed(WayAnswer);

impl AskForWay for Fixed {
    fn at_hand(&self) -> Option<WayAnswer> {
        Some(self.0.again())
    }

    fn ask(&self, _: &[Way], _: Option<&WayRefusal>) -> Option<WayAnswer> {
        None
    }
}

/// A way to be added.
#[derive(Debug)]
pub struct NewWay(pub Added);

impl NewWay {
    /// A passphrase, at this cost in KiB of memory and passes over it; at least [`PassphraseCost::LEAST`].
    ///
    /// # Errors
    /// [`NewWayError`].
    pub async fn passphrase(
        passphrase: &SecretBytes,
        (memory_kib, passes): (u32, u32),
    ) -> Result<Self, NewWayError> {
        let cost = PassphraseCost::fresh(memory_kib, passes)?;
        let key = derived(cost, passphrase).await?;
        Ok(Self(Added {
            kind: WayKind::Passphrase(cost),
            key,
        }))
    }

    /// People's keys: the private key of any of these opens it.
    ///
    /// # Errors
    /// [`NewWayError`].
    pub fn keys(recipients: &[Recipient]) -> Result<Self, NewWayError> {
        let mut different: Vec<Recipient> = Vec::new();
        for recipient in recipients {
            if !different.contains(recipient) {
                different.push(*recipient);
            }
        }
        let key = WayKey::generate()?;
        let sealed = seal_for(&different, &key)?;
        let lines: Vec<String> = different.iter().map(Recipient::to_string).collect();
        let kind = WayKind::Keys {
            recipients: lines.join("\n"),
            sealed,
        };
        Ok(Self(Added { kind, key }))
    }

    /// Paper shares: `sheets` of them, of which `needed` suffice. They are read back before they are given out.
    ///
    /// # Errors
    /// [`NewWayError`].
    pub fn custodians(needed: u8, sheets: u8) -> Result<(Self, Vec<PaperShare>), NewWayError> {
        let (set, key, shares) = deal_paper(needed, sheets)?;
        // Whoever gets a sheet must be able to rely on it: each is read from its words, and all together must give the key.
        let read: Result<Vec<PaperShare>, _> = shares
            .iter()
            .map(|share| PaperShare::read(share.words().expose()))
            .collect();
        let joined = read.ok().and_then(|read| join_paper(&read).ok());
        if joined.is_none_or(|(_, joined)| joined.expose() != key.expose()) {
            return Err(NewWayError::Unreadable);
        }
        let kind = WayKind::Custodians(set);
        Ok((Self(Added { kind, key }), shares))
    }
}

/// Why a way could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewWayError {
    /// The operating system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The work that a passphrase takes cannot be done here.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// It could not be sealed for these keys.
    #[error(transparent)]
    SealFor(#[from] SealForError),
    /// Paper shares that were just made cannot be read back: this machine computes wrong.
    #[error("paper shares that were just made could not be read back")]
    Unreadable,
}

/// The key of a passphrase, computed where it holds nobody up.
async fn derived(cost: PassphraseCost, passphrase: &SecretBytes) -> Result<WayKey, DeriveError> {
    let text = normal(passphrase);
    let work = tokio::task::spawn_blocking(move || cost.derive(&text));
    let memory_kib = cost.memory_kib();
    work.await
        .unwrap_or(Err(DeriveError::Memory { memory_kib }))
}

/// One way of writing for all that look alike: keyboards and systems differ in how they put letters together.
fn normal(passphrase: &SecretBytes) -> Zeroizing<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(passphrase.expose()) else {
        return Zeroizing::new(passphrase.expose().to_vec());
    };
    // Nothing grows by more than this when it is normalised, so nothing is moved and left behind.
    let mut normal = Zeroizing::new(String::with_capacity(text.len() * 18));
    normal.extend(text.nfkc());
    Zeroizing::new(std::mem::take(&mut *normal).into_bytes())
}

/// How often somebody is asked.
const TRIES: usize = 3;

/// The vault key, by the way that is open, by what somebody has said already, by what the vault file refers to, or by what somebody answers.
pub(crate) async fn key_by_way(
    servers: &[Candidate],
    expected: &Expected,
    reference: Option<(&CredentialRef, &Path)>,
    keyring: &Keyring,
) -> Result<(Approached, VaultKey, WayAnswer), Error> {
    let approached = approach(servers, Some(expected)).await;
    let approached = approached.map_err(approach_error)?;
    let ways: Vec<Way> = approached.ways().cloned().collect();
    if let Some(open) = ways.iter().find(|way| way.is_open())
        && let Ok(key) = approached.unseal(open.id(), &WayKey::open())
    {
        let (way, way_key) = (open.id(), WayKey::open());
        return Ok((approached, key, WayAnswer::Key { way, key: way_key }));
    }
    let source = keyring.source.as_ref();
    let mut refused = None;
    // What somebody has said already comes first: what the vault file refers to may be out of date.
    if let Some(answer) = source.and_then(|source| source.at_hand()) {
        match try_answer(&approached, &ways, &answer).await {
            Ok((key, by)) => return Ok((approached, key, by)),
            Err(refusal) => refused = Some(refusal),
        }
    }
    let (mut by_reference, mut broken) = (None, None);
    if let Some((reference, base)) = reference {
        match reference.resolve_line(base) {
            Ok(passphrase) => {
                let answer = WayAnswer::Passphrase(passphrase);
                match try_answer(&approached, &ways, &answer).await {
                    Ok((key, by)) => return Ok((approached, key, by)),
                    Err(refusal) => by_reference = Some(refusal),
                }
            }
            Err(source) => broken = Some(Error::WayReference { source }),
        }
    }
    for _ in 0..TRIES {
        let Some(source) = source else { break };
        let asked = {
            let (source, ways, refused) = (Arc::clone(source), ways.clone(), refused.clone());
            tokio::task::spawn_blocking(move || source.ask(&ways, refused.as_ref())).await
        };
        let Ok(Some(answer)) = asked else { break };
        match try_answer(&approached, &ways, &answer).await {
            Ok((key, by)) => return Ok((approached, key, by)),
            Err(refusal) => refused = Some(refusal),
        }
    }
    Err(match (refused, broken, by_reference) {
        (Some(refusal), _, _) => Error::WayRefused { refusal, ways },
        (None, Some(broken), _) => broken,
        (None, None, Some(refusal)) => Error::ReferenceRefused { refusal, ways },
        (None, None, None) => Error::WayNeeded { ways },
    })
}

fn approach_error(error: ApproachError) -> Error {
    match error {
        ApproachError::TooFewServers {
            needed,
            got,
            faults,
        } => Error::TooFewServers {
            needed,
            got,
            faults,
        },
        ApproachError::Mismatch { faults, .. } => Error::WrongVault { faults },
        ApproachError::Newer(error) => Error::NewerWays {
            detail: error.to_string(),
        },
        other => Error::Founding {
            detail: other.to_string(),
        },
    }
}

impl Warifu {
    /// Finds out by which way a vault opens, without opening it: for a process that can ask somebody, and starts another one that cannot. `None`
    /// where k servers suffice.
    ///
    /// # Errors
    /// As those of [`Warifu::open`] until the catalogue is opened.
    pub async fn find_way(path: &Path, keyring: &Keyring) -> Result<Option<WayAnswer>, Error> {
        let path = absolute(path)?;
        let file = VaultFile::read(&path)?;
        let (candidates, expected) = candidates_of(&file, &path)?;
        match unlock(&candidates, &expected).await {
            Err(UnlockError::Bound(_)) => {
                let reference = file.passphrase.as_ref();
                let reference = reference.map(|reference| (reference, folder_of(&path)));
                let found = key_by_way(&candidates, &expected, reference, keyring).await?;
                Ok(Some(found.2))
            }
            other => other.map(|_| None).map_err(unlock_error),
        }
    }
}

async fn try_answer(
    approached: &Approached,
    ways: &[Way],
    answer: &WayAnswer,
) -> Result<(VaultKey, WayAnswer), WayRefusal> {
    let try_key = |way: WayId, key: &WayKey| {
        let found = approached.unseal(way, key).ok()?;
        let key = copied(key);
        Some((found, WayAnswer::Key { way, key }))
    };
    match answer {
        WayAnswer::Passphrase(passphrase) => {
            let mut refusal = WayRefusal::NoPassphrase;
            for way in ways {
                let WayKind::Passphrase(cost) = way.kind() else {
                    continue;
                };
                let key = derived(*cost, passphrase).await?;
                match try_key(way.id(), &key) {
                    Some(found) => return Ok(found),
                    None => refusal = WayRefusal::WrongPassphrase,
                }
            }
            Err(refusal)
        }
        WayAnswer::Identities(identities) => {
            let mut refusal = WayRefusal::NoKeys;
            for way in ways {
                let WayKind::Keys { sealed, .. } = way.kind() else {
                    continue;
                };
                refusal = WayRefusal::OtherKeys;
                let mut keys = identities
                    .iter()
                    .filter_map(|own| open_with(sealed, own).ok());
                if let Some(found) = keys.find_map(|key| try_key(way.id(), &key)) {
                    return Ok(found);
                }
            }
            Err(refusal)
        }
        WayAnswer::Paper { set, key } => {
            let of_set = ways.iter().filter(
                |way| matches!(way.kind(), WayKind::Custodians(found) if found.set == *set),
            );
            let mut refusal = WayRefusal::OtherSheets { set: *set };
            for way in of_set {
                match try_key(way.id(), key) {
                    Some(found) => return Ok(found),
                    None => refusal = WayRefusal::WrongKey,
                }
            }
            Err(refusal)
        }
        WayAnswer::Key { way, key } => try_key(*way, key).ok_or(WayRefusal::WrongKey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_same_however_it_is_put_together() {
        let normal = |text: &str| normal(&SecretBytes::from_slice(text.as_bytes())).to_vec();
        assert_eq!(normal("がﾊﾟ①"), normal("か\u{3099}パ1"));
        assert_ne!(normal("a"), normal("A"));
        assert_eq!(
            super::normal(&SecretBytes::from_slice(&[0xFF, 1])).to_vec(),
            [0xFF, 1]
        );
    }

    #[test]
    fn p10_ways_of_a_newer_warifu_are_called_that() {
        let newer = warifu_core::ways::DoorError::Newer { found: 2 };
        let error = approach_error(ApproachError::Newer(newer));
        assert!(matches!(error, Error::NewerWays { .. }), "{error}");
        assert!(error.to_string().contains("newer warifu"), "{error}");
    }

    #[test]
    fn answers_are_silent() {
        let answer = WayAnswer::Passphrase(SecretBytes::from_slice(b"gibberish"));
        let text = format!("{answer:?} {:?}", Keyring::answer(answer.again()));
        assert!(
            !text.contains("gibberish") && !text.contains("103, 105"),
            "{text}"
        );
    }
}
