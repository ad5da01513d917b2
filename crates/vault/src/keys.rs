//! Founding a vault and unlocking it: the vault key is dealt to the servers, and gathered again from any k of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use warifu_core::format::FormatError;
use warifu_core::ids::{Generation, ServerId, ShareIndex, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::random::NoRandomness;
use warifu_core::vault_object::{RecoverError, VaultObject, deal_vault_key, recover_vault_key};

use crate::error::{Fault, ServerFault};
use crate::seam::store::{Durability, ObjectKey, ShareStore, StoreError, StoreErrorKind};
use crate::servers::Thresholds;
use crate::ways::fixed_names;

/// The generation that a vault begins with.
pub const FIRST_GENERATION: Generation = Generation(1);

/// How long a server is waited for when a vault is founded or unlocked.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same where some of k servers say that the vault has ways in, and the others give pieces of its key.
const HALFWAY: Duration = Duration::from_secs(10);

/// A server to be asked: its name for people, and its store.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The server's name in the vault file.
    pub name: String,
    /// Where its objects are.
    pub store: Arc<dyn ShareStore>,
}

/// A vault just founded.
#[derive(Debug)]
pub struct Founded {
    /// The vault's id.
    pub vault: VaultId,
    /// The vault key.
    pub key: VaultKey,
    /// The generation of its shares.
    pub generation: Generation,
    /// The ids of the servers, in the order given; the first has share 1.
    pub servers: Vec<ServerId>,
}

/// Why a vault could not be founded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FoundError {
    /// The number of servers is not n.
    #[error("{needed} servers are needed and {got} were given")]
    Servers {
        /// How many are needed.
        needed: u8,
        /// How many were given.
        got: usize,
    },
    /// A server holds a vault already.
    #[error("the server {server} already belongs to a vault")]
    Taken {
        /// The server's name.
        server: String,
    },
    /// A server did not take its piece of the vault key.
    #[error("a server did not take its piece of the vault key: {0}")]
    Server(ServerFault),
    /// The key could not be dealt.
    #[error("the vault key could not be dealt: {0}")]
    Deal(String),
    /// The operating system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Makes a new vault: a fresh vault key, shared over the servers. The key never touches a disk whole.
///
/// Nothing is written unless every server answers that it holds no vault yet.
///
/// # Errors
/// [`FoundError`]. After [`FoundError::Server`] some servers may hold pieces of a key that nobody has.
pub async fn found(servers: &[Candidate], threshold: Threshold) -> Result<Founded, FoundError> {
    if servers.len() != usize::from(threshold.n()) {
        return Err(FoundError::Servers {
            needed: threshold.n(),
            got: servers.len(),
        });
    }
    let name = ObjectKey::vault_object(FIRST_GENERATION);
    for server in servers {
        match within(piece_generations(server.store.as_ref())).await {
            Ok(generations) if generations.is_empty() => {}
            Ok(_) => {
                return Err(FoundError::Taken {
                    server: server.name.clone(),
                });
            }
            Err(error) => {
                return Err(FoundError::Server(ServerFault::of_store(
                    &server.name,
                    &error,
                )));
            }
        }
    }
    let key = VaultKey::generate()?;
    let vault = VaultId::fresh()?;
    let ids = servers
        .iter()
        .map(|_| ServerId::fresh())
        .collect::<Result<Vec<_>, _>>()?;
    let objects = deal_vault_key(&key, &vault, threshold, FIRST_GENERATION, &ids)
        .map_err(|error| FoundError::Deal(error.to_string()))?;
    for (server, object) in servers.iter().zip(&objects) {
        let object = Bytes::copy_from_slice(&object.encode());
        match within(server.store.put_new(&name, object, Durability::Now)).await {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                return Err(FoundError::Taken {
                    server: server.name.clone(),
                });
            }
            Err(error) => {
                return Err(FoundError::Server(ServerFault::of_store(
                    &server.name,
                    &error,
                )));
            }
        }
    }
    Ok(Founded {
        vault,
        key,
        generation: FIRST_GENERATION,
        servers: ids,
    })
}

