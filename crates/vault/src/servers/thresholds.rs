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
    /// Which change that is: greater than the number of every change before, so that a copy of the vault file that was made in the middle of one
    /// is known when another one has come. Says nothing where nothing is being changed.
    pub change: u32,
}

/// What a catalogue says of the threshold: by which everything that is saved is dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Which change has made it that.
    pub(crate) change: u32,
    pub(crate) threshold: Threshold,
}

impl Said {
    /// As a [position](crate::refresh::THRESHOLD): the number of the change, and k and n in a byte each below it.
    pub(crate) const fn position(self) -> u64 {
        let Self { change, threshold } = self;
        (change as u64) << 16 | (threshold.k() as u64) << 8 | threshold.n() as u64
    }

    /// `None` where a position says nothing yet.
    pub(crate) fn of(position: u64) -> Option<Self> {
        let [.., k, n] = position.to_be_bytes();
        Some(Self {
            change: u32::try_from(position >> 16).ok()?,
            threshold: Threshold::new(k, n).ok()?,
        })
    }
}

impl From<Threshold> for Thresholds {
    fn from(now: Threshold) -> Self {
        Self {
            now,
            becoming: None,
            change: 0,
        }
    }
}

impl Thresholds {
    /// The one that everything is to have.
    #[must_use]
    pub fn target(&self) -> Threshold {
        self.becoming.unwrap_or(self.now)
    }

    /// What a catalogue says once the change is in force; `None` where nothing is being changed.
    pub(crate) fn once_changed(&self) -> Option<Said> {
        self.becoming.map(|threshold| Said {
            change: self.change,
            threshold,
        })
    }

    /// Whether these are of before a change of which a catalogue tells.
    pub(crate) fn are_left_behind(&self, said: Said) -> bool {
        match self.once_changed() {
            Some(mine) => said.change > mine.change || said.change == mine.change && said != mine,
            None => said.threshold != self.now,
        }
    }

    /// Whether servers go, and no more are needed than before. Then those that stay may be too few without one of them that has not gone yet.
    pub(crate) fn shrinks(&self) -> bool {
        let fewer = |to: Threshold| to.k() <= self.now.k() && to.n() < self.now.n();
        self.becoming.is_some_and(fewer)
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

    /// How many servers may be enough for something, of how many that are there: the smaller k of both.
    #[must_use]
    pub fn cautious(&self) -> Threshold {
        Threshold::new(self.least(), self.seats()).unwrap_or(self.now)
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
