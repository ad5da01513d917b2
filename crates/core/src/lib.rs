//! Secret sharing, sealing and the share format of warifu.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

pub mod ids;
pub mod random;
