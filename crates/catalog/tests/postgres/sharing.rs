//! What sessions on PostgreSQL have to get right that one machine's catalogue gets for nothing: transactions that end in another order than
//! they began, connections that break, and others who decide at the same moment.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use warifu_catalog::PostgresCatalog;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_testkit::proxy::{Mode, Proxy};
use warifu_testkit::servers::SharedPostgres;
use warifu_vault::node::{AttrChange, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, CatalogError, Commit, Durability, Intent, RenameMode, XattrMode,
};
use warifu_vault::seam::locks::{LockKind, LockMode, LockRequest};
use warifu_vault::seam::sessions::{Change, SessionInfo, Sessions};

use crate::common::{key, make, name, new_node, write};
use crate::{login, new_catalog};

const LONG: Duration = Duration::from_secs(600);
/// What never comes is not waited for.
const EVER: Duration = Duration::from_secs(60);

fn info(host: &str) -> SessionInfo {
    SessionInfo {
        actor: "佐藤".into(),
        host: host.into(),
        place: "/mnt/office".into(),
        pid: 1,
        since: Timestamp { secs: 1, nanos: 0 },
    }
}

fn sessions(catalog: &PostgresCatalog) -> &dyn Sessions {
    catalog.sessions().expect("it has sessions")
}

async fn begin(catalog: &PostgresCatalog) -> u64 {
    let begun = sessions(catalog).begin_session(&info("here"), LONG).await;
    begun.expect("a session begins")
}

/// A connection beside the catalogue's own, in its schema.
pub(crate) async fn beside(server: &SharedPostgres, url: &str) -> Client {
    let (client, driver) = connect(server).await;
    drop(driver);
    let schema = url.rsplit('=').next().unwrap();
    let text = format!("SET search_path = \"{schema}\"");
    client.batch_execute(&text).await.unwrap();
    client
}

async fn connect(server: &SharedPostgres) -> (Client, JoinHandle<()>) {
    let config = format!(
        "host=127.0.0.1 port={} user=warifu dbname=postgres",
        server.port()
    );
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let driver = tokio::spawn(async move {
        let _ended = connection.await;
    });
    (client, driver)
}

/// All that is new, and where to go on.
async fn news(catalog: &PostgresCatalog, after: &mut u64) -> Vec<Change> {
    let heard = sessions(catalog).notices(*after, 100).await.unwrap();
    assert!(!heard.missed);
    *after = heard.next;
    heard.changes
}

