//! Two catalogues go through the same random life and must stay alike after every step.

use std::time::Duration;

use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, ShareIndex, Threshold, VersionNo};
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::{AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, Commit, Durability, ExtentRecord, IndexSet, Intent, NewNode, OwedChange, RenameMode,
    Write, XattrMode,
};

use warifu_vault::seam::past::{Forget, PastName, Reinstate};

use super::contract::{Replay, picture};
use crate::world::World;

/// Lets both catalogues (empty, and of the same history) go through `steps` random operations that follow from the world's
/// seed. Panics with the seed and the step when their answers or their pictures differ.
pub async fn compare(reference: &dyn Catalog, subject: &dyn Catalog, world: &World, steps: u64) {
    let seed = world.seed();
    let mut replays = [Replay::default(), Replay::default()];
    for step in 0..steps {
        let nodes = nodes(reference).await;
        let dice = Dice {
            world,
            step,
            nodes: &nodes,
        };
        let (a, b) = (act(reference, dice).await, act(subject, dice).await);
        assert_eq!(a, b, "seed {seed}, step {step}: the answers differ");
        if dice.roll("journal", 5) == 0 {
            // Sometimes what was handed out does not reach the journal, and sometimes it is handed out in parts.
            let limit = [1000, 3][dice.roll("limit", 2) as usize];
            let reaches = dice.roll("reaches", 4) > 0;
            let extent = ExtentId::from_bytes(dice.id("segment"));
            for (catalog, replay) in [reference, subject].into_iter().zip(&mut replays) {
                replay.take(catalog, limit, reaches, extent).await;
            }
        }
        if step % 40 == 39 || step + 1 == steps {
            for (catalog, replay) in [reference, subject].into_iter().zip(&mut replays) {
                let extent = ExtentId::from_bytes(dice.id("last segment"));
                while replay.take(catalog, 1000, true, extent).await {}
                assert_eq!(
                    replay.text(),
                    Replay::of(catalog).await.text(),
                    "seed {seed}, after step {step}: the journal does not tell everything"
                );
            }
            assert_eq!(
                replays[0].text(),
                replays[1].text(),
                "seed {seed}, after step {step}: the rows differ"
            );
        }
        if step % 8 == 7 || step + 1 == steps {
            assert_eq!(
                picture(reference).await,
                picture(subject).await,
                "seed {seed}, after step {step} ({a})"
            );
        }
    }
}

/// The nodes that have a name, folders first, the root left out.
async fn nodes(catalog: &dyn Catalog) -> Vec<NodeId> {
    let (mut dirs, mut others, mut at) = (vec![NodeId::ROOT], Vec::new(), 0);
    while let Some(dir) = dirs.get(at) {
        let entries = catalog
            .list(*dir, None, 1000)
            .await
            .expect("the folder is listed");
        for entry in entries {
            if entry.attr.kind == NodeKind::Dir {
                dirs.push(entry.attr.node)
            } else {
                others.push(entry.attr.node)
            }
        }
        at += 1;
    }
    let mut nodes: Vec<_> = dirs.into_iter().skip(1).collect();
    nodes.sort();
    others.sort();
    nodes.extend(others);
    nodes
}

#[derive(Clone, Copy)]
struct Dice<'a> {
    world: &'a World,
    step: u64,
    nodes: &'a [NodeId],
}

