//! Checks of all shares: interrupted, and of more damage than is worth a list.

use std::sync::Mutex;

use warifu_testkit::stores::{MemoryStore, Method};
use warifu_vault::verify::{Check, Checkpoint, VerifyReport};

use crate::common::{Lab, ctx, noise, put};
use crate::repair::{check, shares};

#[tokio::test(start_paused = true)]
async fn an_interrupted_check_goes_on_and_says_the_same_in_the_end() {
    for deep in [false, true] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        for file in 0..2500 {
            put(&vault, &format!("f{file}"), &noise(file, 100))
                .await
                .unwrap();
        }
        vault.sync().await.unwrap();
        for name in shares(&lab.servers[1]).into_iter().step_by(50) {
            assert!(lab.servers[1].truncate(&name, 100));
        }
        let whole = check(&vault, deep, false).await;
        assert_eq!((whole.extents, whole.found), (2500, 50));
        let kept: Mutex<Option<Vec<u8>>> = Mutex::default();
        let parts = Mutex::new(Vec::new());
        vault
            .check(&ctx(), Check::new(deep), &|at| {
                kept.lock()
                    .unwrap()
                    .get_or_insert_with(|| at.checkpoint.to_bytes());
                parts.lock().unwrap().push(at.part);
            })
            .await
            .unwrap();

        let parts = parts.into_inner().unwrap();
        assert!(
            parts.is_sorted() && (0.3..0.5).contains(&parts[0]),
            "{parts:?}"
        );
        let kept = Checkpoint::from_bytes(&kept.into_inner().unwrap().unwrap()).unwrap();
        assert_eq!((kept.extents(), kept.is_deep()), (1000, deep));
        lab.servers.iter().for_each(MemoryStore::reset_calls);
        let rest = Check {
            resume: Some(kept.clone()),
            ..Check::new(deep)
        };
        let rest = vault.check(&ctx(), rest, &|_| ()).await.unwrap();
        if deep {
            let read = lab.servers[0].calls(Method::Get);
            assert!((1500..1600).contains(&read), "{read}");
        }
        assert_eq!(rest.servers, whole.servers);
        let sorted = |report: &VerifyReport| {
            let mut files: Vec<_> = report.findings.iter().map(|f| f.file.clone()).collect();
            files.sort();
            files
        };
        assert_eq!(sorted(&rest), sorted(&whole));
        assert_eq!((rest.extents, rest.found), (2500, 50));
        // What was a quick check says nothing of what is inside.
        let deeper = Check {
            resume: Some(kept),
            ..Check::new(true)
        };
        lab.servers.iter().for_each(MemoryStore::reset_calls);
        vault.check(&ctx(), deeper, &|_| ()).await.unwrap();
        assert!(deep || lab.servers[0].calls(Method::Get) == 2500);
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_findings_are_kept_and_all_are_counted() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for file in 0..30 {
        put(&vault, &format!("f{file}"), &noise(file, 100))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    lab.servers[0].wipe();
    let few = Check {
        keep: 7,
        record: true,
        ..Check::new(false)
    };
    let report = vault.check(&ctx(), few, &|_| ()).await.unwrap();
    assert_eq!(
        (report.findings.len(), report.found, report.recorded),
        (7, 30, 30)
    );
    assert!(!report.is_clean());
}
