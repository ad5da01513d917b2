//! What the journal asks of a catalogue.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::ids::{ExtentId, Generation, ShareIndex, Threshold, VersionNo};
use warifu_vault::node::{AttrChange, NodeId};
use warifu_vault::seam::catalog::{
    Catalog, CatalogError, Durability, ExtentRecord, IndexSet, Intent, OwedChange, RenameMode,
    SaveId, XattrMode,
};
use warifu_vault::seam::generations::Generations;
use warifu_vault::seam::journal::{
    Finished, JOURNAL, Restored, Resume, Row, RowKey, SegmentClass, Segments,
};
use warifu_vault::seam::past::PastName;

use super::lab::{Lab, dir, file, fresh, name, symlink, time};

const ROOT: NodeId = NodeId::ROOT;

/// What a journal tells, put together from what it was handed.
#[derive(Default)]
pub struct Replay(BTreeMap<RowKey, Row>);

impl Replay {
    /// All rows of a catalogue, read page by page.
    pub async fn of(catalog: &dyn Catalog) -> Self {
        let mut rows = BTreeMap::new();
        let mut after = None;
        loop {
            let page = catalog.rows(after, 3).await.expect("rows are read");
            let Some(last) = page.last() else {
                return Self(rows);
            };
            assert!(page.len() <= 3, "a page is no longer than was asked for");
            assert!(after < Some(page[0].key()), "rows come in order");
            after = Some(last.key());
            for row in page {
                assert!(
                    rows.insert(row.key(), row).is_none(),
                    "a row comes only once"
                );
            }
        }
    }

    /// Takes what changed; `reaches` says whether it gets into the journal. Returns whether there is more.
    pub async fn take(
        &mut self,
        catalog: &dyn Catalog,
        limit: usize,
        reaches: bool,
        extent: ExtentId,
    ) -> bool {
        let changes = catalog.changes(limit).await.expect("changes are read");
        assert!(changes.rows.len() <= limit && changes.audit.len() <= limit);
        if !reaches || (changes.rows.is_empty() && changes.audit.is_empty()) {
            return false;
        }
        let save = begin(catalog, &[extent]).await;
        let segments = Segments {
            mark: Some(changes.mark),
            audited: changes.audit.last().map(|row| row.seq),
            ..segments(save, changes.next, SegmentClass::Changes, &[extent])
        };
        let done = catalog.journalled(segments, Durability::Soon).await;
        if matches!(done, Err(CatalogError::Failed { .. })) {
            // The same extent once more: the model draws one for each step only.
            catalog.end_save(save).await.expect("an intent is ended");
            return Box::pin(self.take(catalog, limit, true, fresh_from(extent))).await;
        }
        done.expect("it is the next one");
        for (key, row) in changes.rows {
            match row {
                Some(row) => {
                    assert_eq!(row.key(), key);
                    self.0.insert(key, row);
                }
                None => drop(self.0.remove(&key)),
            }
        }
        changes.more
    }

    /// The rows as text, without the tags that each catalogue chooses for itself, the times at which it was made, and which
    /// shares are owed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .0
            .values()
            .map(|row| match row {
                Row::Node(attr) if attr.node == ROOT => {
                    let mut attr = attr.clone();
                    (attr.btime, attr.atime) = (time(0), time(0));
                    format!("{attr:?}")
                }
                Row::Node(attr) => format!("{attr:?}"),
                Row::Entry {
                    parent,
                    name,
                    node,
                    since,
                    ..
                } => format!("{parent} {:?} {node} {since:?}", name.as_bytes()),
                Row::Past(past) => {
                    // Of names that end at once, each catalogue chooses which has the lower number.
                    let past = without_number(past);
                    let owner = (past.mode, past.uid, past.gid, past.rdev, past.document);
                    let name = past.name.as_bytes();
                    format!(
                        "{name:?} {past:?} {:?} {owner:?} {:?}",
                        past.kind, past.target
                    )
                }
                Row::Link { node, target } => format!("{node} to {target:?}"),
                Row::Xattr {
                    node, name, value, ..
                } => format!("{node} has {name:?} {value:?}"),
                Row::Version(version, places) => format!("{version:?} {places}"),
                Row::Layout {
                    document,
                    place,
                    from,
                    until,
                    extent,
                } => format!("{document} {place} {from} {until:?} {extent}"),
                // What is owed is told as it was when the row was: it may have been paid since.
                Row::Extent(record) => {
                    let mut record = record.clone();
                    record.owed = IndexSet::EMPTY;
                    format!("{record:?}")
                }
            })
            .collect();
        lines.sort();
        lines.into_iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{line}").expect("text can be written");
            text
        })
    }
}

