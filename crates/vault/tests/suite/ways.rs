//! Ways in, on servers that fail and with changes that are cut off.

use std::sync::Arc;

use warifu_core::ids::{ShareIndex, Threshold};
use warifu_core::keys::VaultKey;
use warifu_core::ways::{WayId, WayKey, WayKind, WaysNumber, deal_paper};
use warifu_testkit::stores::{MemoryStore, State};
use warifu_testkit::world::Death;
use warifu_vault::Vault;
use warifu_vault::keys::{
    Bound, Candidate, Expected, FIRST_GENERATION, UnlockError, Unlocked, unlock,
};
use warifu_vault::rebuild::{gather, gather_by_way};
use warifu_vault::seam::store::ObjectKey;
use warifu_vault::ways::{
    Added, ApproachError, Approached, WaysChange, WaysChanged, WaysError, approach,
};

use crate::common::ctx;
use crate::common::lab::{Lab, live, server_name};

pub(crate) fn candidates(lab: &Lab) -> Vec<Candidate> {
    let stores = lab.stores.iter().enumerate();
    stores
        .map(|(place, store)| Candidate {
            name: server_name(place),
            store: Arc::clone(store) as _,
        })
        .collect()
}

pub(crate) fn expected(lab: &Lab) -> Expected {
    Expected {
        vault: lab.vault,
        thresholds: lab.thresholds(),
        seats: lab
            .ids
            .iter()
            .copied()
            .zip((1..=lab.thresholds().seats()).filter_map(ShareIndex::new))
            .collect(),
    }
}

/// What an opening comes to.
#[derive(Debug)]
pub(crate) enum Door {
    /// k servers suffice.
    Open(Unlocked),
    Barred(Box<Bound>, Approached),
    Shut,
}

pub(crate) async fn knock(lab: &Lab) -> Door {
    let (candidates, expected) = (candidates(lab), expected(lab));
    match unlock(&candidates, &expected).await {
        Ok(unlocked) => Door::Open(unlocked),
        Err(UnlockError::Bound(bound)) => match approach(&candidates, Some(&expected)).await {
            Ok(approached) => Door::Barred(bound, approached),
            Err(_) => Door::Shut,
        },
        Err(_) => Door::Shut,
    }
}

/// Whether the vault opens by this way, and to the right key.
pub(crate) async fn opens_by(lab: &Lab, id: u32, key: &WayKey) -> bool {
    let Door::Barred(_, approached) = knock(lab).await else {
        return false;
    };
    let Ok(found) = approached.unseal(WayId(id), key) else {
        return false;
    };
    same(&found, &lab.key().await)
}

fn same(one: &VaultKey, other: &VaultKey) -> bool {
    use warifu_core::ids::{ExtentId, Generation, ServerId};
    let name = |key: &VaultKey| key.object_name(ServerId::NIL, ExtentId::NIL, Generation(0));
    name(one) == name(other)
}

fn copy(key: &WayKey) -> WayKey {
    WayKey::from_secret(
        warifu_core::secret::Secret::filled(|out| {
            out.copy_from_slice(key.expose());
            Ok::<_, ()>(())
        })
        .unwrap(),
    )
}

fn keys(key: &WayKey) -> Added {
    Added {
        kind: WayKind::Keys {
            recipients: "age1test".into(),
            sealed: vec![1],
        },
        key: copy(key),
    }
}

pub(crate) async fn add(vault: &Vault, name: &str, key: &WayKey) -> Result<WaysChanged, WaysError> {
    let change = WaysChange::Add {
        name: name.into(),
        way: keys(key),
    };
    vault.change_ways(&ctx(), change).await
}

pub(crate) fn pieces(server: &MemoryStore) -> Vec<String> {
    let names = server.names().into_iter();
    names
        .filter(|name| !name.is_share())
        .map(|name| name.as_str().to_owned())
        .collect()
}

