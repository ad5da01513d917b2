//! Ways in: P3 with a further factor, and paper shares.

use proptest::prelude::*;
use warifu_core::format::FormatError;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, Generation, ServerId, ShareIndex, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::{
    RecoverError, VaultObject, deal_vault_key, is_newer, rebuild_vault_object, recover_vault_key,
};
use warifu_core::ways::{
    BadWay, CustodianSet, DealWaysError, JoinPaperError, PAPER_WORDS, PaperShare, PassphraseCost,
    RecoverBoltError, Suspicion, UnsealError, Way, WayId, WayKey, WayKind, WaysFormatError,
    WaysNumber, WaysObject, WordsError, deal_paper, deal_ways, join_paper, rebuild_ways_object,
    recover_bolt,
};

const MADE: Timestamp = Timestamp {
    secs: 1_790_000_000,
    nanos: 5,
};

struct World {
    key: VaultKey,
    vault: VaultId,
    threshold: Threshold,
    servers: Vec<ServerId>,
}

fn world(k: u8, n: u8) -> World {
    World {
        key: VaultKey::generate().unwrap(),
        vault: VaultId::fresh().unwrap(),
        threshold: Threshold::new(k, n).unwrap(),
        servers: (0..n).map(|_| ServerId::fresh().unwrap()).collect(),
    }
}

impl World {
    fn deal(&self, number: u32, ways: &[(&Way, &WayKey)]) -> Vec<Vec<u8>> {
        let dealt = deal_ways(
            &self.key,
            self.vault,
            self.threshold,
            WaysNumber(number),
            &self.servers,
            ways,
        );
        let objects = dealt.unwrap();
        assert!(objects.iter().all(|object| object.is_authentic(&self.key)));
        objects.iter().map(WaysObject::encode).collect()
    }
}

fn read<'a>(bytes: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<WaysObject> {
    let objects = bytes.into_iter();
    objects
        .map(|bytes| WaysObject::parse(bytes).unwrap())
        .collect()
}

fn way(id: u32, kind: WayKind) -> Way {
    Way::new(WayId(id), kind, &format!("way {id}"), MADE).unwrap()
}

fn same(a: &VaultKey, b: &VaultKey) -> bool {
    let name = |key: &VaultKey| key.object_name(ServerId::NIL, ExtentId::NIL, Generation(0));
    name(a) == name(b)
}

fn secret_of(way: u32) -> (Way, WayKey) {
    let kind = WayKind::Keys {
        recipients: "age1…\nssh-ed25519 …".into(),
        sealed: vec![7; 300],
    };
    (self::way(way, kind), WayKey::generate().unwrap())
}

#[test]
fn p3_any_k_servers_and_any_one_way_give_the_key_and_neither_does_alone() {
    for (k, n) in [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5)] {
        let world = world(k, n);
        let (one, one_key) = secret_of(1);
        let (other, other_key) = secret_of(9);
        let bytes = world.deal(1, &[(&one, &one_key), (&other, &other_key)]);
        for from in 0..=usize::from(n - k) {
            let objects = read(&bytes[from..from + usize::from(k)]);
            let barred = recover_bolt(&objects).unwrap();
            assert_eq!(
                barred.ways().cloned().collect::<Vec<_>>(),
                [one.clone(), other.clone()]
            );
            for (id, key) in [(1, &one_key), (9, &other_key)] {
                let again = barred.unseal(WayId(id), key).unwrap();
                assert!(same(&again, &world.key) && again.is_bound());
            }
            // The servers alone, or with a key of another way or of none.
            let wrong = [WayKey::open(), WayKey::generate().unwrap()];
            for key in wrong.iter().chain([&other_key]) {
                let refused = barred.unseal(WayId(1), key).unwrap_err();
                assert_eq!(refused, UnsealError::WrongKey { id: WayId(1) });
            }
            assert!(matches!(
                barred.unseal(WayId(2), &one_key),
                Err(UnsealError::NoWay { id: WayId(2) })
            ));
        }
        let few = read(&bytes[1..usize::from(k)]);
        assert!(matches!(
            recover_bolt(&few),
            Err(RecoverBoltError::Pieces(RecoverError::TooFew { .. }))
        ));
    }
}

