//! Whatever was acknowledged is there after the process was killed, and nothing is there in part.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{make, name};
use warifu_catalog::{SqliteCatalog, chain_after};
use warifu_core::ids::{Generation, ServerId, Threshold, VaultId};
use warifu_core::keys::{CatalogKey, VaultKey};
use warifu_core::vault_object::{VaultObject, deal_vault_key, recover_vault_key};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, Durability};

const FOLDER: &str = "WARIFU_TEST_KILL_FOLDER";

/// Puts a fresh key where both processes find it.
fn deal_key(folder: &Path) {
    let key = VaultKey::generate().unwrap();
    let servers = [ServerId::fresh().unwrap()];
    let objects = deal_vault_key(
        &key,
        &VaultId::from_bytes([7; 16]),
        Threshold::new(1, 1).unwrap(),
        Generation(1),
        &servers,
    )
    .unwrap();
    std::fs::write(folder.join("key"), objects[0].encode()).unwrap();
}

fn read_key(folder: &Path) -> CatalogKey {
    let object = VaultObject::parse(&std::fs::read(folder.join("key")).unwrap()).unwrap();
    recover_vault_key(&[object])
        .unwrap()
        .0
        .catalog_key(VaultId::from_bytes([7; 16]))
}

/// Not a test by itself: the process that is killed. It runs only when the test below starts it.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let path = folder.join("catalog.db");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let catalog = std::sync::Arc::new(SqliteCatalog::open(&path, read_key(folder)).unwrap());
        let round = catalog.usage().await.unwrap().files;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16 {
            let catalog = catalog.clone();
            tasks.spawn(async move {
                for number in 0..100_000 {
                    let text = format!("{round} {task} {number}");
                    let durability = if number % 7 == 0 {
                        Durability::Now
                    } else {
                        Durability::Soon
                    };
                    make(&*catalog, &text, durability).await.unwrap();
                    println!("done {text}");
                }
            });
        }
        tasks.join_all().await;
    });
}

#[tokio::test]
async fn p5_acknowledged_changes_survive_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    deal_key(dir.path());
    let key = read_key(dir.path());
    drop(SqliteCatalog::create(&path, read_key(dir.path())).unwrap());
    let mut acknowledged = Vec::new();
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        // Another number of changes each time, so that the kill strikes another moment.
        for _ in 0..40 + round * 37 {
            let mut line = String::new();
            assert!(
                output.read_line(&mut line).unwrap() > 0,
                "the child goes on until it is killed"
            );
            acknowledged.extend(done(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died counts, a last torn line does not.
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8_lossy(&rest).into_owned();
        acknowledged.extend(
            rest.split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .filter_map(done),
        );

        let catalog = SqliteCatalog::open(&path, read_key(dir.path())).unwrap();
        for text in &acknowledged {
            assert!(
                catalog
                    .lookup(NodeId::ROOT, &name(text))
                    .await
                    .unwrap()
                    .is_some(),
                "{text} was acknowledged"
            );
        }
        let log = catalog.audit(0, usize::MAX).await.unwrap();
        assert_eq!(
            log.len() as u64,
            catalog.usage().await.unwrap().files,
            "a change and its line come together"
        );
        let mut previous = [0; 32];
        for (line, seq) in log.iter().zip(1..) {
            assert_eq!(
                (line.seq, line.chain),
                (seq, chain_after(&key, &previous, seq, &line.entry).unwrap())
            );
            previous = line.chain;
        }
    }
    assert!(acknowledged.len() > 8 * 40);
}

fn done(line: &str) -> Option<String> {
    line.split_once("done ")
        .map(|(_, text)| text.trim_end().to_owned())
}