/// A name that ended, but for its number.
pub(super) fn without_number(name: &PastName) -> PastName {
    PastName {
        id: 0,
        ..name.clone()
    }
}

fn fresh_from(extent: ExtentId) -> ExtentId {
    let mut bytes = *extent.as_bytes();
    for byte in &mut bytes {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    ExtentId::from_bytes(bytes)
}

async fn begin(catalog: &dyn Catalog, extents: &[ExtentId]) -> SaveId {
    let save = fresh();
    let extents = extents
        .iter()
        .map(|extent| (*extent, Generation(1)))
        .collect();
    let intent = Intent { save, extents };
    let begun = catalog.begin_save(&intent, Duration::from_secs(600)).await;
    begun.expect("a save begins");
    save
}

fn segments(save: SaveId, next: u64, class: SegmentClass, extents: &[ExtentId]) -> Segments {
    let record = |(version, extent): (u64, &ExtentId)| ExtentRecord {
        extent: *extent,
        kind: ExtentKind::Journal,
        number: class.number(),
        len: 4096,
        threshold: Threshold::new(2, 3).expect("2 of 3 is possible"),
        scheme: Scheme::Shamir,
        generation: Generation(1),
        document: JOURNAL,
        version: VersionNo(version),
        owed: IndexSet::EMPTY,
    };
    Segments {
        save,
        extents: (next..).zip(extents).map(record).collect(),
        mark: None,
        audited: None,
        archived: None,
        finished: None,
    }
}

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    p7_changes_tell_everything(fresh()).await;
    p7_a_row_that_changes_again_waits_again(fresh()).await;
    what_is_owed_is_no_change(fresh()).await;
    p7_only_one_writes_a_segment(fresh()).await;
    segments_are_kept_like_any_extent(fresh()).await;
    p7_a_checkpoint_makes_what_was_before_it_useless(fresh()).await;
    p7_an_empty_catalogue_is_filled(fresh(), fresh()).await;
    p7_the_last_segment_is_known(fresh()).await;
    p7_what_a_rebuild_left_undecided_stays_so(fresh()).await;
    what_is_not_empty_is_not_filled(fresh()).await;
}

async fn furnish(lab: &Lab) {
    let offices = lab.make(ROOT, "福祉部", dir()).await.node;
    let large = lab.make(offices, "large", file()).await.node;
    let (one, two, three) = (
        super::lab::fresh(),
        super::lab::fresh(),
        super::lab::fresh(),
    );
    lab.save_extents(large, 9 << 20, &[Some(one), None, Some(two)], &[one, two])
        .await;
    lab.save_extents(large, 5 << 20, &[Some(three), None], &[three])
        .await;
    lab.make(offices, "link", symlink(b"../elsewhere")).await;
    let small = lab.make(ROOT, "small", file()).await.node;
    lab.save(small, 10).await;
    lab.done(
        lab.catalog
            .link(small, offices, &name("second"), lab.write()),
    )
    .await;
    lab.done(
        lab.catalog
            .set_xattr(small, b"user.note", b"value", XattrMode::Set, lab.write()),
    )
    .await;
    let gone = lab.make(offices, "gone", file()).await.node;
    lab.save(gone, 3).await;
    lab.done(lab.catalog.unlink(offices, &name("gone"), &[], lab.write()))
        .await;
    lab.make(offices, "old", symlink(b"before")).await;
    let moved = lab.rename(
        (offices, "old"),
        (ROOT, "elsewhere"),
        RenameMode::Replace,
        false,
    );
    moved.await.expect("it is moved");
}

