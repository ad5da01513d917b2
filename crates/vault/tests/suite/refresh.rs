//! P1, P4: a new generation of all shares. Old and new ones do not combine, nobody who works with the vault notices, and wherever it is
//! cut off nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::ids::{Generation, ShareIndex};
use warifu_testkit::catalogs::CatalogFault;
use warifu_testkit::stores::{Lie, MemoryStore, Method, State, Trouble};
use warifu_vault::keys::{Candidate, Expected, UnlockError, unlock};
use warifu_vault::refresh::{RefreshOptions, RefreshReport};
use warifu_vault::repair::RepairOptions;
use warifu_vault::seam::catalog::{Catalog, ExtentRecord};
use warifu_vault::seam::generations::Generations;
use warifu_vault::seam::store::ShareStore;
use warifu_vault::verify::Check;
use warifu_vault::{Vault, VaultError};

use crate::common::lab::server_name;
use crate::common::{EXTENT, Lab, ctx, get, noise, open, put, same, stat};
use crate::rebuild::{choices, from_servers};

pub(crate) async fn refresh(vault: &Vault) -> RefreshReport {
    try_refresh(vault).await.unwrap()
}

pub(crate) async fn try_refresh(vault: &Vault) -> Result<RefreshReport, VaultError> {
    let options = RefreshOptions::default();
    vault.refresh(&ctx(), &options, &|_| (), &|| false).await
}

pub(crate) async fn extents(lab: &Lab) -> Vec<ExtentRecord> {
    lab.memory.extents(None, usize::MAX).await.unwrap()
}

pub(crate) async fn generations(lab: &Lab) -> Generations {
    lab.memory.generations().await.unwrap()
}

/// The vault key from the servers at these places, as they are.
pub(crate) async fn unlock_from(
    lab: &Lab,
    servers: &[MemoryStore],
) -> Result<Generation, UnlockError> {
    let candidates: Vec<Candidate> = servers
        .iter()
        .enumerate()
        .map(|(place, server)| Candidate {
            name: server_name(place),
            store: Arc::new(server.clone()) as Arc<dyn ShareStore>,
        })
        .collect();
    let indices = (1..=lab.thresholds().seats()).filter_map(ShareIndex::new);
    let seats = lab.ids.iter().copied().zip(indices);
    let expected = Expected {
        vault: lab.vault,
        thresholds: lab.thresholds(),
        seats: seats.collect(),
    };
    let unlocked = unlock(&candidates, &expected).await?;
    Ok(unlocked.generation)
}

/// A server without anything.
fn empty() -> MemoryStore {
    MemoryStore::new()
}

/// Any k servers give the key.
pub(crate) async fn assert_unlocks(lab: &Lab, what: &str) {
    for set in choices(usize::from(lab.threshold.k()), lab.servers.len()) {
        let servers: Vec<MemoryStore> = (0..lab.servers.len())
            .map(|place| {
                if set.contains(&place) {
                    lab.servers[place].clone()
                } else {
                    empty()
                }
            })
            .collect();
        let unlocked = unlock_from(lab, &servers).await;
        assert!(unlocked.is_ok(), "{what}, from {set:?}: {unlocked:?}");
    }
}

/// What the tests put: small and large, of both schemes, with an older version.
pub(crate) async fn fill(lab: &Lab) -> Vec<(&'static str, Vec<u8>)> {
    let vault = lab.start().await;
    put(&vault, "small", &noise(1, 5000)).await.unwrap();
    put(&vault, "small", &noise(2, 6000)).await.unwrap();
    put(&vault, "large", &noise(3, EXTENT + 70_000))
        .await
        .unwrap();
    put(&vault, "empty", b"").await.unwrap();
    vault.sync().await.unwrap();
    let mut options = lab.options.clone();
    options.scheme = Scheme::Compact;
    let vault = lab.start_with(options).await.unwrap();
    put(&vault, "compact", &noise(4, 90_000)).await.unwrap();
    vault.sync().await.unwrap();
    vec![
        ("small", noise(2, 6000)),
        ("large", noise(3, EXTENT + 70_000)),
        ("empty", Vec::new()),
        ("compact", noise(4, 90_000)),
    ]
}

pub(crate) async fn assert_reads(vault: &Vault, files: &[(&str, Vec<u8>)], what: &str) {
    for (file, bytes) in files {
        same(
            &get(vault, file).await.unwrap(),
            bytes,
            &format!("{what}: {file}"),
        );
    }
    let node = stat(vault, "small").await.node;
    let older = vault
        .open_version(&ctx(), node, warifu_core::ids::VersionNo(1))
        .await
        .unwrap();
    let read = crate::common::read_all(&older).await.unwrap();
    same(
        &read,
        &noise(1, 5000),
        &format!("{what}: the version before"),
    );
}

