//! Extents on their way back: k shares fetched, verified and joined; what is wrong with the others named.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use warifu_core::format::{CHUNK, JoinError, Joiner, OpenShare};
use warifu_core::ids::{ExtentId, Generation, RoundId, ShareIndex, Threshold, VaultId};
use warifu_core::secret::SecretBytes;

use crate::error::{Fault, ServerFault, task_lost};
use crate::seam::catalog::ExtentRecord;
use crate::seam::store::StoreError;
use crate::servers::{Again, Race, Server, Servers};

/// Why an extent could not be read: how many good shares there were, and what the other servers said.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) got: u8,
    pub(crate) faults: Vec<ServerFault>,
}

/// A fetched share whose identity has been checked; its chunks have not.
struct Fetched {
    server: Arc<Server>,
    /// Its beginning, and perhaps more.
    prefix: Bytes,
    /// The chunks asked for, sealed.
    body: Bytes,
    /// The share opened, until it is joined for the first time.
    opened: Option<OpenShare>,
    /// Of which making of its generation it is: others of that generation are of another polynomial.
    round: RoundId,
}

/// Takes k shares of one making out of these, where there are as many.
pub(crate) fn take_of_one_round<T>(
    shares: &mut Vec<T>,
    k: usize,
    round: impl Fn(&T) -> RoundId,
) -> Option<Vec<T>> {
    let of = |wanted: &RoundId| {
        shares
            .iter()
            .filter(|share| round(share) == *wanted)
            .count()
    };
    let wanted = shares.iter().map(&round).find(|wanted| of(wanted) >= k)?;
    let mut taken = Vec::with_capacity(k);
    let mut left = Vec::new();
    for share in shares.drain(..) {
        if taken.len() < k && round(&share) == wanted {
            taken.push(share);
        } else {
            left.push(share);
        }
    }
    *shares = left;
    Some(taken)
}

/// The chunks of an extent that are to be read.
pub(crate) struct Piece<'a> {
    pub(crate) record: &'a ExtentRecord,
    /// Not empty, and within the extent.
    pub(crate) chunks: Range<u64>,
    /// The beginnings of shares that are known from before.
    pub(crate) prefixes: &'a BTreeMap<ShareIndex, Bytes>,
}

/// Checks that an object is this server's share of this extent, and opens its prefix.
pub(crate) fn open_share(
    server: &Server,
    vault: VaultId,
    extent: ExtentId,
    generation: Generation,
    object: &[u8],
) -> Result<OpenShare, (Fault, String)> {
    let share = OpenShare::open(object, &server.seal_key).map_err(|error| {
        let fault = if OpenShare::is_newer(object, &server.seal_key) {
            Fault::Newer
        } else {
            Fault::Corrupt
        };
        (fault, error.to_string())
    })?;
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

/// What was read.
type Read<T> = Result<T, Unreadable>;

/// A read, and the same again for a few seconds as long as there would be enough if those servers answered that gave no answer:
/// they may only just have come back. One that answers and refuses is not asked again.
struct Attempts<'a> {
    servers: &'a Servers,
    k: u8,
    candidates: Vec<Arc<Server>>,
    /// Of servers that are no candidates any more.
    refused: Vec<ServerFault>,
    again: Again,
}

impl<'a> Attempts<'a> {
    fn new(servers: &'a Servers, threshold: Threshold, len: u64) -> Self {
        Self {
            servers,
            k: threshold.k(),
            candidates: servers.by_speed(threshold, len),
            refused: Vec::new(),
            again: Again::new(),
        }
    }