#[test]
fn p3_fewer_than_k_servers_hold_nothing_of_which_ways_there_are() {
    let world = world(2, 3);
    let (way, key) = secret_of(1);
    let bytes = world.deal(1, &[(&way, &key)]);
    for text in ["age1", "ssh-ed25519", "way 1"] {
        let holds = |object: &Vec<u8>| object.windows(text.len()).any(|at| at == text.as_bytes());
        assert!(!bytes.iter().any(holds), "{text}");
    }
    // A way more does not show in the length.
    let (more, more_key) = secret_of(2);
    let longer = world.deal(2, &[(&way, &key), (&more, &more_key)]);
    assert_eq!(longer[0].len(), bytes[0].len());
}

#[test]
fn p3_a_way_that_was_taken_out_opens_nothing_of_what_is_there_now() {
    let world = world(2, 3);
    let (stays, stays_key) = secret_of(1);
    let (goes, goes_key) = secret_of(2);
    let before = world.deal(1, &[(&stays, &stays_key), (&goes, &goes_key)]);
    let after = world.deal(2, &[(&stays, &stays_key)]);
    // One old server among new ones, two that are new: the new number counts.
    let barred = recover_bolt(&read([&before[0], &after[1], &after[2]])).unwrap();
    assert_eq!(barred.number(), WaysNumber(2));
    assert!(barred.unseal(WayId(2), &goes_key).is_err());
    assert!(barred.unseal(WayId(1), &stays_key).is_ok());
    // The pieces of two numbers do not combine.
    assert!(recover_bolt(&read([&before[0], &after[1]])).is_err());
    // Where k servers have the old ones only, it still opens: that cannot be known from them.
    let old = recover_bolt(&read([&before[0], &after[1], &before[2]])).unwrap();
    assert!(old.unseal(WayId(2), &goes_key).is_ok());
}

#[test]
fn ways_are_written_anew_without_their_secrets_and_unknown_ones_are_kept() {
    let world = world(2, 3);
    let (set, paper_key, _) = deal_paper(2, 3).unwrap();
    let cost = PassphraseCost::fresh(0, 0).unwrap();
    let ways = [
        (way(4, WayKind::Open), WayKey::open()),
        (
            way(1, WayKind::Passphrase(cost)),
            WayKey::generate().unwrap(),
        ),
        (way(2, WayKind::Custodians(set)), paper_key),
        secret_of(7),
        (
            way(
                3,
                WayKind::Newer {
                    code: 200,
                    bytes: vec![1, 2, 3],
                },
            ),
            WayKey::generate().unwrap(),
        ),
    ];
    let borrowed: Vec<_> = ways.iter().map(|(way, key)| (way, key)).collect();
    let barred = recover_bolt(&read(&world.deal(1, &borrowed))).unwrap();
    assert!(barred.kept(&VaultKey::generate().unwrap()).is_none());
    let kept = barred.kept(&world.key).unwrap();
    for ((way, key), (known, known_key)) in ways.iter().zip(&kept) {
        assert!(way == known && key.expose() == known_key.expose());
    }
    let borrowed: Vec<_> = kept.iter().map(|(way, key)| (way, key)).collect();
    let barred = recover_bolt(&read(&world.deal(2, &borrowed))).unwrap();
    for (way, key) in &ways {
        assert!(same(&barred.unseal(way.id(), key).unwrap(), &world.key));
    }
}

#[test]
fn p4_liars_among_more_than_k_keep_nobody_out_and_are_named() {
    let world = world(2, 4);
    let (way, key) = secret_of(1);
    let mut bytes = world.deal(3, &[(&way, &key)]);
    // A false piece, and a whole vault of somebody else's with a greater number.
    bytes[0][50] ^= 1;
    let forged = World {
        key: VaultKey::generate().unwrap(),
        vault: world.vault,
        threshold: world.threshold,
        servers: world.servers.clone(),
    };
    bytes[1] = forged.deal(99, &[(&way, &key)])[1].clone();
    let objects = read(&bytes);
    let barred = recover_bolt(&objects).unwrap();
    let again = barred.unseal(WayId(1), &key).unwrap();
    assert!(same(&again, &world.key));
    let authentic: Vec<bool> = objects
        .iter()
        .map(|object| object.is_authentic(&again))
        .collect();
    assert_eq!(authentic, [false, false, true, true]);
}