/// What is known of the vault before it is unlocked, from its vault file.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The vault's id.
    pub vault: VaultId,
    /// Its threshold, and what that is to become: pieces of either are taken, each for itself.
    pub thresholds: Thresholds,
    /// For each candidate: the server and the share it must be.
    pub seats: Vec<(ServerId, ShareIndex)>,
}

/// A vault key gathered from the servers.
#[derive(Debug)]
pub struct Unlocked {
    /// The vault key.
    pub key: VaultKey,
    /// The generation of its pieces.
    pub generation: Generation,
    /// What is wrong with servers that were not needed. One that had not answered when the key was known is among them.
    pub faults: Vec<ServerFault>,
    /// How long servers took to give their piece; `None` for those that had not answered when the key was known. Those that
    /// answered otherwise are not listed.
    pub answers: Vec<(ServerId, Option<Duration>)>,
    /// Whether servers have to be put right, because the ways in were changed while they were away, or a change of them was cut off: see
    /// [`Vault::mend_ways`](crate::Vault::mend_ways).
    pub ways_to_mend: bool,
}

/// Why a vault could not be unlocked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlockError {
    /// Fewer than k servers gave a good piece of the vault key.
    #[error("{needed} servers must give their piece of the vault key, and {got} did")]
    TooFewServers {
        /// How many are needed.
        needed: u8,
        /// How many gave one.
        got: usize,
        /// What is wrong with the others.
        faults: Vec<ServerFault>,
    },
    /// The vault has ways in, and its servers alone don't give its key: see [`ways::approach`](crate::ways::approach).
    #[error("the vault has ways in, and one of them is needed beside its servers")]
    Bound(Box<Bound>),
    /// The servers are of different vaults, and nothing tells which of them is meant.
    #[error("the servers are of different vaults")]
    Mixed {
        /// Which each says, and what is wrong with others.
        faults: Vec<ServerFault>,
    },
    /// Enough pieces came, and no k of them make the vault key.
    #[error("the pieces of the vault key do not fit together: {detail}")]
    Mismatch {
        /// What was tried.
        detail: String,
        /// What is wrong with servers, as far as it is known.
        faults: Vec<ServerFault>,
    },
}

/// What the servers of a vault with ways in have told before it is opened.
#[derive(Debug)]
pub struct Bound {
    /// What stands there in the place of pieces of the vault key, and the places of the candidates that gave it.
    pub(crate) signs: Vec<(usize, VaultObject)>,
    /// What was known of the vault, or what most of the places say.
    pub(crate) expected: Expected,
    /// What is wrong with servers.
    pub(crate) faults: Vec<ServerFault>,
    /// As in [`Unlocked`].
    pub(crate) answers: Vec<(ServerId, Option<Duration>)>,
}

impl Bound {
    /// Which vault it is that has ways in, for whoever asks which they are: as it was known, or else as most of the places say. So no single one can put a way
    /// of its own in their place.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }
}

/// How long servers are waited for once k of them have given a key: so that one that lies is found out by the others, and one
/// that hangs holds nobody up.
pub(crate) const GRACE: Duration = Duration::from_millis(250);

