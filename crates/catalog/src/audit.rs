//! The audit log: each line sealed, numbered without gaps, and chained to the one before.

use rusqlite::{OptionalExtension, params};
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::context::AuditEntry;
use warifu_vault::seam::catalog::{AuditRow, CatalogError};

use crate::codec::{decode_entry, encode_entry, sql};
use crate::error::{Outcome, damaged};
use crate::readers::View;
use crate::rows::number;
use crate::writer::Tx;

/// The last line of the log.
#[derive(Clone, Copy)]
pub(crate) struct Tail {
    seq: u64,
    chain: [u8; 32],
}

/// The chain value that a line must have after the one before it (32 zero bytes before the first): a keyed hash over that
/// value, the line's number and its plain bytes. Whoever has the key can check the log with it, and nobody else can forge it.
///
/// # Errors
/// [`CatalogError::Failed`] for an entry that cannot be written.
pub fn chain_after(
    key: &CatalogKey,
    previous: &[u8; 32],
    seq: u64,
    entry: &AuditEntry,
) -> Result<[u8; 32], CatalogError> {
    Ok(chain_of(key, previous, seq, &encode_entry(entry)?))
}

pub(crate) fn chain_of(key: &CatalogKey, previous: &[u8; 32], seq: u64, plain: &[u8]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(8 + plain.len());
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(plain);
    key.chain(previous, &bytes)
}

/// Adds a line, in the transaction of the change that it tells of.
pub(crate) fn record(tx: &Tx<'_>, entry: &AuditEntry) -> Outcome<()> {
    let tail = match tx.tail.get() {
        Some(tail) => tail,
        None => last(tx)?,
    };
    let seq = tail
        .seq
        .checked_add(1)
        .ok_or_else(|| damaged("the audit log has a line with the last number there is"))?;
    let plain = encode_entry(entry)?;
    let chain = chain_of(tx.key(), &tail.chain, seq, &plain);
    let sealed = tx.key().seal(Field::Audit, &seq.to_le_bytes(), &plain)?;
    tx.run(
        "INSERT INTO audit (seq, sealed, chain) VALUES (?1, ?2, ?3)",
        params![sql(seq)?, sealed, chain],
    )?;
    tx.tail.set(Some(Tail { seq, chain }));
    Ok(())
}

fn last(tx: &Tx<'_>) -> Outcome<Tail> {
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT seq, chain FROM audit ORDER BY seq DESC LIMIT 1")?;
    let found = statement
        .query_row([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?))
        })
        .optional()?;
    let Some((seq, chain)) = found else {
        return Ok(Tail {
            seq: 0,
            chain: [0; 32],
        });
    };
    Ok(Tail {
        seq: u64::try_from(seq)
            .map_err(|_| damaged("a line of the audit log has a negative number"))?,
        chain,
    })
}

/// Lines after a number.
pub(crate) fn list(view: View<'_>, after: u64, limit: i64) -> Outcome<Vec<AuditRow>> {
    let mut statement = view.conn.prepare_cached(
        "SELECT seq, sealed, chain FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(params![i64::try_from(after).unwrap_or(i64::MAX), limit])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = number(row, 0)?;
        let sealed: Vec<u8> = row.get(1)?;
        let plain = view
            .key
            .open(Field::Audit, &seq.to_le_bytes(), &sealed)
            .map_err(|_| {
                damaged(format!(
                    "line {seq} of the audit log does not open under the vault's key"
                ))
            })?;
        lines.push(AuditRow {
            seq,
            entry: decode_entry(plain.expose())?,
            chain: row.get(2)?,
        });
    }
    Ok(lines)
}