async fn p7_changes_tell_everything(lab: Lab) {
    let mut replay = Replay::default();
    while replay.take(&*lab.catalog, 1000, true, fresh()).await {}
    furnish(&lab).await;
    while replay.take(&*lab.catalog, 2, true, fresh()).await {}
    let all = Replay::of(&*lab.catalog).await;
    assert_eq!(replay.text(), all.text());
    assert_eq!(lab.catalog.journal().await.unwrap().waiting, 0);
    let state = lab.catalog.journal().await.unwrap();
    assert_eq!(state.audited, lab.log_len().await, "the log is in it");

    // What goes away is told too, and a change of one thing is told alone.
    let small = lab.at(ROOT, "small").await.unwrap();
    let change = AttrChange {
        mode: Some(0o600),
        ..AttrChange::default()
    };
    lab.done(lab.catalog.set_attr(small, &change, lab.write()))
        .await;
    lab.done(lab.catalog.remove_xattr(small, b"user.note", lab.write()))
        .await;
    let changes = lab.catalog.changes(100).await.unwrap();
    assert_eq!(changes.rows.len(), 2, "{:?}", changes.rows);
    assert_eq!(changes.audit.len(), 2);
    assert!(!changes.more);
    while replay.take(&*lab.catalog, 1000, true, fresh()).await {}
    assert_eq!(replay.text(), Replay::of(&*lab.catalog).await.text());
    let nothing = lab.catalog.changes(100).await.unwrap();
    assert!(nothing.rows.is_empty() && nothing.audit.is_empty() && !nothing.more);
    assert!(lab.catalog.rows(None, 0).await.unwrap().is_empty());
}

async fn p7_a_row_that_changes_again_waits_again(lab: Lab) {
    let node = lab.make(ROOT, "a", file()).await.node;
    let first = lab.catalog.changes(1000).await.unwrap();
    let to = |mode| AttrChange {
        mode: Some(mode),
        ..AttrChange::default()
    };
    for mode in [0o601, 0o602] {
        lab.done(lab.catalog.set_attr(node, &to(mode), lab.write()))
            .await;
    }
    let extent = fresh();
    let save = begin(&*lab.catalog, &[extent]).await;
    let written = Segments {
        mark: Some(first.mark),
        ..segments(save, first.next, SegmentClass::Changes, &[extent])
    };
    lab.catalog
        .journalled(written, Durability::Soon)
        .await
        .unwrap();
    let second = lab.catalog.changes(1000).await.unwrap();
    assert_eq!(second.rows.len(), 1, "changed twice, told once");
    let Some((RowKey::Node(told), Some(Row::Node(attr)))) = second.rows.first() else {
        panic!("it is the node: {:?}", second.rows);
    };
    assert_eq!((*told, attr.mode), (node, 0o602));
    assert!(second.mark > first.mark, "marks never get smaller");
    assert_eq!(second.next, first.next + 1);
    assert_eq!(second.audit.len(), 3, "no line was told to be in it");
}

