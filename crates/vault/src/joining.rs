//! Extents on their way back: k shares fetched, verified and joined; what is wrong with the others named.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use warifu_core::format::{JoinError, Joiner, OpenShare};
use warifu_core::ids::{ExtentId, Generation, VaultId};
use warifu_core::secret::SecretBytes;

use crate::error::{Fault, ServerFault, task_lost};
use crate::seam::catalog::ExtentRecord;
use crate::seam::store::StoreError;
use crate::servers::{Server, Servers};

/// Why an extent could not be read: how many good shares there were, and what the other servers said.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) got: u8,
    pub(crate) faults: Vec<ServerFault>,
}

/// A fetched share whose identity has been checked; its chunks have not.
struct Fetched {
    server: Arc<Server>,
    object: Bytes,
}

/// Checks that an object is this server's share of this extent, and opens its prefix.
pub(crate) fn open_share(
    server: &Server,
    vault: VaultId,
    extent: ExtentId,
    generation: Generation,
    object: &[u8],
) -> Result<OpenShare, (Fault, String)> {
    let share = OpenShare::open(object, &server.seal_key)
        .map_err(|error| (Fault::Corrupt, error.to_string()))?;
    let dealing = share.dealing();
    if dealing.vault != vault || share.server() != server.seat.id || share.index() != server.index()
    {
        return Err((
            Fault::Foreign,
            "the share of another vault or server".to_owned(),
        ));
    }
    if dealing.extent != extent {
        return Err((Fault::Foreign, "the share of another extent".to_owned()));
    }
    if dealing.generation != generation {
        let fault = if dealing.generation < generation {
            Fault::Stale
        } else {
            Fault::Foreign
        };
        return Err((
            fault,
            format!("a share of generation {}", dealing.generation),
        ));
    }
    Ok(share)
}

/// Checks that a share was dealt as the catalogue says: by this scheme, with this threshold, of so many bytes.
pub(crate) fn check_dealing(
    share: &OpenShare,
    record: &ExtentRecord,
) -> Result<(), (Fault, String)> {
    let header = share.header();
    let foreign = |what: String| Err((Fault::Foreign, what));
    if header.scheme() != record.scheme {
        return foreign(format!(
            "a share of the scheme {} where {} was dealt",
            header.scheme().name(),
            record.scheme.name()
        ));
    }
    if header.threshold() != record.threshold {
        return foreign(format!(
            "a share of {} of {} where {} of {} was dealt",
            header.threshold().k(),
            header.threshold().n(),
            record.threshold.k(),
            record.threshold.n()
        ));
    }
    if header.secret_len() != record.len {
        return foreign("the share of an extent of another length".to_owned());
    }
    Ok(())
}

async fn fetch_one(
    servers: &Servers,
    server: Arc<Server>,
    extent: ExtentId,
    generation: Generation,
) -> (Arc<Server>, Result<Bytes, StoreError>) {
    let name = servers.object_key(&server, extent, generation);
    let answer = server.ask(server.seat.store.get(&name, None)).await;
    (server, answer)
}

/// When a spare server is asked because the others are slow: several times what they usually take, within these bounds.
const SPARE_AFTER: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));

fn spare_after(asked: &[Arc<Server>]) -> Duration {
    let usual = asked.iter().filter_map(|server| server.latency()).max();
    (usual.unwrap_or_default() * 4).clamp(SPARE_AFTER.0, SPARE_AFTER.1)
}

