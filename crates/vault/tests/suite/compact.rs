//! Vaults of the scheme compact, and of both schemes at once.

use std::collections::BTreeSet;

use warifu_core::format::{ExtentKind, Plan, Scheme};
use warifu_testkit::stores::State;
use warifu_vault::Vault;
use warifu_vault::error::Fault;
use warifu_vault::seam::catalog::{Catalog as _, ExtentRecord};
use warifu_vault::verify::{VerifyOptions, VerifyReport};

use crate::common::{EXTENT, Lab, ctx, get, noise, open, put, same};

async fn compact(k: u8, n: u8) -> Lab {
    let mut lab = Lab::new(k, n).await;
    lab.options.scheme = Scheme::Compact;
    lab
}

/// The extents of files; the journal's are dealt by Shamir's scheme always.
async fn records(lab: &Lab) -> Vec<ExtentRecord> {
    let mut records = lab.memory.extents(None, usize::MAX).await.unwrap();
    records.retain(|record| record.kind != ExtentKind::Journal);
    records
}

fn schemes(records: &[ExtentRecord]) -> BTreeSet<&'static str> {
    records.iter().map(|record| record.scheme.name()).collect()
}

async fn verify(vault: &Vault, deep: bool) -> VerifyReport {
    let options = VerifyOptions { deep };
    vault.verify(&ctx(), options, &|_| ()).await.unwrap()
}

