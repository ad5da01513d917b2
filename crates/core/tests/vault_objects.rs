//! The vault key comes back from any k servers, and lying servers are named.

use warifu_core::format::FormatError;
use warifu_core::ids::{BadThreshold, ExtentId, Generation, ServerId, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::{
    DealKeyError, RecoverError, VAULT_OBJECT_LEN, VaultObject, deal_vault_key,
    rebuild_vault_object, recover_vault_key, recover_vault_keys,
};

struct Dealt {
    key: VaultKey,
    vault: VaultId,
    servers: Vec<ServerId>,
    bytes: Vec<[u8; VAULT_OBJECT_LEN]>,
}

fn deal(k: u8, n: u8) -> Dealt {
    again(
        VaultKey::generate().unwrap(),
        VaultId::fresh().unwrap(),
        k,
        n,
        1,
    )
}

fn again(key: VaultKey, vault: VaultId, k: u8, n: u8, generation: u32) -> Dealt {
    let threshold = Threshold::new(k, n).unwrap();
    let servers: Vec<_> = threshold
        .indices()
        .map(|_| ServerId::fresh().unwrap())
        .collect();
    let objects =
        deal_vault_key(&key, &vault, threshold, Generation(generation), &servers).unwrap();
    for (object, (server, index)) in objects.iter().zip(servers.iter().zip(threshold.indices())) {
        assert_eq!(
            (object.vault(), object.server(), object.index()),
            (vault, *server, index)
        );
        assert_eq!(
            (object.threshold(), object.generation()),
            (threshold, Generation(generation))
        );
        assert!(object.is_authentic(&key));
    }
    let bytes = objects.iter().map(VaultObject::encode).collect();
    Dealt {
        key,
        vault,
        servers,
        bytes,
    }
}

fn read<'a>(bytes: impl IntoIterator<Item = &'a [u8; VAULT_OBJECT_LEN]>) -> Vec<VaultObject> {
    bytes
        .into_iter()
        .map(|bytes| VaultObject::parse(bytes).unwrap())
        .collect()
}

/// Keys cannot be compared from outside, but what they derive can.
fn same(a: &VaultKey, b: &VaultKey) -> bool {
    let name = |key: &VaultKey| key.object_name(ServerId::NIL, ExtentId::NIL, Generation(0));
    name(a) == name(b)
}

#[test]
fn p7_any_k_objects_give_the_key_back() {
    for (k, n) in [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5), (17, 40), (200, 255)] {
        let dealt = deal(k, n);
        for from in [0, usize::from(n - k)] {
            let (key, liars) =
                recover_vault_key(&read(&dealt.bytes[from..from + usize::from(k)])).unwrap();
            assert!(same(&key, &dealt.key) && liars.is_empty(), "{k} of {n}");
        }
        let (key, liars) = recover_vault_key(&read(&dealt.bytes)).unwrap();
        assert!(same(&key, &dealt.key) && liars.is_empty(), "{k} of {n}");
    }
}

#[test]
fn p1_fewer_than_k_objects_do_not() {
    let dealt = deal(3, 5);
    assert_eq!(
        recover_vault_key(&[]).unwrap_err(),
        RecoverError::TooFew { needed: 1, got: 0 }
    );
    for count in 1..3 {
        let refused = recover_vault_key(&read(&dealt.bytes[..count])).unwrap_err();
        assert_eq!(
            refused,
            RecoverError::TooFew {
                needed: 3,
                got: count
            }
        );
    }
    // One object read thrice is one.
    let refused = recover_vault_key(&read([&dealt.bytes[0]; 3])).unwrap_err();
    assert_eq!(refused, RecoverError::TooFew { needed: 3, got: 1 });
}

#[test]
fn p4_every_flipped_bit_is_a_lie_and_named() {
    let dealt = deal(2, 4);
    for bit in 0..VAULT_OBJECT_LEN * 8 {
        let mut bytes = dealt.bytes.clone();
        bytes[1][bit / 8] ^= 1 << (bit % 8);
        let Ok(altered) = VaultObject::parse(&bytes[1]) else {
            assert!(
                bit / 8 < 12,
                "only the beginning can be malformed: bit {bit}"
            );
            continue;
        };
        let mut objects = read([&bytes[0], &bytes[2], &bytes[3]]);
        objects.insert(1, altered);
        let (key, liars) = recover_vault_key(&objects).unwrap();
        assert!(same(&key, &dealt.key));
        assert_eq!(liars, [1], "bit {bit}");
    }
}

