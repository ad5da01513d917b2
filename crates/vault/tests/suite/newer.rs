//! P10: what a newer warifu made is named, and never taken for rubbish; what merely looks like it is.

use warifu_testkit::stores::MemoryStore;
use warifu_vault::error::Fault;
use warifu_vault::keys::FIRST_GENERATION;
use warifu_vault::seam::store::ObjectKey;

use crate::common::{Lab, get, noise, put, same};
use crate::repair::{assert_whole, check, repair, shares};

/// Where the version, the suite and the scheme stand.
const VERSION: usize = 7;
const SUITE: usize = 8;
const SCHEME: usize = 9;

fn set(server: &MemoryStore, name: &ObjectKey, at: usize, byte: u8) {
    assert!(server.damage(name, |bytes| bytes[at] = byte));
}

/// What a later format could look like: nothing after the changed byte fits what this one knows.
fn newer(server: &MemoryStore, name: &ObjectKey, at: usize, len: usize) {
    assert!(server.damage(name, |bytes| {
        bytes.resize(len, 0);
        bytes[at] = 9;
        bytes[32..].copy_from_slice(&noise(7, len - 32));
    }));
}

#[tokio::test(start_paused = true)]
async fn p10_a_share_of_a_newer_format_is_named_and_left_alone() {
    for at in [VERSION, SUITE, SCHEME] {
        for longer in [0, 100] {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            put(&vault, "f", &noise(1, 6000)).await.unwrap();
            vault.sync().await.unwrap();
            let server = &lab.servers[1];
            let name = shares(server).remove(0);
            let len = server.bytes(&name).unwrap().len() + longer;
            newer(server, &name, at, len);
            let theirs = server.bytes(&name);
            let what = format!("byte {at}, {longer} longer");
            for deep in [false, true] {
                let report = check(&vault, deep, true).await;
                if longer == 0 && !deep {
                    assert!(report.is_clean(), "{what}: a listing says no more");
                    continue;
                }
                let found = &report.findings[0];
                assert_eq!(
                    (found.server.as_str(), found.fault, report.recorded),
                    ("B", Fault::Newer, 0),
                    "{what}: {report:?}"
                );
            }
            assert_eq!(repair(&vault).await.left, 0, "{what}: nothing is owed");
            // Not even when it is owed for another reason.
            vault
                .owe_all(&crate::common::ctx(), crate::repair::index(2), &|_| ())
                .await
                .unwrap();
            let done = repair(&vault).await;
            assert!(server.bytes(&name) == theirs, "{what}: it is still there");
            assert!(
                done.faults
                    .iter()
                    .any(|fault| fault.server == "B" && fault.fault == Fault::Newer),
                "{what}: {done:?}"
            );
            same(&get(&vault, "f").await.unwrap(), &noise(1, 6000), &what);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_share_whose_format_byte_rotted_is_damaged_and_made_anew() {
    for at in [VERSION, SUITE, SCHEME] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, 6000)).await.unwrap();
        vault.sync().await.unwrap();
        for name in shares(&lab.servers[1]) {
            set(&lab.servers[1], &name, at, 9);
        }
        let report = check(&vault, true, true).await;
        assert!(report.recorded > 0);
        assert!(
            report
                .findings
                .iter()
                .all(|found| found.fault == Fault::Corrupt),
            "byte {at}: {report:?}"
        );
        repair(&vault).await;
        assert_whole(&lab, &vault, &format!("byte {at}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_key_piece_of_a_newer_format_is_left_alone_and_a_rotten_one_is_made_anew() {
    let piece = ObjectKey::vault_object(FIRST_GENERATION);
    let lab = Lab::new(2, 4).await;
    let vault = lab.start().await;
    let (theirs, rotten) = (&lab.servers[1], &lab.servers[2]);
    let good = rotten.bytes(&piece);
    newer(theirs, &piece, VERSION, 200);
    set(rotten, &piece, VERSION, 9);
    let before = theirs.bytes(&piece);
    assert_eq!(repair(&vault).await.key_pieces, ["C"]);
    assert!(theirs.bytes(&piece) == before);
    assert!(rotten.bytes(&piece) == good);
}
