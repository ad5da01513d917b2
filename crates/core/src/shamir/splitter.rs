//! Shares piece by piece under one key for the coefficients.

use crate::coefficients::{Coefficients, Entropy, PER_KEY};
use crate::engine::{Engine, Places, Stream, portable};
use crate::ids::{ShareIndex, Threshold};
use crate::random::NoRandomness;
use crate::secret::{Secret, SecretBytes};

/// How much is shared between two looks at how much the key has given. Whole strips of the engines.
const PIECE: usize = 1 << 20;

/// Shares one secret after another; between two of them nothing is allocated.
pub(crate) struct Splitter {
    threshold: Threshold,
    engine: Engine,
    longest: usize,
    source: Source,
}

/// Where the coefficients come from.
enum Source {
    /// k = 1: there are none, and each share is the secret.
    None,
    /// The engine makes them as it goes.
    Fused { stream: Stream, left: u64 },
    /// They are drawn for one block, then all shares of it are taken.
    Drawn(Drawn),
}

/// What the portable engine works with.
pub(super) struct Drawn {
    coefficients: Coefficients,
    /// k − 1 runs of one block: the coefficients of x, x² …
    pub(super) drawn: SecretBytes,
    degree: usize,
    pub(super) block_len: usize,
}

impl Splitter {
    /// `longest` is the longest piece that will be shared at once: no more memory than that needs is taken.
    pub(crate) fn new(
        threshold: Threshold,
        longest: usize,
        entropy: Entropy<'_>,
    ) -> Result<Self, NoRandomness> {
        let engine = Engine::current();
        Ok(Self {
            threshold,
            engine,
            longest,
            source: Source::new(engine, threshold, longest, entropy)?,
        })
    }

    /// Shares `secret`: `places[i]` receives, from byte `at` on, the share of index i + 1. Part of it may be there when
    /// this fails.
    pub(crate) fn share(
        &mut self,
        secret: &[u8],
        places: &mut [impl AsMut<[u8]>],
        at: usize,
        entropy: Entropy<'_>,
    ) -> Result<(), NoRandomness> {
        for (number, piece) in secret.chunks(PIECE).enumerate() {
            let at = at + number * PIECE;
            if let Source::Fused { stream, left } = &self.source
                && stream.bytes(piece.len()) > *left
            {
                self.source = Source::new(self.engine, self.threshold, self.longest, entropy)?;
            }
            match &mut self.source {
                Source::None => {
                    for place in &mut *places {
                        place.as_mut()[at..at + piece.len()].copy_from_slice(piece);
                    }
                }
                Source::Fused { stream, left } => {
                    // A piece is far shorter than what a key gives.
                    *left = left.saturating_sub(stream.bytes(piece.len()));
                    stream.split(piece, &Places::new(places, at, piece.len()));
                }
                Source::Drawn(drawn) => {
                    drawn.share(self.threshold, piece, places, at, entropy)?;
                }
            }
        }
        Ok(())
    }
}

impl Source {
    fn new(
        engine: Engine,
        threshold: Threshold,
        longest: usize,
        entropy: Entropy<'_>,
    ) -> Result<Self, NoRandomness> {
        let degree = usize::from(threshold.k()) - 1;
        if matches!(engine, Engine::Portable) {
            return Drawn::new(degree, longest, entropy).map(Self::Drawn);
        }
        if degree == 0 {
            return Ok(Self::None);
        }
        let key = Secret::<32>::filled(|bytes| entropy(bytes))?;
        match engine.stream(&key, degree, longest) {
            Some(stream) => Ok(Self::Fused {
                stream,
                left: PER_KEY,
            }),
            None => Drawn::new(degree, longest, entropy).map(Self::Drawn),
        }
    }
}

impl Drawn {
    pub(super) fn new(
        degree: usize,
        longest: usize,
        entropy: Entropy<'_>,
    ) -> Result<Self, NoRandomness> {
        // Whole blocks of the cipher and of the kernels; about 64 KiB of coefficients unless k is very large.
        let block_len = (65536 / degree.max(1)).clamp(512, 16384) & !63;
        let block_len = block_len.min(longest.next_multiple_of(64)).max(64);
        Ok(Self {
            coefficients: Coefficients::new(entropy)?,
            drawn: SecretBytes::with_len(degree * block_len),
            degree,
            block_len,
        })
    }

    fn share(
        &mut self,
        threshold: Threshold,
        secret: &[u8],
        places: &mut [impl AsMut<[u8]>],
        at: usize,
        entropy: Entropy<'_>,
    ) -> Result<(), NoRandomness> {
        for (number, block) in secret.chunks(self.block_len).enumerate() {
            self.draw(block.len(), entropy)?;
            let drawn = &self.drawn.expose()[..self.degree * block.len()];
            let at = at + number * self.block_len;
            for (index, place) in threshold.indices().zip(&mut *places) {
                let share = &mut place.as_mut()[at..at + block.len()];
                evaluate(index, block, drawn, share);
            }
        }
        Ok(())
    }

    /// Draws fresh coefficients for a block of `len` bytes, at most `block_len`.
    pub(super) fn draw(&mut self, len: usize, entropy: Entropy<'_>) -> Result<(), NoRandomness> {
        // Whole cipher blocks, so that no half-used key stream waits in the cipher's buffer.
        let wanted = (self.degree * len)
            .next_multiple_of(64)
            .min(self.drawn.len());
        self.coefficients
            .fill(&mut self.drawn.expose_mut()[..wanted], entropy)
    }
}

/// `share = block + c₁·x + c₂·x² + …` by Horner's rule; `coefficients` holds c₁, c₂, … each as long as the block.
pub(super) fn evaluate(index: ShareIndex, block: &[u8], coefficients: &[u8], share: &mut [u8]) {
    let mut runs = coefficients.chunks_exact(block.len().max(1)).rev();
    let Some(leading) = runs.next() else {
        share.copy_from_slice(block);
        return;
    };
    share.copy_from_slice(leading);
    for run in runs {
        portable::mul_add(share, index.get(), run);
    }
    portable::mul_add(share, index.get(), block);
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::engine;
    use alloc::vec::Vec;

    #[test]
    fn a_new_key_begins_where_the_old_one_has_given_enough_and_counts_too() {
        for engine in Engine::available() {
            let mut keys = 0;
            let mut entropy = |bytes: &mut [u8]| {
                keys += 1;
                bytes.fill(keys);
                Ok(())
            };
            let threshold = Threshold::new(3, 3).unwrap();
            let mut splitter =
                engine::with(engine, || Splitter::new(threshold, 64, &mut entropy)).unwrap();
            let Source::Fused { left, .. } = &mut splitter.source else {
                continue;
            };
            *left = 300;
            let mut shares = [[[0_u8; 64]; 3]; 4];
            let mut after = Vec::new();
            for shares in &mut shares {
                splitter.share(&[5; 64], shares, 0, &mut entropy).unwrap();
                let Source::Fused { left, .. } = &splitter.source else {
                    unreachable!("the engine is the same");
                };
                after.push(*left);
            }
            assert_eq!(after, [172, 44, PER_KEY - 128, PER_KEY - 256]);
            assert_eq!(keys, 2);
            for (at, one) in shares.iter().enumerate() {
                assert!(shares[..at].iter().all(|other| other[0] != one[0]));
            }
        }
    }
}
