//! P1, P3: a new generation where there are ways in, and a first way where there are generations.

use std::time::Duration;

use bytes::Bytes;
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::VaultObject;
use warifu_core::ways::WayKey;
use warifu_testkit::stores::State;
use warifu_vault::VaultError;
use warifu_vault::keys::FIRST_GENERATION;
use warifu_vault::repair::RepairOptions;
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore};

use crate::common::ctx;
use crate::common::lab::{Lab, live};
use crate::refresh::{assert_reads, fill, refresh, try_refresh};
use crate::ways::{Door, add, knock, opens_by, pieces};

/// No server has a piece of the vault key, of whatever generation.
pub(crate) async fn assert_no_pieces(lab: &Lab, when: &str) {
    for (place, server) in lab.servers.iter().enumerate() {
        for name in server.names() {
            if name.piece_generation().is_none() {
                continue;
            }
            let bytes = server.get(&name, None).await.unwrap();
            let object = VaultObject::parse(&bytes).unwrap();
            assert!(object.is_bound(), "{when}: {name} on {place} is a piece");
        }
    }
}

#[test]
fn p3_a_refresh_deals_no_piece_and_changes_the_bolt() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let files = fill(&lab).await;
        let key = WayKey::generate().unwrap();
        // Opened before there were ways, it learns of them from the servers.
        let vault = lab.start().await;
        add(&lab.start().await, "one", &key).await.unwrap();
        let stolen = lab.servers[0].snapshot();
        let of_before = ObjectKey::parse("ways-00000001").unwrap();
        let part = lab.servers[0].get(&of_before, None).await.unwrap();
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{report:?}");
        assert!(report.faults.is_empty(), "{report:?}");
        for server in &lab.servers {
            assert_eq!(pieces(server), ["vault-00000002", "ways-00000002"]);
        }
        assert_no_pieces(&lab, "after it").await;
        assert!(opens_by(&lab, 1, &key).await);
        assert_reads(&vault, &files, "after it").await;
        // A piece of the bolt of before is told of as long as a server has it.
        lab.servers[0]
            .put_new(&of_before, part, Durability::Now)
            .await
            .unwrap();
        let status = vault.generation_status().await.unwrap();
        assert_eq!(status.holding["A"].objects, 1, "{status:?}");
        assert_eq!(vault.mend_ways().await, ["A"]);
        let status = vault.generation_status().await.unwrap();
        assert!(status.is_complete(), "{status:?}");
        // What was stolen of one server before it does not add up with what is on another one now.
        lab.servers[0].roll_back(&stolen);
        lab.faults[2].set(State::Gone);
        assert!(matches!(knock(&lab).await, Door::Shut));
    });
}

#[test]
fn p3_the_first_way_takes_away_pieces_of_every_generation() {
    live(async {
        let lab = Lab::new(2, 4).await;
        let files = fill(&lab).await;
        let vault = lab.start().await;
        refresh(&vault).await;
        // One keeps its piece of the generation before.
        lab.faults[3].set(State::Gone);
        refresh(&vault).await;
        lab.heal();
        drop(vault);
        let vault = lab.start().await;
        assert_ne!(pieces(&lab.servers[3]), pieces(&lab.servers[0]));
        let key = WayKey::generate().unwrap();
        let done = add(&vault, "one", &key).await.unwrap();
        assert_eq!(done.stored.len(), 4);
        assert_no_pieces(&lab, "after the first way").await;
        assert!(opens_by(&lab, 1, &key).await);
        let options = RepairOptions::default();
        vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        for server in &lab.servers {
            assert_eq!(pieces(server), pieces(&lab.servers[0]));
            assert_eq!(pieces(server).len(), 2);
        }
        assert_no_pieces(&lab, "after the repair").await;
        assert!(opens_by(&lab, 1, &key).await);
        assert_reads(&vault, &files, "after the repair").await;
    });
}

#[test]
fn p3_a_server_that_was_away_during_a_refresh_is_told_of_and_gets_what_counts() {
    live(async {
        let lab = Lab::new(2, 4).await;
        fill(&lab).await;
        let vault = lab.start().await;
        let key = WayKey::generate().unwrap();
        add(&vault, "one", &key).await.unwrap();
        lab.faults[3].set(State::Gone);
        let report = refresh(&vault).await;
        assert!(report.status.holding.contains_key("D"), "{report:?}");
        lab.heal();
        drop(vault);
        let vault = lab.start().await;
        let options = RepairOptions::default();
        vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        assert_eq!(pieces(&lab.servers[3]), pieces(&lab.servers[0]));
        assert_no_pieces(&lab, "after the repair").await;
        assert!(opens_by(&lab, 1, &key).await);
    });
}

/// A change of the ways needs more than half of all servers, so a refresh does too where there are ways.
#[test]
fn p3_a_refresh_with_too_few_servers_for_the_ways_does_not_begin() {
    live(async {
        let lab = Lab::new(1, 5).await;
        let key = WayKey::generate().unwrap();
        add(&lab.start().await, "one", &key).await.unwrap();
        let vault = lab.start().await;
        for fault in &lab.faults[2..] {
            fault.set(State::Gone);
        }
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
        lab.heal();
        assert!(opens_by(&lab, 1, &key).await);
    });
}

/// One server that says that there are ways in must not keep those from being heard that answer later.
#[test]
fn p4_one_server_alone_does_not_make_a_vault_one_with_ways() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let name = ObjectKey::vault_object(FIRST_GENERATION);
        let index = lab.threshold.indices().next().unwrap();
        let lie = VaultObject::without_piece(
            &VaultKey::generate().unwrap(),
            lab.vault,
            lab.threshold,
            FIRST_GENERATION,
            lab.ids[0],
            index,
        );
        let lie = Bytes::copy_from_slice(&lie.encode());
        lab.servers[0].delete(&name).await.unwrap();
        lab.servers[0]
            .put_new(&name, lie, Durability::Now)
            .await
            .unwrap();
        lab.faults[1].set_delay(Duration::from_secs(1));
        lab.faults[2].set_delay(Duration::from_secs(3));
        let Door::Open(unlocked) = knock(&lab).await else {
            panic!("one server kept the others out");
        };
        assert!(!unlocked.key.is_bound());
    });
}
