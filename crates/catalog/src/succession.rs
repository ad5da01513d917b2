//! Files that go on with another file's document, so that a document has one history however programs save it.

use rusqlite::{OptionalExtension, params};
use warifu_core::ids::{FileId, VersionNo};
use warifu_vault::node::{Attr, NodeId, NodeKind};
use warifu_vault::seam::catalog::Write;

use crate::error::{Outcome, damaged};
use crate::names::{node, set_document, store};
use crate::writer::Tx;
use crate::{audit, layout, past, read, versions};

pub(crate) fn succeed(
    tx: &Tx<'_>,
    id: NodeId,
    document: FileId,
    spare: FileId,
    write: &Write,
) -> Outcome<Vec<Attr>> {
    let mut heir = node(tx, id)?;
    let last = versions::newest(tx, document)?;
    let able = heir.kind == NodeKind::File && heir.version.0 > 0 && heir.document != document;
    if !able || last.0 == 0 {
        return Ok(Vec::new());
    }
    let former = holder(tx, document)?;
    go_on_in(tx, &mut heir, (document, last), write)?;
    store(tx, &heir)?;
    let mut changed = vec![heir];
    if let Some(mut former) = former {
        go_on_in(tx, &mut former, (spare, VersionNo(0)), write)?;
        store(tx, &former)?;
        changed.push(former);
    }
    audit::record(tx, &write.audit)?;
    Ok(changed)
}

/// The file with a name that has a document.
fn holder(tx: &Tx<'_>, document: FileId) -> Outcome<Option<Attr>> {
    let mut statement = tx.conn().prepare_cached(
        "SELECT id FROM node WHERE document = ?1 AND nlink > 0 ORDER BY id LIMIT 1",
    )?;
    let found: Option<i64> = statement
        .query_row(params![document.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(id) = found else { return Ok(None) };
    let id = u64::try_from(id).map_err(|_| damaged("a node has a negative number"))?;
    node(tx, NodeId(id)).map(Some)
}

/// Makes a file's current version the next one of another document after its `last`.
///
/// Only rows are copied: the extents stay what they are, and say for which document they were dealt.
pub(crate) fn go_on_in(
    tx: &Tx<'_>,
    file: &mut Attr,
    (document, last): (FileId, VersionNo),
    write: &Write,
) -> Outcome<()> {
    let mut version = match read::version(tx.view, file.document, file.version)? {
        Some(version) => version,
        None if file.version.0 == 0 => versions::empty(file, write),
        None => {
            return Err(damaged(format!(
                "version {} of node {} has no row",
                file.version, file.node
            )));
        }
    };
    past::renew(tx, file, write.audit.at)?;
    version.document = document;
    version.number = VersionNo(
        last.0
            .checked_add(1)
            .ok_or_else(|| damaged("a document has the last version there is"))?,
    );
    layout::supersede(tx, version.document, version.number, &version.layout)?;
    versions::insert(tx, &version)?;
    file.document = version.document;
    file.version = version.number;
    set_document(tx, file.node, file.document)
}