#[tokio::test(start_paused = true)]
async fn p1_every_version_and_the_key_get_a_new_generation() {
    let lab = Lab::with_journal(2, 3).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    let before: Vec<_> = lab.servers.iter().map(MemoryStore::snapshot).collect();
    let names: Vec<Vec<_>> = lab.servers.iter().map(MemoryStore::names).collect();
    let plan = vault.plan_refresh(&ctx(), false).await.unwrap();
    assert!(plan.possible && !plan.resumes && plan.absent.is_empty());
    assert_eq!(plan.extents, extents(&lab).await.len() as u64);
    assert!(plan.joined >= 1, "{plan:?}");
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert!(report.extents >= plan.extents, "{report:?}");
    let now = generations(&lab).await;
    assert_eq!((now.current, now.wanted), (Generation(2), Generation(2)));
    assert!(now.begun.is_some() && now.ended.is_some());
    let records = extents(&lab).await;
    assert!(
        records
            .iter()
            .all(|record| record.generation == Generation(2))
    );
    assert!(
        records
            .iter()
            .any(|record| record.kind == ExtentKind::Journal)
    );
    assert_reads(&vault, &files, "after it").await;
    for (server, names) in lab.servers.iter().zip(&names) {
        let left: Vec<_> = server
            .names()
            .into_iter()
            .filter(|name| names.contains(name))
            .collect();
        assert_eq!(left, [], "nothing of before is left");
    }
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("after it").await;
    assert_unlocks(&lab, "after it").await;
    let unlocked = unlock_from(&lab, &lab.servers).await.unwrap();
    assert_eq!(unlocked, Generation(2));

    // Who stole one server's disk before, and another's after, has nothing: not the key, and not a file with it.
    let stolen = empty();
    stolen.roll_back(&before[0]);
    let have = [stolen.clone(), lab.servers[1].clone(), empty()];
    let unlocked = unlock_from(&lab, &have).await;
    assert!(
        matches!(
            unlocked,
            Err(UnlockError::TooFewServers { .. } | UnlockError::Mismatch { .. })
        ),
        "{unlocked:?}"
    );
    lab.servers[0].roll_back(&before[0]);
    lab.faults[2].set(State::Gone);
    let vault = lab.start().await;
    for file in ["small", "large", "compact"] {
        let read = get(&vault, file).await;
        assert!(
            matches!(read, Err(VaultError::TooFewShares { got: 1, .. })),
            "{file}: {read:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn each_refresh_takes_a_number_of_its_own() {
    let lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    for number in 2..6 {
        let report = refresh(&vault).await;
        assert!(report.status.is_complete());
        assert_eq!(generations(&lab).await.current, Generation(number));
        put(&vault, "later", &noise(u64::from(number), 9000))
            .await
            .unwrap();
        let node = stat(&vault, "later").await;
        let head = lab
            .memory
            .extent(node.head.unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(head.generation, Generation(number), "what is saved later");
        assert_reads(&vault, &files, "after it").await;
    }
    let names = lab.servers[0].names();
    let pieces: Vec<_> = names.iter().filter(|name| !name.is_share()).collect();
    assert_eq!(pieces.len(), 1, "{pieces:?}");
}

/// A catalogue that was brought back from before a refresh finds nothing, and lets nothing go either: a rebuild finds it all.
#[tokio::test(start_paused = true)]
async fn p7_a_catalogue_from_before_a_refresh_takes_nothing_away() {
    let mut lab = Lab::with_journal(2, 3).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    let backup = lab.memory.backup();
    refresh(&vault).await;
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.take_over(backup);
    let vault = lab.start().await;
    assert!(get(&vault, "small").await.is_err());
    lab.pass(Duration::from_secs(30 * 24 * 3600));
    vault.orphans(&ctx(), Duration::ZERO, true).await.unwrap();
    let report = refresh(&vault).await;
    assert!(report.unreadable > 0, "{report:?}");
    assert_eq!(
        generations(&lab).await.current,
        Generation(3),
        "not a number that was used"
    );
    drop(vault);
    let (catalog, report) = from_servers(&lab, &[0, 2]).await;
    assert!(report.lost.is_empty(), "{report:?}");
    lab.take_over(catalog);
    let vault = lab.start().await;
    for (file, bytes) in &files {
        let name = file.to_string();
        same(&get(&vault, &name).await.unwrap(), bytes, &name);
    }
}

#[tokio::test(start_paused = true)]
async fn p4_whoever_has_a_file_open_or_saves_goes_on() {
    let lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let (one, two) = (lab.start().await, lab.start().await);
    let large = noise(3, EXTENT + 70_000);
    let handle = open(&two, "large").await.unwrap();
    // The beginnings of shares are known from now on.
    let read = handle.read(200_000, 5000).await.unwrap();
    same(read.expose(), &large[200_000..205_000], "a part before");
    let unread = open(&two, "small").await.unwrap();
    for faults in &lab.faults {
        faults.set_delay(Duration::from_millis(3));
    }
    let work = async {
        for turn in 0..30_u64 {
            put(&two, "busy", &noise(turn, 8000)).await.unwrap();
            for (file, bytes) in &files {
                same(&get(&two, file).await.unwrap(), bytes, file);
            }
            let at = 300_000 + turn * 65_536;
            let read = handle.read(at, 4096).await.unwrap();
            let at = usize::try_from(at).unwrap();
            same(read.expose(), &large[at..at + 4096], "a part meanwhile");
        }
    };
    let refreshes = async {
        for _ in 0..4 {
            refresh(&one).await;
        }
    };
    tokio::join!(work, refreshes);
    let read = unread.read(0, 10_000).await.unwrap();
    same(
        read.expose(),
        &noise(2, 6000),
        "a file opened before all of it",
    );
    let read = handle.read(EXTENT as u64 + 10, 5000).await.unwrap();
    same(
        read.expose(),
        &large[EXTENT + 10..EXTENT + 5010],
        "its other extent",
    );
    // What the other one saved in the last second may be of the generation before.
    two.sync().await.unwrap();
    let report = refresh(&one).await;
    assert!(report.status.is_complete(), "{report:?}");
    same(&get(&one, "busy").await.unwrap(), &noise(29, 8000), "busy");
    handle.release(&ctx()).await.unwrap();
    unread.release(&ctx()).await.unwrap();
    one.shutdown(&ctx()).await;
    two.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_server_that_is_away_keeps_the_old_ones_until_it_is_back() {
    let lab = Lab::new(2, 4).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    lab.faults[3].set(State::Gone);
    let report = refresh(&vault).await;
    assert_eq!(report.status.left, 0, "{report:?}");
    assert!(!report.status.is_complete());
    let held = report.status.holding.get("D").unwrap();
    assert!(held.unknown && held.objects > 4, "{report:?}");
    assert_eq!(report.status.holding.len(), 1, "{report:?}");
    assert!(generations(&lab).await.ended.is_none());
    assert_reads(&vault, &files, "while it is away").await;
    let owed = lab.memory.usage().await.unwrap().owed_shares;
    assert_eq!(owed, extents(&lab).await.len() as u64);

    lab.heal();
    let report = refresh(&vault).await;
    let held = report.status.holding.get("D").unwrap();
    assert!(!held.unknown && held.objects > 4, "{report:?}");
    // What remembers the old ones is swept when nobody can be at it any more.
    lab.let_leases_end();
    let vault = lab.start().await;
    vault
        .repair(&ctx(), &RepairOptions::default(), &|_| ())
        .await
        .unwrap();
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert!(generations(&lab).await.ended.is_some());
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
    assert_eq!(lab.memory.usage().await.unwrap().owed_shares, 0);
    assert_unlocks(&lab, "in the end").await;
}

#[tokio::test(start_paused = true)]
async fn p4_nothing_is_done_where_files_would_be_left_with_none_to_spare() {
    let lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    lab.faults[1].set(State::Gone);
    let plan = vault.plan_refresh(&ctx(), false).await.unwrap();
    assert!(!plan.possible);
    let refused = try_refresh(&vault).await;
    assert!(
        matches!(
            refused,
            Err(VaultError::NotStored {
                needed: 3,
                got: 2,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(generations(&lab).await, Generations::FIRST);
    lab.heal();
    // One that is full takes no pieces of the key: it is found out before any extent is touched.
    lab.faults[1].set(State::Full);
    let refused = try_refresh(&vault).await;
    assert!(
        matches!(refused, Err(VaultError::NotStored { .. })),
        "{refused:?}"
    );
    assert!(
        extents(&lab)
            .await
            .iter()
            .all(|record| record.generation == Generation(1))
    );
    lab.heal();
    assert_reads(&vault, &files, "after it").await;
    assert_unlocks(&lab, "after it").await;
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
}

/// A server is in trouble in the middle of it: what comes of that is read, told, and made good.
#[tokio::test(start_paused = true)]
async fn p4_servers_that_fail_in_the_middle() {
    type Befall = fn(&Lab);
    let troubles: [(&str, Befall); 7] = [
        ("gone", |lab| lab.faults[0].set(State::Gone)),
        ("full", |lab| lab.faults[0].set(State::Full)),
        ("read-only", |lab| lab.faults[0].set(State::ReadOnly)),
        ("slow", |lab| {
            lab.faults[0].set_delay(Duration::from_secs(3))
        }),
        ("forgets", |lab| lab.faults[0].tell(Lie::ForgetsWrites)),
        ("keeps parts", |lab| lab.faults[0].tell(Lie::KeepsParts)),
        ("flips bits", |lab| lab.faults[0].tell(Lie::FlipsBits)),
    ];
    for (what, trouble) in troubles {
        for after in [2, 5, 9] {
            let lab = Lab::new(2, 4).await;
            let files = fill(&lab).await;
            let vault = lab.start().await;
            let puts = lab.servers[0].calls(Method::Put);
            let begin = async {
                while lab.servers[0].calls(Method::Put) < puts + after {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                trouble(&lab);
            };
            for faults in &lab.faults {
                faults.set_delay(Duration::from_millis(5));
            }
            let limited = async {
                let done = try_refresh(&vault);
                tokio::pin!(done);
                tokio::pin!(begin);
                match futures_util::future::select(done, begin).await {
                    futures_util::future::Either::Left((done, _)) => done,
                    futures_util::future::Either::Right(((), done)) => done.await,
                }
            };
            limited.await.unwrap();
            assert_reads(&vault, &files, what).await;
            lab.heal();
            lab.let_leases_end();
            let vault = lab.start().await;
            let mut check = Check::new(true);
            check.record = true;
            vault.check(&ctx(), check, &|_| ()).await.unwrap();
            let options = RepairOptions::default();
            vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
            let report = refresh(&vault).await;
            assert!(report.status.is_complete(), "{what} {after}: {report:?}");
            assert_reads(&vault, &files, what).await;
            vault.shutdown(&ctx()).await;
            lab.assert_tidy(what).await;
            assert_unlocks(&lab, what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_puts_and_switches_whose_answer_is_lost() {
    for nth in 1..10 {
        let lab = Lab::new(2, 3).await;
        let files = fill(&lab).await;
        let vault = lab.start().await;
        let fate = if nth % 2 == 0 {
            lab.catalog.fail_write(nth, CatalogFault::LostReply);
            lab.faults[0].plan(Method::Delete, nth, Trouble::LostReply);
            "of the catalogue"
        } else {
            lab.faults[1].plan(Method::Put, nth, Trouble::LostReply);
            "of a server"
        };
        let _told = try_refresh(&vault).await;
        // What is planned and did not come to pass.
        lab.heal();
        let what = format!("answer {nth} {fate}");
        assert_reads(&vault, &files, &what).await;
        lab.let_leases_end();
        let vault = lab.start().await;
        let options = RepairOptions::default();
        vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{what}: {report:?}");
        assert_reads(&vault, &files, &what).await;
        vault.shutdown(&ctx()).await;
        lab.assert_tidy(&what).await;
        assert_unlocks(&lab, &what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drive_refreshes_by_its_schedule() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    lab.options.upkeep.every = Duration::from_secs(1);
    lab.options.upkeep.refresh_every = Some(Duration::from_secs(7 * 24 * 3600));
    let vault = lab.start().await;
    let day = Duration::from_secs(24 * 3600);
    let a_while = || tokio::time::sleep(Duration::from_secs(300));
    a_while().await;
    assert_eq!(
        generations(&lab).await.current,
        Generation(2),
        "there was none"
    );
    assert!(generations(&lab).await.ended.is_some());
    lab.pass(6 * day);
    a_while().await;
    assert_eq!(generations(&lab).await.current, Generation(2), "not yet");
    lab.faults[1].set(State::Gone);
    let _ = get(&vault, "small").await;
    lab.pass(2 * day);
    a_while().await;
    assert!(
        extents(&lab)
            .await
            .iter()
            .all(|record| record.owed.is_empty()),
        "not while a server is away"
    );
    lab.heal();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(generations(&lab).await.current > Generation(2));
    assert!(generations(&lab).await.ended.is_some());
    assert_reads(&vault, &files, "after it").await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_stopped_and_gone_on_with() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for file in 0..600 {
        put(&vault, &format!("f{file}"), &noise(file, 4000))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let soon = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2;
    let options = RefreshOptions::default();
    let report = vault
        .refresh(&ctx(), &options, &|_| (), &soon)
        .await
        .unwrap();
    assert!(report.extents > 0 && report.status.left > 0, "{report:?}");
    let plan = vault.plan_refresh(&ctx(), false).await.unwrap();
    assert!(plan.resumes);
    assert_eq!(plan.extents, report.status.left);
    let wanted = generations(&lab).await.wanted;
    let report = refresh(&vault).await;
    assert_eq!(report.extents, plan.extents, "only what was left");
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(generations(&lab).await.wanted, wanted);
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
}
