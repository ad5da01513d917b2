//! Joining loose shares.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{KIND, LOOSE_PRELUDE_LEN};
use crate::format::{
    CombineError, Dealing, EXTENT_MAX, ExtentKind, FormatError, JoinError, Joiner, OpenShare,
    Scheme, ShareHeader, bucket, check_start,
};
use crate::head::{Head, HeadError};
use crate::ids::{FileId, ServerId, Threshold, VaultId, VersionNo};
use crate::keys::{SealKey, VaultKey};
use crate::secret::SecretBytes;
use crate::vault_object::{RecoverError, VaultObject, recover_vault_key};

/// Why loose shares could not be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LooseJoinError {
    /// A file is no loose share, or its beginning is damaged. Leave it out and try the others.
    #[error("file number {position} in the list: {error}")]
    Format {
        /// Which file, counted from 0.
        position: usize,
        /// What is wrong with it.
        error: FormatError,
    },
    /// The key of the shares cannot be put together.
    #[error(transparent)]
    Key(#[from] RecoverError),
    /// Too few files have a whole share of the next extent.
    #[error("{needed} whole shares are needed for extent {extent}, {got} are there")]
    TooFew {
        /// k.
        needed: usize,
        /// How many are whole.
        got: usize,
        /// The extent, counted from 0; the head is 0, too.
        extent: u64,
        /// The files whose share of it is damaged or missing.
        damaged: Vec<usize>,
    },
    /// Too few files can be joined, and one of the others says of itself that it was made by a scheme which loose shares are not
    /// made by. It comes from somewhere else: from the server of a vault, say.
    #[error(
        "file number {position} in the list: its share is of scheme {scheme}, and loose shares are of scheme 1"
    )]
    Scheme {
        /// Which file, counted from 0.
        position: usize,
        /// The number of the scheme that it names.
        scheme: u8,
    },
    /// Two shares are both whole and do not belong together, which no maker of shares brings about.
    #[error(transparent)]
    Combine(#[from] CombineError),
    /// An extent too long for this machine's memory.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The shares are whole, but not the head in them.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The shares are whole but hold another number of bytes than the head says.
    #[error("extent {extent} has {got} bytes where {expected} were expected")]
    Length {
        /// The extent.
        extent: u64,
        /// The length expected.
        expected: u64,
        /// The length found.
        got: u64,
    },
    /// All extents were joined already.
    #[error("all extents were joined already")]
    Finished,
}

/// What an extent held.
#[derive(Debug)]
pub enum LoosePart {
    /// The file's metadata, always first. The name in it comes from whoever made the shares: see
    /// [`is_safe_name`](crate::head::is_safe_name).
    Head(Box<Head>),
    /// The next bytes of the file.
    Data(SecretBytes),
}

/// A joined extent.
#[derive(Debug)]
pub struct Joined {
    /// What it held.
    pub part: LoosePart,
    /// The files whose share of this extent was missing or damaged, as far as they were looked at.
    pub damaged: Vec<usize>,
}

/// Joins loose shares, one extent at a time. Positions are those of the list given to [`new`](Self::new).
pub struct LooseJoiner {
    /// `None` for a file whose piece of the key lies.
    keys: Vec<Option<(ServerId, SealKey)>>,
    liars: Vec<usize>,
    vault: VaultId,
    threshold: Threshold,
    file: Option<FileId>,
    number: u64,
    left: u64,
}

impl LooseJoiner {
    /// Reads the first [`LOOSE_PRELUDE_LEN`] bytes of each file and puts the key together.
    ///
    /// # Errors
    /// [`LooseJoinError::Format`] for a file that is no loose share, [`LooseJoinError::Key`].
    pub fn new(preludes: &[&[u8]]) -> Result<Self, LooseJoinError> {
        let mut objects = Vec::with_capacity(preludes.len());
        for (position, prelude) in preludes.iter().enumerate() {
            let wrong = |error| LooseJoinError::Format { position, error };
            check_start(prelude, KIND, LOOSE_PRELUDE_LEN).map_err(wrong)?;
            objects.push(VaultObject::parse(prelude.get(8..).unwrap_or_default()).map_err(wrong)?);
        }
        let (key, liars) = recover_vault_key(&objects)?;
        let first = objects.iter().find(|object| object.is_authentic(&key));
        let (vault, threshold) = first
            .map(|object| (object.vault(), object.threshold()))
            .ok_or(RecoverError::TooFew { needed: 1, got: 0 })?;
        Ok(Self {
            keys: objects
                .iter()
                .map(|object| {
                    object
                        .is_authentic(&key)
                        .then(|| seal_key(&key, object.server()))
                })
                .collect(),
            liars,
            vault,
            threshold,
            file: None,
            number: 0,
            left: 0,
        })
    }

    /// Where the first extent begins in each file.
    #[must_use]
    pub fn start(&self) -> usize {
        LOOSE_PRELUDE_LEN
    }

    /// k and n of these shares.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The files whose beginning is damaged or of other shares; they are not used.
    #[must_use]
    pub fn liars(&self) -> &[usize] {
        &self.liars
    }