impl Dice<'_> {
    fn roll(&self, what: &str, sides: u64) -> u64 {
        self.world
            .draw(&[what.as_bytes(), &self.step.to_le_bytes()])
            % sides
    }

    /// 16 bytes that are the same for both catalogues.
    fn id(&self, what: &str) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(
            &self
                .world
                .draw(&[what.as_bytes(), b"1", &self.step.to_le_bytes()])
                .to_be_bytes(),
        );
        bytes[8..].copy_from_slice(
            &self
                .world
                .draw(&[what.as_bytes(), b"2", &self.step.to_le_bytes()])
                .to_be_bytes(),
        );
        bytes
    }

    fn name(&self, what: &str) -> Name {
        let text = ["a", "b", "c", "書類", "\u{1F4C4}"][self.roll(what, 5) as usize];
        Name::new(text.as_bytes()).expect("it is a name")
    }

    /// Some node: mostly one that has a name, sometimes one that had or never existed.
    fn node(&self, what: &str) -> NodeId {
        let last = self.nodes.iter().max().map_or(2, |last| last.0);
        match self.nodes.len() as u64 {
            len if len > 0 && self.roll("there", 6) > 0 => {
                self.nodes[self.roll(what, len) as usize]
            }
            _ => NodeId(2 + self.roll(what, last)),
        }
    }

    /// Some folder to do things in: often the root, mostly one that is there.
    fn dir(&self, what: &str) -> NodeId {
        match self.roll(what, 9) {
            0..=2 => NodeId::ROOT,
            side @ 3..=7 => self
                .nodes
                .get(side as usize - 3)
                .copied()
                .unwrap_or(NodeId::ROOT),
            _ => self.node(what),
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp {
            secs: 1_700_000_000 + i64::try_from(self.step).unwrap_or(0),
            nanos: 7,
        }
    }

    /// Now and then by a machine whose clock is behind.
    fn told_at(&self) -> Timestamp {
        let behind = if self.roll("clock", 8) == 0 {
            self.roll("behind", 40)
        } else {
            0
        };
        Timestamp {
            secs: self.at().secs - behind as i64,
            ..self.at()
        }
    }

    fn write(&self) -> Write {
        let context = Context {
            actor: "tester".into(),
            uid: 1,
            gid: 2,
            host: "host".into(),
            program: "model".into(),
            purpose: String::new(),
        };
        let act = Act::ALL[self.roll("act", 16) as usize];
        let audit = AuditEntry {
            at: self.told_at(),
            context,
            act,
            node: Some(self.node("audit")),
            detail: format!("step {}", self.step),
        };
        Write {
            audit,
            durability: if self.roll("durability", 10) == 0 {
                Durability::Now
            } else {
                Durability::Soon
            },
        }
    }

    fn new_node(&self) -> NewNode {
        let kind = match self.roll("kind", 8) {
            0..=3 => NodeKind::File,
            4..=6 => NodeKind::Dir,
            _ => NodeKind::Symlink,
        };
        let document = if kind == NodeKind::File {
            FileId::from_bytes(self.id("document"))
        } else {
            FileId::NIL
        };
        NewNode {
            kind,
            mode: 0o644,
            uid: 3,
            gid: 4,
            rdev: 0,
            target: vec![b't'; self.roll("target", 20) as usize],
            document,
            inherits: false,
            unless: None,
        }
    }
}

