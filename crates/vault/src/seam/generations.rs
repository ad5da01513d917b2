//! Generations: rounds of shares. Those of two generations do not combine, so who had fewer than k of the older one has nothing.

use warifu_core::ids::{ExtentId, Generation, Threshold};

use super::catalog::IndexSet;
use crate::seam::clock::Timestamp;
use crate::servers::Said;

/// Where a vault stands with its generations.
///
/// Numbers are given out once and never again, so that what a refresh that was cut off has left behind never meets what its
/// successor puts under the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    /// The greatest number that was given out. What is saved now is dealt under it.
    pub current: Generation,
    /// What is older than this is to be made anew: the number that was current when the last refresh began.
    pub wanted: Generation,
    /// When that refresh began; `None` where there was none.
    pub begun: Option<Timestamp>,
    /// When nothing older was left, on no server; `None` as long as something is.
    pub ended: Option<Timestamp>,
}

impl Generations {
    /// Of a vault that was never refreshed.
    pub const FIRST: Self = Self {
        current: Generation(1),
        wanted: Generation(1),
        begun: None,
        ended: None,
    };
}

/// An extent whose shares of another generation lie ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regenerated {
    /// Which extent.
    pub extent: ExtentId,
    /// The generation of the shares that they were made from.
    pub from: Generation,
    /// Their own.
    pub to: Generation,
    /// Their threshold.
    pub threshold: Threshold,
    /// That of the vault, as who dealt them knows it: a folder may ask for another one.
    pub of_vault: Threshold,
    /// Those that are not on their servers.
    pub owed: IndexSet,
}

impl Regenerated {
    /// Whether they were dealt as the vault is to be, where its [position](crate::refresh::THRESHOLD) says this: who dealt them may not have seen yet that
    /// its threshold has changed.
    #[must_use]
    pub fn is_wanted_at(&self, position: u64) -> bool {
        Said::of(position).is_none_or(|said| said.threshold == self.of_vault)
    }
}
