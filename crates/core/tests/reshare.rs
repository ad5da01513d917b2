//! Shares of a new generation, from k of an older one: they give the same secret, and nothing together with the older ones.

mod common;

use common::{Deal, Failure, dealing, pattern};
use warifu_core::format::{
    CHUNK, CombineError, Dealing, Difference, OpenShare, RebuildError, Round, Scheme, Seat, Suite,
    reshare,
};
use warifu_core::gf256::{inv, mul};
use warifu_core::ids::{Generation, ServerId, Threshold};

const LENGTHS: [usize; 5] = [1, 300, CHUNK - 1, CHUNK, 2 * CHUNK + 5];

fn threshold(k: u8, n: u8) -> Threshold {
    Threshold::new(k, n).unwrap()
}

fn round(generation: u32, k: u8, n: u8) -> Round {
    Round {
        generation: Generation(generation),
        threshold: threshold(k, n),
        suite: Suite::best(),
    }
}

/// Makes the next generation from the shares at `chosen`. The servers stay; more are added where n grows. Returns what was there before.
fn next(deal: &mut Deal, chosen: &[usize], round: Round) -> Result<Before, RebuildError> {
    let mut servers = deal.servers.clone();
    servers.truncate(usize::from(round.threshold.n()));
    while servers.len() < usize::from(round.threshold.n()) {
        servers.push(ServerId::fresh().unwrap());
    }
    let keys: Vec<_> = servers.iter().map(|server| deal.key(*server)).collect();
    let seats = servers.iter().zip(&keys);
    let seats: Vec<Seat<'_>> = seats
        .map(|(server, key)| Seat {
            server: *server,
            key,
        })
        .collect();
    let mut objects = vec![Vec::new(); servers.len()];
    let shares: Vec<OpenShare> = chosen.iter().map(|at| deal.open(*at)).collect();
    let bodies: Vec<&[u8]> = chosen
        .iter()
        .zip(&shares)
        .map(|(at, share)| &deal.objects[*at][share.header().prefix_len()..])
        .collect();
    let made = reshare(shares, &bodies, round, &seats, &mut objects);
    assert!(made.is_ok() || objects.iter().all(Vec::is_empty));
    made?;
    let mut before = Before {
        dealing: Dealing {
            generation: round.generation,
            threshold: round.threshold,
            ..deal.dealing
        },
        servers,
        objects,
    };
    before.exchange(deal);
    Ok(before)
}

/// A generation that is not the one at work.
struct Before {
    dealing: Dealing,
    servers: Vec<ServerId>,
    objects: Vec<Vec<u8>>,
}

impl Before {
    fn exchange(&mut self, deal: &mut Deal) {
        std::mem::swap(&mut self.dealing, &mut deal.dealing);
        std::mem::swap(&mut self.servers, &mut deal.servers);
        std::mem::swap(&mut self.objects, &mut deal.objects);
    }
}

/// All sets of `k` numbers below `n`.
fn sets(k: usize, n: usize) -> Vec<Vec<usize>> {
    (0_u32..1 << n)
        .filter(|bits| bits.count_ones() as usize == k)
        .map(|bits| (0..n).filter(|at| bits >> at & 1 == 1).collect())
        .collect()
}

fn check(scheme: Scheme, (k, n): (u8, u8), (new_k, new_n): (u8, u8)) {
    for len in LENGTHS {
        let secret = pattern(len);
        let first = Dealing {
            scheme,
            ..dealing(k, n, Suite::best())
        };
        let mut deal = Deal::new(first, &secret);
        for chosen in sets(usize::from(k), usize::from(n)) {
            let mut old = next(&mut deal, &chosen, round(2, new_k, new_n)).unwrap();
            for set in sets(usize::from(new_k), usize::from(new_n)) {
                assert_eq!(deal.join(&set).unwrap(), secret, "{chosen:?} {set:?} {len}");
            }
            let share = deal.open(0);
            assert_eq!(share.dealing().generation, Generation(2));
            assert_eq!(share.header().threshold(), threshold(new_k, new_n));
            assert_eq!(share.dealing().extent, old.dealing.extent);
            old.exchange(&mut deal);
        }
    }
}

#[test]
fn any_k_shares_give_a_new_generation_of_the_same_secret() {
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        for (k, n) in [(1, 2), (2, 3), (3, 3), (3, 5)] {
            check(scheme, (k, n), (k, n));
        }
    }
}

#[test]
fn the_threshold_changes_with_the_generation() {
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        check(scheme, (2, 3), (3, 5));
        check(scheme, (2, 3), (2, 5));
        check(scheme, (3, 5), (2, 3));
        check(scheme, (3, 5), (2, 5));
        check(scheme, (2, 2), (1, 3));
    }
}