/// Does one thing and says what came of it. What is done depends on the dice and on what is read, which is alike in both.
async fn act(catalog: &dyn Catalog, dice: Dice<'_>) -> String {
    let (parent, name) = (dice.dir("parent"), dice.name("name"));
    let node = dice.node("node");
    let (other_parent, other_name) = (dice.dir("other parent"), dice.name("other name"));
    let write = dice.write();
    // All that there can be, or none.
    let open: Vec<NodeId> = match dice.roll("keep", 2) {
        0 => (1..1000).map(NodeId).collect(),
        _ => Vec::new(),
    };
    match if dice.step == 0 {
        0
    } else {
        dice.roll("what", 31)
    } {
        0..=3 => format!(
            "create {:?}",
            catalog
                .create(
                    if dice.step == 0 { NodeId::ROOT } else { parent },
                    &name,
                    dice.new_node(),
                    write
                )
                .await
        ),
        4 => format!("link {:?}", catalog.link(node, parent, &name, write).await),
        5 | 6 => format!(
            "unlink {:?}",
            catalog.unlink(parent, &name, &open, write).await
        ),
        7 => format!("rmdir {:?}", catalog.rmdir(parent, &name, write).await),
        8..=12 => {
            let mode = [
                RenameMode::Replace,
                RenameMode::Replace,
                RenameMode::NoReplace,
                RenameMode::Exchange,
            ][dice.roll("mode", 4) as usize];
            format!(
                "rename {mode:?} {:?}",
                catalog
                    .rename(
                        (parent, &name),
                        (other_parent, &other_name),
                        mode,
                        &open,
                        write
                    )
                    .await
            )
        }
        13 => {
            let change = AttrChange {
                mode: Some(0o600),
                mtime: Some(Timestamp { secs: 5, nanos: 5 }),
                ..AttrChange::default()
            };
            format!(
                "set_attr {:?}",
                catalog.set_attr(node, &change, write).await
            )
        }
        14 => {
            let mode = [XattrMode::Set, XattrMode::Create, XattrMode::Replace]
                [dice.roll("mode", 3) as usize];
            format!(
                "set_xattr {:?}",
                catalog
                    .set_xattr(node, name.as_bytes(), other_name.as_bytes(), mode, write)
                    .await
            )
        }
        15 => format!(
            "remove_xattr {:?}",
            catalog.remove_xattr(node, name.as_bytes(), write).await
        ),
        24 | 25 => {
            let other = dice.node("other");
            let document = match catalog.attr(other).await.expect("a node is read") {
                Some(attr) => attr.document,
                None => FileId::from_bytes(dice.id("document")),
            };
            format!(
                "succeed {:?}",
                catalog
                    .succeed(node, document, FileId::from_bytes(dice.id("spare")), write)
                    .await
            )
        }
        16 => format!("forget {:?}", catalog.forget(node).await),
        17..=20 => save(catalog, dice, write).await,
        26 | 27 => reinstate(catalog, dice, write).await,
        29 | 30 => forget(catalog, dice, write).await,
        28 => {
            let at = Timestamp {
                secs: dice.at().secs - dice.roll("ago", 30) as i64,
                nanos: 7,
            };
            let listed = catalog.list_at(parent, at).await.expect("it is listed");
            let mut names: Vec<String> = listed
                .into_iter()
                .map(without_number)
                .map(|name| format!("{} {name:?}", name.name.as_bytes().escape_ascii()))
                .collect();
            names.sort();
            let last = catalog.last(parent, &name).await;
            let last = last.map(|name| name.map(without_number));
            let of_node = catalog.names_of_node(node).await;
            let mut of_node = of_node.expect("names are read");
            of_node.sort_by_key(order);
            let of_node: Vec<_> = of_node.into_iter().map(without_number).collect();
            format!("past {names:?} {last:?} {of_node:?}")
        }
        21 => {
            let open = catalog.unsettled(3).await.expect("versions are read");
            let versions: Vec<_> = open
                .iter()
                .map(|version| (version.document, version.number))
                .collect();
            format!("settle {versions:?} {:?}", catalog.settle(&versions).await)
        }
        22 => {
            let open = catalog.unsettled(100).await.expect("versions are read");
            let Some(version) = open.get(dice.roll("version", open.len().max(1) as u64) as usize)
            else {
                return "nothing to revert".into();
            };
            format!(
                "revert {:?}",
                catalog
                    .revert(version.document, version.number, write)
                    .await
            )
        }
        _ => {
            let mut extents = catalog.extents(None, 1000).await.expect("extents are read");
            extents.retain(|extent| extent.kind != ExtentKind::Journal);
            let Some(extent) =
                extents.get(dice.roll("extent", extents.len().max(1) as u64) as usize)
            else {
                return "nothing is owed".into();
            };
            let some = |what| -> IndexSet {
                ShareIndex::new(dice.roll(what, 4) as u8)
                    .into_iter()
                    .collect()
            };
            let change = OwedChange {
                extent: extent.extent,
                generation: extent.generation,
                add: some("index"),
                remove: some("paid"),
            };
            let user = catalog.user_of(extent.extent).await;
            format!("owed {:?} {user:?}", catalog.change_owed(&[change]).await)
        }
    }
}

/// The order in which names ended, but for those that ended at once: their numbers are each catalogue's own.
fn order(name: &PastName) -> impl Ord + use<> {
    let until = name.until.map(|(until, _)| until);
    let place = (name.parent, name.name.clone());
    (until.is_none(), until, name.since, place)
}

fn without_number(name: PastName) -> PastName {
    PastName { id: 0, ..name }
}

/// Forgets some versions, of files that are there and of others, and a name.
async fn forget(catalog: &dyn Catalog, dice: Dice<'_>, write: Write) -> String {
    let attributes = catalog.xattrs(NodeId::ROOT).await;
    let attributes = attributes.expect("the root's attributes are read");
    let mut attributes: Vec<Vec<u8>> = attributes.into_iter().map(|(name, _)| name).collect();
    if dice.roll("stale", 8) == 0 {
        attributes.push(b"warifu.hold.one".to_vec());
    }
    let mut ended = catalog.ended(0, 1000).await.expect("names are read");
    ended.sort_by_key(order);
    let name = ended.get(dice.roll("name", ended.len().max(1) as u64) as usize);
    let current = catalog.current(dice.node("forgotten")).await.ok();
    let documents = name
        .map(|name| name.document)
        .into_iter()
        .chain(current.map(|(attr, _)| attr.document));
    let mut versions: Vec<(FileId, VersionNo)> = Vec::new();
    for document in documents {
        let all = catalog.history(document).await.expect("versions are read");
        versions.extend(all.iter().map(|version| (document, version.number)));
    }
    versions.retain(|(_, number)| dice.roll(&format!("version {number}"), 2) == 0);
    let what = Forget {
        versions,
        names: name.map(|name| name.id).into_iter().collect(),
        known_since: dice.roll("known", 3),
        attributes,
        waste: ExtentId::from_bytes(dice.id("waste")),
        lease: Duration::from_secs(60),
    };
    format!("forget {:?}", catalog.forget_versions(what, write).await)
}

