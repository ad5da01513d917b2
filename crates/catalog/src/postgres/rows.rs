//! Rows as the vault's own types.

use tokio_postgres::Row;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, Threshold, VersionNo};
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::seam::catalog::{ExtentRecord, IndexSet, Version};

use crate::codec::{decode_pair, encode_pair, extent_kind_of, kind_of, scheme_of};
use crate::error::{Outcome, damaged};

/// The columns of a node, as [`attr`] reads them.
macro_rules! node_columns {
    () => {
        "n.id, n.kind, n.mode, n.uid, n.gid, n.nlink, n.rdev, n.size, n.atime, n.atime_ns, n.mtime, n.mtime_ns, \
         n.ctime, n.ctime_ns, n.btime, n.btime_ns, n.document, n.version, n.head"
    };
}

/// The columns of a version, as [`version`] reads them.
macro_rules! version_columns {
    () => {
        "v.document, v.number, v.size, v.mtime, v.mtime_ns, v.saved, v.saved_ns, v.sealed, v.head, v.extents, v.settled"
    };
}

/// The columns of an extent, as [`extent`] reads them.
macro_rules! extent_columns {
    () => {
        "e.id, e.kind, e.number, e.len, e.k, e.n, e.scheme, e.generation, e.document, e.version, e.owed"
    };
}

/// Places and extents of the version `v`, as [`layout`] reads them.
macro_rules! layout_columns {
    () => {
        "CASE WHEN v.extents > 0 THEN ARRAY(SELECT l.no FROM layout l WHERE l.document = v.document AND l.from_version <= v.number \
           AND (l.until_version IS NULL OR l.until_version > v.number) ORDER BY l.no) END, \
         CASE WHEN v.extents > 0 THEN ARRAY(SELECT l.extent FROM layout l WHERE l.document = v.document AND l.from_version <= v.number \
           AND (l.until_version IS NULL OR l.until_version > v.number) ORDER BY l.no) END"
    };
}

pub(super) use {extent_columns, layout_columns, node_columns, version_columns};

/// How many columns a node has.
pub(super) const NODE: usize = 19;
/// How many columns a version has.
pub(super) const VERSION: usize = 11;

/// The most extents in a version, as in SQLite's.
const MOST: u64 = 1 << 24;

/// A number to look something up by. What is too large for the database is nobody's.
pub(super) fn key(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

/// The node in the columns from `at` on.
pub(super) fn attr(row: &Row, at: usize) -> Outcome<Attr> {
    Ok(Attr {
        node: NodeId(number(row, at)?),
        kind: kind_of(row.try_get(at + 1)?)?,
        mode: small(row, at + 2)?,
        uid: small(row, at + 3)?,
        gid: small(row, at + 4)?,
        nlink: small(row, at + 5)?,
        rdev: small(row, at + 6)?,
        size: number(row, at + 7)?,
        atime: time(row, at + 8)?,
        mtime: time(row, at + 10)?,
        ctime: time(row, at + 12)?,
        btime: time(row, at + 14)?,
        document: match row.try_get::<_, Option<&[u8]>>(at + 16)? {
            Some(bytes) => FileId::from_bytes(id_of(bytes)?),
            None => FileId::NIL,
        },
        version: VersionNo(number(row, at + 17)?),
        head: extent_id(row, at + 18)?,
    })
}

/// The extent in the columns from `at` on.
pub(super) fn extent(row: &Row, at: usize) -> Outcome<ExtentRecord> {
    let generation: i64 = row.try_get(at + 7)?;
    let part = |at| -> Outcome<u8> {
        u8::try_from(row.try_get::<_, i64>(at)?).map_err(|_| damaged("a threshold is out of range"))
    };
    Ok(ExtentRecord {
        extent: ExtentId::from_bytes(id(row, at)?),
        kind: extent_kind_of(row.try_get(at + 1)?)?,
        number: number(row, at + 2)?,
        len: number(row, at + 3)?,
        threshold: Threshold::new(part(at + 4)?, part(at + 5)?)
            .map_err(|error| damaged(error.to_string()))?,
        scheme: scheme_of(row.try_get(at + 6)?)?,
        generation: generation_of(generation)?,
        document: FileId::from_bytes(id(row, at + 8)?),
        version: VersionNo(number(row, at + 9)?),
        owed: owed(row, at + 10)?,
    })
}

pub(super) fn generation_of(generation: i64) -> Outcome<Generation> {
    u32::try_from(generation)
        .map(Generation)
        .map_err(|_| damaged("a generation is out of range"))
}

/// A set of owed shares.
pub(super) fn owed(row: &Row, at: usize) -> Outcome<IndexSet> {
    match row.try_get::<_, Option<&[u8]>>(at)? {
        None => Ok(IndexSet::EMPTY),
        Some(bytes) => IndexSet::from_bytes(bytes)
            .ok_or_else(|| damaged("a set of owed shares cannot be read")),
    }
}

/// What the sealed author of a version is bound to. Not to its document and number, which are known only once it is committed, but to
/// what it consists of and when it was saved: so it is right as well where a rename made it another document's.
fn author_row(head: Option<ExtentId>, saved: Timestamp) -> [u8; 28] {
    let mut row = [0; 28];
    let (first, rest) = row.split_at_mut(16);
    if let Some(head) = head {
        first.copy_from_slice(head.as_bytes());
    }
    let (secs, nanos) = rest.split_at_mut(8);
    secs.copy_from_slice(&saved.secs.to_le_bytes());
    nanos.copy_from_slice(&saved.nanos.to_le_bytes());
    row
}

pub(super) fn seal_author(
    key: &CatalogKey,
    head: Option<ExtentId>,
    saved: Timestamp,
    author: &str,
    host: &str,
) -> Outcome<Vec<u8>> {
    let people = encode_pair(author.as_bytes(), host.as_bytes())?;
    Ok(key.seal(Field::Author, &author_row(head, saved), &people)?)
}

/// The version in the columns from `at` on without its layout, and the number of its data extents.
pub(super) fn version(key: &CatalogKey, row: &Row, at: usize) -> Outcome<(Version, u64)> {
    let document = FileId::from_bytes(id(row, at)?);
    let number_ = VersionNo(number(row, at + 1)?);
    let (saved_at, head) = (time(row, at + 5)?, extent_id(row, at + 8)?);
    let sealed: &[u8] = row.try_get(at + 7)?;
    let opened = key
        .open(Field::Author, &author_row(head, saved_at), sealed)
        .map_err(|_| damaged(format!("the author of version {number_} of document {document} does not open under the vault's key")))?;
    let (author, host) = decode_pair(opened.expose())?;
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| damaged("an author is no UTF-8"))
    };
    let version = Version {
        document,
        number: number_,
        size: number(row, at + 2)?,
        mtime: time(row, at + 3)?,
        saved_at,
        author: text(author)?,
        host: text(host)?,
        head,
        settled: row.try_get::<_, i64>(at + 10)? != 0,
        layout: Vec::new(),
    };
    Ok((version, number(row, at + 9)?))
}