/// However much others want of the database, a drive renews its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_all_connections_are_busy() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let node = make(&catalog, "a", Durability::Soon).await.unwrap();
    begin(&catalog).await;
    let holder = beside(&server, &url).await;
    let text = format!("BEGIN; SELECT 1 FROM node WHERE id = {} FOR UPDATE", node.0);
    holder.batch_execute(&text).await.unwrap();
    let catalog = Arc::new(catalog);
    let mut waiting = tokio::task::JoinSet::new();
    for mode in 0..20 {
        let catalog = Arc::clone(&catalog);
        waiting.spawn(async move {
            let change = AttrChange {
                mode: Some(mode),
                ..AttrChange::default()
            };
            let write = write("", Durability::Soon);
            catalog.set_attr(node, &change, write).await.map(drop)
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = std::time::Instant::now();
    let renewed = sessions(&catalog).renew_session(LONG).await.unwrap();
    assert!(renewed.kept);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "it waited for {took:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    for done in waiting.join_all().await {
        done.unwrap();
    }
}

/// Also where no drive is mounted: who changes something removes what was told long ago.
#[tokio::test(flavor = "multi_thread")]
async fn old_notices_go_although_no_drive_is_mounted() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    make(&catalog, "a", Durability::Soon).await.unwrap();
    let beside = beside(&server, &url).await;
    let text = "UPDATE notice SET at = at - INTERVAL '1 hour'";
    beside.batch_execute(text).await.unwrap();
    let old = "SELECT count(*) FROM notice WHERE at < clock_timestamp() - INTERVAL '2 minutes'";
    let count = async || beside.query_one(old, &[]).await.unwrap().get::<_, i64>(0);
    assert!(count().await > 0);
    for number in 0..64 {
        make(&catalog, &format!("b{number}"), Durability::Soon)
            .await
            .unwrap();
    }
    let begun = std::time::Instant::now();
    while count().await > 0 {
        assert!(begun.elapsed() < EVER, "old notices stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A transaction that began early and ends late is told, though others with later numbers were read before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_late_is_told_all_the_same() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let other = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    let node = make(&other, "a", Durability::Soon).await.unwrap();
    let slow = beside(&server, &url).await;
    let text = format!("BEGIN; UPDATE node SET mode = mode WHERE id = {}", node.0);
    slow.batch_execute(&text).await.unwrap();
    // It was under way when the session began, and it is still so when a later one was read.
    let mut after = begin(&catalog).await;
    make(&other, "b", Durability::Soon).await.unwrap();
    let heard = news(&catalog, &mut after).await;
    assert!(heard.contains(&Change::Node(NodeId::ROOT)), "{heard:?}");
    assert!(!heard.contains(&Change::Node(node)), "{heard:?}");
    assert!(news(&catalog, &mut after).await.is_empty());
    slow.batch_execute("COMMIT").await.unwrap();
    assert_eq!(news(&catalog, &mut after).await, [Change::Node(node)]);
    assert!(news(&catalog, &mut after).await.is_empty());
    // What is taken back is not told.
    slow.batch_execute(&format!("{text}; ROLLBACK"))
        .await
        .unwrap();
    assert!(news(&catalog, &mut after).await.is_empty());
}

/// No kind of change is only found by looking.
#[tokio::test(flavor = "multi_thread")]
async fn each_change_wakes_those_who_listen() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let config = format!(
        "host=127.0.0.1 port={} user=warifu dbname=postgres",
        server.port()
    );
    let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(_) = message {
                told.send(()).unwrap();
            }
        }
    });
    let schema = url.rsplit('=').next().unwrap();
    client
        .batch_execute(&format!("LISTEN \"{schema}\""))
        .await
        .unwrap();
    let mut woken = async |what: &str| {
        let woken = tokio::time::timeout(EVER, heard.recv()).await;
        woken.unwrap_or_else(|_| panic!("{what} woke nobody"));
        assert!(heard.try_recv().is_err(), "{what} told more than once");
    };
    let soon = || write("", Durability::Soon);
    const ROOT: NodeId = NodeId::ROOT;

    let node = make(&catalog, "a", Durability::Soon).await.unwrap();
    woken("create").await;
    let mut link = new_node(NodeKind::Symlink);
    link.target = b"a".to_vec();
    catalog
        .create(ROOT, &name("link"), link, soon())
        .await
        .unwrap();
    woken("symlink").await;
    catalog.link(node, ROOT, &name("b"), soon()).await.unwrap();
    woken("link").await;
    catalog.unlink(ROOT, &name("b"), &[], soon()).await.unwrap();
    woken("unlink").await;
    catalog
        .create(ROOT, &name("d"), new_node(NodeKind::Dir), soon())
        .await
        .unwrap();
    woken("mkdir").await;
    catalog.rmdir(ROOT, &name("d"), soon()).await.unwrap();
    woken("rmdir").await;
    let (from, to) = (name("a"), name("c"));
    catalog
        .rename((ROOT, &from), (ROOT, &to), RenameMode::Replace, &[], soon())
        .await
        .unwrap();
    woken("rename").await;
    let change = AttrChange {
        mode: Some(0o600),
        ..AttrChange::default()
    };
    catalog.set_attr(node, &change, soon()).await.unwrap();
    woken("setattr").await;
    catalog
        .set_xattr(node, b"user.x", b"1", XattrMode::Set, soon())
        .await
        .unwrap();
    woken("setxattr").await;
    catalog.remove_xattr(node, b"user.x", soon()).await.unwrap();
    woken("removexattr").await;
    let commit = async || {
        let save = ExtentId::fresh().unwrap();
        let intent = Intent {
            save,
            extents: Vec::new(),
        };
        catalog.begin_save(&intent, LONG).await.unwrap();
        Commit {
            save,
            size: 0,
            mtime: Timestamp { secs: 1, nanos: 0 },
            saved_at: Timestamp { secs: 1, nanos: 0 },
            author: "佐藤".into(),
            host: "here".into(),
            head: None,
            layout: Vec::new(),
            dealt: Vec::new(),
            settled: false,
        }
    };
    let saved = catalog
        .commit_save(node, None, commit().await, soon())
        .await
        .unwrap();
    woken("save").await;
    let document = saved.document;
    catalog
        .revert(document, VersionNo(1), soon())
        .await
        .unwrap();
    woken("revert").await;
    let new = new_node(NodeKind::File);
    let new = catalog
        .commit_new(ROOT, &name("n"), new, commit().await, soon())
        .await
        .unwrap();
    woken("a new file with its contents").await;
    catalog
        .succeed(new.node, document, FileId::fresh().unwrap(), soon())
        .await
        .unwrap();
    woken("succession").await;
    driver.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_look_for_long_knows_that_something_was_missed() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let other = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    let mut after = begin(&catalog).await;
    make(&other, "a", Durability::Soon).await.unwrap();
    // As after two minutes: the reader has not looked since before these were written.
    let admin = beside(&server, &url).await;
    let text = "SELECT trim_notices(INTERVAL '0', 10000); UPDATE notice_floor SET at = at + INTERVAL '2 minutes'";
    admin.batch_execute(text).await.unwrap();
    let left = admin.query("SELECT 1 FROM notice", &[]).await.unwrap();
    assert!(left.is_empty(), "they are removed");
    let heard = sessions(&catalog).notices(after, 100).await.unwrap();
    assert!(heard.missed && heard.changes.is_empty());
    admin
        .batch_execute("UPDATE notice_floor SET at = '-infinity'")
        .await
        .unwrap();
    after = heard.next;
    make(&other, "b", Durability::Soon).await.unwrap();
    assert!(!news(&catalog, &mut after).await.is_empty());
    // Young ones stay.
    sessions(&catalog).renew_session(LONG).await.unwrap();
    let left = admin.query("SELECT 1 FROM notice", &[]).await.unwrap();
    assert!(!left.is_empty());
}

