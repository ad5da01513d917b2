//! Checking shares: which server, which file, and what kind of damage.
//!
//! A quick check compares what the servers list with what the catalogue expects; a deep one reads every share and checks
//! the seal of every chunk. Neither forms a plaintext.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use warifu_core::ids::{ExtentId, ShareIndex, VersionNo};

use crate::context::{Act, Context};
use crate::error::{Fault, Result};
use crate::seam::catalog::{Durability, ExtentRecord};
use crate::seam::journal::JOURNAL;
use crate::seam::store::{ObjectKey, StoreError, StoreErrorKind};
use crate::servers::Server;
use crate::vault::{Inner, Vault};

/// How much to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Whether to read every share and check its seals, instead of comparing listings.
    pub deep: bool,
}

/// How far a check has come, in extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// How many extents have been checked.
    pub done: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path of a file that needs the share; empty where the version belongs to no file any more.
    pub file: String,
    /// A version that needs it.
    pub version: VersionNo,
    /// The server's name in the vault file.
    pub server: String,
    /// What is wrong.
    pub fault: Fault,
    /// Whether the catalogue knows already that the server owes the share.
    pub owed: bool,
    /// What was found.
    pub detail: String,
}

/// A version of which too few shares are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file's path; empty where the version belongs to no file any more.
    pub file: String,
    /// Which version.
    pub version: VersionNo,
    /// How many good shares are needed.
    pub needed: u8,
    /// How many there are.
    pub good: u8,
    /// Whether it is lost for good, and not only out of reach until servers answer again.
    pub lost: bool,
}

/// What was counted at one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerCount {
    /// Good shares.
    pub good: u64,
    /// Bad shares, by what is wrong with them.
    pub bad: BTreeMap<Fault, u64>,
    /// Objects that no version needs: left by saves that never ended, or being saved just now.
    pub orphans: u64,
    /// Files on the server that no warifu wrote.
    pub foreign: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// How many extents were checked.
    pub extents: u64,
    /// What is wrong, in no order.
    pub findings: Vec<Finding>,
    /// Versions of which too few shares are good.
    pub unreadable: Vec<Unreadable>,
    /// What was counted, by server name.
    pub servers: BTreeMap<String, ServerCount>,
}

impl VerifyReport {
    /// Whether every share is where it belongs and good.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// What a server listed, or why it did not.
type Listing = std::result::Result<HashMap<ObjectKey, u64>, StoreError>;

const PAGE: usize = 10_000;
const BATCH: usize = 1_000;
const AT_ONCE: usize = 8;

type Outcome = (ShareIndex, std::result::Result<(), (Fault, String)>);

impl Vault {
    /// Checks every share that any version kept needs. `progress` is called after each batch of extents.
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the report.
    pub async fn verify(
        &self,
        ctx: &Context,
        options: VerifyOptions,
        progress: &(dyn Fn(VerifyProgress) + Send + Sync),
    ) -> Result<VerifyReport> {
        let inner = &self.inner;
        let entry = ctx.entry(
            Act::Verify,
            None,
            if options.deep { "deep" } else { "quick" },
            inner.clock.now(),
        );
        inner.catalog.record(vec![entry], Durability::Soon).await?;

        let mut report = VerifyReport::default();
        // Listed before the catalogue is read: what is saved meanwhile is expected and not listed, and asked for by name.
        let mut listings: HashMap<ShareIndex, Listing> = HashMap::new();
        for server in inner.servers.all() {
            let count = report.servers.entry(server.name().to_owned()).or_default();
            let listing = list_all(server, count).await;
            if let Err(error) = &listing {
                tracing::warn!(server = server.name(), %error, "a server's objects could not be listed");
            }
            listings.insert(server.index(), listing);
        }

        let mut after: Option<ExtentId> = None;
        loop {
            let batch = inner.catalog.extents(after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.extent);
            let mut checks = stream::iter(
                batch
                    .iter()
                    .map(|record| inner.check_all(record, &listings, options)),
            )
            .buffer_unordered(AT_ONCE);
            let mut checked = Vec::with_capacity(batch.len());
            while let Some(outcome) = checks.next().await {
                checked.push(outcome);
            }
            drop(checks);
            for (record, outcomes) in checked {
                inner.tally(&mut report, record, outcomes).await?;
                for server in inner.servers.all() {
                    if let Some(Ok(objects)) = listings.get_mut(&server.index()) {
                        objects.remove(&inner.servers.object_key(
                            server,
                            record.extent,
                            record.generation,
                        ));
                    }
                }
            }
            report.extents += batch.len() as u64;
            progress(VerifyProgress {
                done: report.extents,
            });
        }
        for server in inner.servers.all() {
            if let (Some(Ok(rest)), Some(count)) = (
                listings.get(&server.index()),
                report.servers.get_mut(server.name()),
            ) {
                count.orphans = rest.keys().filter(|name| name.is_share()).count() as u64;
            }
        }
        Ok(report)
    }
}

impl Inner {
    async fn check_all<'a>(
        &self,
        record: &'a ExtentRecord,
        listings: &HashMap<ShareIndex, Listing>,
        options: VerifyOptions,
    ) -> (&'a ExtentRecord, Vec<Outcome>) {
        let outcomes =
            futures_util::future::join_all(self.servers.all().iter().map(|server| async move {
                let outcome = if options.deep {
                    self.check_share(server, record).await
                } else {
                    self.compare(server, record, listings.get(&server.index()))
                        .await
                };
                (server.index(), outcome)
            }))
            .await;
        (record, outcomes)
    }

