//! One seed, one world: the chance that faults are drawn from, and the moment at which a client dies.
//!
//! A [`World`] is shared by every faulty thing of a test. It counts their calls in one sequence, so that a test can
//! run a save once to learn how many calls it makes, and then run it again and let the client die at each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// When the client dies, counted in calls to the outside (the first is 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Before this call reaches the server.
    Before(u64),
    /// After this call took effect and before its answer arrives.
    After(u64),
}

/// The chance and the call counter that faulty things share. Clones share everything.
#[derive(Clone, Debug)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    seed: u64,
    calls: AtomicU64,
    /// Twice the number of the call, plus one when it takes effect; `u64::MAX` for never.
    death: AtomicU64,
    dead: AtomicBool,
    died: Notify,
}

const NEVER: u64 = u64::MAX;

impl World {
    /// A world in which everything drawn follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                seed,
                calls: AtomicU64::new(0),
                death: AtomicU64::new(NEVER),
                dead: AtomicBool::new(false),
                died: Notify::new(),
            }),
        }
    }

    /// The seed, for the message of a failed test.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// How many calls were made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Ordering::SeqCst)
    }

    /// Lets the client die at a call. From then on no call returns any more; drop what waits for them.
    pub fn die(&self, death: Death) {
        let at = match death {
            Death::Before(call) => call * 2,
            Death::After(call) => call * 2 + 1,
        };
        self.inner.death.store(at, Ordering::SeqCst);
    }

    /// A new client: calls return again, and are counted from the beginning.
    pub fn revive(&self) {
        self.inner.death.store(NEVER, Ordering::SeqCst);
        self.inner.calls.store(0, Ordering::SeqCst);
        self.inner.dead.store(false, Ordering::SeqCst);
    }

    /// Waits until the client has died. Select this against what the client does, and drop that.
    pub async fn dead(&self) {
        loop {
            let died = self.inner.died.notified();
            tokio::pin!(died);
            died.as_mut().enable();
            if self.is_dead() {
                return;
            }
            died.await;
        }
    }

    /// Whether the client has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.inner.dead.load(Ordering::SeqCst)
    }

    /// Makes one call: runs `act` unless the client is dead before it, and never returns when the client is dead after it.
    pub async fn call<T>(&self, act: impl Future<Output = T>) -> T {
        let number = self.inner.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let death = self.inner.death.load(Ordering::SeqCst);
        let dies_here = death != NEVER && number * 2 + 1 >= death;
        if dies_here && number * 2 + 1 > death {
            return self.end().await;
        }
        let done = act.await;
        if dies_here || self.is_dead() {
            return self.end().await;
        }
        done
    }

    async fn end<T>(&self) -> T {
        self.inner.dead.store(true, Ordering::SeqCst);
        self.inner.died.notify_waiters();
        std::future::pending().await
    }

    /// A number drawn for `what`: always the same for the same seed and the same words, in whatever order tasks run.
    #[must_use]
    pub fn draw(&self, what: &[&[u8]]) -> u64 {
        let mut state = mix(self.inner.seed ^ 0x9E37_79B9_7F4A_7C15);
        for word in what {
            state = mix(state ^ word.len() as u64);
            for chunk in word.chunks(8) {
                let mut bytes = [0; 8];
                bytes[..chunk.len()].copy_from_slice(chunk);
                state = mix(state ^ u64::from_le_bytes(bytes));
            }
        }
        state
    }

    /// Whether something that happens `percent` times in a hundred happens here.
    #[must_use]
    pub fn chance(&self, percent: u8, what: &[&[u8]]) -> bool {
        self.draw(what) % 100 < u64::from(percent)
    }
}

/// The finalizer of splitmix64: every bit of the input moves every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_world() {
        let draw = |seed, word: &str| World::new(seed).draw(&[word.as_bytes()]);
        assert_eq!(draw(7, "put"), draw(7, "put"));
        assert_ne!(draw(7, "put"), draw(8, "put"));
        assert_ne!(draw(7, "put"), draw(7, "get"));
        assert_ne!(
            World::new(7).draw(&[b"ab", b"c"]),
            World::new(7).draw(&[b"a", b"bc"])
        );
    }

    #[test]
    fn chances_come_about_as_often_as_they_should() {
        let world = World::new(1);
        let hits = (0..10_000_u32)
            .filter(|n| world.chance(25, &[&n.to_le_bytes()]))
            .count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
    }

    /// Runs three calls and says which took effect and which returned.
    async fn three_calls(death: Death) -> (Vec<u64>, u64) {
        let world = World::new(0);
        world.die(death);
        let effects = std::sync::Mutex::new(Vec::new());
        let mut returned = 0;
        let client = async {
            for call in 1..=3 {
                world
                    .call(async { effects.lock().unwrap().push(call) })
                    .await;
                returned = call;
            }
        };
        tokio::select! { () = client => {}, () = world.dead() => {} }
        (effects.into_inner().unwrap(), returned)
    }

    #[tokio::test]
    async fn death_comes_before_or_after_the_effect_and_never_answers() {
        assert_eq!(three_calls(Death::Before(1)).await, (vec![], 0));
        assert_eq!(three_calls(Death::After(1)).await, (vec![1], 0));
        assert_eq!(three_calls(Death::Before(2)).await, (vec![1], 1));
        assert_eq!(three_calls(Death::After(3)).await, (vec![1, 2, 3], 2));
        assert_eq!(three_calls(Death::Before(4)).await, (vec![1, 2, 3], 3));
    }
}
