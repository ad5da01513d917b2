//! Of several drives one writes the journal for all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warifu_testkit::clock::ManualClock;
use warifu_testkit::servers::{SharedPostgres, fresh_schema};
use warifu_vault::node::NodeId;
use warifu_vault::{Context, Vault};

use crate::common::name;
use crate::desks;
use crate::office::context;
use crate::sharing::beside;

const EVER: Duration = Duration::from_secs(120);

/// Notes which session every segment comes from.
const WATCH: &str = "CREATE TABLE writers (session TEXT NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp());
    CREATE FUNCTION note_writer() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO writers (session) VALUES (current_setting('warifu.session'));
      RETURN NULL;
    END $$;
    CREATE TRIGGER watched AFTER UPDATE ON journal FOR EACH ROW WHEN (NEW.next <> OLD.next) EXECUTE FUNCTION note_writer()";

async fn work(drives: &[(Vault, Context)], turn: u32) {
    for (vault, ctx) in drives {
        let text = format!("{} {turn}", ctx.host);
        let made = vault.make_dir(ctx, NodeId::ROOT, &name(&text), 0o700).await;
        made.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_drive_at_a_time_writes_the_journal_and_another_one_when_it_has_gone() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let url = server.url(&fresh_schema());
    let mut desks = desks(url.clone(), url.clone()).await;
    desks.options.journal = true;
    desks.options.session_lease = Duration::from_secs(6);
    let beside = beside(&server, &url).await;
    beside.batch_execute(WATCH).await.unwrap();
    let mut drives = Vec::new();
    for host in ["east", "west", "north"] {
        let clock = Arc::new(ManualClock::default());
        let vault = desks.open(clock, |catalog| catalog).await.unwrap();
        let ctx = context(host);
        assert!(vault.join(&ctx, "/mnt/office").await.unwrap());
        drives.push((vault, ctx));
    }
    // Until all know who is first, and each has looked once whether anything is left to do.
    for turn in 0..10 {
        work(&drives, turn).await;
    }
    beside.batch_execute("DELETE FROM writers").await.unwrap();
    for turn in 10..28 {
        work(&drives, turn).await;
    }
    let writers = async || {
        let asked = "SELECT session FROM writers GROUP BY session ORDER BY max(at)";
        let rows = beside.query(asked, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    let [first] = &writers().await[..] else {
        panic!("not one, but {:?}", writers().await);
    };

    // It leaves, and somebody else goes on.
    let mut present = drives[0].0.present().await.unwrap();
    present.retain(|session| session.id.to_string() == *first);
    let host = &present[0].info.host;
    let place = drives.iter().position(|(_, ctx)| ctx.host == *host);
    let (vault, ctx) = drives.remove(place.unwrap());
    assert!(vault.shutdown(&ctx).await.is_empty());
    beside.batch_execute("DELETE FROM writers").await.unwrap();
    let begun = Instant::now();
    for turn in 28.. {
        work(&drives, turn).await;
        if !writers().await.is_empty() {
            break;
        }
        assert!(begun.elapsed() < EVER, "nobody goes on");
    }
    assert!(!writers().await.contains(first));
    for (vault, ctx) in &drives {
        assert!(vault.shutdown(ctx).await.is_empty());
    }
    // Each segment has a number of its own, and none is left out.
    let asked = "SELECT count(*) = count(DISTINCT version) AND count(*) = (SELECT next - 1 FROM journal) FROM extent WHERE kind = 3";
    let whole: bool = beside.query_one(asked, &[]).await.unwrap().get(0);
    assert!(whole);
}
