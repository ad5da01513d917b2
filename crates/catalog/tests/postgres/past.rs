//! A catalogue of an older schema learns what was, and what was is in order when many work at once.

use std::sync::Arc;

use warifu_catalog::PostgresCatalog;
use warifu_testkit::servers::SharedPostgres;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, Durability, RenameMode};
use warifu_vault::seam::journal::RowKey;
use warifu_vault::seam::past::{KNOWN_SINCE, Past};

use crate::common::{key, make, name, write};
use crate::failing::command;
use crate::{login, new_catalog};

const ROOT: NodeId = NodeId::ROOT;

/// Takes away what came with schema 3 and after it.
pub(crate) const WITHOUT_PAST: &str = "DROP TABLE generation; DROP TABLE past; DROP TABLE position; DROP FUNCTION mark_past();
   DROP FUNCTION begin_name; DROP FUNCTION not_before; DROP FUNCTION end_name; DROP FUNCTION remove_name; DROP FUNCTION renew_names;
   ALTER TABLE entry DROP COLUMN since, DROP COLUMN since_ns; DELETE FROM changed; UPDATE vault SET schema = 2";

/// Each name is as old as what it stands for, and from now on they are told.
#[tokio::test]
async fn p7_a_catalogue_of_schema_2_is_brought_up_to_date() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    assert_eq!(catalog.position(KNOWN_SINCE).await.unwrap(), 0);
    let node = make(&catalog, "x", Durability::Now).await.unwrap();
    let made = catalog.attr(node).await.unwrap().unwrap().btime;
    drop(catalog);
    command(&server, &url, WITHOUT_PAST).await;
    for _ in 0..2 {
        let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
        let names = catalog.list_at(ROOT, made).await.unwrap();
        let [there] = &names[..] else {
            panic!("one name: {names:?}");
        };
        assert_eq!((there.node, there.since, there.until), (node, made, None));
    }
    let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    assert!(catalog.position(KNOWN_SINCE).await.unwrap() > 0);
    let (from, to) = (name("x"), name("y"));
    catalog
        .rename(
            (ROOT, &from),
            (ROOT, &to),
            RenameMode::Replace,
            &[],
            write("moved", Durability::Now),
        )
        .await
        .unwrap();
    let ended = catalog.ended(0, 9).await.unwrap();
    assert_eq!((ended.len(), ended[0].since), (1, made));
    let told = catalog.changes(100).await.unwrap().rows;
    let id = ended[0].id;
    assert!(told.iter().any(|(key, _)| *key == RowKey::Past(id)));
}

/// One name, made, renamed and removed from all sides: its intervals follow each other.
#[tokio::test(flavor = "multi_thread")]
async fn intervals_of_one_name_never_overlap_whoever_changes_it() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let mut workers = Vec::new();
    for worker in 0..4 {
        let other = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
        workers.push(tokio::spawn(async move {
            let (a, b) = (name("a"), name(&format!("b{worker}")));
            for turn in 0..12 {
                let mut write = write(&format!("{worker} {turn}"), Durability::Soon);
                // Of four clocks no two agree.
                write.audit.at.secs += 1000 * worker;
                let _ = make(&other, "a", Durability::Soon).await;
                let done = if turn % 2 == 0 {
                    let to = (ROOT, &b);
                    let moved = other.rename((ROOT, &a), to, RenameMode::Replace, &[], write);
                    moved.await.map(drop)
                } else {
                    other.unlink(ROOT, &a, &[], write).await.map(drop)
                };
                drop(done);
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let mut ended = catalog.ended(0, 10_000).await.unwrap();
    ended.retain(|ended| ended.name == name("a"));
    ended.sort_by_key(|ended| (ended.since, ended.until));
    assert!(ended.len() > 10, "{}", ended.len());
    assert!(
        ended
            .iter()
            .all(|ended| ended.until.unwrap().0 >= ended.since)
    );
    for pair in ended.windows(2) {
        assert!(pair[0].until.unwrap().0 <= pair[1].since, "{pair:?}");
    }
    let catalog: Arc<dyn Catalog> = Arc::new(catalog);
    let last = catalog.last(ROOT, &name("a")).await.unwrap().unwrap();
    let until = ended.last().unwrap().until.unwrap().0;
    assert!(last.until.map_or(last.since, |(until, _)| until) >= until);
}