/// Gathers the vault key from any k servers, and names the servers that lie, lag or are silent.
///
/// It does not wait for all of them: once pieces make a key, the others have a quarter of a second. Where the first k pieces
/// make none, because some of them are false, it waits for more.
///
/// # Errors
/// [`UnlockError`].
pub async fn unlock(servers: &[Candidate], expected: &Expected) -> Result<Unlocked, UnlockError> {
    let begin = Instant::now();
    let mut requests: FuturesUnordered<_> = servers
        .iter()
        .zip(&expected.seats)
        .enumerate()
        .map(|(place, (server, seat))| async move {
            let pieces = piece_of(server).await;
            (
                place,
                pieces.and_then(|pieces| fit(pieces, server, expected, *seat)),
            )
        })
        .collect();
    let mut heard: Vec<Heard> = expected.seats.iter().map(|_| Heard::Nothing).collect();
    let (mut objects, mut owners, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let needed = expected.thresholds.least();
    let mut until: Option<Instant> = None;
    loop {
        let next = requests.next();
        let answer = match until {
            None => next.await,
            Some(until) => tokio::time::timeout_at(until, next)
                .await
                .unwrap_or_default(),
        };
        let Some((place, answer)) = answer else { break };
        if let Some(heard) = heard.get_mut(place) {
            *heard = match answer {
                Ok(_) => Heard::Good(begin.elapsed()),
                Err(_) => Heard::Bad,
            };
        }
        match answer {
            Ok(pieces) => {
                owners.extend(pieces.iter().map(|_| place));
                objects.extend(pieces);
            }
            Err(fault) => faults.push((place, fault)),
        }
        if objects.len() >= usize::from(needed) {
            // A further piece may call a key in question: then all servers are waited for again. That there are ways in is believed of k
            // servers only: one alone could keep the others from being heard.
            let is_known = match recover_vault_key(&objects) {
                Ok(_) => true,
                Err(RecoverError::Bound) => say_bound(&objects, &owners),
                Err(_) => false,
            };
            // In the middle of the first change of the ways neither is so: then one that hangs is not waited for as long as one may.
            let halfway = objects
                .iter()
                .any(VaultObject::is_bound)
                .then(|| begin + HALFWAY);
            until = match is_known {
                true => Some(until.unwrap_or_else(|| Instant::now() + GRACE)),
                false => halfway,
            };
        }
    }
    let is_bound = say_bound(&objects, &owners);
    if !is_bound && recover_vault_key(&objects).is_err() {
        // A refresh that was cut off leaves pieces of two generations: those that were found first may not be those of which there
        // are k.
        let good = heard.iter().enumerate();
        let good = good.filter(|(_, heard)| matches!(heard, Heard::Good(_)));
        let again = good.filter_map(|(place, _)| {
            let (server, seat) = (servers.get(place)?, expected.seats.get(place)?);
            Some(async move {
                let pieces = all_pieces_of(server).await;
                (
                    place,
                    pieces.and_then(|pieces| fit(pieces, server, expected, *seat)),
                )
            })
        });
        for (place, pieces) in join_all(again).await {
            for piece in pieces.unwrap_or_default() {
                let known = objects.iter().zip(&owners).any(|(known, owner)| {
                    *owner == place && known.generation() == piece.generation()
                });
                if !known {
                    objects.push(piece);
                    owners.push(place);
                }
            }
        }
    }
    let mut faulty = |place: usize, fault: Fault, detail: &str| {
        let server = servers.get(place).map(|server| server.name.clone());
        let fault = ServerFault {
            server: server.unwrap_or_default(),
            fault,
            detail: detail.to_owned(),
        };
        faults.push((place, fault));
    };
    for (place, heard) in heard.iter().enumerate() {
        if matches!(heard, Heard::Nothing) {
            faulty(place, Fault::NoAnswer, "no answer yet");
        }
    }
    let gave: HashSet<usize> = owners.iter().copied().collect();
    let recovered = (gave.len() >= usize::from(needed)).then(|| recover_vault_key(&objects));
    if let Some(Ok((_, liars))) = &recovered {
        let mut liars: Vec<usize> = liars
            .iter()
            .filter_map(|liar| owners.get(*liar).copied())
            .collect();
        liars.sort_unstable();
        liars.dedup();
        for liar in liars {
            faulty(liar, Fault::Corrupt, "its piece of the vault key is false");
        }
    }
    faults.sort_by_key(|(place, _)| *place);
    let faults: Vec<ServerFault> = faults.into_iter().map(|(_, fault)| fault).collect();
    let answers = expected.seats.iter().zip(heard);
    let answers = answers.filter_map(|((id, _), heard)| match heard {
        Heard::Nothing => Some((*id, None)),
        Heard::Good(took) => Some((*id, Some(took))),
        Heard::Bad => None,
    });
    let answers = answers.collect();
    let is_open = matches!(recovered, Some(Ok(_)));
    if !is_open && objects.iter().any(VaultObject::is_bound) {
        return Err(UnlockError::Bound(Box::new(Bound {
            signs: owners.into_iter().zip(objects).collect(),
            expected: expected.clone(),
            faults,
            answers,
        })));
    }
    let key = match recovered {
        None => {
            return Err(UnlockError::TooFewServers {
                needed,
                got: gave.len(),
                faults,
            });
        }
        Some(Err(error)) => {
            return Err(UnlockError::Mismatch {
                detail: error.to_string(),
                faults,
            });
        }
        Some(Ok((key, _))) => key,
    };
    let authentic = || objects.iter().filter(|object| object.is_authentic(&key));
    if authentic().any(VaultObject::is_bound) {
        // The first way in was being added when that was cut off, or k servers were away: from now on nobody gets a piece.
        key.bind();
    }
    let generation = authentic()
        .map(VaultObject::generation)
        .max()
        .unwrap_or(FIRST_GENERATION);
    Ok(Unlocked {
        key,
        generation,
        faults,
        answers,
        ways_to_mend: objects.iter().any(VaultObject::is_bound),
    })
}

/// Whether k servers say that there are ways in.
fn say_bound(objects: &[VaultObject], owners: &[usize]) -> bool {
    let owned = objects.iter().zip(owners);
    let say = || owned.clone().filter(|(object, _)| object.is_bound());
    let thresholds: HashSet<(u8, u8)> = say().map(|(object, _)| pair(object)).collect();
    thresholds.into_iter().any(|threshold| {
        let say = say().filter(|(object, _)| pair(object) == threshold);
        let places: HashSet<usize> = say.map(|(_, owner)| *owner).collect();
        places.len() >= usize::from(threshold.0)
    })
}

fn pair(object: &VaultObject) -> (u8, u8) {
    (object.threshold().k(), object.threshold().n())
}

/// What has been heard of a server.
enum Heard {
    Nothing,
    Good(Duration),
    Bad,
}

/// Those that are pieces that the server must have.
pub(crate) fn fit(
    objects: Vec<VaultObject>,
    server: &Candidate,
    expected: &Expected,
    seat: (ServerId, ShareIndex),
) -> Result<Vec<VaultObject>, ServerFault> {
    let (mut good, mut bad) = (Vec::new(), None);
    for object in objects {
        match fits(object, server, expected, seat) {
            Ok(object) => good.push(object),
            Err(fault) => bad = Some(fault),
        }
    }
    match bad {
        Some(fault) if good.is_empty() => Err(fault),
        _ => Ok(good),
    }
}

/// Whether it is a piece that the server must have.
fn fits(
    object: VaultObject,
    server: &Candidate,
    expected: &Expected,
    (id, index): (ServerId, ShareIndex),
) -> Result<VaultObject, ServerFault> {
    let of_this_vault = object.vault() == expected.vault;
    let of_this_server = (object.server(), object.index()) == (id, index);
    let threshold = object.threshold();
    if of_this_vault && of_this_server && expected.thresholds.contains(threshold) {
        return Ok(object);
    }
    let detail = match (of_this_vault, of_this_server) {
        (false, _) => "it belongs to another vault".to_owned(),
        (true, false) => "it is another server of this vault".to_owned(),
        // The vault file is a copy from before a change.
        (true, true) => format!(
            "it is of {} of {}, and the vault file says something else",
            threshold.k(),
            threshold.n()
        ),
    };
    Err(ServerFault {
        server: server.name.clone(),
        fault: Fault::Foreign,
        detail,
    })
}

/// The generations of which a place has a piece of the vault key, ascending. There is one, but while a refresh puts another in its
/// place.
///
/// # Errors
/// Those of the listing.
pub async fn piece_generations(store: &dyn ShareStore) -> Result<Vec<Generation>, StoreError> {
    let names = fixed_names(store).await?;
    Ok(names
        .iter()
        .filter_map(ObjectKey::piece_generation)
        .collect())
}

/// The pieces of the vault key in a place, the newest first. Nobody is believed yet.
///
/// # Errors
/// What the place answered, [`StoreErrorKind::NotFound`] where there is none.
pub async fn pieces_of(
    store: &dyn ShareStore,
) -> Result<Vec<(Generation, Result<VaultObject, FormatError>)>, StoreError> {
    let mut generations = piece_generations(store).await?;
    generations.reverse();
    // Runs of a refresh that were cut off leave a few.
    generations.truncate(PIECES);
    let mut pieces = Vec::with_capacity(generations.len());
    for generation in generations {
        match store.get(&ObjectKey::vault_object(generation), None).await {
            Ok(bytes) => pieces.push((generation, VaultObject::parse(&bytes))),
            // Removed since it was listed.
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if pieces.is_empty() {
        let detail = "there is no piece of a vault key";
        return Err(StoreError::new(StoreErrorKind::NotFound, detail));
    }
    Ok(pieces)
}

/// How many pieces of one place are looked at.
const PIECES: usize = 16;

/// The server's piece of the vault key, where it is of the first generation, and otherwise all that there are.
pub(crate) async fn piece_of(server: &Candidate) -> Result<Vec<VaultObject>, ServerFault> {
    let name = ObjectKey::vault_object(FIRST_GENERATION);
    match within(server.store.get(&name, None)).await {
        Ok(bytes) => match VaultObject::parse(&bytes) {
            Ok(object) if object.generation() == FIRST_GENERATION => Ok(vec![object]),
            Ok(_) => all_pieces_of(server).await,
            // A refresh may have put a newer one beside it, which is as good as any.
            Err(error) => match all_pieces_of(server).await {
                Ok(pieces) => Ok(pieces),
                Err(_) => Err(unusable(server, &error)),
            },
        },
        Err(error) if error.kind == StoreErrorKind::NotFound => all_pieces_of(server).await,
        Err(error) => Err(ServerFault::of_store(&server.name, &error)),
    }
}

/// All pieces of the vault key on a server.
pub(crate) async fn all_pieces_of(server: &Candidate) -> Result<Vec<VaultObject>, ServerFault> {
    let pieces = within(pieces_of(server.store.as_ref())).await;
    let pieces = pieces.map_err(|error| ServerFault::of_store(&server.name, &error))?;
    let (mut good, mut bad) = (Vec::new(), None);
    for (generation, piece) in pieces {
        match piece {
            // One piece of a generation from each place: several under different names could make a key among themselves.
            Ok(object) if object.generation() == generation => good.push(object),
            Ok(_) => {
                bad = Some(ServerFault {
                    server: server.name.clone(),
                    fault: Fault::Corrupt,
                    detail:
                        "its piece of the vault key is of another generation than its name says"
                            .to_owned(),
                });
            }
            Err(error) => bad = Some(unusable(server, &error)),
        }
    }
    match bad {
        Some(fault) if good.is_empty() => Err(fault),
        _ => Ok(good),
    }
}

fn unusable(server: &Candidate, error: &FormatError) -> ServerFault {
    ServerFault {
        server: server.name.clone(),
        fault: match error {
            FormatError::Newer { .. } => Fault::Newer,
            _ => Fault::Corrupt,
        },
        detail: error.to_string(),
    }
}

pub(crate) async fn within<T>(
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::new(
            StoreErrorKind::NoAnswer,
            format!("no answer within {} s", PATIENCE.as_secs()),
        )),
    }
}