/// A rebuild finds out from the servers what is owed: each late answer and each repair would call for a segment otherwise.
async fn what_is_owed_is_no_change(lab: Lab) {
    let file = lab.make(ROOT, "a", file()).await.node;
    let extent = fresh();
    lab.save_extents(file, 4 << 20, &[Some(extent)], &[extent])
        .await;
    let set = |index| -> IndexSet { ShareIndex::new(index).into_iter().collect() };
    let change = |add, remove| OwedChange {
        extent,
        generation: Generation(1),
        add,
        remove,
    };
    let told = async || {
        let changes = lab.catalog.changes(1000).await.unwrap();
        changes.rows.into_iter().find_map(|(_, row)| match row {
            Some(Row::Extent(record)) if record.extent == extent => Some(record.owed),
            _ => None,
        })
    };
    lab.catalog
        .change_owed(&[change(set(2), IndexSet::EMPTY)])
        .await
        .unwrap();
    assert_eq!(told().await, Some(set(2)), "a new row is told as it is");
    let mut replay = Replay::default();
    while replay.take(&*lab.catalog, 1000, true, fresh()).await {}
    for (add, remove) in [(IndexSet::EMPTY, set(2)), (set(3), IndexSet::EMPTY)] {
        lab.catalog
            .change_owed(&[change(add, remove)])
            .await
            .unwrap();
        assert_eq!(lab.catalog.journal().await.unwrap().waiting, 0);
        assert_eq!(told().await, None);
    }
    let owed = lab.catalog.extent(extent).await.unwrap().unwrap().owed;
    assert_eq!(owed, set(3), "the catalogue itself knows");
    // A checkpoint tells every row as it is.
    let rows = Replay::of(&*lab.catalog).await.0;
    assert!(
        rows.values()
            .any(|row| matches!(row, Row::Extent(record) if record.owed == set(3)))
    );
}

async fn p7_only_one_writes_a_segment(lab: Lab) {
    lab.make(ROOT, "a", file()).await;
    let changes = lab.catalog.changes(1000).await.unwrap();
    let (ours, theirs) = (fresh(), fresh());
    let (our_save, their_save) = (
        begin(&*lab.catalog, &[ours]).await,
        begin(&*lab.catalog, &[theirs]).await,
    );
    let of = |save, extent| Segments {
        mark: Some(changes.mark),
        audited: changes.audit.last().map(|row| row.seq),
        ..segments(save, changes.next, SegmentClass::Changes, &[extent])
    };
    lab.catalog
        .journalled(of(their_save, theirs), Durability::Soon)
        .await
        .unwrap();
    let error = lab
        .refused(lab.catalog.journalled(of(our_save, ours), Durability::Soon))
        .await;
    let next = changes.next + 1;
    assert!(
        matches!(error, CatalogError::Conflict { current } if current.0 == next),
        "{error}"
    );
    assert!(lab.catalog.end_save(our_save).await.unwrap());
    let lapsed = Segments {
        save: our_save,
        ..segments(our_save, next, SegmentClass::Changes, &[ours])
    };
    let error = lab
        .refused(lab.catalog.journalled(lapsed, Durability::Soon))
        .await;
    assert!(matches!(error, CatalogError::Lapsed), "{error}");
}

async fn segments_are_kept_like_any_extent(lab: Lab) {
    let extent = fresh();
    let save = begin(&*lab.catalog, &[extent]).await;
    let mut written = segments(save, 1, SegmentClass::Changes, &[extent]);
    let owed: IndexSet = ShareIndex::new(2).into_iter().collect();
    written.extents[0].owed = owed;
    let record = written.extents[0].clone();
    let generation = record.generation;
    lab.catalog
        .journalled(written, Durability::Now)
        .await
        .unwrap();
    let found = lab.catalog.extent(extent).await.unwrap();
    assert_eq!(found, Some(record.clone()));
    assert_eq!(
        lab.catalog.extents(None, 9).await.unwrap(),
        std::slice::from_ref(&record)
    );
    assert_eq!(lab.catalog.owed(None, 9).await.unwrap(), [record]);
    assert_eq!(
        lab.catalog.user_of(extent).await.unwrap(),
        Some((None, JOURNAL, VersionNo(1)))
    );
    let before = lab.catalog.journal().await.unwrap().waiting;
    let paid = OwedChange {
        extent,
        generation,
        add: IndexSet::EMPTY,
        remove: owed,
    };
    lab.catalog.change_owed(&[paid]).await.unwrap();
    let state = lab.catalog.journal().await.unwrap();
    assert_eq!(
        state.waiting, before,
        "the journal does not tell of itself: it would never end"
    );
    assert_eq!((state.next, state.changes, state.checkpoints), (2, 4096, 0));
    assert!(state.whole);
    let all = Replay::of(&*lab.catalog).await;
    assert!(all.0.keys().all(|key| !matches!(key, RowKey::Extent(_))));
}

