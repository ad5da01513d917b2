//! How many servers are needed, of how many; and what that is to become, as long as it changes.

use warifu_core::ids::Threshold;

/// The threshold of a vault, and the one that it is to have, where it is being changed.
///
/// While it changes there are shares of both, and each extent says by which of them it was dealt. So there is a server for every index up
/// to the greater n, and the vault key is gathered from pieces of either, each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// What it is, or was before the change.
    pub now: Threshold,
    /// What it is to become; `None` where nothing is being changed.
    pub becoming: Option<Threshold>,
}

impl From<Threshold> for Thresholds {
    fn from(now: Threshold) -> Self {
        Self {
            now,
            becoming: None,
        }
    }
}

impl Thresholds {
    /// The one that everything is to have.
    #[must_use]
    pub fn target(&self) -> Threshold {
        self.becoming.unwrap_or(self.now)
    }

    /// Both, or the one that there is.
    pub fn all(&self) -> impl Iterator<Item = Threshold> + use<> {
        std::iter::once(self.now).chain(self.becoming)
    }

    /// Whether something may have been dealt by it.
    #[must_use]
    pub fn contains(&self, threshold: Threshold) -> bool {
        self.all().any(|known| known == threshold)
    }

    /// How many servers there are: one for each index up to this.
    #[must_use]
    pub fn seats(&self) -> u8 {
        self.all().fold(0, |most, one| most.max(one.n()))
    }

    /// Fewer servers than this give nothing.
    #[must_use]
    pub fn least(&self) -> u8 {
        self.all().fold(u8::MAX, |least, one| least.min(one.k()))
    }
}

/// How many servers must have a share before what is dealt by this is at full strength: one more than are needed, where there are as many.
pub(crate) fn enough(threshold: Threshold) -> usize {
    usize::from(threshold.k().saturating_add(1).min(threshold.n()))
}
