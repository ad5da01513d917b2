//! What lies on the servers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use warifu_core::format::{ExtentKind, Joiner, OpenShare, Plan, Scheme};
use warifu_core::ids::{ExtentId, FileId, Generation, Threshold, VersionNo};
use warifu_core::secret::SecretBytes;

use super::{Outcome, RebuildError, RebuildReport, Stage, UnreadObjects, Work};
use crate::error::{Fault, ServerFault};
use crate::joining::{check_dealing, open_share};
use crate::seam::catalog::{ExtentRecord, IndexSet};
use crate::seam::store::{ObjectKey, StoreError, StoreErrorKind};
use crate::servers::{Server, Servers};
use crate::verify::listing::next_page;

/// How many objects of a listing are asked for at once.
const PAGE: usize = 10_000;

/// How many objects are looked into at once.
const AT_ONCE: usize = 64;

/// More than the beginning of any share takes.
const PREFIX: u64 = 256;

/// When a server is asked again for what it could not give.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// A server that leaves so many requests in a row unanswered has gone away, and is not waited for object by object.
const SILENT: u32 = 16;

/// An extent of which at least one share was found.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) kind: ExtentKind,
    pub(super) number: u64,
    pub(super) len: u64,
    pub(super) threshold: Threshold,
    pub(super) scheme: Scheme,
    pub(super) generation: Generation,
    pub(super) document: FileId,
    pub(super) version: VersionNo,
    /// Where there is one, of the right length.
    pub(super) there: IndexSet,
}

impl Seen {
    /// Whether these shares are to be taken rather than those of another generation of the same extent: what may lose more
    /// servers, then what is newer.
    fn is_better_than(&self, other: &Self) -> bool {
        let rank = |seen: &Self| {
            let spare = i64::from(seen.there.len()) - i64::from(seen.threshold.k());
            (spare, seen.generation)
        };
        rank(self) > rank(other)
    }

    pub(super) fn record(&self, extent: ExtentId) -> ExtentRecord {
        ExtentRecord {
            extent,
            kind: self.kind,
            number: self.number,
            len: self.len,
            threshold: self.threshold,
            scheme: self.scheme,
            generation: self.generation,
            document: self.document,
            version: self.version,
            owed: IndexSet::EMPTY,
        }
    }
}

/// Everything on the servers.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) extents: HashMap<ExtentId, Seen>,
    /// The newest generation of which there is a share of anything.
    pub(super) newest: Option<Generation>,
    /// The servers that were listed.
    pub(super) listed: IndexSet,
    /// Those of them on which something could not be read: it may be a share of anything.
    pub(super) doubtful: IndexSet,
}

impl Survey {
    /// Whether there is no server that could have more than was found.
    pub(super) fn is_complete(&self, servers: &Servers) -> bool {
        self.listed.len() as usize == servers.all().len() && self.doubtful.is_empty()
    }
}

/// What came of looking into an object.
enum Look {
    Share(ExtentId, Seen),
    /// Damaged, of something else, or gone meanwhile.
    Nothing,
    Unread(StoreError),
}

