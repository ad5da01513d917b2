//! The catalogue's file: made, opened, refused; and what lies in it in the clear.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{key, make, name, new_catalog, new_node, write};
use rusqlite::Connection;
use warifu_catalog::{MoveId, SqliteCatalog};
use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, Generation, Threshold, VersionNo};
use warifu_vault::node::{NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, CatalogError, Commit, Durability, ExtentRecord, IndexSet, Intent, NewNode, XattrMode,
};
use warifu_vault::seam::past::Past as _;

const ROOT: NodeId = NodeId::ROOT;

fn damage(path: &Path, sql: &str) {
    let changed = Connection::open(path).unwrap().execute(sql, []).unwrap();
    assert!(changed > 0, "{sql} changes something");
}

fn damaged<T: std::fmt::Debug>(outcome: Result<T, CatalogError>) -> String {
    match outcome {
        Err(CatalogError::Damaged { detail }) => detail,
        other => panic!("not found damaged: {other:?}"),
    }
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let (dir, catalog) = new_catalog();
    make(&catalog, "x", Durability::Soon).await.unwrap();
    catalog.attr(ROOT).await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o7777,
            0o600,
            "{:?}",
            file.file_name()
        );
        files += 1;
    }
    assert_eq!(files, 3, "the file, its log, the log's index");
}

#[tokio::test]
async fn what_is_there_is_not_made_again_and_what_is_not_is_not_opened() {
    let (dir, catalog) = new_catalog();
    let path = dir.path().join("catalog.db");
    assert!(matches!(
        SqliteCatalog::create(&path, key(1)),
        Err(CatalogError::Exists)
    ));
    drop(catalog);
    assert!(matches!(
        SqliteCatalog::create(&path, key(1)),
        Err(CatalogError::Exists)
    ));
    let nowhere = dir.path().join("nowhere.db");
    assert!(matches!(
        SqliteCatalog::open(&nowhere, key(1)),
        Err(CatalogError::NotFound { .. })
    ));
    assert!(!nowhere.exists());
    let no_folder = dir.path().join("no folder").join("catalog.db");
    assert!(matches!(
        SqliteCatalog::create(&no_folder, key(1)),
        Err(CatalogError::Failed { .. })
    ));
}

#[tokio::test]
async fn another_vaults_key_does_not_open_it() {
    let (dir, catalog) = new_catalog();
    make(&catalog, "x", Durability::Now).await.unwrap();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    let detail = damaged(SqliteCatalog::open(&path, key(2)));
    assert!(
        detail.contains("does not open under this vault's key"),
        "{detail}"
    );
    SqliteCatalog::open(&path, key(1)).unwrap();
}

