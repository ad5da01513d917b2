//! The audit log: lines arrive in the transactions of the changes that they tell of, and are numbered and chained afterwards.
//!
//! So that hundreds of mounts do not wait for one another at the log's end, no change touches it. Whoever reads the log, writes the
//! journal or syncs holds the row of `tail` and takes what has arrived, in the order of its arrival numbers. A transaction that commits late has
//! an arrival number that is smaller than some that were taken before: its line comes after those.

use std::sync::atomic::Ordering;

use warifu_core::ids::VersionNo;
use warifu_core::keys::Field;
use warifu_vault::seam::catalog::AuditRow;

use super::PostgresCatalog;
use super::pool::{ANSWER, Call, Session};
use super::rows::{id, number, unsigned};
use super::write::chain;
use crate::audit::chain_of;
use crate::codec::{decode_entry, encode_entry, sql};
use crate::error::{Outcome, damaged};
use crate::saves::limit;

/// So many lines are taken in one transaction: its row is held for as long as they take to come here and back.
const BATCH: usize = 200;

/// Whether to wait for somebody else who chains at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Whoever wants to see the lines does.
    Wait,
    /// Nobody else has to: he does it as well, and if he falls asleep over it, not all fall asleep with him.
    Skip,
}

impl PostgresCatalog {
    /// Numbers and chains what has arrived before this call.
    pub(super) async fn chain_arrived(&self, turn: Turn) -> Outcome<()> {
        let any = "SELECT EXISTS (SELECT 1 FROM arrived)";
        let found = self.pool.read(any, &[]).await?;
        let waiting = match found.first() {
            Some(row) => row.try_get(0)?,
            None => false,
        };
        if !waiting {
            return Ok(());
        }
        while self
            .pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = self.chain_some(&mut session, turn).await;
                session.end(outcome).await
            })
            .await?
            == BATCH
        {}
        Ok(())
    }

    async fn chain_some(&self, session: &mut Session<'_>, turn: Turn) -> Outcome<usize> {
        let most = limit(BATCH);
        let end = match turn {
            Turn::Wait => "SELECT seq, chain FROM tail WHERE id = 1 FOR UPDATE",
            Turn::Skip => "SELECT seq, chain FROM tail WHERE id = 1 FOR UPDATE SKIP LOCKED",
        };
        let calls: [Call<'_>; 2] = [
            (end, &[]),
            (
                "SELECT arrival, line, sealed, version FROM arrived ORDER BY arrival LIMIT $1",
                &[&most],
            ),
        ];
        let answers = session.query_all(&calls).await?;
        let [tail, arrived] = answers.as_slice() else {
            return Err(damaged("the database answered too little"));
        };
        let tail = match (tail.first(), turn) {
            (Some(tail), _) => tail,
            (None, Turn::Skip) => return Ok(0),
            (None, Turn::Wait) => {
                return Err(damaged(
                    "the catalogue does not say where its audit log ends",
                ));
            }
        };
        if arrived.is_empty() {
            return Ok(0);
        }
        let (mut seq, mut previous) = (number(tail, 0)?, chain(tail, 1)?);
        let first = sql(seq + 1)?;
        let (mut arrivals, mut sealed, mut chains) = (Vec::new(), Vec::new(), Vec::new());
        for row in arrived {
            seq += 1;
            let line = id(row, 1)?;
            let plain = self
                .key
                .open(Field::Audit, &line, row.try_get(2)?)
                .map_err(|_| {
                    damaged(
                        "a line that comes to the audit log does not open under the vault's key",
                    )
                })?;
            let opened = row.try_get::<_, Option<i64>>(3)?;
            let (told, anew) = match opened {
                None => (None, None),
                Some(version) => {
                    let version = VersionNo(unsigned(version)?);
                    let told = encode_entry(&decode_entry(plain.expose())?.of_version(version))?;
                    let anew = self.key.seal(Field::Audit, &line, &told)?;
                    (Some(told), Some(anew))
                }
            };
            let plain = told.as_deref().unwrap_or(plain.expose());
            previous = chain_of(&self.key, &previous, seq, plain);
            arrivals.push(row.try_get::<_, i64>(0)?);
            sealed.push(anew);
            chains.push(previous.to_vec());
        }
        session
            .query(
                "SELECT chain_lines($1, $2, $3, $4)",
                &[&arrivals, &sealed, &first, &chains],
            )
            .await?;
        Ok(arrivals.len())
    }

    pub(super) async fn read_audit(&self, after: u64, most: usize) -> Outcome<Vec<AuditRow>> {
        self.chain_arrived(Turn::Wait).await?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let found = self.pool.read(AUDIT, &[&after, &limit(most)]).await?;
        found.iter().map(|row| self.audit_row(row)).collect()
    }

    pub(super) fn audit_row(&self, row: &tokio_postgres::Row) -> Outcome<AuditRow> {
        let seq = number(row, 0)?;
        let plain = self
            .key
            .open(Field::Audit, &id(row, 1)?, row.try_get(2)?)
            .map_err(|_| {
                damaged(format!(
                    "line {seq} of the audit log does not open under the vault's key"
                ))
            })?;
        Ok(AuditRow {
            seq,
            entry: decode_entry(plain.expose())?,
            chain: chain(row, 3)?,
        })
    }

    /// Makes everything acknowledged safe: a commit of something waits until all that was written before it is on disk. A commit of
    /// nothing waits for nothing, so a message that nobody reads goes into the database's log. Every commit but those of lines that tell of
    /// no change has waited by itself: without such lines there is nothing to do, and every drive asks for it every half second.
    pub(super) async fn do_sync(&self) -> Outcome<()> {
        if !self.unsafe_lines.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let text = "SELECT pg_logical_emit_message(TRUE, 'warifu', '')::text";
        let done = self.pool.write(text, &[]).await;
        if done.is_err() {
            self.unsafe_lines.store(true, Ordering::Release);
        }
        done.map(drop)
    }
}

/// Lines after a number.
pub(super) const AUDIT: &str =
    "SELECT seq, line, sealed, chain FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