/// Asks until there is an answer that says something about the object, a few times.
async fn ask<T>(mut request: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for pause in PAUSES {
        match request().await {
            Err(error) if !is_definite(&error) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    request().await
}

/// Whether it is an answer about what was asked for, and not about the server or its disk at the moment.
fn is_definite(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::NotFound | StoreErrorKind::OutOfRange
    )
}

/// The names of objects as 32 bytes, with their lengths.
type Objects = HashMap<[u8; 32], u64>;

impl Work<'_> {
    pub(super) async fn survey(&self, report: &mut RebuildReport) -> Outcome<Survey> {
        let servers = self.servers.all().iter();
        let given: Vec<&Arc<Server>> = servers
            .filter(|server| self.given.contains(server.index()))
            .collect();
        let listings = join_all(given.iter().map(|server| list_all(server))).await;
        let mut survey = Survey::default();
        // A refresh that was cut off leaves shares of two generations, and they do not combine.
        let mut seen_of: HashMap<(ExtentId, Generation), Seen> = HashMap::new();
        let mut objects = Vec::new();
        for (server, listing) in given.into_iter().zip(listings) {
            match listing {
                Ok((listing, foreign)) => {
                    survey.listed.insert(server.index());
                    report.foreign += foreign;
                    objects.push((server, listing));
                }
                Err(error) => report
                    .faults
                    .push(ServerFault::of_store(server.name(), &error)),
            }
        }
        let total = objects.iter().map(|(_, listing)| listing.len()).max();
        let mut done = 0;
        for (server, mut listing) in objects {
            // What other servers have told of is looked up by its name.
            let index = server.index();
            for ((extent, generation), seen) in &mut seen_of {
                let name = self.servers.object_key(server, *extent, *generation);
                let Some(len) = raw(&name).and_then(|name| listing.remove(&name)) else {
                    continue;
                };
                if len == Plan::new(seen.scheme, seen.threshold, seen.len).object_len() {
                    seen.there.insert(index);
                }
            }
            let (mut unread, mut silent): (Option<UnreadObjects>, u32) = (None, 0);
            let mut opened = stream::iter(listing)
                .map(|(name, len)| self.look_into(server, name, len))
                .buffer_unordered(AT_ONCE);
            while let Some(found) = opened.next().await {
                done += 1;
                if done % 1000 == 0 {
                    let total = total.unwrap_or(0) as u64;
                    self.say(Stage::Survey, done.min(total), total);
                }
                silent = match &found {
                    Look::Unread(error) if error.kind == StoreErrorKind::NoAnswer => silent + 1,
                    _ => 0,
                };
                match found {
                    Look::Share(extent, mut seen) => {
                        seen.there.insert(index);
                        seen_of.insert((extent, seen.generation), seen);
                    }
                    Look::Nothing => {}
                    Look::Unread(error) => {
                        let fault = ServerFault::of_store(server.name(), &error);
                        // Nothing is known of what it holds then: shares would be taken for missing that are not.
                        if silent == SILENT {
                            return Err(RebuildError::Server(fault));
                        }
                        let of_server = unread.get_or_insert(UnreadObjects { objects: 0, fault });
                        of_server.objects += 1;
                    }
                }
            }
            drop(opened);
            if let Some(unread) = unread {
                survey.doubtful.insert(index);
                report.unreadable.push(unread);
            }
        }
        for ((extent, generation), seen) in seen_of {
            survey.newest = survey.newest.max(Some(generation));
            match survey.extents.entry(extent) {
                Entry::Vacant(place) => drop(place.insert(seen)),
                Entry::Occupied(mut place) if seen.is_better_than(place.get()) => {
                    place.insert(seen);
                }
                Entry::Occupied(_) => {}
            }
        }
        let total = total.unwrap_or(0) as u64;
        self.say(Stage::Survey, total, total);
        Ok(survey)
    }

    /// Reads what an object is a share of.
    async fn look_into(&self, server: &Server, name: [u8; 32], len: u64) -> Look {
        let text: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let Some(key) = ObjectKey::parse(&text) else {
            return Look::Nothing;
        };
        let range = 0..len.min(PREFIX);
        let prefix = match ask(async || server.get(&key, Some(range.clone()), None).await).await {
            Ok(prefix) => prefix,
            Err(error) if is_definite(&error) => return Look::Nothing,
            Err(error) => return Look::Unread(error),
        };
        let Ok(share) = OpenShare::open(&prefix, &server.seal_key) else {
            return Look::Nothing;
        };
        let (dealing, header) = (*share.dealing(), *share.header());
        let its_own = dealing.vault == self.vault
            && share.server() == server.seat.id
            && share.index() == server.index()
            && header.object_len() == len
            && self
                .servers
                .object_key(server, dealing.extent, dealing.generation)
                == key;
        if !its_own {
            return Look::Nothing;
        }
        let seen = Seen {
            kind: dealing.kind,
            number: dealing.number,
            len: header.secret_len(),
            threshold: header.threshold(),
            scheme: header.scheme(),
            generation: dealing.generation,
            document: dealing.file,
            version: dealing.version,
            there: IndexSet::EMPTY,
        };
        Look::Share(dealing.extent, seen)
    }

    /// Reads the first `chunks` chunks of an extent, from any k servers that have it.
    pub(super) async fn fetch_start(
        &self,
        extent: ExtentId,
        seen: &Seen,
        chunks: u64,
    ) -> Result<SecretBytes, String> {
        let record = seen.record(extent);
        let plan = record.plan();
        let range = plan.chunk_range(0..chunks);
        let (prefix, end) = (plan.prefix_len(), range.end);
        let k = usize::from(seen.threshold.k());
        let mut good: Vec<(Arc<Server>, bytes::Bytes)> = Vec::new();
        let mut candidates = self
            .servers
            .by_speed(seen.threshold, end)
            .into_iter()
            .filter(|server| seen.there.contains(server.index()));
        let mut faults = Vec::new();
        loop {
            while good.len() < k {
                let wanted: Vec<Arc<Server>> = candidates.by_ref().take(k - good.len()).collect();
                if wanted.is_empty() {
                    return Err(format!(
                        "{} of {k} shares can be read {}",
                        good.len(),
                        faults.join("; ")
                    ));
                }
                let answers =
                    join_all(
                        wanted.iter().map(|server| {
                            let name = self.servers.object_key(server, extent, seen.generation);
                            async move {
                                ask(async || server.get(&name, Some(0..end), None).await).await
                            }
                        }),
                    )
                    .await;
                for (server, answer) in wanted.into_iter().zip(answers) {
                    match answer {
                        Ok(object) => good.push((server, object)),
                        Err(error) => faults.push(format!("{}: {error}", server.name())),
                    }
                }
            }
            let opened: Result<Vec<_>, (usize, String)> = good
                .iter()
                .enumerate()
                .map(|(place, (server, object))| {
                    let share = open_share(server, self.vault, extent, seen.generation, object)
                        .and_then(|share| check_dealing(&share, &record).map(|()| share));
                    share.map_err(|(_, detail): (Fault, String)| (place, detail))
                })
                .collect();
            let joined = opened.and_then(|opened| {
                let mut joiner = Joiner::new(opened).map_err(|error| (0, error.to_string()))?;
                let len = joiner.secret_len().min(chunks.saturating_mul(CHUNK));
                let mut secret = SecretBytes::with_len(usize::try_from(len).unwrap_or(0));
                let bodies: Vec<&[u8]> = good
                    .iter()
                    .map(|(_, object)| object.get(prefix..).unwrap_or_default())
                    .collect();
                joiner
                    .join_chunks(0, &bodies, secret.expose_mut())
                    .map_err(|error| (bad_one(&error), error.to_string()))?;
                Ok(secret)
            });
            match joined {
                Ok(secret) => return Ok(secret),
                Err((place, detail)) => {
                    let (server, _) = good.swap_remove(place.min(good.len().saturating_sub(1)));
                    faults.push(format!("{}: {detail}", server.name()));
                }
            }
        }
    }
}

/// The bytes of the secret in a chunk.
pub(super) const CHUNK: u64 = warifu_core::format::CHUNK as u64;

fn bad_one(error: &warifu_core::format::JoinError) -> usize {
    use warifu_core::format::JoinError;
    match error {
        JoinError::Damaged { position, .. } | JoinError::BodyLength { position, .. } => *position,
        _ => 0,
    }
}

/// The name's 32 bytes; `None` for what is no share.
fn raw(name: &ObjectKey) -> Option<[u8; 32]> {
    let digits = name.as_str().as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

async fn list_all(server: &Server) -> Result<(Objects, u64), StoreError> {
    let (mut objects, mut foreign) = (Objects::new(), 0);
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = ask(async || next_page(server, after.as_ref(), PAGE).await).await?;
        foreign += page.foreign;
        after = page.objects.last().map(|(name, _)| name.clone());
        for (name, stat) in &page.objects {
            if let Some(name) = raw(name) {
                objects.insert(name, stat.len);
            }
        }
        if !page.more {
            return Ok((objects, foreign));
        }
    }
}