/// Makes some earlier version current again: of a file that is there, of one that is not any more, or one that never was.
async fn reinstate(catalog: &dyn Catalog, dice: Dice<'_>, write: Write) -> String {
    let ended = catalog.ended(0, 1000).await.expect("names are read");
    let mut files: Vec<&PastName> = ended
        .iter()
        .filter(|name| name.kind == NodeKind::File)
        .collect();
    files.sort_by_key(|name| order(name));
    let document = files
        .get(dice.roll("ended", files.len().max(1) as u64) as usize)
        .map_or(FileId::from_bytes(dice.id("document")), |name| {
            name.document
        });
    let node = dice.node("reinstated");
    let current = catalog.current(node).await.ok();
    let from = match &current {
        Some((attr, _)) if dice.roll("own", 2) == 0 => attr.document,
        _ => document,
    };
    let from = (from, VersionNo(dice.roll("which", 4)));
    let to = if dice.roll("to", 2) == 0 {
        let new = NewNode {
            kind: NodeKind::File,
            document,
            ..dice.new_node()
        };
        Reinstate::New(dice.dir("parent"), dice.name("name"), new)
    } else {
        Reinstate::Next(node, current.and_then(|(attr, _)| attr.head))
    };
    format!("reinstate {:?}", catalog.reinstate(to, from, write).await)
}

async fn save(catalog: &dyn Catalog, dice: Dice<'_>, write: Write) -> String {
    let node = dice.node("saved");
    let Ok((attr, version)) = catalog.current(node).await else {
        return "nothing to save".into();
    };
    let save = ExtentId::from_bytes(dice.id("save"));
    let intent = Intent {
        save,
        extents: vec![(save, Generation(1))],
    };
    let began = catalog.begin_save(&intent, Duration::from_secs(600)).await;
    let record = |what: &str, kind, number| ExtentRecord {
        extent: ExtentId::from_bytes(dice.id(what)),
        kind,
        number,
        len: 4096,
        threshold: Threshold::new(2, 3).expect("2 of 3 is possible"),
        scheme: Scheme::Shamir,
        generation: Generation(1),
        document: attr.document,
        version: VersionNo(attr.version.0 + 1),
        owed: ShareIndex::new(dice.roll("owed", 4) as u8)
            .into_iter()
            .collect(),
    };
    // The layout before, one place replaced, then cut or made longer with a hole in between.
    let head = record("head", ExtentKind::Head, 0);
    let mut dealt = vec![head.clone()];
    let mut layout = version.map(|version| version.layout).unwrap_or_default();
    if dice.roll("large", 3) > 0 {
        let number = dice.roll("place", 6);
        let data = record("data", ExtentKind::Data, number);
        layout.resize(layout.len().max(number as usize + 1), None);
        layout[number as usize] = Some(data.extent);
        dealt.push(data);
        layout.truncate(1 + dice.roll("cut", 8) as usize);
        if !layout.contains(&dealt.last().map(|data| data.extent)) {
            dealt.pop();
        }
    }
    let stale = dice.roll("stale", 6) == 0;
    let commit = Commit {
        save,
        size: dice.roll("size", 1 << 40),
        mtime: dice.at(),
        saved_at: dice.at(),
        author: "author".into(),
        host: "host".into(),
        head: Some(head.extent),
        layout,
        dealt,
        settled: dice.roll("settled", 2) == 0,
    };
    let base = if stale {
        Some(ExtentId::from_bytes([9; 16]))
    } else {
        attr.head
    };
    let outcome = if dice.roll("new", 6) == 0 {
        let new = NewNode {
            kind: NodeKind::File,
            document: FileId::from_bytes(dice.id("document")),
            ..dice.new_node()
        };
        catalog
            .commit_new(dice.dir("parent"), &dice.name("name"), new, commit, write)
            .await
    } else {
        catalog.commit_save(node, base, commit, write).await
    };
    let ended = if dice.roll("end", 2) == 0 {
        Some(catalog.end_save(save).await)
    } else {
        None
    };
    format!("save {began:?} {outcome:?} {ended:?}")
}
