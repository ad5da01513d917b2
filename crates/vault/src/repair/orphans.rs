//! Orphans: objects that no extent and no intent needs. What makes that certain is said at [`Listings`].
//!
//! They are left for a grace time by the server's own clock. And an orphan that belongs to a version newer than all that the catalogue
//! knows of that document is never swept: the catalogue may have been brought back from a backup, and these objects may be all that
//! is left of somebody's work. `warifu rebuild` can read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use warifu_core::format::{Dealing, ExtentKind, HEADER_LEN, OpenShare};

use crate::context::{Act, Context};
use crate::error::Result;
use crate::seam::catalog::Durability;
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
    /// Left alone because they belong to a version newer than the catalogue, or were made by a newer warifu.
    pub newer: u64,
    /// How many were removed.
    pub swept: u64,
    /// Why the server could not be searched, or not swept.
    pub error: Option<String>,
}

/// What an orphan is.
enum Kind {
    Due,
    Young,
    Undated,
    Newer,
    /// Gone meanwhile, or needed after all.
    None,
}

impl Inner {
    /// Looks for orphans on all servers and, with `sweep`, removes those that are due.
    pub(super) async fn orphans(
        &self,
        ctx: &Context,
        grace: Duration,
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
        let mut found = BTreeMap::new();
        for (server, listing) in listings.all() {
            let orphans = match listing {
                Ok(listing) => {
                    let names = listing.left();
                    self.orphans_on(server, names, grace, sweep, stop).await?
                }
                Err(error) => Orphans {
                    error: Some(error.detail.clone()),
                    ..Orphans::default()
                },
            };
            if orphans.swept > 0 {
                let detail = format!("{} orphans on {}", orphans.swept, server.name());
                let entry = ctx.entry(Act::Sweep, None, detail, self.clock.now());
                self.catalog.record(vec![entry], Durability::Soon).await?;
            }
            found.insert(server.name().to_owned(), orphans);
        }
        Ok(found)
    }

    async fn orphans_on(
        &self,
        server: &Arc<Server>,
        names: impl Iterator<Item = ObjectKey>,
        grace: Duration,
        sweep: bool,
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Orphans> {
        let mut orphans = Orphans::default();
        let mut looks = stream::iter(names.take_while(|_| !stop()))
            .map(|name| async move {
                let looked = self.look_at(server, &name, grace).await;
                (name, looked)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((name, looked)) = looks.next().await {
            let (kind, len) = match looked? {
                Ok(looked) => looked,
                Err(error) => {
                    orphans.error = Some(error.detail);
                    break;
                }
            };
            match kind {
                Kind::None => {}
                Kind::Young => orphans.young += 1,
                Kind::Undated => orphans.undated += 1,
                Kind::Newer => orphans.newer += 1,
                Kind::Due => {
                    orphans.due += 1;
                    orphans.bytes += len;
                    if !sweep {
                        continue;
                    }
                    match server.ask(server.seat.store.delete(&name)).await {
                        Ok(()) => orphans.swept += 1,
                        Err(error) if error.kind == StoreErrorKind::NotFound => {}
                        Err(error) => {
                            orphans.error = Some(error.detail);
                            break;
                        }
                    }
                }
            }
        }
        Ok(orphans)
    }

    async fn look_at(
        &self,
        server: &Server,
        name: &ObjectKey,
        grace: Duration,
    ) -> Result<std::result::Result<(Kind, u64), StoreError>> {
        let store = &server.seat.store;
        let stat = match server.try_ask(LAGS_AFTER, store.stat(name)).await {
            Ok(stat) => stat,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Ok((Kind::None, 0))),
            Err(error) => return Ok(Err(error)),
        };
        let begin = 0..stat.len.min(LOOK);
        let prefix = match server.get(name, Some(begin), None).await {
            Ok(prefix) => prefix,
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::OutOfRange
                ) =>
            {
                return Ok(Ok((Kind::None, 0)));
            }
            Err(error) => return Ok(Err(error)),
        };
        // An object too short to have a header says nothing, and is of use to nobody.
        if prefix.len() >= HEADER_LEN && is_newer(server, &prefix) {
            return Ok(Ok((Kind::Newer, stat.len)));
        }
        if let Ok(share) = OpenShare::open(&prefix, &server.seal_key) {
            let dealing = share.dealing();
            if dealing.vault != self.vault || share.server() != server.seat.id {
                return Ok(Ok((Kind::Newer, stat.len)));
            }
            if self.catalog.extent(dealing.extent).await?.is_some()
                && *name
                    == self
                        .servers
                        .object_key(server, dealing.extent, dealing.generation)
            {
                return Ok(Ok((Kind::None, 0)));
            }
            if self.is_newer_than_catalogue(dealing).await? {
                return Ok(Ok((Kind::Newer, stat.len)));
            }
        }
        Ok(Ok((self.age_of(stat, grace), stat.len)))
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

    /// Whether an extent was dealt for a version beyond those that the catalogue has of its document, or for a document that it does
    /// not know; of the journal, always, since it is what a lost catalogue is made of.
    async fn is_newer_than_catalogue(&self, dealing: &Dealing) -> Result<bool> {
        if dealing.kind == ExtentKind::Journal {
            return Ok(true);
        }
        let history = self.catalog.history(dealing.file).await?;
        let newest = history.iter().map(|version| version.number).max();
        Ok(newest.is_none_or(|newest| dealing.version > newest))
    }
}
