//! The database's machine dies, and its standby takes over.

use std::sync::Arc;
use std::time::Duration;

use warifu_catalog::PostgresCatalog;
use warifu_core::head::Timestamp;
use warifu_testkit::servers::{Postgres, PostgresOptions};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, CatalogError, Durability};
use warifu_vault::seam::locks::{LockKind, LockMode, LockRequest};
use warifu_vault::seam::sessions::SessionInfo;

use crate::common::{key, make, name};
use crate::login;

const LEASE: Duration = Duration::from_secs(600);

/// A URL that names both goes on with the one that can be written to: with all that was acknowledged, with the locks, and everybody knows that
/// something may have been missed.
#[tokio::test(flavor = "multi_thread")]
async fn p5_a_standby_takes_over_with_all_that_was_acknowledged() {
    let Some(mut primary) = Postgres::start(PostgresOptions::default()) else {
        return;
    };
    let standby = primary.standby();
    let url = format!(
        "postgres://warifu@127.0.0.1:{},127.0.0.1:{}/postgres?schema=warifu&target_session_attrs=read-write",
        primary.port(),
        standby.port()
    );
    let catalog = Arc::new(PostgresCatalog::create(login(&url), key(1)).await.unwrap());
    let other = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    let sessions = other.sessions().unwrap();
    let info = SessionInfo {
        actor: "佐藤".into(),
        host: "here".into(),
        place: "/mnt/office".into(),
        pid: 1,
        since: Timestamp { secs: 1, nanos: 0 },
    };
    let after = sessions.begin_session(&info, LEASE).await.unwrap();
    let node = make(&*catalog, "locked", Durability::Now).await.unwrap();
    let ask = LockRequest {
        owner: 1,
        kind: LockKind::Posix,
        first: 0,
        last: 9,
        mode: Some(LockMode::Exclusive),
        pid: 1,
    };
    assert!(sessions.lock(node, &ask).await.unwrap().blocker.is_none());

    let writing = {
        let catalog = Arc::clone(&catalog);
        tokio::spawn(async move {
            let (mut made, mut failed) = (Vec::new(), false);
            for number in 0.. {
                let text = format!("{number}");
                match make(&*catalog, &text, Durability::Soon).await {
                    Ok(_) => made.push(text),
                    Err(CatalogError::NoAnswer { .. }) => {
                        failed = true;
                        continue;
                    }
                    Err(other) => panic!("{other}"),
                }
                // It goes on where the standby has taken over.
                if failed {
                    break;
                }
            }
            made
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    primary.stop();
    standby.promote();
    let made = writing.await.unwrap();
    assert!(made.len() > 1);
    for text in &made {
        let found = catalog.lookup(NodeId::ROOT, &name(text)).await.unwrap();
        assert!(found.is_some(), "{text} was acknowledged");
    }
    assert_eq!(sessions.locks(node).await.unwrap().len(), 1);
    assert!(sessions.notices(after, 100).await.unwrap().missed);
    assert!(sessions.renew_session(LEASE).await.unwrap().kept);
}
