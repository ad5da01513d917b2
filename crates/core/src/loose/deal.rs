//! Making loose shares.

use alloc::vec::Vec;

use super::KIND;
use crate::coefficients::Entropy;
use crate::format::{
    DealError, Dealing, EXTENT_MAX, ExtentKind, MAGIC, Scheme, Seat, Suite, VERSION, bucket,
    deal_with,
};
use crate::head::{Content, Head};
use crate::ids::{ExtentId, FileId, Generation, RoundId, ServerId, Threshold, VaultId, VersionNo};
use crate::keys::{SealKey, VaultKey};
use crate::random::{self, NoRandomness};
use crate::secret::{Secret, SecretBytes};
use crate::vault_object::{DealKeyError, deal_vault_key_with};

/// Why loose shares could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LooseDealError {
    /// An extent of the wrong length: all have [`EXTENT_MAX`] bytes but the last.
    #[error("an extent of {expected} bytes was expected, {got} were given")]
    Extent {
        /// The length expected next; 0 when all was given.
        expected: usize,
        /// The length given.
        got: usize,
    },
    /// Fewer bytes were given than the head says.
    #[error("the file should have {size} bytes, {given} were given")]
    Unfinished {
        /// The size by the head.
        size: u64,
        /// The bytes given.
        given: u64,
    },
    /// The extent could not be dealt.
    #[error(transparent)]
    Deal(#[from] DealError),
    /// The key could not be dealt.
    #[error(transparent)]
    Key(#[from] DealKeyError),
    /// Nothing can be shared without randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Makes loose shares, one extent at a time.
pub struct LooseDealer {
    dealing: Dealing,
    seats: Vec<(ServerId, SealKey)>,
    size: u64,
    given: u64,
    blocks: Vec<Vec<u8>>,
}

impl LooseDealer {
    /// Begins with the head. `head.size` must be the number of bytes that will be pushed. The content of the head is
    /// ignored: the bytes always follow in extents.
    ///
    /// # Errors
    /// [`LooseDealError`].
    pub fn new(threshold: Threshold, head: Head) -> Result<Self, LooseDealError> {
        Self::new_with(threshold, head, Suite::best(), &mut random::fill)
    }

    pub(crate) fn new_with(
        threshold: Threshold,
        head: Head,
        suite: Suite,
        entropy: Entropy<'_>,
    ) -> Result<Self, LooseDealError> {
        let key = VaultKey::from_secret(Secret::filled(|bytes| entropy(bytes))?);
        let mut id = || {
            let mut bytes = [0; 16];
            entropy(&mut bytes).map(|()| bytes)
        };
        let (vault, file) = (VaultId::from_bytes(id()?), FileId::from_bytes(id()?));
        let servers: Vec<ServerId> = threshold
            .indices()
            .map(|_| id().map(ServerId::from_bytes))
            .collect::<Result<_, _>>()?;
        let generation = Generation(1);
        let keys = deal_vault_key_with(&key, &vault, threshold, generation, &servers, entropy)?;
        let mut dealer = Self {
            dealing: Dealing {
                vault,
                file,
                version: VersionNo(1),
                kind: ExtentKind::Head,
                number: 0,
                extent: ExtentId::NIL,
                generation,
                round: RoundId::NIL,
                threshold,
                scheme: Scheme::Shamir,
                suite,
            },
            seats: servers
                .iter()
                .map(|server| (*server, key.seal_key(*server)))
                .collect(),
            size: head.size,
            given: 0,
            blocks: servers.iter().map(|_| Vec::new()).collect(),
        };
        let head = Head {
            content: Content::Inline,
            ..head
        };
        dealer.deal(&head.encode(), entropy)?;
        for (block, object) in dealer.blocks.iter_mut().zip(keys) {
            let mut prelude = Vec::from(*MAGIC);
            prelude.extend_from_slice(&[KIND, VERSION]);
            prelude.extend_from_slice(&object.encode());
            block.splice(..0, prelude);
        }
        dealer.dealing.kind = ExtentKind::Data;
        Ok(dealer)
    }

    fn deal(&mut self, bytes: &[u8], entropy: Entropy<'_>) -> Result<(), LooseDealError> {
        let mut extent = [0; 16];
        entropy(&mut extent)?;
        self.dealing.extent = ExtentId::from_bytes(extent);
        let seats: Vec<Seat<'_>> = self
            .seats
            .iter()
            .map(|(server, key)| Seat {
                server: *server,
                key,
            })
            .collect();
        let len = bytes.len() as u64;
        let padded = usize::try_from(bucket(len)).map_err(|_| DealError::Length { len })?;
        let mut secret = SecretBytes::with_len(padded);
        if let Some(start) = secret.expose_mut().get_mut(..bytes.len()) {
            start.copy_from_slice(bytes);
        }
        deal_with(
            &self.dealing,
            &seats,
            secret.expose(),
            &mut self.blocks,
            entropy,
        )?;
        Ok(())
    }

    /// What is to be appended to each file now, in the order of the share indices: after [`new`](Self::new) its beginning,
    /// after [`push`](Self::push) the extent.
    #[must_use]
    pub fn blocks(&self) -> &[Vec<u8>] {
        &self.blocks
    }

    /// Shares the next extent: [`EXTENT_MAX`] bytes, or all that are left. Gives what is to be appended to each file.
    ///
    /// # Errors
    /// [`LooseDealError`]; nothing is to be appended then.
    pub fn push(&mut self, extent: &[u8]) -> Result<&[Vec<u8>], LooseDealError> {
        self.push_with(extent, &mut random::fill)
    }

    pub(crate) fn push_with(
        &mut self,
        extent: &[u8],
        entropy: Entropy<'_>,
    ) -> Result<&[Vec<u8>], LooseDealError> {
        let left = self.size.saturating_sub(self.given);
        let expected = usize::try_from(left).unwrap_or(usize::MAX).min(EXTENT_MAX);
        if extent.len() != expected || expected == 0 {
            return Err(LooseDealError::Extent {
                expected,
                got: extent.len(),
            });
        }
        self.deal(extent, entropy)?;
        self.given += extent.len() as u64;
        self.dealing.number += 1;
        Ok(&self.blocks)
    }

    /// Makes sure that all bytes were given.
    ///
    /// # Errors
    /// [`LooseDealError::Unfinished`]: the files cannot be joined and are to be thrown away.
    pub fn finish(self) -> Result<(), LooseDealError> {
        if self.given == self.size {
            Ok(())
        } else {
            Err(LooseDealError::Unfinished {
                size: self.size,
                given: self.given,
            })
        }
    }
}