/// Reads and joins a whole extent: from the k servers that answer quickest, and from further ones for each that fails or
/// is slow.
pub(crate) async fn fetch(
    servers: &Arc<Servers>,
    vault: VaultId,
    extent: ExtentId,
    generation: Generation,
) -> Result<SecretBytes, Unreadable> {
    let k = usize::from(servers.threshold.k());
    let candidates = servers.by_speed();
    let spare_after = spare_after(candidates.get(..k).unwrap_or_default());
    let mut candidates = candidates.into_iter();
    let mut requests: FuturesUnordered<_> = candidates
        .by_ref()
        .take(k)
        .map(|server| fetch_one(servers, server, extent, generation))
        .collect();
    let mut good: Vec<Fetched> = Vec::with_capacity(k);
    let mut faults = Vec::new();
    loop {
        while good.len() < k {
            let next = if candidates.len() > 0 {
                let Ok(next) = tokio::time::timeout(spare_after, requests.next()).await else {
                    requests.extend(
                        candidates
                            .next()
                            .map(|server| fetch_one(servers, server, extent, generation)),
                    );
                    continue;
                };
                next
            } else {
                requests.next().await
            };
            let Some((server, answer)) = next else {
                return Err(Unreadable {
                    got: u8::try_from(good.len()).unwrap_or(u8::MAX),
                    faults,
                });
            };
            let checked = match answer {
                Err(error) => Err(ServerFault::of_store(server.name(), &error)),
                Ok(object) => match open_share(&server, vault, extent, generation, &object) {
                    Ok(_) => Ok(Fetched { server, object }),
                    Err((fault, detail)) => Err(ServerFault {
                        server: server.name().to_owned(),
                        fault,
                        detail,
                    }),
                },
            };
            match checked {
                Ok(fetched) => good.push(fetched),
                Err(fault) => {
                    tracing::warn!(server = %fault.server, fault = %fault.fault, "a share could not be used");
                    faults.push(fault);
                    requests.extend(
                        candidates
                            .next()
                            .map(|server| fetch_one(servers, server, extent, generation)),
                    );
                }
            }
        }
        let (returned, joined) = join_off_task(good, vault, extent, generation)
            .await
            .map_err(|fault| Unreadable {
                got: 0,
                faults: vec![fault],
            })?;
        good = returned;
        match joined {
            Ok(secret) => return Ok(secret),
            Err((position, detail)) => {
                if position >= good.len() {
                    let server = String::new();
                    faults.push(ServerFault {
                        server,
                        fault: Fault::Corrupt,
                        detail,
                    });
                    return Err(Unreadable { got: 0, faults });
                }
                let bad = good.swap_remove(position);
                tracing::warn!(server = %bad.server.name(), fault = %Fault::Corrupt, "a share could not be used");
                faults.push(ServerFault {
                    server: bad.server.name().to_owned(),
                    fault: Fault::Corrupt,
                    detail,
                });
                requests.extend(
                    candidates
                        .next()
                        .map(|server| fetch_one(servers, server, extent, generation)),
                );
            }
        }
    }
}

type Joined = Result<SecretBytes, (usize, String)>;

/// Joining less than this is quicker than handing it to another thread.
const JOIN_INLINE: usize = 128 * 1024;

async fn join_off_task(
    shares: Vec<Fetched>,
    vault: VaultId,
    extent: ExtentId,
    generation: Generation,
) -> Result<(Vec<Fetched>, Joined), ServerFault> {
    let size: usize = shares.iter().map(|share| share.object.len()).sum();
    let work = move || {
        let joined = join(&shares, vault, extent, generation);
        (shares, joined)
    };
    if size <= JOIN_INLINE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ServerFault {
            server: String::new(),
            fault: Fault::Failed,
            detail: task_lost(error).to_string(),
        })
}

fn join(shares: &[Fetched], vault: VaultId, extent: ExtentId, generation: Generation) -> Joined {
    let nobody = shares.len();
    let mut opened = Vec::with_capacity(shares.len());
    for (position, share) in shares.iter().enumerate() {
        let open = open_share(&share.server, vault, extent, generation, &share.object);
        opened.push(open.map_err(|(_, detail)| (position, detail))?);
    }
    let mut joiner = Joiner::new(opened).map_err(|error| (nobody, error.to_string()))?;
    let len = usize::try_from(joiner.secret_len())
        .map_err(|_| (nobody, "too long for this machine".to_owned()))?;
    let mut secret = SecretBytes::with_len(len);
    // Where the chunks begin is the scheme's matter.
    let bodies: Vec<&[u8]> = joiner
        .shares()
        .iter()
        .zip(shares)
        .map(|(open, share)| {
            let begin = open.header().prefix_len();
            share.object.get(begin..).unwrap_or_default()
        })
        .collect();
    joiner
        .join_chunks(0, &bodies, secret.expose_mut())
        .map_err(|error| match error {
            // A share that was cut off is as damaged as an altered one: another server's takes its place.
            JoinError::Damaged { position, .. } | JoinError::BodyLength { position, .. } => {
                (position, error.to_string())
            }
            other => (nobody, other.to_string()),
        })?;
    Ok(secret)
}
