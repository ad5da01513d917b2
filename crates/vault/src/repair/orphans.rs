//! Orphans: objects that no extent and no intent needs. What makes that certain is said at [`Listings`].
//!
//! They are left for a grace time by the server's own clock. And the catalogue may have been brought back from a backup: then objects
//! that it does not know are somebody's work, which `warifu rebuild` can read. What this catalogue knows to have come to nothing it removes under
//! an intent, which stays until it is gone everywhere. So what is left of a save is taken for the work of another catalogue,
//! and never swept until a person says so, when it is
//!
//! - of a version newer than all that the catalogue knows of its document, or of a document that it does not know;
//! - a version that is there with k shares of its head, whatever its number: newer saves have used the same numbers since;
//! - anything else of such a document, since it may belong to that version.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use warifu_core::format::{ExtentKind, HEADER_LEN, OpenShare};
use warifu_core::ids::{ExtentId, FileId, VersionNo};

use crate::context::{Act, Context};
use crate::error::Result;
use crate::seam::catalog::{Durability, IndexSet};
use crate::seam::clock::Timestamp;
use crate::seam::store::{ObjectKey, ObjectStat, StoreError, StoreErrorKind};
use crate::servers::Server;
use crate::vault::Inner;
use crate::verify::listing::Listings;
use crate::verify::share::{LAGS_AFTER, is_newer};

const PAGE: usize = 1_000;
const AT_ONCE: usize = 8;
/// More than any format's prefix has.
const LOOK: u64 = 1024;

/// The orphans of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Those that may be swept: how many, and their bytes.
    pub due: u64,
    /// Bytes of those that may be swept.
    pub bytes: u64,
    /// Younger than the grace time.
    pub young: u64,
    /// Left alone because the server does not say when they were written.
    pub undated: u64,
    /// Left alone because they may be somebody's work that the catalogue does not know, or were made by a newer warifu.
    pub newer: u64,
    /// Left alone because servers that could not be searched may have what makes them a whole version.
    pub unsure: u64,
    /// How many were removed.
    pub swept: u64,
    /// Why the server could not be searched, or not swept.
    pub error: Option<String>,
}

/// Which orphans are swept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// How old they must be.
    pub(super) grace: Duration,
    /// Also those that may be somebody's work.
    pub(super) drop_newer: bool,
}

/// What is known of an orphan.
struct Found {
    name: ObjectKey,
    stat: ObjectStat,
    of: Of,
}

/// Whose it is.
#[derive(Clone, Copy)]
enum Of {
    /// A save's.
    Save {
        extent: ExtentId,
        document: FileId,
        version: VersionNo,
        is_head: bool,
        needed: u32,
    },
    /// Shares of an older generation of what is needed: a refresh has made them useless, and they are to be gone.
    Older,
    /// The journal's: always left, since it is what a lost catalogue is made of.
    Journal,
    /// A newer warifu's, or another vault's: never swept.
    Strange,
    /// Nobody's: it is damaged.
    Rubbish,
}

/// What may become of an orphan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Due,
    Young,
    Undated,
    Newer,
    Unsure,
}

/// What all orphans together tell.
struct Judge {
    /// Documents with work in them that the catalogue does not know.
    held: HashSet<FileId>,
    /// Documents that may be such, as far as the servers that were searched tell.
    unsure: HashSet<FileId>,
    /// So many servers could not be searched that nothing is sure of any document.
    blind: bool,
}

/// A server, what was found there, and why the search ended before its end.
type Searched = (Arc<Server>, (Vec<Found>, Option<String>));

