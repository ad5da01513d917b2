//! Open files: contents that exist only in RAM, only while somebody has the file open.
//!
//! - [`handle`]: what a program holds, one for each open.
//! - `state`: what all handles of a file share: size, buffers, and where each extent lies.
//! - `contents`: reading and changing the buffers; `fetching`: what is not there brought from the servers, of whatever generation it is.
//! - `parts`: small reads out of order, without the rest of the extent.
//! - `save`: `flush` and `fsync`: changed extents dealt, put, and committed by the catalogue's one switch.
//! - `switch`: the one step of the catalogue by which a save becomes current, and what is done where its answer was lost.
//! - `snapshot`: the moment of a save: all that a version consists of.
//! - `conflict`: a save that met a newer version; `gone`: what was removed here, which no save brings back.
//! - `waiting`: saving while the catalogue does not answer.

pub mod handle;

pub(crate) mod conflict;
pub(crate) mod contents;
mod fetching;
pub(crate) mod gone;
pub(crate) mod parts;
pub(crate) mod plain;
pub(crate) mod save;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod switch;
pub(crate) mod waiting;

/// The length of an extent of contents in bytes.
pub(crate) const EXTENT: u64 = warifu_core::format::EXTENT_MAX as u64;

/// The largest file. The list of its extents must still fit into its head.
pub const FILE_MAX: u64 = 1 << 44;