#[test]
fn p3_with_a_way_k_servers_alone_do_not_open_and_any_one_way_does() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        assert!(vault.ways().await.is_open());
        let (one, other) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
        let done = add(&vault, "one", &one).await.unwrap();
        assert_eq!((done.number, done.stored.len()), (WaysNumber(1), 3));
        assert!(done.faults.is_empty() && !done.at_the_limit);
        add(&vault, "other", &other).await.unwrap();
        for server in &lab.servers {
            assert_eq!(pieces(server), ["vault-00000001", "ways-00000002"]);
        }
        let Door::Barred(bound, approached) = knock(&lab).await else {
            panic!("the servers alone opened it");
        };
        let names: Vec<_> = approached.ways().map(|way| way.name().to_owned()).collect();
        assert_eq!(names, ["one", "other"]);
        assert!(approached.unseal(WayId(1), &other).is_err());
        for (id, key) in [(1, &one), (2, &other)] {
            assert!(opens_by(&lab, id, key).await);
        }
        let key = approached.unseal(WayId(1), &one).unwrap();
        let unlocked = approached.unlocked(*bound, key);
        assert!(unlocked.faults.is_empty() && !unlocked.ways_to_mend);
        assert_eq!(unlocked.generation, FIRST_GENERATION);
        // Any two servers, and no one of them.
        for away in 0..3 {
            lab.faults[away].set(State::Gone);
            assert!(opens_by(&lab, 1, &one).await, "{away} is away");
            lab.faults[(away + 1) % 3].set(State::Gone);
            assert!(matches!(knock(&lab).await, Door::Shut));
            lab.heal();
        }
        // Whoever opened it without ways goes on, and mends what is lost in the new way.
        lab.servers[1].wipe();
        let lost = vault
            .plan_repair(&ctx(), &Default::default())
            .await
            .unwrap();
        assert_eq!(lost.key_pieces.len(), 2, "{:?}", lost.key_pieces);
        let report = vault
            .repair(&ctx(), &Default::default(), &|_| ())
            .await
            .unwrap();
        assert_eq!(report.key_pieces, ["B"]);
        assert_eq!(pieces(&lab.servers[1]), ["vault-00000001", "ways-00000002"]);
        lab.faults[0].set(State::Gone);
        assert!(opens_by(&lab, 2, &other).await);
    });
}

#[test]
fn p3_a_way_that_was_taken_out_opens_no_more_and_the_last_one_stays() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let (one, other) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
        add(&vault, "one", &one).await.unwrap();
        add(&vault, "other", &other).await.unwrap();
        let taken = add(&vault, "one", &other).await.unwrap_err();
        assert!(matches!(taken, WaysError::Taken { .. }));
        let remove = |id| WaysChange::Remove(vec![WayId(id)]);
        let old = lab.servers[0].snapshot();
        vault.change_ways(&ctx(), remove(1)).await.unwrap();
        assert!(!opens_by(&lab, 1, &one).await);
        assert!(opens_by(&lab, 2, &other).await);
        // One server that brings the old one back is named and changes nothing.
        lab.servers[0].roll_back(&old);
        assert!(!opens_by(&lab, 1, &one).await);
        assert!(opens_by(&lab, 2, &other).await);
        assert_eq!(vault.ways().await.faults.len(), 1);
        assert_eq!(vault.mend_ways().await, ["A"]);
        assert!(vault.ways().await.faults.is_empty());
        let last = vault.change_ways(&ctx(), remove(2)).await.unwrap_err();
        assert!(matches!(last, WaysError::Last));
        let none = vault.change_ways(&ctx(), remove(7)).await.unwrap_err();
        assert!(matches!(none, WaysError::NoWay { id: WayId(7) }));
        // To none: then k servers suffice, by a way that is open.
        vault.change_ways(&ctx(), WaysChange::Open).await.unwrap();
        assert!(opens_by(&lab, 4, &WayKey::open()).await);
        assert!(!opens_by(&lab, 2, &other).await);
        assert!(vault.ways().await.is_open());
        // And with a way again, not.
        add(&vault, "other", &other).await.unwrap();
        assert!(!opens_by(&lab, 4, &WayKey::open()).await);
        assert!(opens_by(&lab, 5, &other).await);
    });
}

