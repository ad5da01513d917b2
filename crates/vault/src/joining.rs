//! Extents on their way back: k shares fetched, verified and joined; what is wrong with the others named.

use std::sync::Arc;

use bytes::Bytes;
use warifu_core::format::{JoinError, Joiner, OpenShare};
use warifu_core::ids::{ExtentId, Generation, VaultId};
use warifu_core::secret::SecretBytes;

use crate::error::{Fault, ServerFault, task_lost};
use crate::seam::catalog::ExtentRecord;
use crate::servers::{Race, Server, Servers};

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

/// Reads and joins a whole extent: from the k servers that answer quickest, and from further ones for each that fails or
/// lags. `len` is about how long a share is, by which is judged who lags.
pub(crate) async fn fetch(
    servers: &Arc<Servers>,
    vault: VaultId,
    extent: ExtentId,
    generation: Generation,
    len: u64,
) -> Result<SecretBytes, Unreadable> {
    let k = usize::from(servers.threshold.k());
    let mut race = Race::begin(
        servers.by_speed(len),
        k,
        len,
        |server, lags_after| async move {
            let name = servers.object_key(&server, extent, generation);
            let answer = server.get(&name, None, Some(lags_after)).await;
            (server, answer)
        },
    );
    let mut good: Vec<Fetched> = Vec::with_capacity(k);
    let mut faults = Vec::new();
    loop {
        while good.len() < k {
            let Some((server, answer)) = race.next().await else {
                return Err(Unreadable {
                    got: u8::try_from(good.len()).unwrap_or(u8::MAX),
                    faults,
                });
            };
            let checked = match answer {
                Err(error) => Err(ServerFault::of_store(server.name(), &error)),
                Ok(object) => match open_share(&server, vault, extent, generation, &object) {
                    Ok(_) => Ok(object),
                    Err((fault, detail)) => Err(ServerFault {
                        server: server.name().to_owned(),
                        fault,
                        detail,
                    }),
                },
            };
            match checked {
                Ok(object) => good.push(Fetched { server, object }),
                Err(fault) => {
                    note_bad(&server, fault, &mut faults);
                    race.ask_another();
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
            Ok(secret) => {
                good.iter()
                    .for_each(|share| share.server.health.good_share());
                return Ok(secret);
            }
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
                let bad = good.swap_remove(position).server;
                let fault = ServerFault {
                    server: bad.name().to_owned(),
                    fault: Fault::Corrupt,
                    detail,
                };
                note_bad(&bad, fault, &mut faults);
                race.ask_another();
            }
        }
    }
}

/// A server without an answer is its breaker's business; one that answers, and not with a good share, goes behind the others.
fn note_bad(server: &Server, fault: ServerFault, faults: &mut Vec<ServerFault>) {
    tracing::warn!(server = %fault.server, fault = %fault.fault, "a share could not be used");
    if fault.fault != Fault::NoAnswer {
        server.health.bad_share();
    }
    faults.push(fault);
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
