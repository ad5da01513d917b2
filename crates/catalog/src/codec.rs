//! How values that SQL does not know are written: as numbers and as bytes.

use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, Generation};
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::{NodeId, NodeKind};

use crate::error::{Outcome, damaged, misuse};

/// A number as SQL keeps it. SQL's own are signed.
pub(crate) fn sql(number: u64) -> Outcome<i64> {
    i64::try_from(number).map_err(|_| {
        misuse(format!(
            "the number {number} is too large for the catalogue"
        ))
    })
}

pub(crate) const fn kind_code(kind: NodeKind) -> i64 {
    match kind {
        NodeKind::File => 1,
        NodeKind::Dir => 2,
        NodeKind::Symlink => 3,
        NodeKind::Fifo => 4,
        NodeKind::Socket => 5,
        NodeKind::CharDevice => 6,
        NodeKind::BlockDevice => 7,
    }
}

pub(crate) fn kind_of(code: i64) -> Outcome<NodeKind> {
    Ok(match code {
        1 => NodeKind::File,
        2 => NodeKind::Dir,
        3 => NodeKind::Symlink,
        4 => NodeKind::Fifo,
        5 => NodeKind::Socket,
        6 => NodeKind::CharDevice,
        7 => NodeKind::BlockDevice,
        other => {
            return Err(damaged(format!(
                "a node is of kind {other}, which does not exist"
            )));
        }
    })
}

pub(crate) fn extent_kind_code(kind: ExtentKind) -> Outcome<i64> {
    Ok(match kind {
        ExtentKind::Head => 1,
        ExtentKind::Data => 2,
        ExtentKind::Journal => 3,
        other => {
            return Err(misuse(format!(
                "extents of kind {other:?} have no code in this schema"
            )));
        }
    })
}

pub(crate) fn extent_kind_of(code: i64) -> Outcome<ExtentKind> {
    Ok(match code {
        1 => ExtentKind::Head,
        2 => ExtentKind::Data,
        3 => ExtentKind::Journal,
        other => {
            return Err(damaged(format!(
                "an extent is of kind {other}, which does not exist"
            )));
        }
    })
}

pub(crate) fn scheme_code(scheme: Scheme) -> Outcome<i64> {
    match scheme {
        Scheme::Shamir => Ok(1),
        Scheme::Compact => Ok(2),
        other => Err(misuse(format!(
            "the scheme {other:?} has no code in this schema"
        ))),
    }
}

pub(crate) fn scheme_of(code: i64) -> Outcome<Scheme> {
    match code {
        1 => Ok(Scheme::Shamir),
        2 => Ok(Scheme::Compact),
        other => Err(damaged(format!(
            "an extent is of scheme {other}, which does not exist"
        ))),
    }
}

/// The extents of an intent, one after another: 16 bytes of id, 4 of generation.
pub(crate) fn extent_list(extents: &[(ExtentId, Generation)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(extents.len() * 20);
    for (extent, generation) in extents {
        bytes.extend_from_slice(extent.as_bytes());
        bytes.extend_from_slice(&generation.0.to_le_bytes());
    }
    bytes
}

/// Adds what [`extent_list`] wrote to `extents`.
pub(crate) fn read_extent_list(
    bytes: &[u8],
    extents: &mut Vec<(ExtentId, Generation)>,
) -> Outcome<()> {
    let mut rest = Bytes(bytes);
    while !rest.0.is_empty() {
        extents.push((
            ExtentId::from_bytes(rest.array()?),
            Generation(u32::from_le_bytes(rest.array()?)),
        ));
    }
    Ok(())
}

/// The first byte of an audit entry's encoding.
const AUDIT_FORMAT: u8 = 1;

/// An audit entry as bytes: format, time, node, numbers, then six texts, each after its length. Little endian.
pub(crate) fn encode_entry(entry: &AuditEntry) -> Outcome<Vec<u8>> {
    if Act::parse(entry.act.as_str()) != Some(entry.act) {
        return Err(misuse(format!(
            "the act {} could not be read back from the log",
            entry.act.as_str()
        )));
    }
    let context = &entry.context;
    let mut bytes = Vec::with_capacity(
        64 + entry.detail.len() + context.actor.len() + context.host.len() + context.program.len(),
    );
    bytes.push(AUDIT_FORMAT);
    bytes.extend_from_slice(&entry.at.secs.to_le_bytes());
    bytes.extend_from_slice(&entry.at.nanos.to_le_bytes());
    bytes.push(u8::from(entry.node.is_some()));
    bytes.extend_from_slice(&entry.node.map_or(0, |node| node.0).to_le_bytes());
    bytes.extend_from_slice(&context.uid.to_le_bytes());
    bytes.extend_from_slice(&context.gid.to_le_bytes());
    for text in [
        entry.act.as_str(),
        &context.actor,
        &context.host,
        &context.program,
        &context.purpose,
        &entry.detail,
    ] {
        push_text(&mut bytes, text.as_bytes())?;
    }
    Ok(bytes)
}

/// Reads what [`encode_entry`] wrote.
pub(crate) fn decode_entry(bytes: &[u8]) -> Outcome<AuditEntry> {
    let mut rest = Bytes(bytes);
    let [format] = rest.array()?;
    if format != AUDIT_FORMAT {
        return Err(damaged(format!(
            "an audit entry has format {format}, this warifu knows {AUDIT_FORMAT}"
        )));
    }
    let at = Timestamp {
        secs: i64::from_le_bytes(rest.array()?),
        nanos: u32::from_le_bytes(rest.array()?),
    };
    let [has_node] = rest.array()?;
    let node = u64::from_le_bytes(rest.array()?);
    let uid = u32::from_le_bytes(rest.array()?);
    let gid = u32::from_le_bytes(rest.array()?);
    let act = rest.text()?;
    let act = Act::parse(&act).ok_or_else(|| {
        damaged(format!(
            "an audit entry tells of the act {act:?}, which this warifu does not know"
        ))
    })?;
    let (actor, host, program) = (rest.text()?, rest.text()?, rest.text()?);
    let (purpose, detail) = (rest.text()?, rest.text()?);
    if !rest.0.is_empty() {
        return Err(damaged("an audit entry is longer than it says"));
    }
    let context = Context {
        actor,
        uid,
        gid,
        host,
        program,
        purpose,
    };
    Ok(AuditEntry {
        at,
        context,
        act,
        node: (has_node == 1).then_some(NodeId(node)),
        detail,
    })
}

/// Two texts in one sealed field: the first after its length, then the second.
pub(crate) fn encode_pair(first: &[u8], second: &[u8]) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4 + first.len() + second.len());
    push_text(&mut bytes, first)?;
    bytes.extend_from_slice(second);
    Ok(bytes)
}

