//! A commit that goes on in the database after its connection broke.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};
use warifu_testkit::clock::ManualClock;
use warifu_testkit::histories::Office as _;
use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{SharedPostgres, fresh_schema};
use warifu_vault::Access;
use warifu_vault::node::NodeId;

use crate::common::name;
use crate::desks;

async fn connect(port: u16) -> Client {
    let config = format!("host=127.0.0.1 port={port} user=warifu dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(async move {
        let _ended = connection.await;
    });
    client
}

/// It waits for a row that somebody else holds, and its connection breaks. The save that asks what became of it must not take "not yet" for
/// "never": otherwise one's own version would be met as somebody else's, and a conflict copy be kept of one's own work.
#[tokio::test(flavor = "multi_thread")]
async fn p8_a_switch_that_is_made_after_its_connection_broke_makes_no_copy() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let schema = fresh_schema();
    let url = server.url(&schema);
    let proxy = Proxy::to(server.port());
    let through = url.replace(&server.port().to_string(), &proxy.port().to_string());
    let desks = desks(url, through).await;
    let machine = desks.machine("here", ManualClock::default()).await;
    let (vault, ctx) = (&machine.vault, &machine.ctx);
    let (made, handle) = vault
        .create_file(ctx, NodeId::ROOT, &name("f"), 0o600, Access::READ_WRITE)
        .await
        .unwrap();
    handle.write(ctx, 0, b"old").await.unwrap();
    handle.flush(ctx).await.unwrap();

    let holder = connect(server.port()).await;
    // A transaction sees what the others do as it was when it first looked.
    let watcher = connect(server.port()).await;
    let text = format!(
        "SET search_path = \"{schema}\"; BEGIN; SELECT 1 FROM node WHERE id = {} FOR UPDATE",
        made.node.0
    );
    holder.batch_execute(&text).await.unwrap();
    let asked = holder.query_one("SELECT pg_backend_pid()", &[]);
    let pid: i32 = asked.await.unwrap().get(0);
    handle.write(ctx, 0, b"new").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
    let breaks = async {
        while watcher
            .query_one(waiting, &[&pid])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.break_off();
        // The save asks, and finds nothing yet.
        tokio::time::sleep(Duration::from_millis(500)).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let saves = async {
        // As often as it takes: each program may close again.
        while handle.flush(ctx).await.is_err() {}
    };
    tokio::join!(breaks, saves);
    handle.release(ctx).await.unwrap();
    let listed = vault.list(ctx, NodeId::ROOT, None, 10).await.unwrap();
    let names: Vec<_> = listed.iter().map(|entry| entry.name.display()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let read = vault.open(ctx, made.node, Access::READ).await.unwrap();
    assert_eq!(read.read(0, 10).await.unwrap().expose(), b"new");
    read.release(ctx).await.unwrap();
    assert!(vault.shutdown(ctx).await.is_empty());
}
