//! What the database does not hold, does not let in, or does not survive.

use std::time::{Duration, Instant};

use warifu_catalog::{MoveId, PostgresCatalog, PostgresLogin, PostgresPart, PostgresUrl};
use warifu_core::head::Timestamp;
use warifu_core::ids::ExtentId;
use warifu_core::secret::SecretBytes;
use warifu_testkit::proxy::{Mode, Proxy};
use warifu_testkit::servers::{
    Certificates, Postgres, PostgresOptions, SharedPostgres, fresh_schema,
};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, CatalogError, Durability, Intent, RenameMode};
use warifu_vault::seam::generations::Generations;
use warifu_vault::seam::past::Past as _;
use warifu_vault::seam::sessions::SessionInfo;

use crate::common::{key, make, name, write};
use crate::past::WITHOUT_PAST;
use crate::{login, new_catalog};

#[tokio::test]
async fn p10_what_is_no_catalogue_of_ours_is_refused() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let open = async |url: &str, of| PostgresCatalog::open(login(url), key(of)).await;
    let nothing = open(&server.url(&fresh_schema()), 1).await.unwrap_err();
    assert!(
        matches!(nothing, CatalogError::NotFound { .. }),
        "{nothing}"
    );

    let (url, catalog) = new_catalog(&server).await;
    let again = PostgresCatalog::create(login(&url), key(1)).await;
    assert!(matches!(again, Err(CatalogError::Exists)), "{again:?}");
    let foreign = open(&url, 2).await.unwrap_err();
    assert!(matches!(foreign, CatalogError::Damaged { .. }), "{foreign}");

    command(&server, &url, "UPDATE vault SET schema = 99").await;
    let newer = open(&url, 1).await.unwrap_err();
    let expected = CatalogError::Newer {
        found: 99,
        known: 6,
    };
    assert_eq!(newer.to_string(), expected.to_string());
    drop(catalog);
}

/// What the first schema had, with a save under way.
const SCHEMA_1: &str = "DROP TRIGGER tells ON node; DROP TRIGGER tells ON entry;
    DROP TABLE hold, file_lock, session, notice, notice_floor;
    ALTER TABLE intent DROP COLUMN until, ADD COLUMN lease BIGINT NOT NULL, ADD COLUMN lease_ns BIGINT NOT NULL;
    CREATE INDEX intent_lease ON intent (lease);
    INSERT INTO intent (save, lease, lease_ns, extents) VALUES (decode(repeat('07', 16), 'hex'), 5, 0, '');
    UPDATE vault SET schema = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_of_schema_1_is_brought_up_to_date() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    make(&catalog, "a", Durability::Now).await.unwrap();
    drop(catalog);
    command(&server, &url, WITHOUT_PAST).await;
    command(&server, &url, SCHEMA_1).await;
    // Two find it at the same moment.
    let open = || PostgresCatalog::open(login(&url), key(1));
    let (one, other) = tokio::join!(open(), open());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.lapsed().await.unwrap().len(), 1, "its lease has ended");
    let sessions = one.sessions().unwrap();
    let lease = Duration::from_secs(600);
    let after = sessions
        .begin_session(&info("/mnt/office"), lease)
        .await
        .unwrap();
    make(&other, "b", Durability::Now).await.unwrap();
    assert!(
        !sessions
            .notices(after, 10)
            .await
            .unwrap()
            .changes
            .is_empty()
    );
    assert_eq!(one.list(NodeId::ROOT, None, 10).await.unwrap().len(), 2);
}

fn info(place: &str) -> SessionInfo {
    SessionInfo {
        actor: "佐藤".into(),
        host: "madoguchi-3".into(),
        place: place.into(),
        pid: 1,
        since: Timestamp { secs: 1, nanos: 0 },
    }
}

