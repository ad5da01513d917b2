//! P3, P4, P7: servers that say that they are of another vault, or that it has other ways in, to whoever rebuilds.

use std::collections::BTreeSet;

use bytes::Bytes;
use warifu_core::ids::{Generation, ServerId, ShareIndex, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::{VaultObject, deal_vault_key};
use warifu_core::ways::{Way, WayId, WayKey, WayKind, WaysNumber, deal_ways};
use warifu_testkit::stores::{Lie, MemoryStore, State};
use warifu_vault::keys::{UnlockError, piece_generations};
use warifu_vault::rebuild::{gather, gather_by_way, gather_known};
use warifu_vault::seam::store::{ObjectKey, StoreErrorKind};
use warifu_vault::ways::approach;

use crate::common::lab::{Lab, live};
use crate::ways::{add, candidates, expected, opens_by};

fn one_of_one() -> Threshold {
    Threshold::new(1, 1).unwrap()
}

fn put(server: &MemoryStore, name: &str, bytes: Vec<u8>) {
    let name = ObjectKey::parse(name).unwrap();
    server.replace(&name, Bytes::from(bytes));
}

/// From now on it shows a vault of its own, of which it is the only server and has the key.
fn shows_its_own(server: &MemoryStore, vault: VaultId) {
    let key = VaultKey::generate().unwrap();
    let id = [ServerId::fresh().unwrap()];
    server.wipe();
    for generation in 1..=16 {
        let generation = Generation(generation);
        let dealt = deal_vault_key(&key, &vault, one_of_one(), generation, &id).unwrap();
        let name = format!("vault-{:08x}", generation.0);
        put(server, &name, dealt[0].encode().to_vec());
    }
}

/// The same, and its vault has a way in that is open to everybody.
fn shows_an_open_way(server: &MemoryStore, vault: VaultId) {
    let key = VaultKey::generate().unwrap();
    let (id, index) = (ServerId::fresh().unwrap(), ShareIndex::new(1).unwrap());
    server.wipe();
    for generation in 1..=16 {
        let generation = Generation(generation);
        let sign = VaultObject::without_piece(&key, vault, one_of_one(), generation, id, index);
        let name = format!("vault-{:08x}", generation.0);
        put(server, &name, sign.encode().to_vec());
    }
    let (number, at) = (
        WaysNumber(u32::MAX),
        warifu_core::head::Timestamp::default(),
    );
    let open = Way::new(WayId(1), WayKind::Open, "open", at).unwrap();
    let ways = [(&open, &WayKey::open())];
    let dealt = deal_ways(&key, vault, one_of_one(), number, &[id], &ways).unwrap();
    put(server, "ways-ffffffff", dealt[0].encode());
}

/// One server among three that shows a vault of its own is left out, and the ways that are asked for are the vault's own.
#[test]
fn p7_one_hostile_server_neither_takes_over_nor_blocks_a_rebuild_of_a_vault_with_ways() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let way = WayKey::generate().unwrap();
        add(&lab.start().await, "one", &way).await.unwrap();
        let honest = lab.servers[2].snapshot();
        for vault in [VaultId::fresh().unwrap(), lab.vault] {
            for shows in [shows_its_own, shows_an_open_way] {
                shows(&lab.servers[2], vault);
                let servers = candidates(&lab);
                for by_file in [false, true] {
                    let known = expected(&lab);
                    let answer = match by_file {
                        true => gather_known(&servers, &known).await,
                        false => gather(&servers).await,
                    };
                    let Err(UnlockError::Bound(bound)) = answer else {
                        panic!("no way was asked for: {answer:?}");
                    };
                    let approached = approach(&servers, Some(bound.expected())).await.unwrap();
                    let names: Vec<_> = approached.ways().map(Way::name).collect();
                    assert_eq!((approached.vault(), &*names), (lab.vault, &["one"][..]));
                    let key = approached.unseal(WayId(1), &way).unwrap();
                    let gathered = gather_by_way(&servers, *bound, key).unwrap();
                    assert_eq!((gathered.vault, gathered.seats.len()), (lab.vault, 2));
                    assert!(gathered.faults.iter().all(|fault| fault.server == "C"));
                }
                // Beside a single other one it is worth no less than that, and nobody guesses.
                lab.faults[1].set(State::Gone);
                let answer = gather(&servers).await;
                match answer {
                    Err(UnlockError::Mixed { faults }) => {
                        let who: Vec<_> = faults.iter().map(|fault| &*fault.server).collect();
                        assert!(who.contains(&"A") && who.contains(&"C"), "{faults:?}");
                    }
                    // Where it speaks of the same vault, its word for it is worth nothing.
                    Err(UnlockError::Bound(bound)) if vault == lab.vault => {
                        assert!(approach(&servers, Some(bound.expected())).await.is_err());
                    }
                    answer => panic!("{answer:?}"),
                }
                lab.heal();
                lab.servers[2].roll_back(&honest);
            }
        }
    });
}

/// A server with several pieces of one generation under different names has the voice of one.
#[test]
fn p7_one_server_that_shows_the_pieces_of_several_makes_no_key() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let ids = [(); 3].map(|()| ServerId::fresh().unwrap());
        let vault = VaultId::fresh().unwrap();
        let key = VaultKey::generate().unwrap();
        let dealt = deal_vault_key(&key, &vault, lab.threshold, Generation(1), &ids).unwrap();
        lab.servers[2].wipe();
        for (number, object) in (1..).zip(&dealt) {
            let name = format!("vault-{number:08x}");
            put(&lab.servers[2], &name, object.encode().to_vec());
        }
        let gathered = gather(&candidates(&lab)).await.unwrap();
        assert_eq!((gathered.vault, gathered.seats.len()), (lab.vault, 2));
        lab.faults[0].set(State::Gone);
        lab.faults[1].set(State::Gone);
        let alone = gather(&candidates(&lab)).await.unwrap_err();
        assert!(
            matches!(alone, UnlockError::TooFewServers { .. }),
            "{alone}"
        );
    });
}

/// A place that lists pieces without end is a place with a fault, and fills nobody's memory.
#[test]
fn p10_a_listing_without_end_is_given_up() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let way = WayKey::generate().unwrap();
        add(&lab.start().await, "one", &way).await.unwrap();
        let names = |kind: &str| -> BTreeSet<_> {
            let names = (9..9_009).map(|number| format!("{kind}-{number:08x}"));
            names.map(|name| ObjectKey::parse(&name).unwrap()).collect()
        };
        for kind in ["vault", "ways"] {
            lab.faults[2].tell(Lie::ListsAlso(names(kind)));
            let error = piece_generations(lab.stores[2].as_ref()).await.unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Failed);
            assert!(opens_by(&lab, 1, &way).await);
            lab.heal();
        }
    });
}
