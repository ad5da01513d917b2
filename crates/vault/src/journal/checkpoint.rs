//! Checkpoints: all rows once more, so that the segments of changes before can go.
//!
//! A checkpoint is written a part at a time while work goes on. Each part has its place among the segments of changes: what
//! changes after it was read is told by a later one. So no transaction has to hold the whole catalogue still.

use std::sync::Arc;

use warifu_core::ids::ExtentId;

use super::records::{Header, Packer, Record, SEGMENT, tag_of};
use super::{Occasion, Progress};
use crate::error::{Result, VaultError};
use crate::seam::catalog::{CatalogError, Durability, SaveId};
use crate::seam::journal::{Finished, JournalState, RowKey, SegmentClass, Segments};
use crate::vault::Inner;

/// How many parts are written at a time, so that changes do not wait long.
const PARTS_PER_TICK: usize = 4;

/// How many rows or lines are read at once.
const PAGE: usize = 2048;

/// A checkpoint being written.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// The number of its first segment, once that is written.
    begin: Option<u64>,
    parts: Vec<ExtentId>,
    /// The last row that is in it.
    after: Option<RowKey>,
    all_rows: bool,
    /// Up to which line the audit log must be in segments of its own before it ends.
    audited: u64,
}

impl Inner {
    pub(super) async fn write_checkpoint(
        self: &Arc<Self>,
        progress: &mut Progress,
        occasion: Occasion,
    ) -> Result<()> {
        if progress.checkpoint.is_none() {
            if !std::mem::take(&mut progress.look) {
                return Ok(());
            }
            let state = self.catalog.journal().await?;
            let long = state.changes > self.options.checkpoint_after.max(state.checkpoints);
            if state.whole && !long {
                return Ok(());
            }
            progress.checkpoint = Some(Checkpoint {
                begin: None,
                parts: Vec::new(),
                after: None,
                all_rows: false,
                audited: state.audited,
            });
        }
        let mut done = 0;
        while let Some(checkpoint) = &mut progress.checkpoint {
            if occasion == Occasion::Tick && done == PARTS_PER_TICK {
                return Ok(());
            }
            done += 1;
            match self.write_part(checkpoint).await {
                Ok(true) => progress.checkpoint = None,
                // Another process wrote a segment meanwhile: the part is read again.
                Ok(false) | Err(VaultError::Lapsed) => {}
                // Another process ended a checkpoint meanwhile.
                Err(VaultError::NotFound { .. }) => progress.checkpoint = None,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the next part; says whether it was the last.
    async fn write_part(self: &Arc<Self>, checkpoint: &mut Checkpoint) -> Result<bool> {
        let state = self.catalog.journal().await?;
        if !checkpoint.all_rows {
            self.write_rows(checkpoint, state).await?;
            return Ok(false);
        }
        if state.archived < checkpoint.audited {
            self.write_log(checkpoint, state).await?;
            return Ok(false);
        }
        let begin = checkpoint.begin.unwrap_or(state.next);
        let header = self.header_of(checkpoint, state, true);
        let segment = packer_of(self.about_servers()).encode(header);
        let finished = Finished {
            begin,
            parts: checkpoint.parts.clone(),
            waste: SaveId::fresh()?,
            lease: self.options.save_lease,
        };
        let note = |segments: &mut Segments| segments.finished = Some(finished);
        let extent = ExtentId::fresh()?;
        // What is of no use is removed only once nobody can fall back to where it was of use.
        self.put_segments(
            SegmentClass::Checkpoint,
            state.next,
            vec![(extent, segment)],
            Durability::Now,
            note,
        )
        .await?;
        Ok(true)
    }

    fn header_of(&self, checkpoint: &Checkpoint, state: JournalState, last: bool) -> Header {
        Header {
            class: SegmentClass::Checkpoint,
            number: state.next,
            begin: checkpoint.begin.unwrap_or(state.next),
            part: checkpoint.parts.len() as u64,
            last,
            // Of two attempts at one part either will do: what changed between them is told later.
            mark: 0,
            link: state.tip.map_or(0, tag_of),
            at: self.clock.now(),
        }
    }

    async fn write_rows(
        self: &Arc<Self>,
        checkpoint: &mut Checkpoint,
        state: JournalState,
    ) -> Result<()> {
        let mut packer = packer_of(self.about_servers());
        let (mut after, mut end) = (checkpoint.after, false);
        'full: while packer.len() < SEGMENT / 2 {
            let page = self.catalog.rows(after, PAGE).await?;
            end = page.is_empty();
            if end {
                break;
            }
            for row in page {
                let key = row.key();
                if packer.add(Record::Row(row)).is_some() {
                    break 'full;
                }
                after = Some(key);
            }
        }
        let segment = packer.encode(self.header_of(checkpoint, state, false));
        drop(packer);
        let extent = ExtentId::fresh()?;
        self.put_segments(
            SegmentClass::Checkpoint,
            state.next,
            vec![(extent, segment)],
            Durability::Soon,
            |_| {},
        )
        .await?;
        checkpoint.begin.get_or_insert(state.next);
        checkpoint.parts.push(extent);
        (checkpoint.after, checkpoint.all_rows) = (after, end);
        Ok(())
    }

    /// Puts lines of the audit log where they stay.
    async fn write_log(
        self: &Arc<Self>,
        checkpoint: &Checkpoint,
        state: JournalState,
    ) -> Result<()> {
        let mut packer = Packer::default();
        let mut archived = state.archived;
        'full: while archived < checkpoint.audited && packer.len() < SEGMENT / 2 {
            let lines = self.catalog.audit(archived, PAGE).await?;
            if lines.is_empty() {
                return Err(CatalogError::Damaged {
                    detail: format!("the audit log ends before line {}", checkpoint.audited),
                }
                .into());
            }
            for line in lines {
                let number = line.seq;
                if number > checkpoint.audited || packer.add(Record::Audit(line)).is_some() {
                    break 'full;
                }
                archived = number;
            }
        }
        if packer.is_empty() {
            return Ok(());
        }
        let header = Header {
            class: SegmentClass::Audit,
            number: state.next,
            begin: 0,
            part: 0,
            last: false,
            mark: archived,
            link: state.tip.map_or(0, tag_of),
            at: self.clock.now(),
        };
        let extent = ExtentId::fresh()?;
        let segment = packer.encode(header);
        drop(packer);
        let note = |segments: &mut Segments| segments.archived = Some(archived);
        self.put_segments(
            SegmentClass::Audit,
            state.next,
            vec![(extent, segment)],
            Durability::Soon,
            note,
        )
        .await
    }
}

fn packer_of(first: Vec<Record>) -> Packer {
    let mut packer = Packer::default();
    for record in first {
        // A few servers never fill a segment.
        let _fits = packer.add(record);
    }
    packer
}