/// The drives that are mounted are of the older warifu. One that slept while the catalogue was brought up to date changes nothing in it, and
/// hears why.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_in_use_is_not_brought_up_to_date() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let node = make(&catalog, "a", Durability::Now).await.unwrap();
    let sessions = catalog.sessions().unwrap();
    let lease = Duration::from_secs(600);
    sessions
        .begin_session(&info("/mnt/office"), lease)
        .await
        .unwrap();
    command(&server, &url, "UPDATE vault SET schema = schema - 1").await;
    let open = || PostgresCatalog::open(login(&url), key(1));
    let refused = open().await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Mounted { drives } if drives == &["madoguchi-3:/mnt/office"]),
        "{refused}"
    );
    make(&catalog, "b", Durability::Now).await.unwrap();

    sessions.end_session().await.unwrap();
    drop(open().await.unwrap());
    // As if a newer warifu had done it.
    let newer = "CREATE OR REPLACE FUNCTION need_schema() RETURNS VOID LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION '99' USING ERRCODE = 'WF014'; END $$";
    command(&server, &url, newer).await;
    let is_newer = |refused: CatalogError| {
        assert!(
            matches!(refused, CatalogError::Newer { found: 99, .. }),
            "{refused}"
        );
    };
    is_newer(make(&catalog, "c", Durability::Now).await.unwrap_err());
    is_newer(sessions.renew_session(lease).await.unwrap_err());
    let begun = sessions.begin_session(&info("/mnt/office"), lease).await;
    is_newer(begun.unwrap_err());
    let intent = Intent {
        save: ExtentId::fresh().unwrap(),
        extents: Vec::new(),
    };
    is_newer(catalog.begin_save(&intent, lease).await.unwrap_err());
    assert!(catalog.attr(node).await.unwrap().is_some(), "it is read");
    command(&server, &url, "DROP FUNCTION create_node").await;
    let missing = make(&catalog, "c", Durability::Now).await.unwrap_err();
    assert!(
        matches!(&missing, CatalogError::Failed { detail } if detail.contains("another version of warifu")),
        "{missing}"
    );
}

/// Does something in the schema of a catalogue, past the catalogue.
pub(crate) async fn command(server: &SharedPostgres, url: &str, text: &str) {
    let schema = url.rsplit('=').next().unwrap();
    let config = format!(
        "host=127.0.0.1 port={} user=warifu dbname=postgres",
        server.port()
    );
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let text = format!("SET search_path = \"{schema}\"; {text}");
    client.batch_execute(&text).await.unwrap();
    driver.abort();
}

/// A catalogue from before there were refreshes was never refreshed.
#[tokio::test(flavor = "multi_thread")]
async fn p7_a_catalogue_of_schema_3_is_brought_up_to_date() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    make(&catalog, "x", Durability::Now).await.unwrap();
    drop(catalog);
    let text = "DROP TABLE generation; UPDATE vault SET schema = 3";
    command(&server, &url, text).await;
    for _ in 0..2 {
        let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
        assert_eq!(catalog.generations().await.unwrap(), Generations::FIRST);
        let found = catalog.lookup(NodeId::ROOT, &name("x")).await.unwrap();
        assert!(found.is_some());
    }
}

/// What schema 5 had of functions that take other parameters now.
const SCHEMA_5: &str = "DROP FUNCTION create_node, unlink_name, rename_node;
    CREATE FUNCTION create_node(BIGINT, BYTEA, BYTEA, BIGINT, BIGINT, BIGINT, BIGINT, BIGINT, BIGINT, BYTEA, BIGINT, BIGINT, BYTEA, BYTEA)
      RETURNS node LANGUAGE sql AS 'SELECT NULL::node';
    CREATE FUNCTION unlink_name(BIGINT, BYTEA, BOOLEAN, BIGINT, BIGINT, BYTEA, BYTEA) RETURNS node LANGUAGE sql AS 'SELECT NULL::node';
    CREATE FUNCTION rename_node(BIGINT, BYTEA, BIGINT, BYTEA, BYTEA, BIGINT, BOOLEAN, BIGINT, BIGINT, BYTEA, BYTEA, BYTEA)
      RETURNS SETOF node LANGUAGE sql AS 'SELECT NULL::node';
    UPDATE vault SET schema = 5";

