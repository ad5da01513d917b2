//! Loose shares: one file per share, without a vault and without a server (`warifu split`, `warifu combine`).
//!
//! Each file carries a piece of a fresh key besides its shares, so any k files are enough and fewer say nothing about
//! the contents or the name. There is no reading or writing here, only bytes in and out; whoever holds the files does that.
//!
//! ```
//! use warifu_core::head::Head;
//! use warifu_core::ids::Threshold;
//! use warifu_core::loose::{LooseDealer, LooseJoiner, LoosePart};
//!
//! // Each of the three files gets the blocks of its position, one after the other.
//! let head = Head { path: vec![b"minutes.txt".to_vec()], size: 4, ..Head::default() };
//! let mut dealer = LooseDealer::new(Threshold::new(2, 3)?, head)?;
//! let mut files = dealer.blocks().to_vec();
//! for (file, block) in files.iter_mut().zip(dealer.push(b"text")?) {
//!     file.extend_from_slice(block);
//! }
//! dealer.finish()?;
//!
//! files.remove(1);
//! let views: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
//! let mut joiner = LooseJoiner::new(&views)?;
//! let mut at = joiner.start();
//! let mut text = Vec::new();
//! while !joiner.is_finished() {
//!     let rest: Vec<Option<&[u8]>> = files.iter().map(|file| file.get(at..)).collect();
//!     let len = joiner.next_len(&rest)?;
//!     let objects: Vec<Option<&[u8]>> = rest.iter().map(|rest| rest.and_then(|rest| rest.get(..len))).collect();
//!     if let LoosePart::Data(data) = joiner.join(&objects)?.part {
//!         text.extend_from_slice(data.expose());
//!     }
//!     at += len;
//! }
//! assert_eq!(text, b"text");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod deal;
mod join;

pub use self::deal::{LooseDealError, LooseDealer};
pub use self::join::{Joined, LooseJoinError, LooseJoiner, LoosePart};

use crate::vault_object::VAULT_OBJECT_LEN;

pub(crate) const KIND: u8 = b'L';

/// How many bytes of each file [`LooseJoiner::new`] must see. The first extent follows them.
pub const LOOSE_PRELUDE_LEN: usize = 8 + VAULT_OBJECT_LEN;