    /// Waits until another attempt may do better. Where none may, it says why there were too few in the end.
    async fn failed(&mut self, mut unreadable: Unreadable) -> Read<()> {
        let may_do = unreadable.may_do_later(self.k);
        if may_do && !self.servers.vain.is() {
            if self.again.pause().await {
                let (silent, refused): (Vec<_>, _) = unreadable
                    .faults
                    .into_iter()
                    .partition(|fault| fault.fault == Fault::NoAnswer);
                drop(silent);
                self.candidates
                    .retain(|server| refused.iter().all(|fault| fault.server != server.name()));
                self.refused.extend(refused);
                return Ok(());
            }
            self.servers.vain.note(true);
        }
        let mut faults = std::mem::take(&mut self.refused);
        faults.append(&mut unreadable.faults);
        unreadable.faults = faults;
        Err(unreadable)
    }

    fn done<T>(&self, read: T) -> T {
        self.servers.vain.note(false);
        read
    }
}

impl Unreadable {
    /// Whether it would be enough if all those answered that gave no answer.
    fn may_do_later(&self, k: u8) -> bool {
        let silent = self.faults.iter();
        let silent = silent
            .filter(|fault| fault.fault == Fault::NoAnswer)
            .count();
        silent > 0 && usize::from(self.got) + silent >= usize::from(k)
    }
}

/// An extent that is to be read as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) extent: ExtentId,
    pub(crate) generation: Generation,
    pub(crate) threshold: Threshold,
    /// About how long a share of it is, by which is judged who lags.
    pub(crate) share_len: u64,
}

/// Reads and joins a whole extent: from the k servers that answer quickest, and from further ones for each that fails or
/// lags.
pub(crate) async fn fetch(
    servers: &Arc<Servers>,
    vault: VaultId,
    whole: Whole,
) -> Read<SecretBytes> {
    let mut attempts = Attempts::new(servers, whole.threshold, whole.share_len);
    loop {
        let candidates = attempts.candidates.clone();
        match fetch_from(candidates, servers, vault, whole).await {
            Ok(secret) => return Ok(attempts.done(secret)),
            Err(unreadable) => attempts.failed(unreadable).await?,
        }
    }
}

async fn fetch_from(
    candidates: Vec<Arc<Server>>,
    servers: &Arc<Servers>,
    vault: VaultId,
    whole: Whole,
) -> Read<SecretBytes> {
    let Whole {
        extent,
        generation,
        threshold,
        share_len,
    } = whole;
    let k = usize::from(threshold.k());
    let race = Race::begin(candidates, k, share_len, |server, lags_after| async move {
        let name = servers.object_key(&server, extent, generation);
        let answer = server.get(&name, None, Some(lags_after)).await;
        (server, answer.map(|object| (object, None)))
    });
    let check =
        |server: &Server, prefix: &[u8]| open_share(server, vault, extent, generation, prefix);
    let (secret, _) = gather(k, race, Wanted::All, check).await?;
    Ok(secret)
}

/// Reads and joins some chunks of an extent, as [`fetch`] does the whole. Returns the beginnings of the shares too.
pub(crate) async fn fetch_chunks(
    servers: &Arc<Servers>,
    vault: VaultId,
    piece: Piece<'_>,
) -> Read<Chunks> {
    let range = piece.record.plan().chunk_range(piece.chunks.clone());
    let len = range.end - range.start;
    let mut attempts = Attempts::new(servers, piece.record.threshold, len);
    loop {
        let candidates = attempts.candidates.clone();
        match fetch_chunks_from(candidates, servers, vault, &piece, range.clone()).await {
            Ok(chunks) => return Ok(attempts.done(chunks)),
            Err(unreadable) => attempts.failed(unreadable).await?,
        }
    }
}

/// Contents, and the beginnings of the shares that they are made of.
type Chunks = (SecretBytes, Vec<(ShareIndex, Bytes)>);