#[tokio::test]
async fn a_newer_catalogue_is_refused_and_left_alone() {
    let (dir, catalog) = new_catalog();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    damage(&path, "UPDATE vault SET schema = 8");
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(
        SqliteCatalog::open(&path, key(1)),
        Err(CatalogError::Newer { found: 8, known: 7 })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn p10_what_is_no_catalogue_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    for contents in [b"".to_vec(), b"hello".to_vec(), vec![7; 100_000]] {
        std::fs::write(&path, contents).unwrap();
        damaged(SqliteCatalog::open(&path, key(1)));
    }
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE other (x)")
        .unwrap();
    damaged(SqliteCatalog::open(&path, key(1)));
}

/// Every kind of row, damaged in every column that could mislead: found, named, and never a panic.
#[tokio::test]
async fn p10_damaged_rows_are_found() {
    let (dir, catalog) = new_catalog();
    let path = dir.path().join("catalog.db");
    let node = furnish(&catalog).await;
    let document = catalog.attr(node).await.unwrap().unwrap().document;
    drop(catalog);
    let whole = std::fs::read(&path).unwrap();
    let open = || SqliteCatalog::open(&path, key(1)).unwrap();

    let attr_damage = [
        "UPDATE node SET kind = 99",
        "UPDATE node SET nlink = -1",
        "UPDATE node SET mode = 99999999999",
        "UPDATE node SET size = -5",
        "UPDATE node SET atime_ns = -1",
        "UPDATE node SET head = x'0102' WHERE head IS NOT NULL",
        "UPDATE node SET document = 'text' WHERE document IS NOT NULL",
        "UPDATE node SET mtime = 'yesterday'",
    ];
    for sql in attr_damage {
        std::fs::write(&path, &whole).unwrap();
        damage(&path, sql);
        damaged(open().attr(node).await);
    }
    let version_damage = [
        "UPDATE version SET sealed = zeroblob(100)",
        "UPDATE version SET sealed = x''",
        "UPDATE version SET extents = 9999999999",
        "UPDATE version SET extents = 1",
        "UPDATE version SET number = 2",
        "UPDATE layout SET extent = x'01'",
        "DELETE FROM version",
    ];
    for sql in version_damage {
        std::fs::write(&path, &whole).unwrap();
        damage(&path, sql);
        damaged(open().current(node).await);
    }
    for sql in [
        "UPDATE entry SET sealed = zeroblob(80)",
        "UPDATE entry SET sealed = ''",
        "UPDATE entry SET parent = 1, tag = zeroblob(16) WHERE node = 2",
    ] {
        std::fs::write(&path, &whole).unwrap();
        damage(&path, sql);
        damaged(open().list(ROOT, None, 10).await);
        damaged(open().path(NodeId(2)).await);
    }
    for sql in [
        "UPDATE audit SET sealed = zeroblob(200)",
        "UPDATE audit SET seq = seq + 1000",
        "UPDATE audit SET chain = x'00'",
    ] {
        std::fs::write(&path, &whole).unwrap();
        damage(&path, sql);
        damaged(open().audit(0, 10).await);
    }
    for sql in [
        "UPDATE extent SET k = 0",
        "UPDATE extent SET scheme = 9",
        "UPDATE extent SET kind = 0",
        "UPDATE extent SET owed = x'ff'",
    ] {
        std::fs::write(&path, &whole).unwrap();
        damage(&path, sql);
        damaged(open().extents(None, 10).await);
    }
    for (sql, read) in [
        ("UPDATE xattr SET sealed = x'00'", "xattr"),
        ("UPDATE link SET sealed = x'00'", "link"),
    ] {
        std::fs::write(&path, &whole).unwrap();
        damage(&path, sql);
        match read {
            "xattr" => damaged(open().xattrs(node).await),
            _ => damaged(open().read_link(NodeId(3)).await),
        };
    }
    // Rows swapped with each other are found as well: what is sealed is bound to its place.
    std::fs::write(&path, &whole).unwrap();
    damage(
        &path,
        "UPDATE entry SET sealed = (SELECT e.sealed FROM entry e WHERE e.tag <> entry.tag LIMIT 1)",
    );
    damaged(open().list(ROOT, None, 10).await);
    // Folders in a circle.
    std::fs::write(&path, &whole).unwrap();
    damage(&path, "UPDATE entry SET node = 1 WHERE node = 4");
    damage(&path, "UPDATE entry SET parent = 4");
    let catalog = open();
    let _any = catalog.path(node).await;
    let _any = catalog
        .rename(
            (ROOT, &name("x")),
            (NodeId(4), &name("y")),
            warifu_vault::seam::catalog::RenameMode::Replace,
            &[],
            write("", Durability::Soon),
        )
        .await;
    drop(catalog);
    // Half of the pages are rubbish: anything but a panic, and never a quiet wrong list.
    let mut torn = whole.clone();
    for page in torn.chunks_mut(4096).skip(1).step_by(2) {
        page.fill(0x5A);
    }
    std::fs::write(&path, &torn).unwrap();
    if let Ok(catalog) = SqliteCatalog::open(&path, key(1)) {
        let reads = [
            catalog.list(ROOT, None, 10).await.err(),
            catalog.current(node).await.err(),
            catalog.history(document).await.err(),
            catalog.audit(0, 10).await.err(),
            catalog.usage().await.err(),
        ];
        assert!(reads.iter().flatten().count() > 0);
        assert!(
            reads.iter().flatten().all(|error| matches!(
                error,
                CatalogError::Damaged { .. } | CatalogError::NotFound { .. }
            )),
            "{reads:?}"
        );
    }
}

/// Texts of 16 bytes and more, all of which must be sealed.
const SECRETS: [&str; 8] = [
    "住民税 滞納者一覧 2026.xlsx",
    "/srv/secret/target of a link",
    "user.secret-attribute-name",
    "value of the extended attribute",
    "住民課 佐藤花子さん",
    "juumin-madoguchi-pc-0012",
    "soffice.bin of LibreOffice",
    "correction of an address",
];

/// A file with a large version, a link, a folder, an attribute: one row of each kind at least. Returns the file.
async fn furnish(catalog: &SqliteCatalog) -> NodeId {
    let [file, target, xattr, value, author, host, ..] = SECRETS;
    let node = make(catalog, file, Durability::Soon).await.unwrap();
    let link = NewNode {
        target: target.as_bytes().to_vec(),
        ..new_node(NodeKind::Symlink)
    };
    catalog
        .create(ROOT, &name("l"), link, write(file, Durability::Soon))
        .await
        .unwrap();
    catalog
        .create(
            ROOT,
            &name("d"),
            new_node(NodeKind::Dir),
            write(file, Durability::Soon),
        )
        .await
        .unwrap();
    catalog
        .set_xattr(
            node,
            xattr.as_bytes(),
            value.as_bytes(),
            XattrMode::Set,
            write(file, Durability::Soon),
        )
        .await
        .unwrap();
    let [save, head, data] = std::array::from_fn(|_| ExtentId::fresh().unwrap());
    let at = Timestamp { secs: 1, nanos: 0 };
    let intent = Intent {
        save,
        extents: vec![(head, Generation(1))],
    };
    catalog
        .begin_save(&intent, Duration::from_secs(600))
        .await
        .unwrap();
    let document = catalog.attr(node).await.unwrap().unwrap().document;
    let record = |extent, kind| ExtentRecord {
        extent,
        kind,
        number: 0,
        len: 4096,
        threshold: Threshold::new(2, 3).unwrap(),
        scheme: Scheme::Shamir,
        generation: Generation(1),
        document,
        version: VersionNo(1),
        owed: IndexSet::EMPTY,
    };
    let commit = Commit {
        save,
        size: 9,
        mtime: at,
        saved_at: at,
        author: author.into(),
        host: host.into(),
        head: Some(head),
        layout: vec![None, Some(data)],
        dealt: vec![
            record(head, ExtentKind::Head),
            record(data, ExtentKind::Data),
        ],
        settled: true,
    };
    catalog
        .commit_save(node, None, commit, write(file, Durability::Soon))
        .await
        .unwrap();
    node
}

fn found(dir: &Path, text: &str) -> Vec<String> {
    let mut places = Vec::new();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        // A stretch of 16 bytes anywhere in the text is enough.
        if text
            .as_bytes()
            .windows(16)
            .any(|piece| bytes.windows(16).any(|window| window == piece))
        {
            places.push(file.file_name().to_string_lossy().into_owned());
        }
    }
    places
}