#[test]
fn p4_n_minus_k_liars_are_named() {
    let dealt = deal(3, 7);
    let mut bytes = dealt.bytes.clone();
    for liar in [0, 1, 3, 6] {
        // At different places: equal errors may cancel out, and the key would rightly be found.
        bytes[liar][50 + liar] ^= 0xFF;
    }
    let (key, liars) = recover_vault_key(&read(&bytes)).unwrap();
    assert!(same(&key, &dealt.key));
    assert_eq!(liars, [0, 1, 3, 6]);
    bytes[2][70] ^= 1;
    assert_eq!(
        recover_vault_key(&read(&bytes)).unwrap_err(),
        RecoverError::NoFit {
            needed: 3,
            got: 7,
            tried: 35
        }
    );
}

#[test]
fn p4_liars_are_found_among_very_many() {
    let dealt = deal(40, 80);
    let mut bytes = dealt.bytes.clone();
    for liar in [0, 33, 70] {
        bytes[liar][79] ^= 1;
    }
    let (key, liars) = recover_vault_key(&read(&bytes)).unwrap();
    assert!(same(&key, &dealt.key));
    assert_eq!(liars, [0, 33, 70]);
}

#[test]
fn a_server_that_invents_a_vault_of_its_own_does_not_win() {
    let honest = deal(2, 3);
    let forged = again(VaultKey::generate().unwrap(), honest.vault, 1, 1, 99);
    let objects = read([&forged.bytes[0], &honest.bytes[1], &honest.bytes[2]]);
    let (key, liars) = recover_vault_key(&objects).unwrap();
    assert!(same(&key, &honest.key));
    assert_eq!(liars, [0]);
}

/// However many generations it shows, it is one server.
#[test]
fn a_server_has_one_voice() {
    let honest = deal(2, 3);
    let key = VaultKey::generate().unwrap();
    let forged = again(key, honest.vault, 1, 1, 1).bytes.remove(0);
    let mut bytes = honest.bytes[..2].to_vec();
    for generation in 5..9 {
        let object = VaultObject::parse(&forged).unwrap();
        let key = recover_vault_key(&read([&forged])).unwrap().0;
        let server = [object.server()];
        let threshold = object.threshold();
        let generation = Generation(generation);
        let more = deal_vault_key(&key, &honest.vault, threshold, generation, &server);
        bytes.push(more.unwrap()[0].encode());
    }
    let (key, liars) = recover_vault_key(&read(&bytes)).unwrap();
    assert!(same(&key, &honest.key));
    assert_eq!(liars, [2, 3, 4, 5]);
    assert_eq!(recover_vault_keys(&read(&bytes)).unwrap().len(), 2);
}

#[test]
fn an_old_generation_of_the_same_key_is_not_a_lie() {
    let old = deal(2, 3);
    let servers = read(&old.bytes);
    let new = again(recover_vault_key(&servers).unwrap().0, old.vault, 2, 3, 2);
    let (key, liars) =
        recover_vault_key(&read([&old.bytes[0], &new.bytes[1], &new.bytes[2]])).unwrap();
    assert!(same(&key, &old.key) && liars.is_empty());
    // Pieces of two generations do not lie on one polynomial and are never mixed.
    let refused = recover_vault_key(&read([&old.bytes[0], &new.bytes[1]])).unwrap_err();
    assert_eq!(refused, RecoverError::TooFew { needed: 2, got: 1 });
}

#[test]
fn two_whole_vaults_are_not_guessed_between() {
    let (first, second) = (deal(2, 3), deal(2, 3));
    let bytes = [first.bytes.as_slice(), &second.bytes].concat();
    assert_eq!(
        recover_vault_key(&read(&bytes)).unwrap_err(),
        RecoverError::Ambiguous {
            first: first.vault,
            second: second.vault
        }
    );
    let (key, liars) = recover_vault_key(&read(&bytes[1..])).unwrap();
    assert!(same(&key, &second.key));
    assert_eq!(liars, [0, 1]);
}