/// Of one chunk, of several, and of two extents.
fn files() -> [(&'static str, Vec<u8>); 4] {
    [
        ("one byte", noise(1, 1)),
        ("small", noise(2, 9000)),
        ("chunks", noise(3, 200_001)),
        ("large", noise(4, EXTENT + 70_000)),
    ]
}

#[tokio::test(start_paused = true)]
async fn p2_p4_a_compact_vault_is_read_with_any_servers_lost() {
    for (k, n) in [(1, 1), (1, 2), (2, 2), (2, 3), (3, 5)] {
        let lab = compact(k, n).await;
        let vault = lab.start().await;
        for (file, bytes) in files() {
            put(&vault, file, &bytes).await.unwrap();
        }
        vault.sync().await.unwrap();
        drop(vault);
        let records = records(&lab).await;
        assert_eq!(schemes(&records), BTreeSet::from(["compact"]));
        let all = lab.memory.extents(None, usize::MAX).await.unwrap();
        let stored: u64 = (all.iter().map(|record| record.plan().object_len())).sum();
        let there: usize = lab.servers[0]
            .everything()
            .iter()
            .filter(|(name, _)| name.is_share())
            .map(|(_, bytes)| bytes.len())
            .sum();
        assert_eq!(there as u64, stored, "{k} of {n}");
        let contents: usize = files().iter().map(|(_, bytes)| bytes.len()).sum();
        let part = contents / usize::from(k);
        assert!(
            (part..part + part / 20 + 20_000).contains(&there),
            "{there} of {part}"
        );

        let lost = usize::from(n - k);
        // Every run of n - k servers, round the end too.
        for first in 0..usize::from(n) {
            lab.heal();
            for at in 0..lost {
                lab.faults[(first + at) % usize::from(n)].set(State::Gone);
            }
            let vault = lab.start().await;
            for (file, bytes) in files() {
                let read = get(&vault, file).await.unwrap();
                same(&read, &bytes, &format!("{k} of {n}, {first}: {file}"));
            }
        }
        lab.heal();
        let vault = lab.start().await;
        for deep in [false, true] {
            let report = verify(&vault, deep).await;
            assert!(report.is_clean() && report.extents >= records.len() as u64);
        }
        if k > 1 {
            // One more is one too many.
            for at in 0..=lost {
                lab.faults[at].set(State::Gone);
            }
            get(&lab.start().await, "small").await.unwrap_err();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p2_parts_of_a_compact_file_are_read_and_changed() {
    let lab = compact(2, 3).await;
    let vault = lab.start().await;
    let mut bytes = noise(5, 2 * EXTENT + 100_000);
    put(&vault, "f", &bytes).await.unwrap();
    drop(vault);
    lab.faults[0].set(State::Gone);
    let vault = lab.start().await;
    let handle = open(&vault, "f").await.unwrap();
    for (at, len) in [
        (0, 1),
        (65_535, 2),
        (EXTENT - 1, 2),
        (EXTENT + 65_000, 70_000),
        (2 * EXTENT - 3, 65_539),
        (2 * EXTENT + 99_999, 1),
    ] {
        let part = handle.read(at as u64, len).await.unwrap();
        same(
            part.expose(),
            &bytes[at..at + len],
            &format!("{len} at {at}"),
        );
    }
    bytes[EXTENT + 7..EXTENT + 12].copy_from_slice(b"later");
    handle
        .write(&ctx(), EXTENT as u64 + 7, b"later")
        .await
        .unwrap();
    handle.fsync(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    same(
        &get(&lab.start().await, "f").await.unwrap(),
        &bytes,
        "changed",
    );
}

#[tokio::test(start_paused = true)]
async fn p2_p4_a_bad_compact_share_is_named_and_does_no_harm() {
    let lab = compact(2, 3).await;
    let vault = lab.start().await;
    let bytes = noise(6, 150_000);
    put(&vault, "f", &bytes).await.unwrap();
    vault.sync().await.unwrap();
    let object = (lab.servers[1].names().into_iter())
        .find(|name| name.is_share())
        .unwrap();
    let whole = lab.servers[1].bytes(&object).unwrap();
    // In the header, the identity, the piece of the inner key, the first chunk and the last byte.
    for at in [9, 20, 100, 200, 239, 240, 30_000, whole.len() - 1] {
        lab.servers[1].replace(&object, whole.clone());
        lab.servers[1].flip(&object, at);
        // Servers that have not been asked yet are asked in their order: the bad one is among the first two.
        let vault = lab.start().await;
        let read = get(&vault, "f").await.unwrap();
        same(&read, &bytes, &format!("byte {at}"));
        assert!(
            verify(&vault, false).await.is_clean(),
            "the length is right"
        );
        let report = verify(&vault, true).await;
        let [finding] = &report.findings[..] else {
            panic!("byte {at}: {:?}", report.findings)
        };
        let found = (
            finding.server.as_str(),
            finding.fault,
            finding.file.as_str(),
        );
        assert_eq!(found, ("B", Fault::Corrupt, "/f"), "byte {at}");
        assert!(report.unreadable.is_empty());
    }
    lab.servers[1].replace(&object, whole.clone());
    for len in [0, 63, 200, 239, 240, whole.len() - 1] {
        lab.servers[1].replace(&object, whole.clone());
        lab.servers[1].truncate(&object, len);
        let vault = lab.start().await;
        same(&get(&vault, "f").await.unwrap(), &bytes, "cut off");
        for deep in [false, true] {
            let report = verify(&vault, deep).await;
            assert_eq!(report.findings.len(), 1, "{len} bytes, deep: {deep}");
            assert_eq!(report.findings[0].fault, Fault::Corrupt);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p2_p4_files_of_both_schemes_lie_side_by_side() {
    let mut lab = Lab::new(2, 3).await;
    let mut large = noise(7, 2 * EXTENT + 5000);
    let vault = lab.start().await;
    put(&vault, "old", &noise(8, 9000)).await.unwrap();
    put(&vault, "large", &large).await.unwrap();
    vault.sync().await.unwrap();
    drop(vault);
    assert_eq!(schemes(&records(&lab).await), BTreeSet::from(["shamir"]));

    lab.options.scheme = Scheme::Compact;
    let vault = lab.start().await;
    put(&vault, "new", &noise(9, 9000)).await.unwrap();
    let handle = open(&vault, "large").await.unwrap();
    large[EXTENT] ^= 1;
    let byte = &large[EXTENT..=EXTENT];
    handle.write(&ctx(), EXTENT as u64, byte).await.unwrap();
    handle.fsync(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    vault.sync().await.unwrap();
    assert_eq!(
        schemes(&records(&lab).await),
        BTreeSet::from(["compact", "shamir"])
    );
    drop(vault);

    for scheme in [Scheme::Compact, Scheme::Shamir] {
        lab.options.scheme = scheme;
        for gone in 0..3 {
            lab.heal();
            lab.faults[gone].set(State::Gone);
            let vault = lab.start().await;
            same(&get(&vault, "old").await.unwrap(), &noise(8, 9000), "old");
            same(&get(&vault, "new").await.unwrap(), &noise(9, 9000), "new");
            same(&get(&vault, "large").await.unwrap(), &large, "large");
        }
        lab.heal();
        let vault = lab.start().await;
        for deep in [false, true] {
            let report = verify(&vault, deep).await;
            assert!(report.is_clean(), "{:?}", report.findings);
        }
        assert_eq!(vault.status(&ctx()).await.unwrap().scheme, scheme);
    }
    let vault = lab.start().await;
    put(&vault, "new", &noise(10, 9000)).await.unwrap();
    vault.sync().await.unwrap();
    let head = crate::common::stat(&vault, "new").await.head.unwrap();
    let record = lab.memory.extent(head).await.unwrap().unwrap();
    assert_eq!(record.scheme, Scheme::Shamir, "as asked for now");
}

#[tokio::test(start_paused = true)]
async fn p4_a_share_of_another_scheme_than_the_catalogue_says_is_foreign() {
    let lab = compact(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(11, 9000)).await.unwrap();
    vault.sync().await.unwrap();
    let [record] = &records(&lab).await[..] else {
        panic!("one extent");
    };
    // No server can make one: it takes the vault key. So this is a mistake of a warifu, and found all the same.
    let key = lab.key().await;
    let keys: Vec<_> = lab.ids.iter().map(|id| key.seal_key(*id)).collect();
    let seats: Vec<_> = (lab.ids.iter().zip(&keys))
        .map(|(&server, key)| warifu_core::format::Seat { server, key })
        .collect();
    let dealing = warifu_core::format::Dealing {
        vault: lab.vault,
        file: record.document,
        version: record.version,
        kind: record.kind,
        number: record.number,
        extent: record.extent,
        generation: record.generation,
        round: warifu_core::ids::RoundId::NIL,
        threshold: record.threshold,
        scheme: Scheme::Shamir,
        suite: warifu_core::format::Suite::best(),
    };
    let mut objects = vec![Vec::new(); 3];
    let secret = vec![7; usize::try_from(record.len).unwrap()];
    warifu_core::format::deal(&dealing, &seats, &secret, &mut objects).unwrap();
    let name = key
        .object_name(lab.ids[2], record.extent, record.generation)
        .into();
    lab.servers[2].replace(&name, objects.swap_remove(2));
    let report = verify(&vault, true).await;
    let [finding] = &report.findings[..] else {
        panic!("{:?}", report.findings)
    };
    assert_eq!(
        (finding.server.as_str(), finding.fault),
        ("C", Fault::Foreign)
    );
    assert!(finding.detail.contains("shamir"), "{}", finding.detail);
    // And by its length alone.
    let report = verify(&vault, false).await;
    assert_eq!(report.findings[0].fault, Fault::Corrupt);
    assert_ne!(
        record.plan().object_len(),
        Plan::new(Scheme::Shamir, record.threshold, record.len).object_len()
    );
}

#[tokio::test(start_paused = true)]
async fn room_is_counted_in_contents() {
    for (scheme, parts) in [(Scheme::Shamir, 1), (Scheme::Compact, 2)] {
        let mut lab = Lab::new(2, 3).await;
        lab.options.scheme = scheme;
        lab.servers[0].set_capacity(Some(50_000_000));
        lab.servers[1].set_capacity(Some(40_000_000));
        let space = lab.start().await.space().await.unwrap();
        assert_eq!(space.total, Some(40_000_000 * parts), "{scheme:?}");
        let free = space.free.unwrap();
        assert!((39_900_000 * parts..=40_000_000 * parts).contains(&free));
    }
}