#[tokio::test]
async fn p3_nothing_secret_lies_in_the_files() {
    let (dir, catalog) = new_catalog();
    let path = dir.path().join("catalog.db");
    let node = furnish(&catalog).await;

    // The search can find something: a text that is really in the log, and then in the file.
    let planted = "a planted text of more than 16 bytes";
    Connection::open(&path)
        .unwrap()
        .execute("INSERT INTO link (node, sealed) VALUES (77, ?1)", [planted])
        .unwrap();
    assert_eq!(found(dir.path(), planted), ["catalog.db-wal"]);
    for secret in SECRETS {
        assert_eq!(found(dir.path(), secret), Vec::<String>::new(), "{secret}");
    }
    // Removed and moved names leave nothing behind either.
    catalog
        .unlink(
            ROOT,
            &name(SECRETS[0]),
            &[],
            write(SECRETS[0], Durability::Now),
        )
        .await
        .unwrap();
    assert!(catalog.attr(node).await.unwrap().is_none());
    drop(catalog);
    assert_eq!(found(dir.path(), planted), ["catalog.db"]);
    for secret in SECRETS {
        assert_eq!(found(dir.path(), secret), Vec::<String>::new(), "{secret}");
    }
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let (_dir, catalog) = new_catalog();
    furnish(&catalog).await;
    let printed = format!("{catalog:?}");
    assert!(
        printed.contains("catalog.db") && printed.len() < 200,
        "{printed}"
    );
}