/// Reads what [`encode_pair`] wrote.
pub(crate) fn decode_pair(bytes: &[u8]) -> Outcome<(&[u8], &[u8])> {
    let mut rest = Bytes(bytes);
    let first = rest.run()?;
    Ok((first, rest.0))
}

fn push_text(bytes: &mut Vec<u8>, text: &[u8]) -> Outcome<()> {
    let len = u32::try_from(text.len()).map_err(|_| misuse("a text of more than 4 GiB"))?;
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(text);
    Ok(())
}

/// Bytes still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| damaged("a field is shorter than it says"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        self.take(N)?
            .try_into()
            .map_err(|_| damaged("a field is shorter than it says"))
    }

    fn run(&mut self) -> Outcome<&'a [u8]> {
        let len = usize::try_from(u32::from_le_bytes(self.array()?))
            .map_err(|_| damaged("a field is longer than memory"))?;
        self.take(len)
    }

    fn text(&mut self) -> Outcome<String> {
        String::from_utf8(self.run()?.to_vec()).map_err(|_| damaged("a text is no UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = AuditEntry> {
        let texts = (".*", ".*", ".*", ".*", ".*");
        let numbers = (
            any::<i64>(),
            any::<u32>(),
            any::<Option<u64>>(),
            any::<u32>(),
            any::<u32>(),
            0..Act::ALL.len(),
        );
        (texts, numbers).prop_map(
            |((actor, host, program, purpose, detail), (secs, nanos, node, uid, gid, act))| {
                AuditEntry {
                    at: Timestamp { secs, nanos },
                    context: Context {
                        actor,
                        uid,
                        gid,
                        host,
                        program,
                        purpose,
                    },
                    act: Act::ALL[act],
                    node: node.map(NodeId),
                    detail,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn audit_entries_come_back(entry in entry()) {
            prop_assert_eq!(decode_entry(&encode_entry(&entry).unwrap()).unwrap(), entry);
        }

        #[test]
        fn p10_rubbish_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _any = (decode_entry(&bytes), decode_pair(&bytes), read_extent_list(&bytes, &mut Vec::new()));
        }

        #[test]
        fn p10_cut_entries_are_refused(entry in entry(), part in 0.0..1.0) {
            let bytes = encode_entry(&entry).unwrap();
            let cut = (bytes.len() as f64 * part) as usize;
            prop_assert!(decode_entry(&bytes[..cut]).is_err());
            prop_assert!(decode_entry(&[&bytes[..], b"x"].concat()).is_err());
        }
    }

    /// The bytes are part of every log that was ever written.
    #[test]
    fn audit_format_1_stays_what_it_is() {
        let context = Context {
            actor: "a".into(),
            uid: 1,
            gid: 2,
            host: "h".into(),
            program: "p".into(),
            purpose: "w".into(),
        };
        let at = Timestamp { secs: 3, nanos: 4 };
        let entry = AuditEntry {
            at,
            context,
            act: Act::Save,
            node: Some(NodeId(5)),
            detail: "d".into(),
        };
        let expected =
            b"\x01\x03\0\0\0\0\0\0\0\x04\0\0\0\x01\x05\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\
            \x04\0\0\0save\x01\0\0\0a\x01\0\0\0h\x01\0\0\0p\x01\0\0\0w\x01\0\0\0d";
        assert_eq!(encode_entry(&entry).unwrap(), expected);
    }
}