#[test]
fn wrong_servers_are_refused() {
    let key = VaultKey::generate().unwrap();
    let (vault, threshold) = (VaultId::fresh().unwrap(), Threshold::new(2, 2).unwrap());
    let server = ServerId::fresh().unwrap();
    let refused = |servers: &[ServerId]| {
        deal_vault_key(&key, &vault, threshold, Generation(1), servers).unwrap_err()
    };
    assert_eq!(
        refused(&[server]),
        DealKeyError::Servers { needed: 2, got: 1 }
    );
    assert_eq!(
        refused(&[server, server]),
        DealKeyError::SameServer { server }
    );
}

#[test]
fn malformed_objects_are_refused_with_the_reason() {
    let dealt = deal(2, 3);
    assert_eq!(dealt.servers.len(), 3);
    let with = |offset: usize, value: u8| {
        let mut bytes = dealt.bytes[0];
        bytes[offset] = value;
        VaultObject::parse(&bytes).unwrap_err()
    };
    assert_eq!(with(2, 0), FormatError::NotWarifu);
    assert_eq!(
        with(6, b'S'),
        FormatError::Kind {
            wanted: b'V',
            found: b'S'
        }
    );
    assert_eq!(with(7, 9), FormatError::Newer { found: 9, known: 2 });
    assert_eq!(
        with(8, 0),
        FormatError::Threshold(BadThreshold { k: 0, n: 3 })
    );
    assert_eq!(with(10, 4), FormatError::Index { index: 4, n: 3 });
    assert_eq!(with(11, 1), FormatError::Reserved { offset: 11 });
    for len in 0..VAULT_OBJECT_LEN {
        let error = VaultObject::parse(&dealt.bytes[0][..len]).unwrap_err();
        assert_eq!(
            error,
            FormatError::Short {
                needed: VAULT_OBJECT_LEN,
                got: len
            }
        );
    }
}

#[test]
fn a_lost_object_is_made_anew_byte_for_byte_and_the_others_stay() {
    for (k, n) in [(1, 2), (2, 3), (3, 5), (5, 6), (40, 60)] {
        let dealt = deal(k, n);
        let threshold = Threshold::new(k, n).unwrap();
        for lost in [0, usize::from(n) - 1] {
            let (index, server) = (threshold.indices().nth(lost).unwrap(), dealt.servers[lost]);
            let others = |k: usize| {
                let places = (0..usize::from(n)).filter(|place| *place != lost);
                read(places.take(k).map(|place| &dealt.bytes[place]))
            };
            let again = rebuild_vault_object(&others(k.into()), &dealt.key, index, server).unwrap();
            assert_eq!(again.encode(), dealt.bytes[lost], "{k} of {n}");
            let error =
                rebuild_vault_object(&others(usize::from(k) - 1), &dealt.key, index, server)
                    .unwrap_err();
            assert!(matches!(error, RecoverError::TooFew { .. }), "{error}");
        }
    }
}

#[test]
fn p4_a_lying_object_takes_no_part_in_making_one_anew() {
    let dealt = deal(2, 4);
    let mut lie = dealt.bytes[0];
    lie[50] ^= 1;
    let index = Threshold::new(2, 4).unwrap().indices().nth(3).unwrap();
    let objects = read([&lie, &dealt.bytes[1], &dealt.bytes[1], &dealt.bytes[2]]);
    let again = rebuild_vault_object(&objects, &dealt.key, index, dealt.servers[3]).unwrap();
    assert_eq!(again.encode(), dealt.bytes[3]);
    let few = read([&lie, &dealt.bytes[1], &dealt.bytes[1], &dealt.bytes[3]]);
    let error = rebuild_vault_object(&few, &dealt.key, index, dealt.servers[3]).unwrap_err();
    assert_eq!(error, RecoverError::TooFew { needed: 2, got: 1 });
    let beyond = warifu_core::ids::ShareIndex::new(5).unwrap();
    let error = rebuild_vault_object(&objects, &dealt.key, beyond, dealt.servers[3]).unwrap_err();
    assert!(matches!(error, RecoverError::NoFit { .. }), "{error}");
}