/// None of them is there twice under one name, of which the database would not know which one is meant.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_of_schema_5_is_brought_up_to_date() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    make(&catalog, "a", Durability::Now).await.unwrap();
    drop(catalog);
    command(&server, &url, SCHEMA_5).await;
    let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    make(&catalog, "b", Durability::Now).await.unwrap();
    let (a, b) = (name("a"), name("b"));
    let soon = || write("", Durability::Soon);
    let renamed = catalog.rename(
        (NodeId::ROOT, &a),
        (NodeId::ROOT, &b),
        RenameMode::Replace,
        &[],
        soon(),
    );
    assert!(renamed.await.unwrap().other.is_some());
    catalog.unlink(NodeId::ROOT, &b, &[], soon()).await.unwrap();
    assert!(catalog.lookup(NodeId::ROOT, &b).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_not_finished_is_no_catalogue() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let url = server.url(&fresh_schema());
    let part = PostgresPart::begin(login(&url), key(1)).await.unwrap();
    make(part.catalog(), "a", Durability::Now).await.unwrap();
    let open = || PostgresCatalog::open(login(&url), key(1));
    assert!(matches!(open().await, Err(CatalogError::NotFound { .. })));
    // Whoever was cut off is in nobody's way.
    drop(part);
    let part = PostgresPart::begin(login(&url), key(1)).await.unwrap();
    make(part.catalog(), "b", Durability::Now).await.unwrap();
    part.finish().await.unwrap();
    let catalog = open().await.unwrap();
    let listed = catalog.list(NodeId::ROOT, None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, name("b"));
    let taken = PostgresPart::begin(login(&url), key(1)).await;
    assert!(matches!(taken, Err(CatalogError::Exists)));
}

#[tokio::test]
async fn a_moved_catalogue_refuses_changes_and_can_be_read() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let other = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    make(&other, "a", Durability::Now).await.unwrap();
    let [run, later] = std::array::from_fn(|_| MoveId::fresh().unwrap());
    assert!(other.advance("x", 0, 1).await.unwrap());
    catalog.freeze(run).await.unwrap();
    // One that is there, and one that is not.
    for (what, from) in [("x", 1), ("y", 0)] {
        let refused = other.advance(what, from, 2).await.unwrap_err();
        assert!(refused.to_string().contains("moved"), "{refused}");
    }
    assert!(other.is_frozen().await.unwrap());
    let refused = make(&other, "b", Durability::Now).await.unwrap_err();
    assert!(refused.to_string().contains("moved"), "{refused}");
    assert_eq!(other.audit(0, 10).await.unwrap().len(), 1);
    // Somebody else takes the move over: whoever began it thaws nothing, and knows that it is no longer his.
    other.freeze(later).await.unwrap();
    catalog.thaw(Some(run)).await.unwrap();
    assert!(catalog.is_frozen().await.unwrap());
    assert!(!catalog.is_frozen_by(run).await.unwrap());
    assert!(catalog.is_frozen_by(later).await.unwrap());
    make(&other, "b", Durability::Now).await.unwrap_err();
    other.thaw(Some(later)).await.unwrap();
    assert!(!other.is_frozen_by(later).await.unwrap());
    assert!(other.advance("x", 1, 2).await.unwrap());
    make(&other, "b", Durability::Now).await.unwrap();
    assert_eq!(other.list(NodeId::ROOT, None, 10).await.unwrap().len(), 2);
}

