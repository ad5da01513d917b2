//! The bytes of a name that ended (`JOURNAL.md`, kind 11).

use warifu_core::ids::VersionNo;

use super::bytes::{Reader, Writer};
use super::records::{Outcome, SegmentError, document, name, node_kind, node_kind_code};
use crate::node::NodeId;
use crate::seam::past::{End, PastName};

/// What stands behind the key.
pub(super) fn write(to: &mut Writer<'_>, past: &PastName) {
    to.u64(past.parent.0);
    to.bytes(&past.tag);
    to.u64(past.node.0);
    to.u8(node_kind_code(past.kind));
    for number in [past.mode, past.uid, past.gid, past.rdev] {
        to.u32(number);
    }
    to.bytes(past.document.as_bytes());
    to.u64(past.version.0);
    to.time(past.since);
    // A name that has not ended is no row of its own.
    let (until, end) = past.until.unwrap_or((past.since, End::Removed));
    to.time(until);
    to.u8(end.code());
    to.sized(past.name.as_bytes());
    to.sized(&past.target);
}

/// Reads what [`write`] wrote.
pub(super) fn read(id: u64, from: &mut Reader<'_>) -> Outcome<PastName> {
    let (parent, tag, node) = (NodeId(from.u64()?), from.array()?, NodeId(from.u64()?));
    let kind = node_kind(from.u8()?)?;
    let (mode, uid, gid, rdev) = (from.u32()?, from.u32()?, from.u32()?, from.u32()?);
    let (document, version) = (document(from)?, VersionNo(from.u64()?));
    let (since, until) = (from.time()?, from.time()?);
    let end = End::of(from.u8()?).ok_or(SegmentError::Malformed("how a name ended"))?;
    Ok(PastName {
        id,
        parent,
        tag,
        name: name(from)?,
        node,
        kind,
        mode,
        uid,
        gid,
        rdev,
        document,
        version,
        target: from.sized()?.to_vec(),
        since,
        until: Some((until, end)),
    })
}
