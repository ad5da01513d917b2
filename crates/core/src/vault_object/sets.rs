//! The k pieces among more that give a secret, where some of them may be false.

use alloc::vec::Vec;

use subtle::ConstantTimeEq;

use super::RecoverError;
use crate::ids::ShareIndex;
use crate::secret::Secret;
use crate::shamir::Weights;

/// How many sets of k pieces are tried at most before giving up.
const MOST_TRIES: usize = 4096;

/// Joins sets of k of these pieces until `accept` takes what they give.
///
/// # Errors
/// [`RecoverError::TooFew`] or [`RecoverError::NoFit`].
pub(crate) fn find<'a, T>(
    needed: usize,
    pieces: impl Iterator<Item = (ShareIndex, &'a Secret<32>)>,
    accept: impl Fn(Secret<32>) -> Option<T>,
) -> Result<T, RecoverError> {
    // The same piece read twice counts once.
    let mut members: Vec<(ShareIndex, &Secret<32>)> = Vec::new();
    for (index, piece) in pieces {
        let same = |(known, it): &(ShareIndex, &Secret<32>)| {
            *known == index && bool::from(it.expose().ct_eq(piece.expose()))
        };
        if !members.iter().any(same) {
            members.push((index, piece));
        }
    }
    let mut distinct: Vec<ShareIndex> = members.iter().map(|(index, _)| *index).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < needed {
        return Err(RecoverError::TooFew {
            needed,
            got: distinct.len(),
        });
    }
    let mut sets = Sets::new(needed, members.len());
    let mut tried = 0;
    while tried < MOST_TRIES {
        let Some(set) = sets.next() else { break };
        tried += 1;
        if let Some(found) = join(&members, set).and_then(&accept) {
            return Ok(found);
        }
    }
    Err(RecoverError::NoFit {
        needed,
        got: distinct.len(),
        tried,
    })
}

fn join(members: &[(ShareIndex, &Secret<32>)], chosen: &[usize]) -> Option<Secret<32>> {
    let set = chosen.iter().filter_map(|at| members.get(*at));
    let (indices, pieces): (Vec<ShareIndex>, Vec<&[u8]>) = set
        .map(|(index, piece)| (*index, piece.expose().as_slice()))
        .unzip();
    let weights = Weights::at_secret(&indices).ok()?;
    Secret::filled(|out| weights.combine_into(&pieces, out)).ok()
}

/// The sets of k members that are tried: all of them where they are few, else the first k and then scattered ones.
///
/// Going through very many in order would change the last members only, and a liar among the first would never be left out.
struct Sets {
    chosen: Vec<usize>,
    all: Vec<usize>,
    k: usize,
    few: bool,
    started: bool,
    state: u64,
}

impl Sets {
    fn new(k: usize, of: usize) -> Self {
        let count = (0..k).try_fold(1_usize, |count, at| {
            Some(count.checked_mul(of - at)? / (at + 1))
        });
        Self {
            chosen: (0..k).collect(),
            all: (0..of).collect(),
            k,
            few: count.is_some_and(|count| count <= MOST_TRIES),
            started: false,
            state: 1,
        }
    }

    fn next(&mut self) -> Option<&[usize]> {
        if !self.started {
            self.started = true;
        } else if self.few {
            if !next_combination(&mut self.chosen, self.all.len()) {
                return None;
            }
        } else {
            for place in 0..self.k {
                // Which sets are tried is no secret: any scattering will do.
                self.state = self
                    .state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let left = self.all.len() - place;
                let picked = place + (self.state >> 33) as usize % left;
                self.all.swap(place, picked);
            }
            self.chosen.copy_from_slice(&self.all[..self.k]);
        }
        Some(&self.chosen)
    }
}

/// The next set of `chosen.len()` numbers below `of`, in ascending order; false after the last.
fn next_combination(chosen: &mut [usize], of: usize) -> bool {
    let k = chosen.len();
    for place in (0..k).rev() {
        if chosen[place] < of - (k - place) {
            chosen[place] += 1;
            for later in place + 1..k {
                chosen[later] = chosen[later - 1] + 1;
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn all_sets_are_tried_where_they_are_few() {
        for of in 1..=8 {
            for k in 1..=of {
                let mut sets = Sets::new(k, of);
                let mut seen = BTreeSet::new();
                while let Some(set) = sets.next() {
                    assert!(set.is_sorted() && set.len() == k && set.iter().all(|at| *at < of));
                    assert!(seen.insert(set.to_vec()), "{set:?} twice");
                }
                let expected = (0_u32..1 << of)
                    .filter(|bits| bits.count_ones() as usize == k)
                    .count();
                assert_eq!(seen.len(), expected, "{k} of {of}");
            }
        }
    }

    #[test]
    fn scattered_sets_leave_each_member_out_soon() {
        let mut sets = Sets::new(20, 60);
        assert_eq!(sets.next().unwrap(), (0..20).collect::<Vec<_>>());
        let mut left_out = BTreeSet::new();
        for _ in 0..40 {
            let set = sets.next().unwrap();
            let members: BTreeSet<usize> = set.iter().copied().collect();
            assert_eq!(members.len(), 20);
            left_out.extend((0..60).filter(|at| !members.contains(at)));
        }
        assert_eq!(left_out.len(), 60);
    }
}