#[test]
fn p4_a_lost_object_is_made_anew_byte_for_byte() {
    let world = world(3, 5);
    let (way, key) = secret_of(1);
    let old = world.deal(1, &[(&way, &key)]);
    let bytes = world.deal(2, &[(&way, &key)]);
    for lost in 0..5_u8 {
        let at = usize::from(lost);
        let mut others: Vec<_> = bytes.clone();
        others[at] = old[at].clone();
        others.insert(0, old[(at + 1) % 5].clone());
        let index = ShareIndex::new(lost + 1).unwrap();
        let again = rebuild_ways_object(&read(&others), &world.key, index, world.servers[at]);
        assert_eq!(again.unwrap().encode(), bytes[at]);
        let few = read(
            bytes
                .iter()
                .take(at)
                .chain(bytes.iter().skip(at + 1))
                .take(2),
        );
        assert!(rebuild_ways_object(&few, &world.key, index, world.servers[at]).is_err());
    }
}

#[test]
fn a_bound_key_is_not_dealt_and_objects_say_so() {
    let world = world(2, 3);
    let ids = &world.servers;
    let deal = |generation| {
        let generation = Generation(generation);
        deal_vault_key(&world.key, &world.vault, world.threshold, generation, ids).unwrap()
    };
    let pieces = deal(1);
    world.key.bind();
    let signs = deal(1);
    for (sign, piece) in signs.iter().zip(&pieces) {
        assert!(sign.is_bound() && sign.is_authentic(&world.key));
        let bytes = sign.encode();
        let again = VaultObject::parse(&bytes).unwrap();
        assert!(again.is_bound() && again.is_authentic(&world.key));
        assert_eq!(bytes[48..80], [0; 32]);
        assert!(!is_newer(&bytes, &world.key) && !piece.is_bound());
        // One that somebody has put a piece into.
        let mut bytes = bytes;
        bytes[60] = 1;
        let error = FormatError::Reserved { offset: 60 };
        assert_eq!(VaultObject::parse(&bytes).unwrap_err(), error);
        // The format rotted, either way.
        for whole in [sign.encode(), piece.encode()] {
            let mut bytes = whole;
            bytes[7] = 3;
            assert!(!is_newer(&bytes, &world.key));
            bytes[90] ^= 1;
            assert!(is_newer(&bytes, &world.key));
        }
    }
    assert_eq!(recover_vault_key(&signs).unwrap_err(), RecoverError::Bound);
    let read = |objects: &[&VaultObject]| -> Vec<VaultObject> {
        let parse = |object: &&VaultObject| VaultObject::parse(&object.encode()).unwrap();
        objects.iter().map(parse).collect()
    };
    // In the middle of a change: as long as k pieces are there, they are of use, and then no more.
    let half = read(&[&signs[0], &pieces[1], &pieces[2]]);
    let (key, liars) = recover_vault_key(&half).unwrap();
    assert!(same(&key, &world.key) && liars.is_empty());
    let most = read(&[&signs[0], &signs[1], &pieces[2]]);
    assert_eq!(recover_vault_key(&most).unwrap_err(), RecoverError::Bound);
    // What is made anew for a lost server has no piece either.
    let index = ShareIndex::new(1).unwrap();
    let others = read(&[&signs[2], &pieces[1]]);
    let again = rebuild_vault_object(&others, &world.key, index, ids[0]).unwrap();
    assert_eq!(again.encode(), signs[0].encode());
    // Nor where whoever makes it knows more than the others say; of the newest generation of which there are k.
    let later = deal(2);
    for others in [
        read(&[&pieces[1], &pieces[2]]),
        read(&[&later[1], &signs[1], &pieces[2]]),
    ] {
        let again = rebuild_vault_object(&others, &world.key, index, ids[0]).unwrap();
        assert_eq!(again.encode(), signs[0].encode());
    }
}

#[test]
fn p10_altered_objects_are_refused_or_found_out() {
    let world = world(1, 1);
    let (way, key) = secret_of(1);
    let bytes = world.deal(1, &[(&way, &key)]).remove(0);
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x40;
        let Ok(object) = WaysObject::parse(&altered) else {
            assert!(at < 12 || (112..128).contains(&at), "{at}");
            continue;
        };
        assert!(!object.is_authentic(&world.key), "{at}");
        let found = recover_bolt(&[object]);
        // Only the code at the end, and which server it is, are not bound to the door.
        let apart = at >= bytes.len() - 32 || (32..48).contains(&at);
        assert_eq!(found.is_ok(), apart, "{at}");
    }
    for len in 0..bytes.len() {
        assert!(WaysObject::parse(&bytes[..len]).is_err(), "{len}");
    }
    let newer = [&bytes[..7], &[2], &bytes[8..]].concat();
    assert!(matches!(
        WaysObject::parse(&newer),
        Err(WaysFormatError::Format(FormatError::Newer {
            found: 2,
            known: 1
        }))
    ));
}