#[test]
fn p3_renewing_and_rotating_leave_the_other_ways_as_they_are() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        assert!(matches!(
            vault.change_ways(&ctx(), WaysChange::Rotate).await,
            Err(WaysError::NoWay { .. })
        ));
        let (one, fresh) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
        let (set, paper, _) = deal_paper(3, 5).unwrap();
        add(&vault, "one", &one).await.unwrap();
        let change = WaysChange::Add {
            name: "three of five".into(),
            way: Added {
                kind: WayKind::Custodians(set),
                key: copy(&paper),
            },
        };
        vault.change_ways(&ctx(), change).await.unwrap();
        let files = |lab: &Lab| -> Vec<Vec<ObjectKey>> {
            let shares = |server: &MemoryStore| {
                server
                    .names()
                    .into_iter()
                    .filter(ObjectKey::is_share)
                    .collect()
            };
            lab.servers.iter().map(shares).collect()
        };
        let before = files(&lab);
        let renew = WaysChange::Renew {
            id: WayId(1),
            way: keys(&fresh),
        };
        vault.change_ways(&ctx(), renew).await.unwrap();
        vault.change_ways(&ctx(), WaysChange::Rotate).await.unwrap();
        assert!(!opens_by(&lab, 1, &one).await);
        assert!(opens_by(&lab, 1, &fresh).await && opens_by(&lab, 2, &paper).await);
        assert_eq!(files(&lab), before);
    });
}

#[test]
fn p3_a_server_that_was_away_gets_its_part_and_keeps_no_piece() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let key = WayKey::generate().unwrap();
        lab.faults[2].set(State::Gone);
        let done = add(&vault, "one", &key).await.unwrap();
        assert_eq!(done.stored, ["A", "B"]);
        assert!(done.at_the_limit && done.faults.iter().any(|fault| fault.server == "C"));
        assert!(opens_by(&lab, 1, &key).await);
        lab.heal();
        assert_eq!(pieces(&lab.servers[2]), ["vault-00000001"]);
        assert_eq!(vault.ways().await.faults.len(), 1);
        let Door::Barred(bound, approached) = knock(&lab).await else {
            panic!("one piece is none");
        };
        let found = approached.unseal(WayId(1), &key).unwrap();
        let unlocked = approached.unlocked(*bound, found);
        assert!(
            unlocked.ways_to_mend,
            "whoever opens it knows that there is something to mend"
        );
        assert_eq!(vault.mend_ways().await, ["C"]);
        assert_eq!(pieces(&lab.servers[2]), ["vault-00000001", "ways-00000001"]);
        lab.faults[0].set(State::Gone);
        assert!(opens_by(&lab, 1, &key).await);
        // With two of three away nothing is changed.
        lab.faults[1].set(State::Gone);
        let few = add(&vault, "two", &key).await.unwrap_err();
        assert!(
            matches!(
                few,
                WaysError::TooFewServers { .. } | WaysError::Unknown { .. }
            ),
            "{few}"
        );
        lab.heal();
        assert!(opens_by(&lab, 1, &key).await);
    });
}

