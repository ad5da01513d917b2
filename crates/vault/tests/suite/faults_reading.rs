//! P4: servers that are gone, slow, wiped, damaged, stale or lying, while files are read and checked.

use std::collections::BTreeSet;
use std::time::Duration;

use warifu_core::format::ExtentKind;
use warifu_testkit::stores::{Lie, State};
use warifu_vault::error::Fault;
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::verify::{VerifyOptions, VerifyReport};
use warifu_vault::{Vault, VaultError};

use crate::common::lab::server_name;
use crate::common::{EXTENT, Lab, ctx, get, noise, open, put, read_all, same};

/// What becomes of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bane {
    Gone,
    Hung,
    Failing,
    Wiped,
    /// Every object has one bit flipped somewhere.
    Rotten,
    /// Every object has its first byte flipped.
    Beheaded,
    Halved,
    Emptied,
    Rubbish,
    /// Last week's copy: from before the files were saved.
    Stale,
    /// The objects have changed places.
    Shuffled,
    LiesInBits,
    LiesInLength,
}

const BANES: [Bane; 13] = [
    Bane::Gone,
    Bane::Hung,
    Bane::Failing,
    Bane::Wiped,
    Bane::Rotten,
    Bane::Beheaded,
    Bane::Halved,
    Bane::Emptied,
    Bane::Rubbish,
    Bane::Stale,
    Bane::Shuffled,
    Bane::LiesInBits,
    Bane::LiesInLength,
];

impl Bane {
    fn strike(self, lab: &Lab, place: usize, before: &warifu_testkit::stores::Snapshot) {
        let (server, faults) = (&lab.servers[place], &lab.faults[place]);
        let mut shares = server.names();
        shares.retain(|name| name.is_share());
        match self {
            Self::Gone => faults.set(State::Gone),
            Self::Hung => faults.set(State::Hung),
            Self::Failing => faults.set(State::Failing),
            Self::Wiped => server.wipe(),
            Self::Stale => server.roll_back(before),
            Self::LiesInBits => faults.tell(Lie::FlipsBits),
            Self::LiesInLength => faults.tell(Lie::CutsOff),
            Self::Shuffled => {
                let bytes: Vec<_> = shares
                    .iter()
                    .map(|name| server.bytes(name).unwrap())
                    .collect();
                for (name, bytes) in shares.iter().zip(bytes.iter().cycle().skip(1)) {
                    server.replace(name, bytes.clone());
                }
            }
            Self::Rotten | Self::Beheaded | Self::Halved | Self::Emptied | Self::Rubbish => {
                for (seed, name) in (0_u64..).zip(&shares) {
                    let len = server.bytes(name).unwrap().len();
                    match self {
                        Self::Rotten => server.flip(name, 3000 + seed as usize * 77),
                        Self::Beheaded => server.flip(name, 0),
                        Self::Halved => server.truncate(name, len / 2),
                        Self::Emptied => server.truncate(name, 0),
                        _ => server.damage(name, |bytes| *bytes = noise(seed, len)),
                    };
                }
            }
        }
    }

    /// What a deep check must call it.
    fn fault(self) -> &'static [Fault] {
        match self {
            Self::Gone | Self::Hung => &[Fault::NoAnswer],
            Self::Failing => &[Fault::Failed],
            Self::Wiped | Self::Stale => &[Fault::Missing],
            Self::Shuffled => &[Fault::Foreign],
            _ => &[Fault::Corrupt],
        }
    }

    /// Whether a check of listings can see it.
    fn shows_in_listings(self) -> bool {
        !matches!(
            self,
            Self::Rotten
                | Self::Beheaded
                | Self::Rubbish
                | Self::Shuffled
                | Self::LiesInBits
                | Self::LiesInLength
        )
    }
}

const FILES: [(&str, u64, usize); 3] = [
    ("small", 1, 6000),
    ("other", 2, 100_000),
    ("large", 3, EXTENT + 70_000),
];

/// A vault with three files, and how its servers were before them.
async fn filled(k: u8, n: u8) -> (Lab, Vec<warifu_testkit::stores::Snapshot>) {
    let lab = Lab::new(k, n).await;
    let before = lab
        .servers
        .iter()
        .map(warifu_testkit::stores::MemoryStore::snapshot)
        .collect();
    let vault = lab.start().await;
    for (file, seed, size) in FILES {
        put(&vault, file, &noise(seed, size)).await.unwrap();
    }
    assert!(vault.shutdown(&ctx()).await.is_empty());
    (lab, before)
}

async fn check(vault: &Vault, deep: bool) -> VerifyReport {
    let options = VerifyOptions { deep };
    vault.verify(&ctx(), options, &|_| ()).await.unwrap()
}

/// The servers and faults that a report names, and the files.
fn named(report: &VerifyReport) -> (BTreeSet<(String, Fault)>, BTreeSet<String>) {
    let servers = report
        .findings
        .iter()
        .map(|finding| (finding.server.clone(), finding.fault));
    (
        servers.collect(),
        report
            .findings
            .iter()
            .map(|finding| finding.file.clone())
            .filter(|file| file != "(the journal)")
            .collect(),
    )
}

