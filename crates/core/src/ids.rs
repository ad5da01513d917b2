//! The words by which everything is told apart: who, which, and the threshold.
//!
//! A server id is never a string and a share index never a bare byte: mixing them up does not compile.

use core::fmt;
use core::num::NonZeroU8;

use crate::random;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id whose bytes are all zero, standing for "none" in fixed-size records.
            pub const NIL: Self = Self([0; 16]);

            /// Draws a fresh id from the operating system's generator.
            ///
            /// # Errors
            /// When the operating system has no randomness to give.
            pub fn fresh() -> Result<Self, random::NoRandomness> {
                let mut bytes = [0; 16];
                random::fill(&mut bytes)?;
                Ok(Self(bytes))
            }

            /// The id with these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id's 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads 32 hexadecimal digits, as [`Display`](fmt::Display) writes them.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; 16];
                decode_hex(text, &mut bytes)?;
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

random_id!(
    /// One vault.
    VaultId
);
random_id!(
    /// One file server of one vault; lives as long as the server's `vault` object.
    ServerId
);
random_id!(
    /// One document: what keeps its history through renames and saves.
    FileId
);
random_id!(
    /// One dealing of one extent. Fresh for every dealing, so shares with equal `ExtentId` lie on one polynomial, as long as they are of
    /// one generation and one [`RoundId`].
    ExtentId
);
random_id!(
    /// One making of a generation of one extent's shares: drawn each time, and [`NIL`](Self::NIL) for those that were dealt first. A
    /// generation's number is a count, which two who do not know of each other can give out twice; this cannot be.
    RoundId
);

fn decode_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(())
}

/// How many shares there are (`n`) and how many give the secret back (`k`): 1 ≤ k ≤ n ≤ 255.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold {
    k: NonZeroU8,
    n: NonZeroU8,
}

/// A threshold outside 1 ≤ k ≤ n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a threshold of {k} of {n} is impossible: it must hold that 1 ≤ k ≤ n ≤ 255")]
pub struct BadThreshold {
    /// The threshold asked for.
    pub k: u8,
    /// The number of shares asked for.
    pub n: u8,
}

impl Threshold {
    /// k of n.
    ///
    /// # Errors
    /// [`BadThreshold`] unless 1 ≤ k ≤ n.
    pub const fn new(k: u8, n: u8) -> Result<Self, BadThreshold> {
        match (NonZeroU8::new(k), NonZeroU8::new(n)) {
            (Some(small), Some(large)) if k <= n => Ok(Self { k: small, n: large }),
            _ => Err(BadThreshold { k, n }),
        }
    }

    /// How many shares give the secret back.
    #[must_use]
    pub const fn k(self) -> u8 {
        self.k.get()
    }

    /// How many shares there are.
    #[must_use]
    pub const fn n(self) -> u8 {
        self.n.get()
    }

    /// The indices of all shares, 1 to n.
    pub fn indices(self) -> impl ExactSizeIterator<Item = ShareIndex> + Clone {
        let mut next = NonZeroU8::MIN;
        (0..self.n.get()).map(move |_| {
            let index = ShareIndex(next);
            next = next.saturating_add(1);
            index
        })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.k, self.n)
    }
}

impl fmt::Debug for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threshold({} of {})", self.k, self.n)
    }
}

/// The point at which a share lies on the polynomial: 1 to 255. Zero is the secret's own place and cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareIndex(NonZeroU8);

impl ShareIndex {
    /// The index of this value; `None` for zero.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        match NonZeroU8::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The index as the byte x at which the polynomial is taken.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for ShareIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ShareIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareIndex({})", self.0)
    }
}

/// The generation of shares: shares of different generations never combine. Counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// The version of a document, counted from 1; 0 is the document nobody has saved yet, and is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionNo(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for VersionNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
