//! The share object, format 1: what lies on a server. `FORMAT.md` beside this crate gives it to the byte.
//!
//! ```
//! use warifu_core::format::{deal, Dealing, ExtentKind, Joiner, OpenShare, Scheme, Seat, Suite, PREFIX_LEN};
//! use warifu_core::ids::{ExtentId, FileId, Generation, RoundId, ServerId, Threshold, VaultId, VersionNo};
//! use warifu_core::keys::VaultKey;
//!
//! let vault_key = VaultKey::generate()?;
//! let servers = [ServerId::fresh()?, ServerId::fresh()?, ServerId::fresh()?];
//! let keys = servers.map(|server| vault_key.seal_key(server));
//! let seats: Vec<_> = servers.iter().zip(&keys).map(|(&server, key)| Seat { server, key }).collect();
//! let dealing = Dealing {
//!     vault: VaultId::fresh()?,
//!     file: FileId::fresh()?,
//!     version: VersionNo(1),
//!     kind: ExtentKind::Data,
//!     number: 0,
//!     extent: ExtentId::fresh()?,
//!     generation: Generation(1),
//!     round: RoundId::NIL,
//!     threshold: Threshold::new(2, 3)?,
//!     scheme: Scheme::Shamir,
//!     suite: Suite::best(),
//! };
//!
//! // One object per server, whose name on it would be vault_key.object_name(server, …).
//! let mut objects = vec![Vec::new(); 3];
//! deal(&dealing, &seats, b"residents", &mut objects)?;
//!
//! // Server 2 is gone.
//! let shares = vec![OpenShare::open(&objects[2], &keys[2])?, OpenShare::open(&objects[0], &keys[0])?];
//! let mut joiner = Joiner::new(shares)?;
//! let mut secret = vec![0; usize::try_from(joiner.secret_len())?];
//! joiner.join_chunks(0, &[&objects[2][PREFIX_LEN..], &objects[0][PREFIX_LEN..]], &mut secret)?;
//! assert_eq!(secret, b"residents");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compact;
mod deal;
mod header;
mod identity;
mod join;
mod open;
mod rebuild;
mod reshare;
mod sizes;

pub(crate) use self::deal::deal_with;
pub use self::deal::{DealError, Seat, deal};
pub use self::header::{FormatError, ShareHeader};
pub(crate) use self::header::{MAGIC, VERSION, check_start, check_start_up_to, check_zero};
pub use self::identity::{Dealing, ExtentKind, Scheme};
pub use self::join::{CombineError, Difference, JoinError, Joiner};
pub use self::open::{OpenError, OpenShare};
pub use self::rebuild::{RebuildError, rebuild};
pub use self::reshare::{Round, reshare};
pub use self::sizes::{
    CHUNK, EXTENT_MAX, HEADER_LEN, PREFIX_LEN, Plan, SECRET_MAX, bucket, chunk_count, chunk_range,
    object_len,
};
pub use crate::seal::{Suite, SuiteUnavailable};