/// Cuts a change off after each call to a server, opens the vault by whatever state it is in, and makes the change again.
#[test]
fn p3_a_change_that_is_cut_off_leaves_the_vault_open_to_the_old_state_or_the_new_and_can_be_made_again()
 {
    let (mut as_before, mut as_after) = (0, 0);
    for first in [true, false] {
        for calls in 0.. {
            let over = live(async {
                let lab = Lab::new(2, 3).await;
                let (old, new) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
                if !first {
                    add(&lab.start().await, "old", &old).await.unwrap();
                }
                let vault = lab.start().await;
                let change = async {
                    if first {
                        add(&vault, "new", &new).await.map(drop)
                    } else {
                        let remove = WaysChange::Renew {
                            id: WayId(1),
                            way: keys(&new),
                        };
                        vault.change_ways(&ctx(), remove).await.map(drop)
                    }
                };
                lab.world.revive();
                lab.world.die(Death::Before(calls + 1));
                let over = tokio::select! {
                    done = change => done.is_ok(),
                    () = lab.world.dead() => false,
                };
                drop(vault);
                lab.world.revive();
                let new_id = 1;
                let when = format!("first {first}, after {calls}");
                let before = match knock(&lab).await {
                    Door::Open(unlocked) => {
                        assert!(first && same(&unlocked.key, &lab.key().await), "{when}");
                        true
                    }
                    Door::Barred(..) if opens_by(&lab, new_id, &new).await => false,
                    Door::Barred(..) => {
                        assert!(!first && opens_by(&lab, 1, &old).await, "{when}");
                        true
                    }
                    Door::Shut => panic!("{when}: nobody gets in"),
                };
                match before {
                    true => as_before += 1,
                    false => as_after += 1,
                }
                // Whoever opens it with what they have makes the change again, or has it made.
                let vault = lab.start().await;
                vault.mend_ways().await;
                if before {
                    if first {
                        // What was there already was gone on with when the vault was opened.
                        let again = add(&vault, "new", &new).await;
                        assert!(
                            matches!(again, Ok(_) | Err(WaysError::Taken { .. })),
                            "{when}"
                        );
                    } else {
                        let again = WaysChange::Renew {
                            id: WayId(1),
                            way: keys(&new),
                        };
                        vault.change_ways(&ctx(), again).await.map(drop).unwrap();
                    }
                }
                let status = vault.ways().await;
                assert!(status.faults.is_empty(), "{when}: {:?}", status.faults);
                let id = status.ways[0].id().0;
                assert!(opens_by(&lab, id, &new).await, "{when}");
                assert!(!opens_by(&lab, id, &old).await, "{when}");
                for server in &lab.servers {
                    assert_eq!(pieces(server).len(), 2, "{when}");
                }
                over
            });
            if over {
                break;
            }
        }
    }
    assert!(as_before > 6 && as_after > 6, "{as_before} and {as_after}");
}

#[test]
fn p7_a_vault_with_ways_is_rebuilt_by_one_of_them() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let key = WayKey::generate().unwrap();
        add(&lab.start().await, "one", &key).await.unwrap();
        let mut candidates = candidates(&lab);
        candidates.remove(1);
        let Err(UnlockError::Bound(bound)) = gather(&candidates).await else {
            panic!("the servers alone gave the key");
        };
        let approached = approach(&candidates, None).await.unwrap();
        assert_eq!(approached.vault(), lab.vault);
        let found = approached.unseal(WayId(1), &key).unwrap();
        let gathered = gather_by_way(&candidates, *bound, found).unwrap();
        let all: Vec<Threshold> = gathered.thresholds.all().collect();
        assert_eq!((gathered.vault, all), (lab.vault, vec![lab.threshold]));
        assert_eq!(gathered.seats.len(), 2);
        let few = approach(&candidates[..1], None).await.unwrap_err();
        assert!(
            matches!(
                few,
                ApproachError::TooFewServers {
                    needed: 2,
                    got: 1,
                    ..
                }
            ),
            "{few}"
        );
    });
}

#[test]
fn p9_every_change_is_in_the_log_by_its_name() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let key = WayKey::generate().unwrap();
        add(&vault, "総務課長", &key).await.unwrap();
        vault.change_ways(&ctx(), WaysChange::Rotate).await.unwrap();
        let lines = vault.audit(0, 100).await.unwrap();
        let of_ways = lines.iter().filter(|row| row.entry.act.as_str() == "ways");
        let details: Vec<_> = of_ways.map(|row| row.entry.detail.as_str()).collect();
        assert_eq!(
            details,
            [
                "ways in, change 1: added: 総務課長",
                "ways in, change 2: rotated"
            ]
        );
    });
}
