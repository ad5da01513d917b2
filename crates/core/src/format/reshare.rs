//! From k shares to n others of the same secret: another generation, and another threshold where that is wanted.

use alloc::vec::Vec;

use zeroize::Zeroize;

use super::deal::{DealError, Seat, deal_with, sealers};
use super::identity::{Dealing, Scheme};
use super::join::{Joiner, open_piece};
use super::open::OpenShare;
use super::rebuild::{RebuildError, check_bodies};
use super::sizes::CHUNK;
use crate::coefficients::Entropy;
use crate::engine::Engine;
use crate::ids::{Generation, RoundId, ShareIndex, Threshold};
use crate::random;
use crate::seal::{Suite, TAG};
use crate::secret::SecretBytes;
use crate::shamir::{Splitter, Weights};

/// What shares become by [`reshare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Their generation: greater than that of the shares that they are made from, and of this one making alone.
    pub generation: Generation,
    /// How many of them there are, and how many give the secret.
    pub threshold: Threshold,
    /// How they are sealed.
    pub suite: Suite,
}

static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// Makes all n shares of a new generation from any k of an older one: `objects[i]` becomes the object for `seats[i]`, whose share has
/// the index i + 1, under a [`RoundId`] drawn for this making. `bodies[i]` is the whole object of `shares[i]` after its prefix. Shares of two generations do not combine, whatever
/// their thresholds.
///
/// How, depends on the scheme and on the threshold:
/// - `shamir`, and the new k is not smaller: to each share, given or made from the k given, its part of a fresh sharing of zero is
///   added, of the degree of the new threshold. The sum of the two polynomials has the secret at 0, and all its other coefficients up to
///   that degree are as random as those of the zero. **The secret is at no time formed.** Fewer than the old k of the old shares and fewer
///   than the new k of the new ones are together independent of it.
/// - `shamir`, and the new k is smaller: no sum has a smaller degree, so the extent is joined in memory that is erased, and dealt anew.
/// - `compact`: the key under which the extent is sealed must change too, so it is joined and dealt anew, under a fresh key.
///
/// With k = 1 every share is the secret, and there is nothing that could make an old one worthless.
///
/// # Errors
/// [`RebuildError`]; the objects are empty then.
pub fn reshare(
    shares: Vec<OpenShare>,
    bodies: &[&[u8]],
    round: Round,
    seats: &[Seat<'_>],
    objects: &mut [Vec<u8>],
) -> Result<(), RebuildError> {
    let entropy = &mut random::fill;
    let reshared = reshare_into(shares, bodies, round, seats, objects, entropy);
    if reshared.is_err() {
        for object in objects {
            // A share that is not sealed yet must not stay behind.
            object.zeroize();
        }
    }
    reshared
}

fn reshare_into(
    shares: Vec<OpenShare>,
    bodies: &[&[u8]],
    round: Round,
    seats: &[Seat<'_>],
    objects: &mut [Vec<u8>],
    entropy: Entropy<'_>,
) -> Result<(), RebuildError> {
    let mut joiner = Joiner::new(shares)?;
    let old = *joiner.dealing();
    if round.generation <= old.generation {
        return Err(RebuildError::Generation {
            from: old.generation,
            to: round.generation,
        });
    }
    check_bodies(&joiner, bodies)?;
    let mut id = [0; 16];
    entropy(&mut id).map_err(DealError::from)?;
    let dealing = Dealing {
        generation: round.generation,
        round: RoundId::from_bytes(id),
        threshold: round.threshold,
        suite: round.suite,
        ..old
    };
    if old.scheme == Scheme::Shamir && round.threshold.k() >= old.threshold.k() {
        return add_zero(&joiner, bodies, &dealing, seats, objects, entropy);
    }
    let len = joiner.secret_len();
    let len = usize::try_from(len).map_err(|_| DealError::Length { len })?;
    let mut secret = SecretBytes::with_len(len);
    joiner.join_chunks(0, bodies, secret.expose_mut())?;
    Ok(deal_with(
        &dealing,
        seats,
        secret.expose(),
        objects,
        entropy,
    )?)
}

/// Where a share of the old generation comes from.
enum Source {
    /// It is the one at this position.
    Given(usize),
    /// The weighted sum of those given.
    Made(Weights),
}

fn add_zero(
    joiner: &Joiner,
    bodies: &[&[u8]],
    dealing: &Dealing,
    seats: &[Seat<'_>],
    objects: &mut [Vec<u8>],
    entropy: Entropy<'_>,
) -> Result<(), RebuildError> {
    let (plan, secret_len) = (joiner.plan(), joiner.secret_len());
    let len = usize::try_from(secret_len).map_err(|_| DealError::Length { len: secret_len })?;
    let sealers = sealers(dealing, seats, secret_len, objects, entropy)?;
    let indices: Vec<ShareIndex> = joiner.shares().iter().map(OpenShare::index).collect();
    let sources = dealing.threshold.indices().map(|wanted| {
        match indices.iter().position(|index| *index == wanted) {
            Some(position) => Ok(Source::Given(position)),
            None => Weights::at(wanted, &indices).map(Source::Made),
        }
    });
    let sources = sources
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| DealError::Cipher)?;
    let engine = Engine::current();
    let longest = len.min(CHUNK);
    let mut splitter =
        Splitter::new(dealing.threshold, longest, entropy).map_err(DealError::from)?;
    let mut scratch = SecretBytes::with_len(longest * indices.len());
    let last = len.div_ceil(CHUNK).saturating_sub(1);
    for (number, begin) in (0..len).step_by(CHUNK).enumerate() {
        let piece = (len - begin).min(CHUNK);
        let at = number * plan.stride();
        let mut opened = [&[] as &[u8]; 255];
        let rooms = scratch.expose_mut().chunks_exact_mut(piece);
        let given = joiner.shares().iter().zip(bodies).zip(rooms);
        for (position, ((share, body), room)) in given.enumerate() {
            open_piece(share, position, number as u64, at, body, room)?;
            opened[position] = room;
        }
        let opened = &opened[..indices.len()];
        let start = plan.prefix + at;
        splitter
            .share(&ZEROS[..piece], objects, start, entropy)
            .map_err(DealError::from)?;
        for ((sealer, object), source) in sealers.iter().zip(&mut *objects).zip(&sources) {
            let sealed = &mut object[start..start + piece + TAG];
            let share = &mut sealed[..piece];
            match source {
                Source::Given(position) => engine.mul_acc(share, opened[*position], 1),
                Source::Made(weights) => {
                    engine.combine(weights.as_slice(), opened, 0, share, true);
                }
            }
            sealer.seal_chunk(number as u64, number == last, sealed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::format::{ExtentKind, PREFIX_LEN, deal};
    use crate::gf256::mul;
    use crate::ids::{ExtentId, FileId, ServerId, VaultId, VersionNo};
    use crate::keys::{SealKey, VaultKey};

    /// Long enough for statistics.
    const LEN: usize = CHUNK;

    struct World {
        servers: Vec<ServerId>,
        keys: Vec<SealKey>,
        old: Vec<Vec<u8>>,
    }

    fn world(k: u8, n: u8, most: usize, secret: u8) -> World {
        let vault_key = VaultKey::generate().unwrap();
        let servers: Vec<ServerId> = (0..most).map(|_| ServerId::fresh().unwrap()).collect();
        let keys: Vec<SealKey> = servers.iter().map(|id| vault_key.seal_key(*id)).collect();
        let dealing = Dealing {
            vault: VaultId::fresh().unwrap(),
            file: FileId::fresh().unwrap(),
            version: VersionNo(1),
            kind: ExtentKind::Data,
            number: 0,
            extent: ExtentId::fresh().unwrap(),
            generation: Generation(1),
            round: RoundId::NIL,
            threshold: Threshold::new(k, n).unwrap(),
            scheme: Scheme::Shamir,
            suite: Suite::best(),
        };
        let mut old = vec![Vec::new(); usize::from(n)];
        let seats = seats(&servers[..usize::from(n)], &keys);
        deal(&dealing, &seats, &[secret; LEN], &mut old).unwrap();
        World { servers, keys, old }
    }

    fn seats<'a>(servers: &[ServerId], keys: &'a [SealKey]) -> Vec<Seat<'a>> {
        let seats = servers.iter().zip(keys);
        seats
            .map(|(server, key)| Seat {
                server: *server,
                key,
            })
            .collect()
    }

    /// The bare share in an object.
    fn bare(object: &[u8], key: &SealKey) -> Vec<u8> {
        let share = OpenShare::open(object, key).unwrap();
        let mut plain = vec![0; LEN];
        open_piece(&share, 0, 0, 0, &object[PREFIX_LEN..], &mut plain).unwrap();
        plain
    }

    /// Chi-square of 256 cells against the uniform distribution: 255 on average, with a standard deviation of 22.6.
    fn chi_square(bytes: impl Iterator<Item = u8>) -> f64 {
        let mut counts = [0_u32; 256];
        bytes.for_each(|byte| counts[usize::from(byte)] += 1);
        let expected = LEN as f64 / 256.0;
        let off = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
        counts.iter().map(off).sum()
    }

    /// What fewer than k old and fewer than k new shares show, weighted in any way, is uniform: so no weights give the secret, or
    /// anything of it. Without the zero, or with one of a lower degree, some of these sums are constant.
    #[test]
    fn p1_no_sum_of_too_few_shares_of_both_generations_shows_anything() {
        for (k, n, new_k, new_n) in [(2, 3, 2, 3), (2, 3, 3, 5), (3, 4, 3, 4)] {
            let world = world(k, n, usize::from(new_n), 0x41);
            let at = usize::from(n) - usize::from(k);
            let mut shares = Vec::new();
            let mut bodies = Vec::new();
            for (object, key) in world.old.iter().zip(&world.keys).skip(at) {
                shares.push(OpenShare::open(object, key).unwrap());
                bodies.push(&object[PREFIX_LEN..]);
            }
            let round = Round {
                generation: Generation(2),
                threshold: Threshold::new(new_k, new_n).unwrap(),
                suite: Suite::best(),
            };
            let mut new = vec![Vec::new(); usize::from(new_n)];
            let seats = seats(&world.servers, &world.keys);
            reshare(shares, &bodies, round, &seats, &mut new).unwrap();
            let of = |objects: &[Vec<u8>], count: u8| -> Vec<Vec<u8>> {
                let objects = objects.iter().zip(&world.keys).take(usize::from(count));
                objects.map(|(object, key)| bare(object, key)).collect()
            };
            let mut seen = of(&world.old, k - 1);
            seen.extend(of(&new, new_k - 1));
            let mut factors = vec![1; seen.len()];
            // With two shares, all weights that tell anything apart; with more, a line through them.
            for step in 1..=255_u8 {
                let mut power = 1;
                for factor in factors.iter_mut().skip(1) {
                    power = mul(power, step);
                    *factor = power;
                }
                let sum = (0..LEN).map(|byte| {
                    let parts = seen.iter().zip(&factors);
                    parts.fold(0, |sum, (share, factor)| sum ^ mul(share[byte], *factor))
                });
                let found = chi_square(sum);
                assert!(
                    (100.0..450.0).contains(&found),
                    "{k}→{new_k}, {step}: {found}"
                );
            }
        }
    }

    /// Weights that would join old and new shares as if they were of one dealing give rubbish.
    #[test]
    fn shares_of_two_generations_joined_all_the_same_are_rubbish() {
        let world = world(2, 3, 3, 0x41);
        let mut shares = Vec::new();
        let mut bodies = Vec::new();
        for (object, key) in world.old.iter().zip(&world.keys).take(2) {
            shares.push(OpenShare::open(object, key).unwrap());
            bodies.push(&object[PREFIX_LEN..]);
        }
        let round = Round {
            generation: Generation(2),
            threshold: Threshold::new(2, 3).unwrap(),
            suite: Suite::best(),
        };
        let mut new = vec![Vec::new(); 3];
        let seats = seats(&world.servers, &world.keys);
        reshare(shares, &bodies, round, &seats, &mut new).unwrap();
        let indices = [1, 2].map(|index| ShareIndex::new(index).unwrap());
        let weights = Weights::at_secret(&indices).unwrap();
        let join = |one: &[u8], other: &[u8]| {
            let mut out = vec![0; LEN];
            let (one, other) = (bare(one, &world.keys[0]), bare(other, &world.keys[1]));
            weights.combine_into(&[&one, &other], &mut out).unwrap();
            out.iter().filter(|byte| **byte == 0x41).count()
        };
        assert_eq!(join(&world.old[0], &world.old[1]), LEN);
        assert_eq!(join(&new[0], &new[1]), LEN);
        for mixed in [join(&world.old[0], &new[1]), join(&new[0], &world.old[1])] {
            assert!(
                mixed < LEN / 128,
                "{mixed} bytes of the secret came through"
            );
        }
    }
}