/// Two connections, as of a mounted drive and a command beside it.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_catalogue() {
    let (dir, one) = new_catalog();
    let one = Arc::new(one);
    let two = Arc::new(SqliteCatalog::open(&dir.path().join("catalog.db"), key(1)).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for (who, catalog) in [("one", one.clone()), ("two", two.clone())] {
        for task in 0..4 {
            let catalog = catalog.clone();
            tasks.spawn(async move {
                for number in 0..100 {
                    let text = format!("{who} {task} {number}");
                    let durability = if number % 10 == 0 {
                        Durability::Now
                    } else {
                        Durability::Soon
                    };
                    let node = make(&*catalog, &text, durability).await.unwrap();
                    assert_eq!(
                        catalog
                            .lookup(ROOT, &name(&text))
                            .await
                            .unwrap()
                            .map(|attr| attr.node),
                        Some(node)
                    );
                }
            });
        }
    }
    tasks.join_all().await;
    for catalog in [&one, &two] {
        assert_eq!(catalog.usage().await.unwrap().files, 800);
        let log = catalog.audit(0, 1000).await.unwrap();
        assert!(log.iter().zip(1..).all(|(line, seq)| line.seq == seq) && log.len() == 800);
    }
    one.sync().await.unwrap();
    // What the other one closes is not lost to the first.
    drop(two);
    make(&*one, "after", Durability::Now).await.unwrap();
}

#[tokio::test]
async fn a_catalogue_locked_for_too_long_does_not_answer() {
    let (dir, catalog) = new_catalog();
    let other = Connection::open(dir.path().join("catalog.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = std::time::Instant::now();
    let outcome = make(&catalog, "x", Durability::Soon).await;
    assert!(
        matches!(outcome, Err(CatalogError::NoAnswer { .. })),
        "{outcome:?}"
    );
    assert!(started.elapsed().as_secs() >= 5, "it waited first");
    assert!(
        catalog.lookup(ROOT, &name("x")).await.unwrap().is_none(),
        "reads are not held up"
    );
    other.execute_batch("COMMIT").unwrap();
    make(&catalog, "x", Durability::Soon).await.unwrap();
}

/// A dropped future leaves its change done or not done, and the catalogue usable.
#[tokio::test]
async fn dropped_requests_do_no_harm() {
    let (_dir, catalog) = new_catalog();
    for number in 0..200 {
        let text = format!("{number}");
        let create = make(&catalog, &text, Durability::Soon);
        tokio::select! {
            biased;
            _ = create => {}
            () = tokio::task::yield_now() => {}
        }
    }
    catalog.sync().await.unwrap();
    let files = catalog.usage().await.unwrap().files;
    assert_eq!(catalog.audit(0, 1000).await.unwrap().len() as u64, files);
    assert!(files > 0);
}

#[tokio::test]
async fn a_move_that_somebody_else_has_taken_over_is_not_undone_by_who_began_it() {
    let (dir, catalog) = new_catalog();
    let other = SqliteCatalog::open(&dir.path().join("catalog.db"), key(1)).unwrap();
    let [run, later] = std::array::from_fn(|_| MoveId::fresh().unwrap());
    assert!(!catalog.is_frozen_by(run).unwrap());
    assert!(catalog.advance("x", 0, 1).await.unwrap());
    catalog.freeze(run).await.unwrap();
    other.freeze(later).await.unwrap();
    catalog.thaw(Some(run)).await.unwrap();
    assert!(!catalog.is_frozen_by(run).unwrap() && catalog.is_frozen_by(later).unwrap());
    make(&catalog, "a", Durability::Now).await.unwrap_err();
    for (what, from) in [("x", 1), ("y", 0)] {
        let refused = catalog.advance(what, from, 2).await.unwrap_err();
        assert!(refused.to_string().contains("moved"), "{refused}");
    }
    other.thaw(Some(later)).await.unwrap();
    make(&catalog, "a", Durability::Now).await.unwrap();
    assert!(!catalog.is_frozen_by(later).unwrap());
}
