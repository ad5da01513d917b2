//! A database that is far away: what is waited for, in round trips.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warifu_testkit::clock::ManualClock;
use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{SharedPostgres, fresh_schema};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::RenameMode;
use warifu_vault::{Access, Context, Vault};

use crate::common::name;
use crate::desks;
use crate::office::context;

/// So long is a round trip. What takes two of them takes twice as long at least, however quick or slow the machine is.
const AWAY: Duration = Duration::from_millis(40);

const ROUNDS: usize = 12;

/// What the quickest of several rounds took: what goes on beside them takes longer now and then, and nothing makes them quicker.
#[derive(Debug)]
struct Cost {
    turns: u64,
    time: Duration,
}

impl Cost {
    fn new() -> Self {
        Self {
            turns: u64::MAX,
            time: Duration::MAX,
        }
    }

    /// Does it once more.
    async fn of<T>(&mut self, proxy: &Proxy, act: impl Future<Output = T>) -> T {
        let (turns, begun) = (proxy.turns(), Instant::now());
        let done = act.await;
        self.time = self.time.min(begun.elapsed());
        self.turns = self.turns.min(proxy.turns() - turns);
        done
    }

    /// How many round trips fit in the time that it took.
    fn waited(&self) -> u128 {
        self.time.as_micros() / AWAY.as_micros()
    }
}

/// An office whose way to the database is a proxy.
async fn far_away(server: &SharedPostgres, schema: &str) -> (Proxy, Vault) {
    let url = server.url(schema);
    let proxy = Proxy::to(server.port());
    let through = url.replace(&server.port().to_string(), &proxy.port().to_string());
    let desks = desks(url, through).await;
    let vault = desks
        .open(Arc::new(ManualClock::default()), |catalog| catalog)
        .await;
    (proxy, vault.unwrap())
}

struct Costs {
    open: Cost,
    save: Cost,
    empty: Cost,
}

async fn costs(vault: &Vault, ctx: &Context, proxy: &Proxy) -> Costs {
    let (made, handle) = vault
        .create_file(ctx, NodeId::ROOT, &name("f"), 0o600, Access::READ_WRITE)
        .await
        .unwrap();
    handle.release(ctx).await.unwrap();
    let mut costs = Costs {
        open: Cost::new(),
        save: Cost::new(),
        empty: Cost::new(),
    };
    proxy.set_delay(AWAY / 2);
    for round in 0..ROUNDS {
        let open = vault.open(ctx, made.node, Access::READ_WRITE);
        let handle = costs.open.of(proxy, open).await.unwrap();
        let text = format!("what was written in round {round}");
        handle.write(ctx, 0, text.as_bytes()).await.unwrap();
        costs
            .save
            .of(proxy, async {
                handle.flush(ctx).await.unwrap();
                handle.release(ctx).await.unwrap();
            })
            .await;
        let handle = vault.open(ctx, made.node, Access::REWRITE).await.unwrap();
        costs.empty.of(proxy, handle.flush(ctx)).await.unwrap();
        handle.release(ctx).await.unwrap();
    }
    proxy.set_delay(Duration::ZERO);
    costs
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_waits_for_one_round_trip_and_a_save_for_two() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let ctx = context("here");
    let (proxy, vault) = far_away(&server, &fresh_schema()).await;
    let alone = costs(&vault, &ctx, &proxy).await;
    let seen = [&alone.open, &alone.save, &alone.empty];
    assert_eq!(seen.map(|cost| cost.turns), [1, 2, 2], "{seen:?}");
    assert_eq!(seen.map(Cost::waited), [1, 2, 2], "{seen:?}");
    assert!(vault.shutdown(&ctx).await.is_empty());

    // One of five hundred drives is told what the others change, and tells them what it has open: nobody waits for that.
    let schema = fresh_schema();
    let (proxy, vault) = far_away(&server, &schema).await;
    assert!(vault.join(&ctx, "/mnt/office").await.unwrap());
    server.ask(&format!(
        "INSERT INTO {schema}.session SELECT decode(md5(g::text), 'hex'), now() + INTERVAL '1 hour', 1, 1, 0, '' FROM generate_series(1, 499) g;
         INSERT INTO {schema}.hold SELECT id, 1, 1, 1, 0, '' FROM {schema}.session"
    ));
    let joined = costs(&vault, &ctx, &proxy).await;
    let seen = [&joined.open, &joined.save, &joined.empty];
    assert_eq!(seen.map(Cost::waited), [1, 2, 2], "{seen:?}");
    assert!(vault.shutdown(&ctx).await.is_empty());
}

/// Nothing is asked before or after it: whether what goes is open here is known here, and what a folder hands to a new file is decided where that is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_made_renamed_and_removed_in_one_round_trip_each() {
    const ROOT: NodeId = NodeId::ROOT;
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let ctx = context("here");
    let (proxy, vault) = far_away(&server, &fresh_schema()).await;
    let [one, two, three] = ["one", "two", "open"].map(name);
    let made = vault.create_file(&ctx, ROOT, &three, 0o600, Access::READ_WRITE);
    let (_, open) = made.await.unwrap();
    let [mut make, mut make_unless, mut over, mut remove, mut look] =
        std::array::from_fn(|_| Cost::new());
    proxy.set_delay(AWAY / 2);
    for _ in 0..ROUNDS {
        let work = vault.create_file(&ctx, ROOT, &one, 0o600, Access::READ_WRITE);
        let (_, handle) = make.of(&proxy, work).await.unwrap();
        handle.release(&ctx).await.unwrap();
        let mode = (0o600, &b"user.unwanted"[..]);
        let work = vault.create_file_unless(&ctx, ROOT, &two, mode, Access::READ_WRITE);
        let made = make_unless.of(&proxy, work).await.unwrap();
        let (_, handle) = made.expect("the folder has no such attribute");
        handle.release(&ctx).await.unwrap();
        let work = vault.rename(&ctx, (ROOT, &one), (ROOT, &two), RenameMode::Replace);
        over.of(&proxy, work).await.unwrap();
        let work = vault.remove(&ctx, ROOT, &two);
        remove.of(&proxy, work).await.unwrap();
        // What the folder is like now came with the answer.
        let work = vault.attr_lately(&ctx, ROOT);
        let folder = look.of(&proxy, work).await.unwrap();
        assert_eq!(folder, vault.attr(&ctx, ROOT).await.unwrap());
    }
    proxy.set_delay(Duration::ZERO);
    let seen = [&make, &make_unless, &over, &remove, &look];
    assert_eq!(seen.map(|cost| cost.turns), [1, 1, 1, 1, 0], "{seen:?}");
    assert_eq!(seen.map(Cost::waited), [1, 1, 1, 1, 0], "{seen:?}");
    open.release(&ctx).await.unwrap();
    assert!(vault.shutdown(&ctx).await.is_empty());
}