    /// Whether all extents have been joined. A file that goes on after that has something added to it.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.file.is_some() && self.left == 0
    }

    /// How long the next extent's object is, by the word of whole shares. `prefixes[i]` begins where the next extent begins in
    /// file i and has at least [`PREFIX_LEN`](crate::format::PREFIX_LEN) bytes, or is `None` where the file has ended.
    ///
    /// # Errors
    /// [`LooseJoinError::TooFew`] when no file has a whole header there.
    pub fn next_len(&self, prefixes: &[Option<&[u8]>]) -> Result<usize, LooseJoinError> {
        let mut damaged = Vec::new();
        for (position, prefix) in prefixes.iter().enumerate() {
            match self.open(position, *prefix) {
                Some(share) => {
                    return usize::try_from(share.header().object_len()).map_err(|_| {
                        LooseJoinError::Length {
                            extent: self.number,
                            expected: EXTENT_MAX as u64,
                            got: share.header().secret_len(),
                        }
                    });
                }
                None => damaged.push(position),
            }
        }
        Err(self.too_few(0, damaged, prefixes))
    }

    /// `damaged` are the positions of `objects` that could not be used.
    fn too_few(
        &self,
        got: usize,
        damaged: Vec<usize>,
        objects: &[Option<&[u8]>],
    ) -> LooseJoinError {
        // Only now: two altered bits can make one scheme of another, and must not hold up a join that has enough without them.
        let other = damaged.iter().find_map(|position| {
            let object = objects.get(*position).copied().flatten()?;
            let scheme = match ShareHeader::parse(object) {
                Ok(header) if header.scheme() != Scheme::Shamir => header.scheme().code(),
                Err(FormatError::Scheme(code)) => code,
                _ => return None,
            };
            Some((*position, scheme))
        });
        match other {
            Some((position, scheme)) => LooseJoinError::Scheme { position, scheme },
            None => LooseJoinError::TooFew {
                needed: usize::from(self.threshold.k()),
                got,
                extent: self.number,
                damaged,
            },
        }
    }

    /// Opens the beginning of the next extent in one file. `None` when it is damaged or not the extent that comes next.
    fn open(&self, position: usize, object: Option<&[u8]>) -> Option<OpenShare> {
        let (server, key) = self.keys.get(position)?.as_ref()?;
        let share = OpenShare::open(object?, key).ok()?;
        let dealing = share.dealing();
        let wanted = if self.file.is_none() {
            ExtentKind::Head
        } else {
            ExtentKind::Data
        };
        (share.server() == *server
            && dealing.vault == self.vault
            && dealing.threshold == self.threshold
            && dealing.scheme == Scheme::Shamir
            && dealing.version == VersionNo(1)
            && dealing.kind == wanted
            && dealing.number == self.number
            && self.file.is_none_or(|file| file == dealing.file))
        .then_some(share)
    }

    /// Joins the next extent. `objects[i]` is its object in file i, `None` where the file has none; bytes after it are not looked at. Files with damage are
    /// replaced by others as long as there are any; only as many are looked at as are needed.
    ///
    /// # Errors
    /// [`LooseJoinError::TooFew`] when fewer than k files have a whole share, and the rest of [`LooseJoinError`].
    /// The same extent can be tried again with other objects.
    pub fn join(&mut self, objects: &[Option<&[u8]>]) -> Result<Joined, LooseJoinError> {
        if self.is_finished() {
            return Err(LooseJoinError::Finished);
        }
        let (secret, dealing, damaged) = self.join_secret(objects)?;
        if self.file.is_none() {
            let (head, _) = Head::parse(secret.expose())?;
            self.file = Some(dealing.file);
            self.left = head.size;
            return Ok(Joined {
                part: LoosePart::Head(Box::new(head)),
                damaged,
            });
        }
        let mut secret = secret;
        let len = self.left.min(EXTENT_MAX as u64);
        if secret.len() as u64 != bucket(len) {
            return Err(LooseJoinError::Length {
                extent: self.number,
                expected: bucket(len),
                got: secret.len() as u64,
            });
        }
        secret.truncate(usize::try_from(len).unwrap_or(EXTENT_MAX));
        self.left -= len;
        self.number += 1;
        Ok(Joined {
            part: LoosePart::Data(secret),
            damaged,
        })
    }

    fn join_secret(
        &self,
        objects: &[Option<&[u8]>],
    ) -> Result<(SecretBytes, Dealing, Vec<usize>), LooseJoinError> {
        let needed = usize::from(self.threshold.k());
        let mut damaged = Vec::new();
        loop {
            let mut shares: Vec<OpenShare> = Vec::with_capacity(needed);
            let mut positions = Vec::with_capacity(needed);
            let mut bodies: Vec<&[u8]> = Vec::with_capacity(needed);
            for (position, object) in objects.iter().enumerate() {
                if shares.len() == needed {
                    break;
                }
                if damaged.contains(&position) {
                    continue;
                }
                let whole = self.open(position, *object).and_then(|share| {
                    let end = usize::try_from(share.header().object_len()).ok()?;
                    let begin = share.header().prefix_len();
                    let body = object.and_then(|object| object.get(begin..end))?;
                    Some((share, body))
                });
                let Some((share, body)) = whole else {
                    damaged.push(position);
                    continue;
                };
                // One share given twice counts once.
                if shares.iter().all(|known| known.index() != share.index()) {
                    shares.push(share);
                    positions.push(position);
                    bodies.push(body);
                }
            }
            if shares.len() < needed {
                damaged.sort_unstable();
                return Err(self.too_few(shares.len(), damaged, objects));
            }
            let mut joiner = Joiner::new(shares)?;
            // The bodies are there in full, so this takes no more memory than they do.
            let mut secret =
                SecretBytes::with_len(usize::try_from(joiner.secret_len()).unwrap_or(0));
            match joiner.join_chunks(0, &bodies, secret.expose_mut()) {
                Ok(()) => {
                    damaged.sort_unstable();
                    return Ok((secret, *joiner.dealing(), damaged));
                }
                Err(
                    JoinError::Damaged { position, .. } | JoinError::BodyLength { position, .. },
                ) => {
                    damaged.extend(positions.get(position));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn seal_key(key: &VaultKey, server: ServerId) -> (ServerId, SealKey) {
    (server, key.seal_key(server))
}