#[test]
fn what_no_way_can_be_is_refused() {
    let name = |name: &str| Way::new(WayId(1), WayKind::Open, name, MADE);
    for bad in ["", "a\nb", &"x".repeat(201)] {
        assert_eq!(name(bad).unwrap_err(), BadWay::Name);
    }
    let long = WayKind::Newer {
        code: 9,
        bytes: vec![0; 20_000],
    };
    assert_eq!(
        Way::new(WayId(1), long, "x", MADE).unwrap_err(),
        BadWay::Long { got: 20_000 }
    );
    let world = world(1, 2);
    let (one, key) = secret_of(1);
    let deal = |servers: &[ServerId], ways: &[(&Way, &WayKey)]| {
        let number = WaysNumber(1);
        deal_ways(
            &world.key,
            world.vault,
            world.threshold,
            number,
            servers,
            ways,
        )
        .map(drop)
    };
    assert_eq!(deal(&world.servers, &[]), Err(DealWaysError::Ways));
    assert_eq!(
        deal(&world.servers, &[(&one, &key), (&one, &key)]),
        Err(DealWaysError::Ways)
    );
    assert_eq!(
        deal(&world.servers[..1], &[(&one, &key)]),
        Err(DealWaysError::Servers { needed: 2, got: 1 })
    );
}

#[test]
fn p3_a_passphrase_gives_its_key_at_its_cost_and_another_one_another() {
    let cost = PassphraseCost::fresh(1, 1).unwrap();
    assert_eq!((cost.memory_kib(), cost.passes()), PassphraseCost::LEAST);
    let other = PassphraseCost::fresh(1, 1).unwrap();
    let key = |cost: &PassphraseCost, text: &str| *cost.derive(text.as_bytes()).unwrap().expose();
    assert_eq!(key(&cost, "割符"), key(&cost, "割符"));
    assert_ne!(key(&cost, "割符"), key(&cost, "割苻"));
    assert_ne!(key(&cost, "割符"), key(&other, "割符"));
}

fn words(share: &PaperShare) -> [u16; PAPER_WORDS] {
    *share.words().expose()
}

#[test]
fn p3_any_j_sheets_give_the_key_and_fewer_say_how_many_are_needed() {
    for (needed, sheets) in [(1, 1), (2, 3), (3, 5), (31, 31)] {
        let (set, key, shares) = deal_paper(needed, sheets).unwrap();
        assert_eq!(
            (set.needed, set.sheets, shares.len()),
            (needed, sheets, usize::from(sheets))
        );
        let again: Vec<PaperShare> = shares
            .iter()
            .map(|share| PaperShare::read(&words(share)).unwrap())
            .collect();
        for (number, share) in (1..).zip(&again) {
            assert_eq!(
                (share.index().get(), share.set(), share.needed()),
                (number, set.set, needed)
            );
        }
        let k = usize::from(needed);
        for from in 0..=usize::from(sheets) - k {
            let (found, joined) = join_paper(&again[from..from + k]).unwrap();
            assert!(found == set.set && joined.expose() == key.expose());
        }
        let (_, joined) = join_paper(&again).unwrap();
        assert_eq!(joined.expose(), key.expose());
        let few = join_paper(&again[..k - 1]).unwrap_err();
        let needed = if k == 1 { 1 } else { needed };
        assert_eq!(few, JoinPaperError::TooFew { needed, got: k - 1 });
    }
}

#[test]
fn sheets_that_do_not_belong_together_are_told_apart() {
    let (_, _, one) = deal_paper(2, 3).unwrap();
    let (_, _, other) = deal_paper(2, 3).unwrap();
    let read = |shares: &[&PaperShare]| -> Vec<PaperShare> {
        shares
            .iter()
            .map(|share| PaperShare::read(&words(share)).unwrap())
            .collect()
    };
    let join = |shares: &[&PaperShare]| join_paper(&read(shares)).map(drop);
    assert_eq!(join(&[&one[0], &other[1]]), Err(JoinPaperError::Mixed));
    assert_eq!(
        join(&[&one[0], &one[0], &one[0]]),
        Err(JoinPaperError::TooFew { needed: 2, got: 1 })
    );
    assert_eq!(join(&[&one[0], &one[1], &one[2]]), Ok(()));
}