/// The connection on which it listens breaks, and what is changed meanwhile is heard afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_was_cut_off_misses_nothing() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, other) = new_catalog(&server).await;
    let proxy = Proxy::to(server.port());
    let through = url.replace(&server.port().to_string(), &proxy.port().to_string());
    let catalog = PostgresCatalog::open(login(&through), key(1))
        .await
        .unwrap();
    let mut after = begin(&catalog).await;
    for round in 0..3 {
        proxy.set(Mode::Cut);
        make(&other, &format!("{round}"), Durability::Soon)
            .await
            .unwrap();
        proxy.set(Mode::Pass);
        let heard = async {
            loop {
                sessions(&catalog).noticed(after).await;
                if let Ok(heard) = sessions(&catalog).notices(after, 100).await {
                    assert!(!heard.missed);
                    after = heard.next;
                    if !heard.changes.is_empty() {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(EVER, heard).await.unwrap();
    }
}

/// Many want one lock at the same moment, again and again: there is never more than one who has it.
#[tokio::test(flavor = "multi_thread")]
async fn p8_two_never_hold_what_stands_against_each_other() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let node = make(&catalog, "a", Durability::Soon).await.unwrap();
    let holders = Arc::new(AtomicUsize::new(0));
    let granted = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
        let (holders, granted) = (Arc::clone(&holders), Arc::clone(&granted));
        tasks.spawn(async move {
            begin(&catalog).await;
            let ask = |mode| LockRequest {
                owner: 1,
                kind: LockKind::Posix,
                first: 0,
                last: 9,
                mode,
                pid: 1,
            };
            let sessions = sessions(&catalog);
            for _ in 0..40 {
                let asked = sessions.lock(node, &ask(Some(LockMode::Exclusive))).await;
                match asked {
                    Ok(locked) if locked.blocker.is_none() => {
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        granted.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                        sessions.lock(node, &ask(None)).await.unwrap();
                    }
                    Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    // Others were quicker, again and again.
                    Err(CatalogError::NoAnswer { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    tasks.join_all().await;
    assert!(granted.load(Ordering::SeqCst) > 5);
}

/// Somebody who fell asleep while he chained the log is in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_the_logs_end_holds_up_no_sync() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let asleep = beside(&server, &url).await;
    asleep
        .batch_execute("BEGIN; SELECT 1 FROM tail WHERE id = 1 FOR UPDATE")
        .await
        .unwrap();
    make(&catalog, "a", Durability::Now).await.unwrap();
    catalog.sync().await.unwrap();
    let changes = catalog.changes(100).await.unwrap();
    assert!(!changes.rows.is_empty() && changes.audit.is_empty());
    asleep.batch_execute("COMMIT").await.unwrap();
    assert_eq!(catalog.changes(100).await.unwrap().audit.len(), 1);
}
