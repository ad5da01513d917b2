//! Damage is found and named, chunk by chunk; shares that do not belong together are refused with the name of what differs.

mod common;

use common::{Deal, Failure, dealing, pattern};
use warifu_core::format::{
    CHUNK, CombineError, DealError, Dealing, Difference, ExtentKind, FormatError, JoinError,
    Joiner, OpenError, OpenShare, PREFIX_LEN, RebuildError, Seat, ShareHeader, Suite, deal,
    rebuild,
};
use warifu_core::ids::{
    BadThreshold, ExtentId, FileId, Generation, RoundId, ServerId, ShareIndex, Threshold, VaultId,
    VersionNo,
};
use warifu_core::keys::VaultKey;

const SEALED: usize = CHUNK + 16;

fn index(value: u8) -> ShareIndex {
    ShareIndex::new(value).unwrap()
}

#[test]
fn p4_any_flipped_bit_of_an_object_is_found() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let dealt = Deal::new(dealing(2, 3, suite), b"eleven byte");
        let key = dealt.key(dealt.servers[1]);
        for bit in 0..dealt.objects[1].len() * 8 {
            let mut object = dealt.objects[1].clone();
            object[bit / 8] ^= 1 << (bit % 8);
            let opened = OpenShare::open(&object, &key);
            if bit / 8 < PREFIX_LEN {
                let error = opened.unwrap_err();
                let format = matches!(error, OpenError::Format(_)) && bit / 8 < 32;
                assert!(
                    format || error == OpenError::NotAuthentic,
                    "{suite:?}, bit {bit}: {error}"
                );
            } else {
                let share = opened.unwrap();
                assert_eq!(
                    share.verify_chunks(0, &object[PREFIX_LEN..]),
                    Err(OpenError::Damaged {
                        index: index(2),
                        chunk: 0
                    }),
                    "{suite:?}, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn p4_the_damaged_share_and_chunk_are_named() {
    let len = 3 * CHUNK + 5;
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for (position, at) in [(0, 4), (1, 0), (2, 2)] {
            for (place, chunk) in [
                (0, 0),
                (CHUNK, 0),
                (SEALED, 1),
                (3 * SEALED - 1, 2),
                (3 * SEALED, 3),
                (3 * SEALED + 20, 3),
            ] {
                let mut dealt = Deal::new(dealing(3, 5, suite), &pattern(len));
                dealt.objects[at][PREFIX_LEN + place] ^= 0x10;
                let expected = JoinError::Damaged {
                    position,
                    index: index(at as u8 + 1),
                    chunk,
                };
                assert_eq!(dealt.join(&[4, 0, 2]), Err(Failure::Join(expected)));
                // The others still give the file back.
                let healthy: Vec<usize> = (0..5).filter(|other| *other != at).take(3).collect();
                assert_eq!(dealt.join(&healthy).unwrap(), pattern(len));
            }
        }
    }
}

#[test]
fn p4_exchanged_moved_and_cut_chunks_are_found() {
    let secret = pattern(3 * CHUNK);
    let dealt = Deal::new(dealing(2, 2, Suite::best()), &secret);
    let body = &dealt.objects[0][PREFIX_LEN..];
    let share = dealt.open(0);
    let damaged = |chunk| {
        Err(OpenError::Damaged {
            index: index(1),
            chunk,
        })
    };

    let mut swapped = body.to_vec();
    swapped[..2 * SEALED].rotate_left(SEALED);
    assert_eq!(share.verify_chunks(0, &swapped), damaged(0));
    assert_eq!(
        share.verify_chunks(1, &body[..SEALED]),
        damaged(1),
        "chunk 0 read as chunk 1"
    );
    assert_eq!(
        share.verify_chunks(2, &body[SEALED..2 * SEALED]),
        damaged(2),
        "a middle chunk read as the last"
    );
    // A chunk of another extent with the same place and key.
    let other = Dealing {
        extent: ExtentId::fresh().unwrap(),
        ..dealt.dealing
    };
    let other = Deal::with(
        VaultKey::generate().unwrap(),
        dealt.servers.clone(),
        other,
        &secret,
    );
    assert_eq!(
        share.verify_chunks(0, &other.objects[0][PREFIX_LEN..]),
        damaged(0)
    );
    // Another share's chunk.
    assert_eq!(
        share.verify_chunks(0, &dealt.objects[1][PREFIX_LEN..]),
        damaged(0)
    );
    for cut in [1, 15, 16, 17, SEALED - 1] {
        let got = body.len() - cut;
        let length = OpenError::BodyLength {
            index: index(1),
            chunk: 0,
            got,
        };
        assert_eq!(
            share.verify_chunks(0, &body[..got]),
            Err(length),
            "{cut} bytes cut"
        );
    }
    let got = body.len() + 1;
    assert_eq!(
        share.verify_chunks(0, &[body, &[0]].concat()),
        Err(OpenError::BodyLength {
            index: index(1),
            chunk: 0,
            got
        })
    );
    assert!(share.verify_chunks(u64::MAX, body).is_err());
    assert!(share.verify_chunks(3, &body[..SEALED]).is_err());
}

#[test]
fn p4_a_cut_body_is_named_and_not_the_whole_one() {
    let dealt = Deal::new(dealing(2, 2, Suite::best()), &pattern(2 * CHUNK));
    let bodies = [0, 1].map(|at: usize| &dealt.objects[at][PREFIX_LEN..]);
    let mut joiner = Joiner::new(vec![dealt.open(0), dealt.open(1)]).unwrap();
    let mut out = vec![9; 2 * CHUNK];
    for position in [0, 1] {
        let mut cut = bodies;
        cut[position] = &cut[position][..SEALED];
        let expected = JoinError::BodyLength {
            position,
            index: index(position as u8 + 1),
            expected: 2 * SEALED,
            got: SEALED,
        };
        assert_eq!(joiner.join_chunks(0, &cut, &mut out), Err(expected));
        assert!(out.iter().all(|byte| *byte == 0));
    }
    assert_eq!(
        joiner.join_chunks(0, &bodies[..1], &mut out),
        Err(JoinError::Bodies { needed: 2, got: 1 })
    );
    assert_eq!(
        joiner.join_chunks(0, &bodies, &mut out[1..]),
        Err(JoinError::ResultLength {
            chunk: 0,
            got: 2 * CHUNK - 1
        })
    );
    assert_eq!(
        joiner.join_chunks(1, &bodies, &mut out),
        Err(JoinError::ResultLength {
            chunk: 1,
            got: 2 * CHUNK
        })
    );
    joiner.join_chunks(0, &bodies, &mut out).unwrap();
    assert_eq!(out, pattern(2 * CHUNK));
}

#[test]
fn p3_a_share_opens_with_its_own_server_key_only() {
    let dealt = Deal::new(dealing(2, 3, Suite::best()), b"text");
    let others = [
        dealt.key(dealt.servers[1]),
        VaultKey::generate().unwrap().seal_key(dealt.servers[0]),
    ];
    for key in &others {
        assert_eq!(
            OpenShare::open(&dealt.objects[0], key).unwrap_err(),
            OpenError::NotAuthentic
        );
    }
}

#[test]
fn mixtures_are_refused_and_what_differs_is_named() {
    let vault_key = || VaultKey::generate().unwrap();
    let base = Deal::new(dealing(2, 3, Suite::best()), b"first text");
    let d = base.dealing;
    let mixed = [
        (
            Difference::Vault,
            Dealing {
                vault: VaultId::fresh().unwrap(),
                file: FileId::fresh().unwrap(),
                ..d
            },
        ),
        (
            Difference::File,
            Dealing {
                file: FileId::fresh().unwrap(),
                version: VersionNo(9),
                ..d
            },
        ),
        (
            Difference::Version,
            Dealing {
                version: VersionNo(8),
                extent: ExtentId::fresh().unwrap(),
                ..d
            },
        ),
        (
            Difference::Kind,
            Dealing {
                kind: ExtentKind::Head,
                extent: ExtentId::fresh().unwrap(),
                ..d
            },
        ),
        (
            Difference::Generation,
            Dealing {
                generation: Generation(2),
                extent: ExtentId::fresh().unwrap(),
                ..d
            },
        ),
        (
            Difference::Threshold,
            Dealing {
                threshold: Threshold::new(3, 3).unwrap(),
                ..d
            },
        ),
        (
            Difference::Extent,
            Dealing {
                extent: ExtentId::fresh().unwrap(),
                ..d
            },
        ),
        (Difference::Extent, Dealing { number: 4, ..d }),
        (
            Difference::Round,
            Dealing {
                round: RoundId::fresh().unwrap(),
                ..d
            },
        ),
    ];
    let differs = |what| CombineError::Differs {
        what,
        first: index(1),
        other: index(2),
    };
    for (what, other) in mixed {
        let other = Deal::with(vault_key(), base.servers.clone(), other, b"first text");
        let refused = Joiner::new(vec![base.open(0), other.open(1)]).unwrap_err();
        assert_eq!(refused, differs(what));
        assert!(refused.to_string().contains(&what.to_string()), "{refused}");
    }
    let other = Deal::with(vault_key(), base.servers.clone(), d, b"longer text");
    assert_eq!(
        Joiner::new(vec![base.open(0), other.open(1)]).unwrap_err(),
        differs(Difference::Length)
    );

    assert_eq!(
        Joiner::new(vec![base.open(2), base.open(2)]).unwrap_err(),
        CombineError::Duplicate { index: index(3) }
    );
    let count = |got| CombineError::WrongCount { needed: 2, got };
    assert_eq!(Joiner::new(vec![base.open(2)]).unwrap_err(), count(1));
    assert_eq!(
        Joiner::new(vec![base.open(0), base.open(1), base.open(2)]).unwrap_err(),
        count(3)
    );
    assert_eq!(
        Joiner::new(Vec::new()).unwrap_err(),
        CombineError::WrongCount { needed: 1, got: 0 }
    );
}

#[test]
fn shares_with_different_suites_combine() {
    let secret = pattern(100_000);
    let first = Deal::new(dealing(2, 3, Suite::Aes256Gcm), &secret);
    let chacha = Dealing {
        suite: Suite::ChaCha20Poly1305,
        ..first.dealing
    };
    let second = Deal::with(
        VaultKey::generate().unwrap(),
        first.servers.clone(),
        chacha,
        &secret,
    );
    // Two dealings, so the bytes would be wrong; what counts is that the suite is no difference.
    let joiner = Joiner::new(vec![first.open(0), second.open(2)]).unwrap();
    assert_eq!(joiner.shares()[1].header().suite(), Suite::ChaCha20Poly1305);
}

#[test]
fn headers_that_cannot_be_are_refused_with_the_reason() {
    let dealt = Deal::new(dealing(2, 3, Suite::ChaCha20Poly1305), b"text");
    let whole = &dealt.objects[0];
    let with = |offset: usize, value: u8| {
        let mut object = whole.clone();
        object[offset] = value;
        ShareHeader::parse(&object).unwrap_err()
    };
    assert_eq!(with(0, b'w'), FormatError::NotWarifu);
    assert_eq!(
        with(6, b'V'),
        FormatError::Kind {
            wanted: b'S',
            found: b'V'
        }
    );
    assert_eq!(with(7, 2), FormatError::Newer { found: 2, known: 1 });
    assert!(with(7, 2).to_string().contains("newer warifu"));
    assert_eq!(with(7, 0), FormatError::NotWarifu);
    assert_eq!(with(8, 0), FormatError::Suite(0));
    assert_eq!(with(8, 3), FormatError::Suite(3));
    assert_eq!(with(9, 3), FormatError::Scheme(3));
    assert_eq!(
        with(10, 0),
        FormatError::Threshold(BadThreshold { k: 0, n: 3 })
    );
    assert_eq!(
        with(10, 4),
        FormatError::Threshold(BadThreshold { k: 4, n: 3 })
    );
    assert_eq!(with(12, 0), FormatError::Index { index: 0, n: 3 });
    assert_eq!(with(12, 4), FormatError::Index { index: 4, n: 3 });
    assert_eq!(with(13, 12), FormatError::ChunkSize(12));
    assert_eq!(with(13, 255), FormatError::ChunkSize(255));
    assert_eq!(with(15, 1), FormatError::Reserved { offset: 15 });
    assert_eq!(with(16, 0), FormatError::Length { len: 0 });
    assert_eq!(
        with(23, 0x80),
        FormatError::Length {
            len: 0x8000_0000_0000_0004
        }
    );
    assert_eq!(with(31, 1), FormatError::Reserved { offset: 31 });
    for len in 0..64 {
        let error = ShareHeader::parse(&whole[..len]).unwrap_err();
        assert_eq!(
            error,
            FormatError::Short {
                needed: 64,
                got: len
            }
        );
    }
    for len in 64..PREFIX_LEN {
        let error = OpenShare::open(&whole[..len], &dealt.key(dealt.servers[0])).unwrap_err();
        assert_eq!(
            error,
            OpenError::Format(FormatError::Short {
                needed: PREFIX_LEN,
                got: len
            })
        );
    }
    assert!(ShareHeader::parse(&whole[..64]).is_ok());
}

#[test]
fn impossible_dealings_are_refused_and_leave_nothing() {
    let vault_key = VaultKey::generate().unwrap();
    let servers = [
        ServerId::fresh().unwrap(),
        ServerId::fresh().unwrap(),
        ServerId::fresh().unwrap(),
    ];
    let keys = servers.map(|server| vault_key.seal_key(server));
    let seats: Vec<Seat<'_>> = servers
        .iter()
        .zip(&keys)
        .map(|(server, key)| Seat {
            server: *server,
            key,
        })
        .collect();
    let dealing = dealing(2, 3, Suite::best());
    let refused = |seats: &[Seat<'_>], secret: &[u8], places: usize| {
        let mut objects = vec![b"old".to_vec(); places];
        let error = deal(&dealing, seats, secret, &mut objects).unwrap_err();
        assert!(objects.iter().all(Vec::is_empty));
        error
    };
    assert_eq!(
        refused(&seats[..2], b"text", 3),
        DealError::Seats { needed: 3, got: 2 }
    );
    assert_eq!(
        refused(&seats, b"text", 4),
        DealError::Objects { needed: 3, got: 4 }
    );
    assert_eq!(refused(&seats, b"", 3), DealError::Length { len: 0 });
    assert_eq!(
        refused(&[seats[0], seats[1], seats[0]], b"text", 3),
        DealError::SameServer { server: servers[0] }
    );
}

#[test]
fn a_share_is_not_rebuilt_from_damaged_or_too_few_ones() {
    let mut dealt = Deal::new(dealing(2, 3, Suite::best()), &pattern(100_000));
    let key = dealt.key(dealt.servers[0]);
    let seat = Seat {
        server: dealt.servers[0],
        key: &key,
    };
    let mut object = b"old".to_vec();
    let mut refused = |dealt: &Deal, from: &[usize], target: u8, cut: usize| {
        let shares = from.iter().map(|at| dealt.open(*at)).collect();
        let bodies: Vec<&[u8]> = from
            .iter()
            .map(|at| &dealt.objects[*at][PREFIX_LEN + cut..])
            .collect();
        let error = rebuild(shares, &bodies, index(target), &seat, &mut object).unwrap_err();
        assert!(object.is_empty());
        error
    };
    assert_eq!(
        refused(&dealt, &[1], 1, 0),
        CombineError::WrongCount { needed: 2, got: 1 }.into()
    );
    assert_eq!(
        refused(&dealt, &[1, 2], 4, 0),
        RebuildError::Target {
            target: index(4),
            n: 3
        }
    );
    assert!(matches!(
        refused(&dealt, &[1, 2], 1, 1),
        RebuildError::Join(JoinError::BodyLength { position: 0, .. })
    ));
    dealt.objects[2][PREFIX_LEN + SEALED] ^= 1;
    assert_eq!(
        refused(&dealt, &[1, 2], 1, 0),
        JoinError::Damaged {
            position: 1,
            index: index(3),
            chunk: 1
        }
        .into()
    );
}
