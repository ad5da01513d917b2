//! The key of one splitting, where asking the operating system would take longer than the splitting.

use crate::ids::Threshold;
use crate::random::{self, NoRandomness};

/// Up to this length of a secret the thread's own generator gives the key.
#[cfg(feature = "std")]
const SHORT: usize = 256;

/// How a secret is shared.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "std"), allow(dead_code, reason = "only read there"))]
pub(super) enum Way {
    Shamir(Threshold),
    /// Exclusive or, with so many shares.
    Xor(usize),
}

/// Fills `key` for the splitting of `secret` and of nothing else.
///
/// For a secret of more than 256 bytes, and where there is no operating system to keep threads apart, this is the operating system's generator.
/// A shorter secret, mostly a key, is split in less than a microsecond, of which a call of the operating system
/// would be most. There the key comes from a generator of the calling thread, made like this, and for these reasons:
///
/// - State: 32 bytes from the operating system, drawn anew after 1,024 keys. One step is one call of BLAKE3, keyed with the state, over
///   the process number, `way` and the secret; the first 32 bytes of its output become the state, the next 32 are the key.
/// - That BLAKE3 keyed with what nobody knows is a pseudorandom function is all that is assumed: then all keys are as good as
///   drawn from the operating system. The same is assumed wherever keys are derived.
/// - The state is overwritten at each step (*fast key erasure*, Bernstein 2017): who reads the memory later learns no
///   key that was given before.
/// - Two processes with one state would use one key twice, and two secrets under one key tell fewer than k shareholders
///   the difference of the secrets. A process gets there by `fork`, so the process number is looked at for each key and another one
///   means a fresh state. Process numbers can be equal all the same (a child in a PID namespace of its own, a machine that was restored from a
///   snapshot): therefore the secret itself goes into the step, and so does `way`: the scheme, k and n. Were the same secret
///   shared as 2 of 3 here and as 3 of 5 there with equal coefficients, one share of the first and one of the second would give it.
///   Equal keys then need equal secrets shared in the same way, which gives the same shares twice: that can be seen,
///   and share 1 of the one dealing goes with share 2 of the other, as if it had been dealt once.
/// - A signal handler that splits while its own thread splits finds the state in use and asks the operating system.
#[cfg(feature = "std")]
pub(super) fn fill(key: &mut [u8], way: Way, secret: &[u8]) -> Result<(), NoRandomness> {
    if secret.len() > SHORT || key.len() != 32 {
        return random::fill(key);
    }
    let given = state::STATE.try_with(|state| match state.try_borrow_mut() {
        Ok(mut state) => Some(state.step(key, way, secret)),
        Err(_) => None,
    });
    match given {
        Ok(Some(result)) => result,
        // In use, or the thread is ending.
        Ok(None) | Err(_) => random::fill(key),
    }
}

#[cfg(not(feature = "std"))]
pub(super) fn fill(key: &mut [u8], _way: Way, _secret: &[u8]) -> Result<(), NoRandomness> {
    random::fill(key)
}

#[cfg(feature = "std")]
mod state {
    use std::cell::RefCell;

    use zeroize::{Zeroize, Zeroizing};

    use super::Way;
    use crate::random::{self, NoRandomness};
    use crate::secret::Secret;

    /// Keys from one draw of the operating system.
    const PER_SEED: u32 = 1024;

    std::thread_local! {
        pub(super) static STATE: RefCell<State> = RefCell::new(State {
            key: Secret::zeroed(),
            left: 0,
            process: 0,
        });
    }

    pub(super) struct State {
        key: Secret<32>,
        left: u32,
        process: u32,
    }

    impl State {
        pub(super) fn step(
            &mut self,
            key: &mut [u8],
            way: Way,
            secret: &[u8],
        ) -> Result<(), NoRandomness> {
            self.step_as(std::process::id(), key, way, secret)
        }

        fn step_as(
            &mut self,
            process: u32,
            key: &mut [u8],
            way: Way,
            secret: &[u8],
        ) -> Result<(), NoRandomness> {
            if self.left == 0 || self.process != process {
                self.left = 0;
                random::fill(self.key.expose_mut())?;
                self.left = PER_SEED;
                self.process = process;
            }
            self.left -= 1;
            let mut output = Zeroizing::new([0; 64]);
            let mut hasher = blake3::Hasher::new_keyed(self.key.expose());
            hasher.update(&process.to_le_bytes());
            // No threshold has k = 0.
            let (k, n) = match way {
                Way::Shamir(threshold) => (threshold.k(), u64::from(threshold.n())),
                Way::Xor(n) => (0, n as u64),
            };
            hasher.update(&[k]);
            hasher.update(&n.to_le_bytes());
            hasher.update(secret);
            let mut reader = hasher.finalize_xof();
            reader.fill(output.as_mut_slice());
            reader.zeroize();
            hasher.zeroize();
            let (next, given) = output.split_at(32);
            self.key.expose_mut().copy_from_slice(next);
            key.copy_from_slice(given);
            Ok(())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::ids::Threshold;

        fn state(seed: u8, process: u32) -> State {
            let key = Secret::filled(|bytes| {
                bytes.fill(seed);
                Ok::<(), ()>(())
            });
            State {
                key: key.unwrap(),
                left: 3,
                process,
            }
        }

        fn step(state: &mut State, process: u32, secret: &[u8]) -> [u8; 32] {
            let mut key = [0; 32];
            state
                .step_as(process, &mut key, Way::Xor(2), secret)
                .unwrap();
            key
        }

        #[test]
        fn one_state_never_gives_one_key_for_two_secrets_or_steps() {
            let mut first = state(1, 7);
            let mut second = state(1, 7);
            assert_eq!(step(&mut first, 7, b"same"), step(&mut second, 7, b"same"));
            assert_ne!(step(&mut first, 7, b"one"), step(&mut second, 7, b"two"));
            let mut same = state(2, 7);
            assert_ne!(step(&mut same, 7, b"same"), step(&mut same, 7, b"same"));
        }

        /// Else shares of two dealings, of each too few, would together be enough.
        #[test]
        fn one_state_never_gives_one_key_for_two_ways() {
            let mut seen = alloc::collections::BTreeSet::new();
            let shamir = [(2, 3), (3, 5), (2, 5), (3, 3), (1, 2), (255, 255)]
                .map(|(k, n)| Way::Shamir(Threshold::new(k, n).unwrap()));
            for way in shamir.into_iter().chain([2, 3, 258].map(Way::Xor)) {
                let mut key = [0; 32];
                state(1, 7).step_as(7, &mut key, way, b"same").unwrap();
                assert!(seen.insert(key));
            }
        }

        #[test]
        fn another_process_begins_anew() {
            let (mut parent, mut child) = (state(1, 7), state(1, 7));
            assert_ne!(step(&mut parent, 7, b"same"), step(&mut child, 8, b"same"));
            assert_eq!((child.process, child.left), (8, PER_SEED - 1));
            // Not only by the number in the step: the state is a fresh one.
            let mut sibling = state(1, 7);
            assert_ne!(step(&mut child, 8, b"x"), {
                step(&mut sibling, 8, b"same");
                step(&mut sibling, 8, b"x")
            });
        }

        #[test]
        fn the_state_is_drawn_anew_and_keeps_no_key() {
            let mut state = state(1, 7);
            let mut seen = alloc::collections::BTreeSet::new();
            for _ in 0..3000 {
                let key = step(&mut state, 7, b"");
                assert_ne!(state.key.expose(), &key);
                assert!(seen.insert(key));
                assert!(state.left < PER_SEED);
            }
        }
    }
}