/// The version in the columns from `at` on with the layout behind it.
pub(super) fn whole_version(key: &CatalogKey, row: &Row, at: usize) -> Outcome<Version> {
    let (mut found, extents) = version(key, row, at)?;
    found.layout = layout(row, at + VERSION, extents)?;
    Ok(found)
}

fn layout(row: &Row, at: usize, extents: u64) -> Outcome<Vec<Option<ExtentId>>> {
    if extents == 0 {
        return Ok(Vec::new());
    }
    if extents > MOST {
        return Err(damaged(format!("a version of {extents} extents")));
    }
    let mut list =
        vec![None; usize::try_from(extents).map_err(|_| damaged("a version larger than memory"))?];
    let places: Vec<i64> = row.try_get::<_, Option<_>>(at)?.unwrap_or_default();
    let found: Vec<&[u8]> = row.try_get::<_, Option<_>>(at + 1)?.unwrap_or_default();
    for (place, extent) in places.into_iter().zip(found) {
        let place = usize::try_from(place)
            .ok()
            .and_then(|place| list.get_mut(place));
        match place {
            Some(place @ None) => *place = Some(ExtentId::from_bytes(id_of(extent)?)),
            Some(Some(_)) => return Err(damaged("two extents in one place of a version")),
            None => return Err(damaged("an extent behind the end of its version")),
        }
    }
    Ok(list)
}

/// A number that is not negative.
pub(super) fn number(row: &Row, at: usize) -> Outcome<u64> {
    unsigned(row.try_get(at)?)
}

pub(super) fn unsigned(found: i64) -> Outcome<u64> {
    u64::try_from(found)
        .map_err(|_| damaged(format!("a number is {found} where none can be negative")))
}

fn small(row: &Row, at: usize) -> Outcome<u32> {
    let found: i64 = row.try_get(at)?;
    u32::try_from(found).map_err(|_| damaged(format!("a number is {found}, which is out of range")))
}

/// A time in two columns.
pub(super) fn time(row: &Row, at: usize) -> Outcome<Timestamp> {
    Ok(Timestamp {
        secs: row.try_get(at)?,
        nanos: small(row, at + 1)?,
    })
}

pub(super) fn bytes<const N: usize>(found: &[u8]) -> Outcome<[u8; N]> {
    found
        .try_into()
        .map_err(|_| damaged(format!("a field has {} bytes instead of {N}", found.len())))
}

fn id_of(found: &[u8]) -> Outcome<[u8; 16]> {
    bytes(found)
}

/// 16 bytes.
pub(super) fn id(row: &Row, at: usize) -> Outcome<[u8; 16]> {
    id_of(row.try_get(at)?)
}

/// The id of an extent, where there is one.
pub(super) fn extent_id(row: &Row, at: usize) -> Outcome<Option<ExtentId>> {
    row.try_get::<_, Option<&[u8]>>(at)?
        .map(|bytes| id_of(bytes).map(ExtentId::from_bytes))
        .transpose()
}