async fn fetch_chunks_from(
    candidates: Vec<Arc<Server>>,
    servers: &Arc<Servers>,
    vault: VaultId,
    piece: &Piece<'_>,
    range: Range<u64>,
) -> Read<Chunks> {
    let Piece {
        record,
        chunks,
        prefixes,
    } = piece;
    let k = usize::from(record.threshold.k());
    let prefix_len = record.plan().prefix_len();
    let len = range.end - range.start;
    let race = Race::begin(candidates, k, len, |server, lags_after| {
        let range = range.clone();
        let prefix = prefixes.get(&server.index()).cloned();
        async move {
            let name = servers.object_key(&server, record.extent, record.generation);
            let get = |range| server.get(&name, Some(range), Some(lags_after));
            let answer = match prefix {
                Some(prefix) => get(range).await.map(|body| (prefix, Some(body))),
                // They lie next to each other.
                None if range.start == prefix_len as u64 => get(0..range.end).await.map(|both| {
                    let at = prefix_len.min(both.len());
                    (both.slice(..at), Some(both.slice(at..)))
                }),
                None => {
                    let both = tokio::join!(get(0..prefix_len as u64), get(range));
                    match both {
                        (Ok(prefix), Ok(body)) => Ok((prefix, Some(body))),
                        (Err(error), _) | (_, Err(error)) => Err(error),
                    }
                }
            };
            (server, answer)
        }
    });
    let check = |server: &Server, prefix: &[u8]| {
        let share = open_share(server, vault, record.extent, record.generation, prefix)?;
        check_dealing(&share, record)?;
        Ok(share)
    };
    let begin = chunks.start.saturating_mul(CHUNK as u64);
    let end = chunks.end.saturating_mul(CHUNK as u64).min(record.len);
    let wanted = Wanted::Chunks {
        first: chunks.start,
        len: usize::try_from(end.saturating_sub(begin)).unwrap_or(0),
    };
    let (secret, prefixes) = gather(k, race, wanted, check).await?;
    // Kept for long, they must not keep what was read with them.
    let prefixes = prefixes
        .into_iter()
        .map(|(index, prefix)| (index, Bytes::copy_from_slice(&prefix)));
    Ok((secret, prefixes.collect()))
}

/// What of an extent is to be joined.
#[derive(Clone, Copy)]
enum Wanted {
    All,
    /// So many bytes from this chunk on.
    Chunks {
        first: u64,
        len: usize,
    },
}

/// Whatever a server gave: the beginning of its share, and the chunks asked for; where these are not apart, they follow it.
type Answer = Result<(Bytes, Option<Bytes>), StoreError>;