/// What was acknowledged is there after the database lost its memory, and those who have it open go on.
#[tokio::test(flavor = "multi_thread")]
async fn p5_a_restart_of_the_database_loses_nothing_acknowledged() {
    let durable = PostgresOptions {
        durable: true,
        ..PostgresOptions::default()
    };
    let Some(mut server) = Postgres::start(durable) else {
        return;
    };
    let catalog = PostgresCatalog::create(login(&server.url("warifu")), key(1))
        .await
        .unwrap();
    let catalog = std::sync::Arc::new(catalog);
    let mut made = Vec::new();
    for round in 0..2 {
        let writing = {
            let catalog = std::sync::Arc::clone(&catalog);
            tokio::spawn(async move {
                let mut made = Vec::new();
                for number in 0.. {
                    let text = format!("{round} {number}");
                    match make(&*catalog, &text, Durability::Soon).await {
                        Ok(_) => made.push(text),
                        Err(CatalogError::NoAnswer { .. }) => return made,
                        Err(other) => panic!("{other}"),
                    }
                }
                made
            })
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.stop();
        made.extend(writing.await.unwrap());
        server.run();
    }
    assert!(made.len() > 2);
    for text in &made {
        let found = catalog.lookup(NodeId::ROOT, &name(text)).await.unwrap();
        assert!(found.is_some(), "{text} was acknowledged");
    }
    // What was not acknowledged may be there too, but only with its line.
    let listed = catalog.list(NodeId::ROOT, None, 100_000).await.unwrap();
    assert_eq!(listed.len(), catalog.audit(0, 100_000).await.unwrap().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_gone_is_no_answer_in_bounded_time() {
    let Some(mut server) = Postgres::start(PostgresOptions::default()) else {
        return;
    };
    let proxy = Proxy::to(server.port());
    let url = server.url("warifu").replace(
        &server.port().to_string(),
        &proxy.address().port().to_string(),
    );
    let catalog = PostgresCatalog::create(login(&url), key(1)).await.unwrap();
    make(&catalog, "a", Durability::Soon).await.unwrap();

    // The answer is lost: what was done is not done again.
    proxy.set(Mode::LoseReplies);
    let lost = make(&catalog, "b", Durability::Soon).await.unwrap_err();
    assert!(matches!(lost, CatalogError::NoAnswer { .. }), "{lost}");
    proxy.set(Mode::Pass);
    let lines = catalog.audit(0, 10).await.unwrap().len();
    let there = catalog.lookup(NodeId::ROOT, &name("b")).await.unwrap();
    assert_eq!(lines, 1 + usize::from(there.is_some()));

    // Nothing comes any more, and nothing is refused either.
    proxy.set(Mode::Pause);
    let begun = Instant::now();
    let hung = catalog.attr(NodeId::ROOT).await.unwrap_err();
    assert!(matches!(hung, CatalogError::NoAnswer { .. }), "{hung}");
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "it ends by itself"
    );
    proxy.set(Mode::Pass);
    assert!(catalog.attr(NodeId::ROOT).await.unwrap().is_some());

    server.stop();
    let gone = catalog.attr(NodeId::ROOT).await.unwrap_err();
    assert!(matches!(gone, CatalogError::NoAnswer { .. }), "{gone}");
    server.run();
    assert!(catalog.attr(NodeId::ROOT).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_tls_are_asked_for_and_checked() {
    let Some(certificates) = Certificates::new() else {
        return;
    };
    let options = PostgresOptions {
        password: Some("correct horse".into()),
        certificate: Some((certificates.certificate(), certificates.key())),
        durable: false,
    };
    let Some(server) = Postgres::start(options) else {
        return;
    };
    let url = server.url("warifu").replace("127.0.0.1", "localhost") + "&sslmode=verify-full";
    let try_with = async |password: Option<&str>, ca: bool| {
        let login = PostgresLogin {
            url: PostgresUrl::parse(&url).unwrap(),
            password: password.map(|text| SecretBytes::from_slice(text.as_bytes())),
            ca: ca.then(|| certificates.authority()),
        };
        PostgresCatalog::create(login, key(1)).await
    };
    let unknown = try_with(Some("correct horse"), false).await.unwrap_err();
    assert!(unknown.to_string().contains("certificate"), "{unknown}");
    let wrong = try_with(Some("wrong"), true).await.unwrap_err();
    assert!(matches!(wrong, CatalogError::Failed { .. }), "{wrong}");
    assert!(
        !format!("{wrong} {wrong:?}").contains("wrong\""),
        "{wrong:?}"
    );
    try_with(None, true).await.unwrap_err();
    let catalog = try_with(Some("correct horse"), true).await.unwrap();
    make(&catalog, "a", Durability::Now).await.unwrap();
    assert!(!format!("{catalog:?}").contains("horse"));
}
