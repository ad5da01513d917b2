//! The audit log.

use warifu_core::head::Timestamp;
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::Durability;

use super::lab::{Lab, dir, entry, file, name, time};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    entries_come_back_as_they_were(fresh()).await;
    p9_the_log_is_numbered_and_chained(fresh()).await;
    p9_the_log_holds_what_was_done_and_nothing_else(fresh()).await;
}

async fn entries_come_back_as_they_were(lab: Lab) {
    let mut entries: Vec<_> = Act::ALL
        .into_iter()
        .map(|act| AuditEntry {
            act,
            ..entry(time(1), act.as_str())
        })
        .collect();
    entries.push(AuditEntry {
        at: Timestamp {
            secs: i64::MIN,
            nanos: 999_999_999,
        },
        context: Context {
            actor: String::new(),
            uid: u32::MAX,
            gid: 0,
            host: "庁舎".into(),
            program: "a\nb\0c".into(),
            purpose: "窓口の問い合わせ".into(),
        },
        act: Act::Open,
        node: None,
        detail: "長い".repeat(5000),
    });
    lab.catalog
        .record(entries.clone(), Durability::Soon)
        .await
        .unwrap();
    lab.catalog
        .record(Vec::new(), Durability::Now)
        .await
        .unwrap();
    let lines = lab.catalog.audit(0, 100).await.unwrap();
    assert_eq!(
        lines
            .iter()
            .map(|line| line.entry.clone())
            .collect::<Vec<_>>(),
        entries
    );
    assert_eq!(lab.catalog.audit(3, 2).await.unwrap(), lines[3..5]);
    assert!(
        lab.catalog
            .audit(lines.len() as u64, 5)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(lab.catalog.audit(u64::MAX, 5).await.unwrap().is_empty());
}

async fn p9_the_log_is_numbered_and_chained(lab: Lab) {
    for round in 0..20 {
        lab.make(ROOT, &format!("file {round}"), file()).await;
        // A refusal in between must leave no gap and no trace.
        let write = lab.write();
        lab.refused(
            lab.catalog
                .create(ROOT, &name(&format!("file {round}")), file(), write),
        )
        .await;
        lab.catalog
            .record(
                vec![entry(time(3), "one"), entry(time(3), "two")],
                Durability::Soon,
            )
            .await
            .unwrap();
    }
    let lines = lab.catalog.audit(0, 1000).await.unwrap();
    assert_eq!(lines.len(), 60);
    let mut previous = [0; 32];
    for (line, seq) in lines.iter().zip(1..) {
        assert_eq!(line.seq, seq);
        assert_eq!(
            line.chain,
            (lab.chain)(&previous, seq, &line.entry),
            "line {seq} follows from the one before"
        );
        previous = line.chain;
    }
    let forged = AuditEntry {
        detail: "nothing happened".into(),
        ..lines[4].entry.clone()
    };
    assert_ne!((lab.chain)(&lines[3].chain, 5, &forged), lines[4].chain);
    assert_ne!(
        (lab.chain)(&lines[2].chain, 5, &lines[4].entry),
        lines[4].chain
    );
    assert_ne!(
        (lab.chain)(&lines[3].chain, 6, &lines[4].entry),
        lines[4].chain
    );
}

/// Many writers at once: each change that is there has its line, each line its change.
async fn p9_the_log_holds_what_was_done_and_nothing_else(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    let before = lab.log_len().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let catalog = lab.catalog.clone();
        tasks.spawn(async move {
            let mut done = Vec::new();
            for round in 0..25 {
                // Each name is wanted by two tasks; one of them is refused.
                let text = format!("{} {round}", task / 2);
                let audit = entry(time(round), &format!("{text} by {task}"));
                let write = warifu_vault::seam::catalog::Write {
                    audit: audit.clone(),
                    durability: Durability::Soon,
                };
                if catalog
                    .create(folder, &name(&text), file(), write)
                    .await
                    .is_ok()
                {
                    done.push(audit.detail);
                }
            }
            done
        });
    }
    let mut done: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let mut logged: Vec<_> = lab
        .catalog
        .audit(before, 1000)
        .await
        .unwrap()
        .into_iter()
        .map(|line| line.entry.detail)
        .collect();
    done.sort();
    logged.sort();
    assert_eq!(done.len(), 100);
    assert_eq!(done, logged);
    assert_eq!(super::lab::list_all(&*lab.catalog, folder).await.len(), 100);
}