async fn p7_a_checkpoint_makes_what_was_before_it_useless(lab: Lab) {
    let old: Vec<ExtentId> = (0..4).map(|_| fresh()).collect();
    let classes = [
        SegmentClass::Changes,
        SegmentClass::Checkpoint,
        SegmentClass::Audit,
        SegmentClass::Changes,
    ];
    for (next, (extent, class)) in (1..).zip(old.iter().zip(classes)) {
        let save = begin(&*lab.catalog, &[*extent]).await;
        let written = segments(save, next, class, &[*extent]);
        let waste = lab.catalog.journalled(written, Durability::Soon).await;
        assert_eq!(waste.unwrap(), None);
    }
    let (part, meanwhile, last, waste) = (fresh(), fresh(), fresh(), fresh());
    for (next, extent, class) in [
        (5, part, SegmentClass::Checkpoint),
        (6, meanwhile, SegmentClass::Changes),
    ] {
        let save = begin(&*lab.catalog, &[extent]).await;
        let written = segments(save, next, class, &[extent]);
        lab.catalog
            .journalled(written, Durability::Soon)
            .await
            .unwrap();
    }
    let save = begin(&*lab.catalog, &[last]).await;
    let finished = |parts| Segments {
        archived: Some(0),
        finished: Some(Finished {
            begin: 5,
            parts,
            waste,
            lease: Duration::from_secs(600),
        }),
        ..segments(save, 7, SegmentClass::Checkpoint, &[last])
    };
    let error = lab
        .refused(
            lab.catalog
                .journalled(finished(vec![part, fresh()]), Durability::Now),
        )
        .await;
    assert!(matches!(error, CatalogError::NotFound { .. }), "{error}");
    let intent = lab
        .catalog
        .journalled(finished(vec![part]), Durability::Now)
        .await
        .unwrap()
        .expect("there was something before it");
    assert_eq!(intent.save, waste);
    let mut gone: Vec<ExtentId> = intent.extents.iter().map(|(extent, _)| *extent).collect();
    gone.sort();
    let mut expected = vec![old[0], old[1], old[3]];
    expected.sort();
    assert_eq!(gone, expected, "the audit log's own segments stay");
    let mut left: Vec<ExtentId> = lab
        .catalog
        .extents(None, 99)
        .await
        .unwrap()
        .iter()
        .map(|record| record.extent)
        .collect();
    left.sort();
    let mut expected = vec![old[2], part, meanwhile, last];
    expected.sort();
    assert_eq!(left, expected);
    assert!(lab.catalog.end_save(waste).await.unwrap(), "as an intent");
}

async fn restored(catalog: &dyn Catalog) -> Vec<Restored> {
    let mut rows: Vec<Row> = Replay::of(catalog).await.0.into_values().collect();
    // Versions come back in the order in which they are given.
    rows.sort_by_key(|row| match row {
        Row::Version(version, _) => Some((version.saved_at.secs, version.saved_at.nanos)),
        _ => None,
    });
    let mut all: Vec<Restored> = rows.into_iter().map(Restored::Row).collect();
    let log = catalog.audit(0, 100_000).await.unwrap();
    all.extend(log.into_iter().map(Restored::Audit));
    all
}

