//! Segments on their way to the servers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::ids::{ExtentId, VersionNo};
use warifu_core::secret::SecretBytes;

use super::records::{Header, Packer, Record, ServerRecord, tag_of};
use super::{Occasion, Progress};
use crate::dealing::{self, Purpose, Put};
use crate::error::{Result, VaultError};
use crate::seam::catalog::{CatalogError, Durability, SaveId};
use crate::seam::journal::{Changes, JOURNAL, SegmentClass, Segments};
use crate::vault::{Inner, lock};

/// How many rows are read at once.
const ROWS: usize = 4096;

/// Lines of the audit log that tell of no change (somebody opened a file) wait for a change to go with, so long…
const AUDIT_WAITS: Duration = Duration::from_secs(60);

/// …or until there are so many.
const AUDIT_MOST: usize = 1024;

/// How long the next attempt waits after a failure, at most.
const RETRY_MOST: Duration = Duration::from_secs(60);

/// Of several drives the first one writes the journal for all. The others look so often whether it does: it may be one that may only read.
const OTHERS_LOOK: Duration = Duration::from_secs(15);

/// How often a segment is tried again because another process wrote one meanwhile.
const TRIES: usize = 4;

impl Inner {
    /// Writes what the journal does not have yet. A failure is nobody's error: it is tried again, and the vault's status says
    /// since when the journal is behind.
    pub(crate) async fn write_journal(self: &Arc<Self>, occasion: Occasion) {
        if self.options.read_only || !self.options.journal {
            return;
        }
        let mut progress = self.journal.progress.lock().await;
        let waiting = progress.retry_at.is_some_and(|at| Instant::now() < at);
        let now = Instant::now();
        let others_do = !self.is_first()
            && progress
                .looked
                .is_some_and(|looked| now.duration_since(looked) < OTHERS_LOOK);
        if occasion == Occasion::Tick && (waiting || others_do) {
            return;
        }
        progress.looked = Some(now);
        let written = async {
            self.write_changes(&mut progress, occasion).await?;
            if occasion == Occasion::Sync {
                return Ok(());
            }
            self.write_checkpoint(&mut progress, occasion).await
        }
        .await;
        match written {
            Ok(()) => {
                (progress.retry_at, progress.failures) = (None, 0);
                *lock(&self.journal.behind_since) = None;
            }
            Err(error) => {
                tracing::warn!(error = %error.facts(), "the journal could not be written yet; trying again");
                let pause = Duration::from_secs(1 << progress.failures.min(6)).min(RETRY_MOST);
                progress.failures = progress.failures.saturating_add(1);
                progress.retry_at = Some(Instant::now() + pause);
                lock(&self.journal.behind_since).get_or_insert_with(|| self.clock.now());
            }
        }
    }

