//! What tests of warifu stand on: in-memory twins of the servers and the catalogue, faults on demand, a clock set by
//! hand, real file servers on loopback, and the contract suites that every implementation passes.
//!
//! Only tests depend on this crate, and they lie in `crates/*/tests/`. It panics where a test should fail.

pub mod catalogs;
pub mod clock;
pub mod histories;
pub mod proxy;
pub mod servers;
pub mod stores;
pub mod world;