async fn gather<F, Request>(
    k: usize,
    mut race: Race<F, Request>,
    wanted: Wanted,
    check: impl Fn(&Server, &[u8]) -> Result<OpenShare, (Fault, String)>,
) -> Read<Chunks>
where
    F: FnMut(Arc<Server>, Duration) -> Request,
    Request: Future<Output = (Arc<Server>, Answer)>,
{
    let mut good: Vec<Fetched> = Vec::with_capacity(k);
    let mut faults = Vec::new();
    let mut absent: Vec<Arc<Server>> = Vec::new();
    loop {
        let mut chosen = loop {
            if let Some(chosen) = take_of_one_round(&mut good, k, |share| share.round) {
                break chosen;
            }
            if good.len() >= k {
                race.ask_another();
            }
            let Some((server, answer)) = race.next().await else {
                // As many may be there that do not belong together.
                let got = good.len().min(k.saturating_sub(1));
                return Err(Unreadable {
                    got: u8::try_from(got).unwrap_or(u8::MAX),
                    faults,
                });
            };
            let checked = match answer {
                Err(error) => Err(ServerFault::of_store(server.name(), &error)),
                Ok((prefix, body)) => match check(&server, &prefix) {
                    Ok(share) => Ok((share, prefix, body)),
                    Err((fault, detail)) => Err(ServerFault {
                        server: server.name().to_owned(),
                        fault,
                        detail,
                    }),
                },
            };
            match checked {
                Ok((share, prefix, body)) => {
                    let at = share.header().prefix_len().min(prefix.len());
                    let body = body.unwrap_or_else(|| prefix.slice(at..));
                    good.push(Fetched {
                        server,
                        prefix: prefix.slice(..at),
                        body,
                        round: share.dealing().round,
                        opened: Some(share),
                    });
                }
                // Where it cannot be read in the end, it may not be there at all, under this name.
                Err(fault) if fault.fault == Fault::Missing => {
                    faults.push(fault);
                    absent.push(server);
                    race.ask_another();
                }
                Err(fault) => {
                    note_bad(&server, fault, &mut faults);
                    race.ask_another();
                }
            }
        };
        let opened: Vec<_> = chosen
            .iter_mut()
            .map(|share| match share.opened.take() {
                Some(opened) => Ok(opened),
                None => check(&share.server, &share.prefix),
            })
            .collect();
        let shares = opened.iter().flatten();
        let seats = shares.map(|share| share.header().threshold().n()).max();
        let (mut chosen, joined) =
            join_off_task(chosen, opened, wanted)
                .await
                .map_err(|fault| Unreadable {
                    got: 0,
                    faults: vec![fault],
                })?;
        match joined {
            Ok(secret) => {
                chosen
                    .iter()
                    .for_each(|share| share.server.health.good_share());
                // The others have it, so these should, unless it was dealt to fewer than were asked.
                let expected =
                    |server: &&Arc<Server>| seats.is_none_or(|n| server.index().get() <= n);
                absent
                    .iter()
                    .filter(expected)
                    .for_each(|server| note_absent(server));
                let prefixes = chosen
                    .into_iter()
                    .map(|share| (share.server.index(), share.prefix));
                return Ok((secret, prefixes.collect()));
            }
            Err((position, detail)) => {
                if position >= chosen.len() {
                    let server = String::new();
                    faults.push(ServerFault {
                        server,
                        fault: Fault::Corrupt,
                        detail,
                    });
                    return Err(Unreadable { got: 0, faults });
                }
                let bad = chosen.swap_remove(position).server;
                good.append(&mut chosen);
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

fn note_absent(server: &Server) {
    tracing::warn!(server = server.name(), fault = %Fault::Missing, "a share could not be used");
    server.health.bad_share();
}

type Joined = Result<SecretBytes, (usize, String)>;

/// Joining less than this is quicker than handing it to another thread.
const JOIN_INLINE: usize = 512 * 1024;

type Opened = Result<OpenShare, (Fault, String)>;

async fn join_off_task(
    shares: Vec<Fetched>,
    opened: Vec<Opened>,
    wanted: Wanted,
) -> Result<(Vec<Fetched>, Joined), ServerFault> {
    let size: usize = shares.iter().map(|share| share.body.len()).sum();
    let work = move || {
        let joined = join(&shares, opened, wanted);
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

fn join(shares: &[Fetched], opened: Vec<Opened>, wanted: Wanted) -> Joined {
    let nobody = shares.len();
    let opened: Vec<OpenShare> = opened
        .into_iter()
        .enumerate()
        .map(|(position, share)| share.map_err(|(_, detail)| (position, detail)))
        .collect::<Result<_, _>>()?;
    let mut joiner = Joiner::new(opened).map_err(|error| (nobody, error.to_string()))?;
    let (first, len) = match wanted {
        Wanted::Chunks { first, len } => (first, len),
        Wanted::All => {
            let len = usize::try_from(joiner.secret_len())
                .map_err(|_| (nobody, "too long for this machine".to_owned()))?;
            (0, len)
        }
    };
    let mut secret = SecretBytes::with_len(len);
    let bodies: Vec<&[u8]> = shares.iter().map(|share| &share.body[..]).collect();
    joiner
        .join_chunks(first, &bodies, secret.expose_mut())
        .map_err(|error| match error {
            // A share that was cut off is as damaged as an altered one: another server's takes its place.
            JoinError::Damaged { position, .. } | JoinError::BodyLength { position, .. } => {
                (position, error.to_string())
            }
            other => (nobody, other.to_string()),
        })?;
    Ok(secret)
}