    /// Compares a listing with what the catalogue expects.
    async fn compare(
        &self,
        server: &Arc<Server>,
        record: &ExtentRecord,
        listing: Option<&Listing>,
    ) -> std::result::Result<(), (Fault, String)> {
        let name = self
            .servers
            .object_key(server, record.extent, record.generation);
        let listed = match listing {
            Some(Ok(objects)) => objects.get(&name).copied(),
            Some(Err(error)) => return Err((error.kind.into(), error.detail.clone())),
            None => return Err((Fault::NoAnswer, "not listed".to_owned())),
        };
        let len = match listed {
            Some(len) => len,
            // Not in the listing is not yet absent: it may have been put since. The server is asked by name.
            None => {
                server
                    .ask(server.seat.store.stat(&name))
                    .await
                    .map_err(|error| (Fault::from(error.kind), error.detail))?
                    .len
            }
        };
        let expected = record.plan().object_len();
        if len == expected {
            Ok(())
        } else {
            Err((
                Fault::Corrupt,
                format!("{len} bytes long instead of {expected}"),
            ))
        }
    }

    async fn tally(
        &self,
        report: &mut VerifyReport,
        record: &ExtentRecord,
        outcomes: Vec<Outcome>,
    ) -> Result<()> {
        let good = outcomes
            .iter()
            .filter(|(_, outcome)| outcome.is_ok())
            .count();
        let mut bad = Vec::new();
        for (index, outcome) in outcomes {
            let Some(server) = self
                .servers
                .all()
                .iter()
                .find(|server| server.index() == index)
            else {
                continue;
            };
            let count = report.servers.entry(server.name().to_owned()).or_default();
            match outcome {
                Ok(()) => count.good += 1,
                Err((fault, detail)) => {
                    *count.bad.entry(fault).or_default() += 1;
                    bad.push((index, server.name().to_owned(), fault, detail));
                }
            }
        }
        if bad.is_empty() {
            return Ok(());
        }
        let (file, version) = match self.catalog.user_of(record.extent).await? {
            Some((Some(node), _, version)) => (self.path_text(node).await, version),
            Some((None, JOURNAL, version)) => ("(the journal)".to_owned(), version),
            Some((None, _, version)) => (String::new(), version),
            // Removed since the batch was read.
            None => return Ok(()),
        };
        let k = usize::from(record.threshold.k());
        if good < k {
            let unknown = bad
                .iter()
                .filter(|(_, _, fault, _)| !is_definite(*fault))
                .count();
            report.unreadable.push(Unreadable {
                file: file.clone(),
                version,
                needed: record.threshold.k(),
                good: u8::try_from(good).unwrap_or(u8::MAX),
                lost: good + unknown < k,
            });
        }
        for (index, server, fault, detail) in bad {
            let owed = record.owed.contains(index);
            report.findings.push(Finding {
                file: file.clone(),
                version,
                server,
                fault,
                owed,
                detail,
            });
        }
        Ok(())
    }
}

/// Whether a fault says something about the share, and not only about the server at the moment.
fn is_definite(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Missing | Fault::Corrupt | Fault::Stale | Fault::Foreign
    )
}

async fn list_all(server: &Server, count: &mut ServerCount) -> Listing {
    let mut objects = HashMap::new();
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = server
            .ask(server.seat.store.list(after.as_ref(), PAGE))
            .await?;
        count.foreign += page.foreign;
        after = page.objects.last().map(|(name, _)| name.clone());
        objects.extend(
            page.objects
                .into_iter()
                .map(|(name, stat)| (name, stat.len)),
        );
        if !page.more {
            return Ok(objects);
        }
        if after.is_none() {
            return Err(StoreError::new(
                StoreErrorKind::Failed,
                "the server promised more objects and listed none",
            ));
        }
    }
}