#[test]
fn p3_a_mistyped_word_is_named_with_the_one_that_should_stand_there() {
    let (_, _, shares) = deal_paper(3, 5).unwrap();
    for share in &shares {
        let right = words(share);
        for position in 0..PAPER_WORDS {
            for wrong in [right[position] ^ 1, right[position] ^ 0x400, 2048, u16::MAX] {
                let mut typed = right;
                typed[position] = wrong;
                let suspicion = Some(Suspicion::Wrong {
                    position,
                    right: right[position],
                });
                assert_eq!(
                    PaperShare::read(&typed).unwrap_err(),
                    WordsError::Damaged { suspicion }
                );
            }
        }
        for position in 0..PAPER_WORDS - 1 {
            let mut typed = right;
            typed.swap(position, position + 1);
            if typed != right {
                let suspicion = Some(Suspicion::Exchanged { position });
                assert_eq!(
                    PaperShare::read(&typed).unwrap_err(),
                    WordsError::Damaged { suspicion }
                );
            }
        }
        for position in 0..PAPER_WORDS {
            let mut typed = right.to_vec();
            let gone = typed.remove(position);
            let Err(WordsError::Count {
                got: 17,
                suspicion: Some(found),
            }) = PaperShare::read(&typed)
            else {
                panic!("a missing word was not noticed");
            };
            let Suspicion::Missing {
                position: at,
                right: word,
            } = found
            else {
                panic!("{found:?}")
            };
            // Of equal neighbours nobody can tell which.
            assert!(
                word == gone
                    && (at == position
                        || right[at.min(position)..=at.max(position)]
                            .iter()
                            .all(|w| *w == gone))
            );
            typed.insert(position, gone);
            typed.insert(position, gone ^ 5);
            assert!(matches!(
                PaperShare::read(&typed),
                Err(WordsError::Count { got: 19, suspicion: Some(Suspicion::Surplus { position: at }) }) if at == position
            ));
        }
    }
    for count in [0, 1, 16, 20, 40] {
        let none = PaperShare::read(&vec![1; count]).unwrap_err();
        assert_eq!(
            none,
            WordsError::Count {
                got: count,
                suspicion: None
            }
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Two wrong words are never taken for one, nor for none.
    #[test]
    fn p3_two_mistyped_words_are_noticed_and_nothing_false_is_proposed(
        first in 0..PAPER_WORDS, second in 0..PAPER_WORDS, one in 1_u16..2048, other in 1_u16..2048,
    ) {
        prop_assume!(first != second);
        let (_, _, shares) = deal_paper(2, 3).unwrap();
        let right = words(&shares[0]);
        let mut typed = right;
        typed[first] ^= one;
        typed[second] ^= other;
        let refused = PaperShare::read(&typed);
        let Err(WordsError::Damaged { suspicion }) = refused else { panic!("{refused:?}") };
        if let Some(Suspicion::Wrong { .. }) = suspicion {
            panic!("{suspicion:?}");
        }
    }
}

#[test]
fn debug_is_silent() {
    let (set, key, shares) = deal_paper(2, 3).unwrap();
    let CustodianSet { set, .. } = set;
    assert_eq!(format!("{key:?}"), "WayKey(..)");
    assert_eq!(format!("{:?}", shares[0].words()), "PaperWords(..)");
    assert_eq!(
        format!("{:?}", shares[0]),
        format!("PaperShare {{ set: {set}, index: ShareIndex(1), .. }}")
    );
    let suspicion = Suspicion::Wrong {
        position: 3,
        right: 1234,
    };
    assert!(!format!("{suspicion:?}").contains("1234"));
    let world = world(1, 1);
    let (way, key) = secret_of(1);
    let bytes = world.deal(1, &[(&way, &key)]);
    let object = read(&bytes).remove(0);
    let barred = recover_bolt(&read(&bytes)).unwrap();
    let text = format!("{object:?} {barred:?}");
    // With k = 1 the piece is the bolt.
    let hex: String = bytes[0][48..80]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let decimal: Vec<String> = bytes[0][48..80].iter().map(u8::to_string).collect();
    assert!(
        !text.contains(&hex[..8]) && !text.contains(&decimal.join(", ")[..12]),
        "{text}"
    );
}
