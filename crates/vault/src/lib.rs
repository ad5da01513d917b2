//! What warifu does: open, save, rename, verify, recover.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod context;
pub mod node;
pub mod seam;