async fn p7_an_empty_catalogue_is_filled(from: Lab, to: Lab) {
    furnish(&from).await;
    let rows = restored(&*from.catalog).await;
    let last_node = NodeId(1000);
    let resume = Resume {
        next: 77,
        tip: None,
        undecided: false,
        archived: 4,
        last_node,
        generations: Generations {
            current: Generation(7),
            wanted: Generation(5),
            begun: Some(time(11)),
            ended: None,
        },
    };
    to.catalog
        .restore(Box::new(rows.into_iter()), resume)
        .await
        .unwrap();
    assert_eq!(from.picture().await, to.picture().await);
    let (before, after) = (
        from.catalog.audit(0, 1000).await.unwrap(),
        to.catalog.audit(0, 1000).await.unwrap(),
    );
    assert_eq!(before, after, "with their chain");
    let state = to.catalog.journal().await.unwrap();
    assert_eq!((state.next, state.archived, state.waiting), (77, 4, 0));
    assert_eq!(state.audited, from.log_len().await);
    assert!(!state.whole, "a checkpoint must come first");
    let generations = to.catalog.generations().await.unwrap();
    assert_eq!(generations, resume.generations);

    // Work goes on, and what changes is told.
    let new = to.make(ROOT, "new", file()).await.node;
    assert!(new > last_node, "no number of a node is used again");
    let renamed = to
        .rename((ROOT, "new"), (ROOT, "small"), RenameMode::Replace, false)
        .await;
    renamed.unwrap();
    let lines = to.catalog.audit(state.audited - 1, 2).await.unwrap();
    let [last, next] = &lines[..] else {
        panic!("two lines: {lines:?}");
    };
    let chain = (to.chain)(&last.chain, next.seq, &next.entry);
    assert_eq!(next.chain, chain, "the chain goes on from the old log's");
    assert!(to.catalog.changes(100).await.unwrap().rows.len() > 2);
}

/// The next segment is linked to it, so it must be of the same moment as the next one's number.
async fn p7_the_last_segment_is_known(lab: Lab) {
    assert_eq!(lab.catalog.journal().await.unwrap().tip, None);
    let extents: Vec<ExtentId> = (0..3).map(|_| fresh()).collect();
    for (next, of) in [(1, &extents[..2]), (3, &extents[2..])] {
        let save = begin(&*lab.catalog, of).await;
        let written = segments(save, next, SegmentClass::Changes, of);
        lab.catalog
            .journalled(written, Durability::Soon)
            .await
            .unwrap();
        let last = of.last().copied();
        assert_eq!(lab.catalog.journal().await.unwrap().tip, last);
        let changes = lab.catalog.changes(10).await.unwrap();
        assert_eq!((changes.next, changes.tip), (next + of.len() as u64, last));
    }
}

async fn p7_what_a_rebuild_left_undecided_stays_so(lab: Lab) {
    let tip = Some(fresh());
    let resume = Resume {
        next: 9,
        tip,
        undecided: true,
        archived: 0,
        last_node: ROOT,
        generations: Generations {
            current: Generation(7),
            wanted: Generation(5),
            begun: Some(time(11)),
            ended: None,
        },
    };
    lab.catalog
        .restore(Box::new(std::iter::empty()), resume)
        .await
        .unwrap();
    let state = lab.catalog.journal().await.unwrap();
    assert_eq!((state.tip, state.undecided), (tip, true));
    let lines = lab.log_len().await;
    for again in 1..3 {
        lab.catalog.decide(lab.write()).await.unwrap();
        let state = lab.catalog.journal().await.unwrap();
        assert_eq!((state.tip, state.undecided), (tip, false));
        assert_eq!(lab.log_len().await, lines + again, "and it is written down");
    }
}

async fn what_is_not_empty_is_not_filled(lab: Lab) {
    lab.make(ROOT, "a", file()).await;
    let resume = Resume {
        next: 1,
        tip: None,
        undecided: false,
        archived: 0,
        last_node: ROOT,
        generations: Generations {
            current: Generation(7),
            wanted: Generation(5),
            begun: Some(time(11)),
            ended: None,
        },
    };
    let nothing = Box::new(std::iter::empty());
    let error = lab.refused(lab.catalog.restore(nothing, resume)).await;
    assert!(matches!(error, CatalogError::Exists), "{error}");
}