/// How many extents are the journal's.
async fn segments(lab: &Lab) -> u64 {
    let mut records = lab.memory.extents(None, usize::MAX).await.unwrap();
    records.retain(|record| record.kind == ExtentKind::Journal);
    records.len() as u64
}

async fn survives(k: u8, n: u8, bad: &[(usize, Bane)]) {
    let what = format!("{k} of {n}, {bad:?}");
    let (lab, before) = filled(k, n).await;
    for (place, bane) in bad {
        bane.strike(&lab, *place, &before[*place]);
    }
    let vault = lab.start().await;
    for (file, seed, size) in FILES {
        let got = get(&vault, file)
            .await
            .unwrap_or_else(|error| panic!("{what}: {file}: {error}"));
        same(&got, &noise(seed, size), &what);
    }
    for deep in [false, true] {
        let report = check(&vault, deep).await;
        assert!(report.unreadable.is_empty() || !deep, "{what}");
        let (servers, files) = named(&report);
        for (place, bane) in bad {
            let expected = bane
                .fault()
                .iter()
                .map(|fault| (server_name(*place), *fault));
            let found: BTreeSet<_> = servers
                .iter()
                .filter(|(server, _)| *server == server_name(*place))
                .cloned()
                .collect();
            if deep || bane.shows_in_listings() {
                assert_eq!(found, expected.collect(), "{what}, deep: {deep}");
            }
        }
        assert!(
            servers
                .iter()
                .all(|(server, _)| bad.iter().any(|(place, _)| server_name(*place) == *server)),
            "{what}: somebody innocent is blamed: {servers:?}"
        );
        if deep {
            assert_eq!(
                files,
                ["/large", "/other", "/small"].map(str::to_owned).into()
            );
            for (place, _) in bad {
                let count = &report.servers[&server_name(*place)];
                let bad = count.bad.values().sum::<u64>();
                assert_eq!(count.good + bad, report.extents, "{what}");
                // Of the journal it may have taken a segment since.
                assert!(count.good <= segments(&lab).await, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_any_one_of_two_of_three_may_be_bad_in_any_way_and_is_named() {
    for bane in BANES {
        for place in 0..3 {
            survives(2, 3, &[(place, bane)]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_any_two_of_three_of_five_may_be_bad_in_different_ways_and_are_named() {
    for (turn, one) in BANES.into_iter().enumerate() {
        let (first, second) = (turn % 5, (turn + 1 + turn / 5) % 5);
        if first != second {
            survives(
                3,
                5,
                &[(first, one), (second, BANES[(turn * 5 + 3) % BANES.len()])],
            )
            .await;
        }
    }
}

/// One server too many is bad: every file says so and names who said what; no wrong byte is read.
async fn refuses(k: u8, n: u8, bad: &[(usize, Bane)]) {
    let what = format!("{k} of {n}, {bad:?}");
    let (lab, before) = filled(k, n).await;
    for (place, bane) in bad {
        bane.strike(&lab, *place, &before[*place]);
    }
    let vault = lab.start().await;
    for (file, _, _) in FILES {
        let error = get(&vault, file).await.unwrap_err();
        let VaultError::TooFewShares {
            file: path,
            needed,
            got,
            faults,
            ..
        } = &error
        else {
            panic!("{what}: {error}");
        };
        assert_eq!(
            (path.as_str(), *needed),
            (format!("/{file}").as_str(), k),
            "{what}"
        );
        assert!(
            *got < k && usize::from(*got) <= usize::from(n) - bad.len(),
            "{what}: {got}"
        );
        let found: BTreeSet<_> = faults
            .iter()
            .map(|fault| (fault.server.clone(), fault.fault))
            .collect();
        let expected = bad.iter().flat_map(|(place, bane)| {
            bane.fault()
                .iter()
                .map(|fault| (server_name(*place), *fault))
        });
        assert_eq!(found, expected.collect(), "{what}");
        for (place, _) in bad {
            assert!(
                error
                    .to_string()
                    .contains(&format!("{}: ", server_name(*place))),
                "{error}"
            );
        }
    }
    let report = check(&vault, true).await;
    // The journal may have got a segment since.
    let of_files = report
        .unreadable
        .iter()
        .filter(|unreadable| unreadable.file != "(the journal)");
    let files = report.extents - segments(&lab).await;
    assert_eq!(of_files.count() as u64, files, "{what}");
    let definite = bad
        .iter()
        .all(|(_, bane)| !matches!(bane, Bane::Gone | Bane::Hung | Bane::Failing));
    for unreadable in &report.unreadable {
        assert_eq!(
            (unreadable.needed, unreadable.lost),
            (k, definite),
            "{what}"
        );
        assert_eq!(
            usize::from(unreadable.good),
            usize::from(n) - bad.len(),
            "{what}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p4_one_bad_server_too_many_is_a_clear_error_and_never_a_wrong_byte() {
    for (turn, bane) in BANES.into_iter().enumerate() {
        let other = BANES[(turn * 3 + 1) % BANES.len()];
        refuses(2, 3, &[(turn % 3, bane), ((turn + 1) % 3, other)]).await;
        refuses(1, 1, &[(0, bane)]).await;
        refuses(2, 2, &[(turn % 2, bane)]).await;
    }
    refuses(
        3,
        5,
        &[(0, Bane::Wiped), (2, Bane::Rotten), (4, Bane::Halved)],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn p4_one_lying_server_is_named() {
    let (lab, _) = filled(2, 3).await;
    let vault = lab.start().await;
    lab.faults[1].tell(Lie::FlipsBits);
    let report = check(&vault, true).await;
    let (servers, _) = named(&report);
    assert_eq!(servers, [("B".to_owned(), Fault::Corrupt)].into());
    // The same when it has its listing in order, or lists what it has not.
    lab.faults[1].heal();
    lab.faults[1].tell(Lie::ListsNothing);
    assert!(check(&vault, true).await.is_clean());
    assert!(
        check(&vault, false).await.is_clean(),
        "what is not listed is asked for by name"
    );
    let gone = lab.servers[2]
        .names()
        .into_iter()
        .find(|name| name.is_share())
        .unwrap();
    lab.servers[2].lose(&gone);
    let (servers, _) = named(&check(&vault, false).await);
    assert_eq!(servers, [("C".to_owned(), Fault::Missing)].into());
}

#[tokio::test(start_paused = true)]
async fn p4_damage_in_single_shares_all_over_the_servers_is_survived() {
    let (lab, _) = filled(2, 3).await;
    let vault = lab.start().await;
    // Each extent loses one share, each time another server's.
    let mut lost = BTreeSet::new();
    for (turn, record) in warifu_vault::seam::catalog::Catalog::extents(&lab.memory, None, 100)
        .await
        .unwrap()
        .iter()
        .enumerate()
    {
        let place = turn % 3;
        let name = lab
            .key()
            .await
            .object_name(lab.ids[place], record.extent, record.generation)
            .into();
        match turn % 2 {
            0 => assert!(lab.servers[place].lose(&name)),
            _ => assert!(lab.servers[place].flip(&name, 5000)),
        }
        lost.insert(place);
    }
    assert_eq!(lost.len(), 3);
    for (file, seed, size) in FILES {
        same(&get(&vault, file).await.unwrap(), &noise(seed, size), file);
    }
    let report = check(&vault, true).await;
    assert!(report.unreadable.is_empty());
    assert_eq!(report.findings.len() as u64, report.extents);
}

#[tokio::test(start_paused = true)]
async fn p4_a_hanging_or_slow_server_does_not_hold_up_reading() {
    for hung in [true, false] {
        for place in 0..3 {
            let (lab, _) = filled(2, 3).await;
            let vault = lab.start().await;
            let faults = &lab.faults[place];
            if hung {
                faults.set(State::Hung);
            } else {
                faults.set_delay(Duration::from_secs(10));
            }
            for round in 0..3 {
                let begin = tokio::time::Instant::now();
                for (file, seed, size) in FILES {
                    same(&get(&vault, file).await.unwrap(), &noise(seed, size), file);
                }
                let took = begin.elapsed();
                let limit = if round == 0 { 1500 } else { 50 };
                assert!(
                    took < Duration::from_millis(limit),
                    "{took:?}, server {place}, hung: {hung}, round {round}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_server_that_comes_back_is_used_again() {
    let (lab, _) = filled(2, 3).await;
    let vault = lab.start().await;
    lab.faults[0].set(State::Gone);
    same(
        &get(&vault, "small").await.unwrap(),
        &noise(1, 6000),
        "without A",
    );
    lab.heal();
    lab.faults[1].set(State::Gone);
    lab.faults[2].set_delay(Duration::from_millis(1));
    same(
        &get(&vault, "other").await.unwrap(),
        &noise(2, 100_000),
        "without B",
    );
}

#[tokio::test(start_paused = true)]
async fn p4_a_server_that_goes_while_a_file_is_read_is_replaced() {
    let (lab, _) = filled(2, 3).await;
    let vault = lab.start().await;
    let handle = open(&vault, "large").await.unwrap();
    assert_eq!(handle.read(0, 100).await.unwrap().len(), 100);
    lab.faults[0].set(State::Gone);
    same(
        &read_all(&handle).await.unwrap(),
        &noise(3, EXTENT + 70_000),
        "in the middle",
    );
    lab.faults[1].set(State::Gone);
    // What was read stays readable while it is open; nothing is dropped because servers went.
    same(
        &read_all(&handle).await.unwrap(),
        &noise(3, EXTENT + 70_000),
        "from RAM",
    );
    handle.release(&ctx()).await.unwrap();
    assert!(matches!(
        get(&vault, "large").await,
        Err(VaultError::TooFewShares { .. })
    ));
    let status = vault.status(&ctx()).await.unwrap();
    assert_eq!(status.spare, -1);
    assert_eq!(lab.servers.len(), status.servers.len());
}
