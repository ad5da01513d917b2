//! The seams: what the vault needs from the world, and nothing of how the world does it.
//!
//! Each trait has a written contract, an in-memory twin in `warifu-testkit`, and one suite of contract tests that every
//! implementation passes.

pub mod catalog;
pub mod clock;
pub mod generations;
pub mod journal;
pub mod locks;
pub mod past;
pub mod sessions;
pub mod store;