    async fn write_changes(
        self: &Arc<Self>,
        progress: &mut Progress,
        occasion: Occasion,
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            let changes = self.catalog.changes(ROWS).await?;
            let old = occasion == Occasion::Tick && progress.written.elapsed() >= AUDIT_WAITS;
            let log_alone = changes.audit.len() >= AUDIT_MOST || (old && !changes.audit.is_empty());
            if changes.rows.is_empty() && !log_alone {
                return Ok(());
            }
            let more = changes.more;
            match self.put_changes(changes).await {
                Ok(()) => (progress.written, progress.look) = (Instant::now(), true),
                Err(VaultError::Lapsed) if tries < TRIES => {
                    tries += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn put_changes(self: &Arc<Self>, changes: Changes) -> Result<()> {
        let Changes {
            next,
            tip,
            mark,
            rows,
            audit,
            ..
        } = changes;
        let audited = audit.last().map(|row| row.seq);
        let rows = rows.into_iter().map(|(key, row)| match row {
            Some(row) => Record::Row(row),
            None => Record::Gone(key),
        });
        let packers = pack(
            self.about_servers(),
            rows.chain(audit.into_iter().map(Record::Audit)),
        );
        let at = self.clock.now();
        let mut link = tip.map_or(0, tag_of);
        let segments = (next..)
            .zip(&packers)
            .map(|(number, packer)| {
                let extent = ExtentId::fresh()?;
                let header = Header {
                    class: SegmentClass::Changes,
                    number,
                    begin: 0,
                    part: 0,
                    last: false,
                    mark: mark.0,
                    link: std::mem::replace(&mut link, tag_of(extent)),
                    at,
                };
                Ok((extent, packer.encode(header)))
            })
            .collect::<Result<Vec<_>>>()?;
        drop(packers);
        let note = |segments: &mut Segments| {
            segments.mark = Some(mark);
            segments.audited = audited;
        };
        self.put_segments(
            SegmentClass::Changes,
            next,
            segments,
            Durability::Soon,
            note,
        )
        .await
    }

    /// The servers, for whoever has lost the vault file too.
    pub(super) fn about_servers(&self) -> Vec<Record> {
        let servers = self.servers.all().iter();
        servers
            .map(|server| {
                Record::Server(ServerRecord {
                    index: server.index(),
                    id: server.seat.id,
                    name: server.name().to_owned(),
                })
            })
            .collect()
    }

    /// Deals segments, puts them on the servers and notes that they are there.
    ///
    /// [`VaultError::Lapsed`] when another process wrote the journal meanwhile.
    pub(super) async fn put_segments(
        self: &Arc<Self>,
        class: SegmentClass,
        next: u64,
        segments: Vec<(ExtentId, SecretBytes)>,
        durability: Durability,
        note: impl FnOnce(&mut Segments),
    ) -> Result<()> {
        let generation = self.servers.generation();
        let announced = segments
            .iter()
            .map(|(extent, _)| (*extent, generation))
            .collect();
        let save = self.intend(announced).await?.save;
        // What they tell must not be forgotten by the catalogue once somebody may read it, and neither may this intent.
        self.catalog.sync().await?;
        let purpose = Purpose {
            vault: self.vault,
            document: JOURNAL,
            version: VersionNo(next),
            kind: ExtentKind::Journal,
            number: class.number(),
            // Names are in it: secret from fewer than k servers whatever they can compute.
            scheme: Scheme::Shamir,
            generation,
            asked: None,
        };
        let servers = Arc::clone(&self.servers);
        let len = segments.iter().map(|(_, secret)| secret.len()).sum();
        let dealt = dealing::deal_off_task(len, move || {
            (next..)
                .zip(&segments)
                .map(|(number, (extent, secret))| {
                    let version = VersionNo(number);
                    let purpose = Purpose { version, ..purpose };
                    dealing::deal(&servers, purpose, *extent, secret.expose())
                })
                .collect::<Result<Vec<_>>>()
        })
        .await?;
        let patience = self.options.patience;
        let puts = dealt
            .into_iter()
            .map(|dealt| dealing::put(&self.servers, dealt, Durability::Now, patience));
        let puts: Vec<Put> = join_all(puts).await;
        if let Some(bad) = puts.iter().find(|put| !put.is_enough()) {
            let error = VaultError::NotStored {
                file: "(the journal)".to_owned(),
                needed: bad.record.threshold.k(),
                got: u8::try_from(bad.stored()).unwrap_or(u8::MAX),
                full: false,
                faults: bad.faults.clone(),
            };
            drop(puts);
            self.give_up_segments(save);
            return Err(error);
        }
        let mut commit = Segments {
            save,
            extents: puts.iter().map(|put| put.record.clone()).collect(),
            mark: None,
            audited: None,
            archived: None,
            finished: None,
        };
        note(&mut commit);
        match self.catalog.journalled(commit, durability).await {
            Ok(waste) => {
                for put in puts.into_iter().filter(Put::is_pending) {
                    self.count_late(put);
                }
                if let Some(waste) = waste {
                    let inner = Arc::clone(self);
                    self.tidy_up(async move { inner.remove_waste(waste).await });
                }
                Ok(())
            }
            Err(CatalogError::Conflict { .. } | CatalogError::Lapsed) => {
                self.give_up_segments(save);
                Err(VaultError::Lapsed)
            }
            Err(error @ CatalogError::NotFound { .. }) => {
                self.give_up_segments(save);
                Err(error.into())
            }
            // It may have been done: then the intent is gone, and what is not is swept.
            Err(error) => Err(error.into()),
        }
    }

    fn give_up_segments(self: &Arc<Self>, save: SaveId) {
        let inner = Arc::clone(self);
        self.tidy_up(async move { inner.discard_save(save).await });
    }

    /// Answers that come later pay what is owed.
    fn count_late(self: &Arc<Self>, put: Put) {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let (extent, generation) = (put.record.extent, put.record.generation);
            let paid = put.late().await;
            if let Err(error) = inner.pay(extent, generation, paid).await {
                tracing::debug!(error = %error.facts(), "a late answer could not be noted");
            }
        });
    }
}

/// Puts records into as many segments as it takes; `first` comes in the first one.
fn pack(first: Vec<Record>, records: impl Iterator<Item = Record>) -> Vec<Packer> {
    let mut packers = vec![Packer::default()];
    for record in first.into_iter().chain(records) {
        let Some(record) = packers.last_mut().and_then(|packer| packer.add(record)) else {
            continue;
        };
        let mut packer = Packer::default();
        // An empty one takes anything.
        let _taken = packer.add(record);
        packers.push(packer);
    }
    packers
}
