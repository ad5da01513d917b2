//! Many at once: nobody's work gets lost, no line doubled, and no two folders go round in a circle.

use std::collections::BTreeSet;
use std::sync::Arc;

use warifu_catalog::{PostgresCatalog, chain_after};
use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, Generation, Threshold, VersionNo};
use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{Postgres, PostgresOptions, SharedPostgres};
use warifu_vault::node::{Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, CatalogError, Commit, Durability, ExtentRecord, IndexSet, Intent, RenameMode,
};

use crate::common::{key, make, name, new_node, write};
use crate::{login, new_catalog};

async fn several(server: &SharedPostgres, count: usize) -> Vec<Arc<PostgresCatalog>> {
    let (url, first) = new_catalog(server).await;
    let mut all = vec![Arc::new(first)];
    while all.len() < count {
        let next = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
        all.push(Arc::new(next));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_the_log_of_many_processes_is_one_chain_without_gaps() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let catalogs = several(&server, 4).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (number, catalog) in catalogs.iter().enumerate() {
        let catalog = Arc::clone(catalog);
        tasks.spawn(async move {
            for round in 0..20 {
                make(&*catalog, &format!("{number} {round}"), Durability::Soon)
                    .await
                    .unwrap();
                // All of them chain what has arrived, whoever's it is.
                if round % 5 == number {
                    catalog.audit(0, 1).await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    let lines = catalogs[0].audit(0, 1000).await.unwrap();
    assert_eq!(lines.len(), 80);
    let (mut previous, mut told) = ([0; 32], BTreeSet::new());
    for (line, seq) in lines.iter().zip(1..) {
        assert_eq!(line.seq, seq);
        let chain = chain_after(&key(1), &previous, seq, &line.entry).unwrap();
        assert_eq!(line.chain, chain);
        previous = chain;
        assert!(told.insert(line.entry.detail.clone()), "told twice");
    }
    for catalog in &catalogs {
        assert_eq!(catalog.audit(0, 1000).await.unwrap(), lines);
    }
}

/// Each of two folders is moved into the other at the same moment: one of the moves must fail.
#[tokio::test(flavor = "multi_thread")]
async fn moves_of_folders_never_make_a_circle() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let catalogs = several(&server, 2).await;
    for round in 0..20 {
        let folder = async |text: String| {
            catalogs[0]
                .create(
                    NodeId::ROOT,
                    &name(&text),
                    new_node(NodeKind::Dir),
                    write("", Durability::Soon),
                )
                .await
                .unwrap()
                .node
        };
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let (a_node, b_node) = (folder(a.clone()).await, folder(b.clone()).await);
        let (a_name, b_name) = (name(&a), name(&b));
        let into = |catalog: usize, from: &Name, to: NodeId| {
            let from = from.clone();
            let catalog = Arc::clone(&catalogs[catalog]);
            async move {
                catalog
                    .rename(
                        (NodeId::ROOT, &from),
                        (to, &from),
                        RenameMode::Replace,
                        &[],
                        write("", Durability::Soon),
                    )
                    .await
            }
        };
        let (one, other) = tokio::join!(into(0, &a_name, b_node), into(1, &b_name, a_node));
        let done = [&one, &other].iter().filter(|done| done.is_ok()).count();
        assert_eq!(done, 1, "{one:?} {other:?}");
        for node in [a_node, b_node] {
            assert!(catalogs[0].path(node).await.unwrap().is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_removed_gets_no_entry() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let catalogs = several(&server, 2).await;
    for round in 0..20 {
        let text = name(&format!("f{round}"));
        let folder = catalogs[0]
            .create(
                NodeId::ROOT,
                &text,
                new_node(NodeKind::Dir),
                write("", Durability::Soon),
            )
            .await
            .unwrap()
            .node;
        let entry = name("x");
        let (made, removed) = tokio::join!(
            catalogs[0].create(
                folder,
                &entry,
                new_node(NodeKind::File),
                write("", Durability::Soon)
            ),
            catalogs[1].rmdir(NodeId::ROOT, &text, write("", Durability::Soon)),
        );
        match (&made, &removed) {
            (Ok(_), Err(CatalogError::NotEmpty)) | (Err(CatalogError::NotFound { .. }), Ok(())) => {
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What a write and a question cost once everything is prepared: one round trip, whatever is in the catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn warm_calls_take_one_round_trip() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    drop(catalog);
    let proxy = Proxy::to(server.port());
    let url = url.replace(
        &server.port().to_string(),
        &proxy.address().port().to_string(),
    );
    let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    let mut number = 0;
    let mut round = async || {
        number += 1;
        let before = proxy.turns();
        let text = format!("file {number}");
        let node = make(&catalog, &text, Durability::Soon).await.unwrap();
        let mut turns = vec![proxy.turns() - before];
        let mut count = |before: &mut u64| {
            turns.push(proxy.turns() - *before);
            *before = proxy.turns();
        };
        let mut at = proxy.turns();
        catalog.lookup(NodeId::ROOT, &name(&text)).await.unwrap();
        count(&mut at);
        catalog.current(node).await.unwrap();
        count(&mut at);
        catalog.path(node).await.unwrap();
        count(&mut at);
        let (from, to) = (name(&text), name(&format!("{text} renamed")));
        catalog
            .rename(
                (NodeId::ROOT, &from),
                (NodeId::ROOT, &to),
                RenameMode::Replace,
                &[],
                write("", Durability::Soon),
            )
            .await
            .unwrap();
        count(&mut at);
        catalog
            .unlink(NodeId::ROOT, &to, &[], write("", Durability::Soon))
            .await
            .unwrap();
        count(&mut at);
        turns
    };
    round().await;
    assert_eq!(round().await, [1; 6]);
}

/// A file of 100 GB, of which one extent changes: what a save costs does not grow with the square of its places.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_25_000_extents_is_saved() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (_, catalog) = new_catalog(&server).await;
    let node = make(&catalog, "large", Durability::Soon).await.unwrap();
    let document = catalog.attr(node).await.unwrap().unwrap().document;
    let mut layout: Vec<_> = (0..25_000).map(|_| ExtentId::fresh().unwrap()).collect();
    let (mut base, mut dealt) = (None, layout.clone());
    for version in 1..=2 {
        let [save, head] = std::array::from_fn(|_| ExtentId::fresh().unwrap());
        let record = |number: usize, extent, kind| ExtentRecord {
            extent,
            kind,
            number: number as u64,
            len: 4 << 20,
            threshold: Threshold::new(2, 3).unwrap(),
            scheme: Scheme::Shamir,
            generation: Generation(1),
            document,
            version: VersionNo(version),
            owed: IndexSet::EMPTY,
        };
        let intent = Intent {
            save,
            extents: vec![(head, Generation(1))],
        };
        let lease = std::time::Duration::from_secs(600);
        catalog.begin_save(&intent, lease).await.unwrap();
        let at = Timestamp {
            secs: 1,
            nanos: version as u32,
        };
        let mut records = vec![record(0, head, ExtentKind::Head)];
        let data = dealt.iter().enumerate();
        records.extend(data.map(|(number, extent)| record(number, *extent, ExtentKind::Data)));
        let commit = Commit {
            save,
            size: 100 << 30,
            mtime: at,
            saved_at: at,
            author: "佐藤".into(),
            host: "here".into(),
            head: Some(head),
            layout: layout.iter().copied().map(Some).collect(),
            dealt: records,
            settled: true,
        };
        let saved = catalog
            .commit_save(node, base, commit, write("", Durability::Soon))
            .await
            .unwrap();
        base = saved.head;
        let found = catalog.version(document, VersionNo(version)).await.unwrap();
        let found: Vec<_> = found.unwrap().layout.into_iter().flatten().collect();
        assert!(found == layout, "version {version} has another layout");
        layout[4711] = ExtentId::fresh().unwrap();
        dealt = vec![layout[4711]];
    }
}

/// Hundreds of drives are mounted: what each of them needed in a busy moment, it does not keep.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_busy_moment_are_given_up() {
    let Some(server) = Postgres::start(PostgresOptions::default()) else {
        return;
    };
    let catalog = PostgresCatalog::create(login(&server.url("warifu")), key(1)).await;
    let catalog = Arc::new(catalog.unwrap());
    let count = || {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        server.ask(asked).trim().parse::<u64>().unwrap()
    };
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let catalog = Arc::clone(&catalog);
        tasks.spawn(async move {
            let made = make(&*catalog, &format!("{number}"), Durability::Soon).await;
            made.unwrap();
        });
    }
    tasks.join_all().await;
    let busy = count();
    assert!((4..=8).contains(&busy), "{busy}");
    let begun = std::time::Instant::now();
    while count() > 1 {
        assert!(begun.elapsed().as_secs() < 60, "{} stay", count());
        // As a drive looks for what others have changed.
        catalog.attr(NodeId::ROOT).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