#[test]
fn shares_of_two_generations_are_not_joined() {
    let mut deal = Deal::new(dealing(2, 3, Suite::best()), b"text");
    let old = next(&mut deal, &[0, 2], round(5, 2, 3)).unwrap();
    let new = std::mem::replace(&mut deal.objects[0], old.objects[0].clone());
    let refused = deal.join(&[0, 1]);
    assert!(
        matches!(
            refused,
            Err(Failure::Combine(CombineError::Differs {
                what: Difference::Generation,
                ..
            }))
        ),
        "{refused:?}"
    );
    deal.objects[0] = new;
    for to in [4, 5] {
        let again = next(&mut deal, &[0, 1], round(to, 2, 3));
        let (from, to) = (Generation(5), Generation(to));
        assert_eq!(again.err(), Some(RebuildError::Generation { from, to }));
    }
}

/// Two who don't know of each other can take one number for two makings: each is whole, and the two are never joined.
#[test]
fn shares_of_two_makings_of_one_generation_are_not_joined() {
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        let secret = pattern(CHUNK + 9);
        let first = Dealing {
            scheme,
            ..dealing(2, 3, Suite::best())
        };
        let mut deal = Deal::new(first, &secret);
        let mut old = next(&mut deal, &[0, 2], round(2, 2, 3)).unwrap();
        let one = deal.objects.clone();
        old.exchange(&mut deal);
        drop(next(&mut deal, &[0, 2], round(2, 2, 3)).unwrap());
        assert_eq!(deal.join(&[0, 1]).unwrap(), secret);
        deal.objects[0].clone_from(&one[0]);
        let refused = deal.join(&[0, 1]);
        assert!(
            matches!(
                refused,
                Err(Failure::Combine(CombineError::Differs {
                    what: Difference::Round,
                    ..
                }))
            ),
            "{refused:?}"
        );
        deal.objects[1].clone_from(&one[1]);
        assert_eq!(deal.join(&[0, 1]).unwrap(), secret);
    }
}

#[test]
fn a_damaged_share_is_named_and_nothing_is_made() {
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        let first = Dealing {
            scheme,
            ..dealing(2, 3, Suite::best())
        };
        let mut old = Deal::new(first, &pattern(CHUNK + 9));
        let end = old.objects[2].len() - 1;
        old.objects[2][end] ^= 1;
        let Err(RebuildError::Join(error)) = next(&mut old, &[0, 2], round(2, 2, 3)) else {
            panic!("a damaged share was used");
        };
        assert!(error.to_string().contains("share 3: chunk 1 is damaged"));
    }
}

/// The row of a share in the random coefficients: of the old polynomial, then of the sharing of zero. The secret's own column is 1 in
/// every row.
fn row(index: u8, old_k: u8, new_k: u8, is_new: bool) -> Vec<u8> {
    let power = |degree: u8| (0..degree).fold(1, |power, _| mul(power, index));
    let old = (1..old_k).map(power);
    let zero = (1..new_k).map(|degree| if is_new { power(degree) } else { 0 });
    old.chain(zero).collect()
}

fn rank(mut rows: Vec<Vec<u8>>) -> usize {
    let columns = rows.first().map_or(0, Vec::len);
    let mut rank = 0;
    for column in 0..columns {
        let Some(pivot) = (rank..rows.len()).find(|at| rows[*at][column] != 0) else {
            continue;
        };
        rows.swap(rank, pivot);
        let lead = rows[rank].clone();
        for row in rows.iter_mut().skip(rank + 1) {
            let factor = mul(row[column], inv(lead[column]));
            for (cell, value) in row.iter_mut().zip(&lead) {
                *cell ^= mul(*value, factor);
            }
        }
        rank += 1;
    }
    rank
}

/// Of every choice of fewer than k old shares and fewer than k' new ones, of whatever servers: their random parts are
/// linearly independent, so that the shares are jointly uniform for each secret. One share more on either side and they are not.
#[test]
fn p1_fewer_than_k_of_either_generation_are_together_independent_of_the_secret() {
    for (k, n, new_k, new_n) in [
        (2, 3, 2, 3),
        (2, 3, 3, 5),
        (3, 5, 3, 5),
        (2, 4, 4, 4),
        (1, 2, 3, 4),
    ] {
        let views = |old: usize, new: usize| {
            let mut all = Vec::new();
            for old in sets(old, n) {
                for new in sets(new, new_n) {
                    let old = old.iter().map(|at| row(*at as u8 + 1, k, new_k, false));
                    let new = new.iter().map(|at| row(*at as u8 + 1, k, new_k, true));
                    all.push(old.chain(new).collect::<Vec<_>>());
                }
            }
            all
        };
        let (few, new_few) = (usize::from(k) - 1, usize::from(new_k) - 1);
        for view in views(few, new_few) {
            let shares = view.len();
            assert_eq!(rank(view), shares, "{k} of {n}, then {new_k} of {new_n}");
        }
        for view in views(few, new_few + 1) {
            let shares = view.len();
            assert!(rank(view) < shares, "enough shares are enough");
        }
    }
}