impl Inner {
    /// Looks for orphans on all servers and, with `sweep`, removes those that are due.
    pub(super) async fn orphans(
        &self,
        ctx: &Context,
        which: Sweep,
        sweep: bool,
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<BTreeMap<String, Orphans>> {
        let mut listings = Listings::gather(&self.servers, self.catalog.as_ref()).await?;
        let mut after = None;
        loop {
            let page = self.catalog.extents(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.extent);
            for record in &page {
                listings.need(&self.servers, record.extent, record.generation);
            }
        }
        let mut searched = Vec::new();
        for (server, listing) in listings.all() {
            let looked = match listing {
                Ok(listing) => self.look_at_all(server, listing.left(), stop).await?,
                Err(error) => (Vec::new(), Some(error.detail.clone())),
            };
            searched.push((Arc::clone(server), looked));
        }
        drop(listings);
        let judge = self.judge_orphans(&searched).await?;
        if sweep {
            // What makes an object useless is on disk before it goes, whoever wrote it.
            self.catalog.sync().await?;
        }
        let mut found = BTreeMap::new();
        for (server, (objects, error)) in searched {
            let mut orphans = Orphans {
                error,
                ..Orphans::default()
            };
            for object in objects {
                let kind = self.kind_of(&object, &judge, which);
                let swept = self.note(&server, &object, kind, sweep && !stop(), &mut orphans);
                if !swept.await {
                    break;
                }
            }
            if orphans.swept > 0 {
                let detail = format!("{} orphans on {}", orphans.swept, server.name());
                let entry = ctx.entry(Act::Sweep, None, detail, self.clock.now());
                self.catalog.record(vec![entry], Durability::Soon).await?;
            }
            found.insert(server.name().to_owned(), orphans);
        }
        Ok(found)
    }

    /// Counts an orphan and removes it if it is due. Whether the server goes on.
    async fn note(
        &self,
        server: &Server,
        object: &Found,
        kind: Kind,
        sweep: bool,
        orphans: &mut Orphans,
    ) -> bool {
        match kind {
            Kind::Young => orphans.young += 1,
            Kind::Undated => orphans.undated += 1,
            Kind::Newer => orphans.newer += 1,
            Kind::Unsure => orphans.unsure += 1,
            Kind::Due => {
                orphans.due += 1;
                orphans.bytes += object.stat.len;
                if !sweep {
                    return true;
                }
                match server.ask(server.seat.store.delete(&object.name)).await {
                    Ok(()) => orphans.swept += 1,
                    Err(error) if error.kind == StoreErrorKind::NotFound => {}
                    Err(error) => {
                        orphans.error = Some(error.detail);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Looks at the orphans of a server; and why it could not be searched to the end.
    async fn look_at_all(
        &self,
        server: &Arc<Server>,
        names: impl Iterator<Item = ObjectKey>,
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(Vec<Found>, Option<String>)> {
        let mut objects = Vec::new();
        let mut looks = stream::iter(names.take_while(|_| !stop()))
            .map(|name| self.look_at(server, name))
            .buffer_unordered(AT_ONCE);
        while let Some(looked) = looks.next().await {
            match looked? {
                Ok(found) => objects.extend(found),
                Err(error) => return Ok((objects, Some(error.detail))),
            }
        }
        Ok((objects, None))
    }

    /// Nothing for an object that is gone meanwhile, or needed after all.
    async fn look_at(
        &self,
        server: &Server,
        name: ObjectKey,
    ) -> Result<std::result::Result<Option<Found>, StoreError>> {
        let store = &server.seat.store;
        let stat = match server.try_ask(LAGS_AFTER, store.stat(&name)).await {
            Ok(stat) => stat,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        let begin = 0..stat.len.min(LOOK);
        let prefix = match server.get(&name, Some(begin), None).await {
            Ok(prefix) => prefix,
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::OutOfRange
                ) =>
            {
                return Ok(Ok(None));
            }
            Err(error) => return Ok(Err(error)),
        };
        let of = match OpenShare::open(&prefix, &server.seal_key) {
            // An object too short to have a header says nothing, and is of use to nobody.
            _ if prefix.len() >= HEADER_LEN && is_newer(server, &prefix) => Of::Strange,
            Err(_) => Of::Rubbish,
            Ok(share) => {
                let dealing = share.dealing();
                if dealing.vault != self.vault || share.server() != server.seat.id {
                    Of::Strange
                } else if let Some(record) = self.catalog.extent(dealing.extent).await?
                    && name
                        == self
                            .servers
                            .object_key(server, dealing.extent, dealing.generation)
                {
                    match dealing.generation.cmp(&record.generation) {
                        Ordering::Equal => return Ok(Ok(None)),
                        // A catalogue that is not the latest may name shares that are not there.
                        Ordering::Less if self.is_seen(&record).await => Of::Older,
                        Ordering::Less => Of::Strange,
                        // The catalogue was brought back from before a refresh, and these may be the only ones that are left.
                        Ordering::Greater => Of::Strange,
                    }
                } else if dealing.kind == ExtentKind::Journal {
                    Of::Journal
                } else {
                    Of::Save {
                        extent: dealing.extent,
                        document: dealing.file,
                        version: dealing.version,
                        is_head: dealing.kind == ExtentKind::Head,
                        needed: u32::from(share.header().threshold().k()),
                    }
                }
            }
        };
        Ok(Ok(Some(Found { name, stat, of })))
    }

    async fn judge_orphans(&self, searched: &[Searched]) -> Result<Judge> {
        let missing = searched.iter().filter(|(_, (_, error))| error.is_some());
        let missing = u32::try_from(missing.count()).unwrap_or(u32::MAX);
        let mut judge = Judge {
            held: HashSet::new(),
            unsure: HashSet::new(),
            // A save of either threshold may be hidden there.
            blind: missing >= u32::from(self.servers.thresholds().least()),
        };
        let mut heads: HashMap<ExtentId, (FileId, u32, IndexSet)> = HashMap::new();
        let mut newest: HashMap<FileId, Option<VersionNo>> = HashMap::new();
        for (server, (objects, _)) in searched {
            for object in objects {
                let Of::Save {
                    extent,
                    document,
                    version,
                    is_head,
                    needed,
                } = object.of
                else {
                    continue;
                };
                let known = match newest.get(&document) {
                    Some(known) => *known,
                    None => {
                        let history = self.catalog.history(document).await?;
                        let known = history.iter().map(|version| version.number).max();
                        *newest.entry(document).or_insert(known)
                    }
                };
                if known.is_none_or(|known| version > known) {
                    judge.held.insert(document);
                }
                if is_head {
                    let none = (document, needed, IndexSet::EMPTY);
                    let (_, _, there) = heads.entry(extent).or_insert(none);
                    there.insert(server.index());
                }
            }
        }
        for (document, needed, there) in heads.into_values() {
            if there.len() >= needed {
                judge.held.insert(document);
            } else if there.len() + missing >= needed {
                judge.unsure.insert(document);
            }
        }
        Ok(judge)
    }

    fn kind_of(&self, object: &Found, judge: &Judge, which: Sweep) -> Kind {
        match object.of {
            Of::Strange => Kind::Newer,
            Of::Older => Kind::Due,
            Of::Journal if !which.drop_newer => Kind::Newer,
            Of::Save { document, .. } if !which.drop_newer => {
                if judge.held.contains(&document) {
                    Kind::Newer
                } else if judge.blind || judge.unsure.contains(&document) {
                    Kind::Unsure
                } else {
                    self.age_of(object.stat, which.grace)
                }
            }
            _ => self.age_of(object.stat, which.grace),
        }
    }

    fn age_of(&self, stat: ObjectStat, grace: Duration) -> Kind {
        let Some(Timestamp { secs, .. }) = stat.modified else {
            return Kind::Undated;
        };
        let grace = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        if secs.saturating_add(grace) > self.clock.now().secs {
            Kind::Young
        } else {
            Kind::Due
        }
    }
}
