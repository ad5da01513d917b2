//! Paper shares: m sheets for m custodians, of which j give a way key. A sheet's share is 18 numbers below 2048, to be written as words.
//!
//! The last three are check numbers of a Reed–Solomon code over GF(2¹¹). One wrong word is not only noticed but found, with the word that
//! should stand there; any two are noticed, and more with all but one chance in 8 thousand million. `FORMAT.md`, section 10, gives it to the bit.
//!
//! ```
//! use warifu_core::ways::{PaperShare, Suspicion, WordsError, deal_paper, join_paper};
//!
//! let (set, key, sheets) = deal_paper(3, 5)?;
//! let mut words = *sheets[0].words().expose();
//! assert!(PaperShare::read(&words).is_ok());
//! words[6] ^= 1;
//! let WordsError::Damaged { suspicion: Some(Suspicion::Wrong { position: 6, right }) } = PaperShare::read(&words).unwrap_err() else { panic!() };
//! assert_eq!(right, words[6] ^ 1);
//!
//! assert!(join_paper(&sheets[..2]).is_err());
//! let (joined, again) = join_paper(&sheets[1..4])?;
//! assert!(joined == set.set && again.expose() == key.expose());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::vec::Vec;
use core::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use super::WayKey;
use crate::coefficients::Entropy;
use crate::ids::{ShareIndex, Threshold};
use crate::random::{self, NoRandomness};
use crate::secret::Secret;
use crate::shamir::{Weights, split_with};

/// How many words a sheet has.
pub const PAPER_WORDS: usize = 18;
/// How many bytes paper shares share: 128 bits, so that a person can type a sheet in a few minutes.
pub const PAPER_SECRET: usize = 16;
/// How many sheets there can be.
pub const PAPER_MOST: u8 = 31;

const CHECKS: usize = 3;
const DATA: usize = PAPER_WORDS - CHECKS;
const VERSION: u128 = 1;
const SET_BITS: u32 = 20;

/// Which sheets belong together, and how many of them suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustodianSet {
    /// How many suffice.
    pub needed: u8,
    /// How many there are.
    pub sheets: u8,
    /// What tells these sheets from others: 20 random bits.
    pub set: u32,
}

impl CustodianSet {
    pub(super) fn encode(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[0] = self.needed;
        bytes[1] = self.sheets;
        bytes[4..].copy_from_slice(&self.set.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [needed, sheets, 0, 0, set @ ..] = *<&[u8; 8]>::try_from(bytes).ok()? else {
            return None;
        };
        let set = u32::from_le_bytes(set);
        let possible =
            (1..=sheets).contains(&needed) && sheets <= PAPER_MOST && set >> SET_BITS == 0;
        possible.then_some(Self {
            needed,
            sheets,
            set,
        })
    }
}

/// One custodian's share.
pub struct PaperShare {
    set: u32,
    needed: u8,
    index: ShareIndex,
    piece: Secret<PAPER_SECRET>,
}

/// The numbers of a sheet's words. They are the share itself.
pub struct PaperWords(Zeroizing<[u16; PAPER_WORDS]>);

impl PaperWords {
    /// The numbers, each below 2048.
    #[must_use]
    pub fn expose(&self) -> &[u16; PAPER_WORDS] {
        &self.0
    }
}

impl fmt::Debug for PaperWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaperWords(..)")
    }
}

impl fmt::Debug for PaperShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaperShare")
            .field("set", &self.set)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// What is probably wrong with words that don't pass their check. Positions count from 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// One word is another than it should be.
    Wrong {
        /// Which.
        position: usize,
        /// The number of the word that should stand there.
        right: u16,
    },
    /// Two words that follow one another have been exchanged.
    Exchanged {
        /// The first of them.
        position: usize,
    },
    /// A word is missing before this one.
    Missing {
        /// Where.
        position: usize,
        /// The number of the word that should stand there.
        right: u16,
    },
    /// This word is one too many.
    Surplus {
        /// Which.
        position: usize,
    },
}

/// A word that should stand somewhere is a part of the secret.
impl fmt::Debug for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, position) = match self {
            Self::Wrong { position, .. } => ("Wrong", position),
            Self::Exchanged { position } => ("Exchanged", position),
            Self::Missing { position, .. } => ("Missing", position),
            Self::Surplus { position } => ("Surplus", position),
        };
        f.debug_struct(name)
            .field("position", position)
            .finish_non_exhaustive()
    }
}

/// Why words are no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordsError {
    /// Too few words, or too many.
    #[error("a paper share has {PAPER_WORDS} words; there are {got}")]
    Count {
        /// How many there are.
        got: usize,
        /// Where one is missing or too many, where that can be told.
        suspicion: Option<Suspicion>,
    },
    /// The check does not come out.
    #[error("the words do not pass their check")]
    Damaged {
        /// What is probably wrong.
        suspicion: Option<Suspicion>,
    },
    /// A later kind of paper share than this build knows.
    #[error("a paper share of format {found}, made by a newer warifu")]
    Newer {
        /// The format found.
        found: u8,
    },
    /// The words pass their check and still cannot be a share.
    #[error("these words are no paper share")]
    NoShare,
}

/// Why sheets did not give their secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinPaperError {
    /// Too few different ones.
    #[error("{needed} paper shares are needed, {got} are there: together they say nothing")]
    TooFew {
        /// How many are needed.
        needed: u8,
        /// How many different ones there are.
        got: usize,
    },
    /// They were not made together.
    #[error("the paper shares are of different sets")]
    Mixed,
    /// Of one number there are two different ones, or one does not lie with the others.
    #[error("the paper shares contradict one another")]
    Contradiction,
}

impl PaperShare {
    /// What tells its set from others.
    #[must_use]
    pub fn set(&self) -> u32 {
        self.set
    }

    /// How many sheets of the set suffice.
    #[must_use]
    pub fn needed(&self) -> u8 {
        self.needed
    }

    /// Which sheet of its set it is.
    #[must_use]
    pub fn index(&self) -> ShareIndex {
        self.index
    }

    /// The numbers of its words.
    #[must_use]
    pub fn words(&self) -> PaperWords {
        let mut words = Zeroizing::new([0; PAPER_WORDS]);
        // Packed from the left: 37 bits that say what it is, then the piece.
        let mut bits = Bits {
            words: &mut words,
            at: 0,
        };
        bits.put(VERSION, 7);
        bits.put(u128::from(self.set), SET_BITS);
        bits.put(u128::from(self.needed), 5);
        bits.put(u128::from(self.index.get()), 5);
        bits.put(u128::from_be_bytes(*self.piece.expose()), 128);
        let checks = checks(&words);
        for (word, check) in words.iter_mut().skip(DATA).zip(checks) {
            *word = check;
        }
        PaperWords(words)
    }

    /// Reads the numbers of words; one that is 2048 or more is like any wrong one.
    ///
    /// # Errors
    /// [`WordsError`], with what is probably wrong. It is a proposal for whoever has the sheet at hand, never to be taken unseen.
    pub fn read(words: &[u16]) -> Result<Self, WordsError> {
        let Ok(whole) = <&[u16; PAPER_WORDS]>::try_from(words) else {
            let got = words.len();
            let suspicion = match got + 1 {
                PAPER_WORDS => missing(words),
                more if more == PAPER_WORDS + 2 => surplus(words),
                _ => None,
            };
            return Err(WordsError::Count { got, suspicion });
        };
        if !passes(whole) {
            let suspicion = wrong(whole).or_else(|| exchanged(whole));
            return Err(WordsError::Damaged { suspicion });
        }
        let mut copy = Zeroizing::new(*whole);
        let mut bits = Bits {
            words: &mut copy,
            at: 0,
        };
        let version = bits.get(7);
        let (set, needed, index) = (bits.get(SET_BITS), bits.get(5), bits.get(5));
        if version != VERSION {
            return Err(match u8::try_from(version) {
                Ok(found) if found > 1 => WordsError::Newer { found },
                _ => WordsError::NoShare,
            });
        }
        let small = |value: u128| u8::try_from(value).unwrap_or_default();
        let index = ShareIndex::new(small(index)).ok_or(WordsError::NoShare)?;
        if needed == 0 {
            return Err(WordsError::NoShare);
        }
        let mut piece = bits.get(128).to_be_bytes();
        let mut kept = Secret::zeroed();
        kept.expose_mut().copy_from_slice(&piece);
        piece.zeroize();
        Ok(Self {
            set: u32::try_from(set).unwrap_or_default(),
            needed: small(needed),
            index,
            piece: kept,
        })
    }
}

/// Numbers of some bits, one behind the other in words of 11.
struct Bits<'a> {
    words: &'a mut [u16; PAPER_WORDS],
    at: usize,
}

impl Bits<'_> {
    fn put(&mut self, value: u128, bits: u32) {
        for bit in (0..bits).rev() {
            if let Some(word) = self.words.get_mut(self.at / 11) {
                *word |= u16::from(value >> bit & 1 == 1) << (10 - self.at % 11);
            }
            self.at += 1;
        }
    }

    fn get(&mut self, bits: u32) -> u128 {
        (0..bits).fold(0, |value, _| {
            let word = self.words.get(self.at / 11).copied().unwrap_or_default();
            let bit = word >> (10 - self.at % 11) & 1;
            self.at += 1;
            value << 1 | u128::from(bit)
        })
    }
}

/// GF(2¹¹) modulo x¹¹ + x² + 1, of which x is a generator. What is multiplied here are a person's words: a few of them, once, on their own machine.
fn mul(a: u16, b: u16) -> u16 {
    let (mut product, mut a) = (0, a & 0x7FF);
    for bit in 0..11 {
        product ^= a & (b >> bit & 1).wrapping_neg();
        a = (a << 1 & 0x7FF) ^ (5 & (a >> 10 & 1).wrapping_neg());
    }
    product
}

/// x to the power of `exponent`.
fn power(exponent: usize) -> u16 {
    (0..exponent).fold(1, |value, _| mul(value, 2))
}

/// a⁻¹ = a to the power of 2¹¹ − 2.
fn inverse(a: u16) -> u16 {
    let (mut result, mut square) = (1, a);
    for _ in 1..11 {
        square = mul(square, square);
        result = mul(result, square);
    }
    result
}

/// The word at `position` belongs to this power of the code's variable.
const fn exponent(position: usize, len: usize) -> usize {
    len - 1 - position
}

/// The values of the code's polynomial at x, x² and x³: zero where the words are whole.
fn syndromes(words: &[u16]) -> [u16; CHECKS] {
    [1, 2, 3].map(|root| {
        let at = power(root);
        words.iter().fold(0, |value, word| mul(value, at) ^ *word)
    })
}

fn passes(words: &[u16; PAPER_WORDS]) -> bool {
    words.iter().all(|word| *word < 2048) && syndromes(words) == [0; CHECKS]
}

/// The check words: the rest of the data, times the third power, divided by (X − x)(X − x²)(X − x³).
fn checks(words: &[u16; PAPER_WORDS]) -> [u16; CHECKS] {
    let (a, b, c) = (power(1), power(2), power(3));
    // The divisor's coefficients below its leading one, from the second power down.
    let divisor = [
        a ^ b ^ c,
        mul(a, b) ^ mul(a, c) ^ mul(b, c),
        mul(a, mul(b, c)),
    ];
    let mut rest = [0; CHECKS];
    for word in words.iter().take(DATA) {
        let lead = rest[0] ^ word;
        rest = [
            rest[1] ^ mul(lead, divisor[0]),
            rest[2] ^ mul(lead, divisor[1]),
            mul(lead, divisor[2]),
        ];
    }
    rest
}

/// The one wrong word, where one explains it all.
fn wrong(words: &[u16; PAPER_WORDS]) -> Option<Suspicion> {
    // A word that is no number of the list counts as 0 for this, and its place is known all the same.
    let masked = Zeroizing::new(words.map(|word| if word < 2048 { word } else { 0 }));
    let [first, second, third] = syndromes(&*masked);
    if first == 0 || second == 0 {
        // Only the unknown word itself can be wrong then, and 0 is what should stand there.
        let position = words.iter().position(|word| *word >= 2048)?;
        let alone = words.iter().filter(|word| **word >= 2048).count() == 1;
        let clean = [first, second, third] == [0; CHECKS];
        return (alone && clean).then_some(Suspicion::Wrong { position, right: 0 });
    }
    let locator = mul(second, inverse(first));
    if mul(second, locator) != third {
        return None;
    }
    let position = (0..PAPER_WORDS).find(|at| power(exponent(*at, PAPER_WORDS)) == locator)?;
    if words
        .iter()
        .enumerate()
        .any(|(at, word)| *word >= 2048 && at != position)
    {
        return None;
    }
    let right = masked.get(position)? ^ mul(first, inverse(locator));
    Some(Suspicion::Wrong { position, right })
}

/// Two neighbours that pass when exchanged.
fn exchanged(words: &[u16; PAPER_WORDS]) -> Option<Suspicion> {
    let swapped = |position: &usize| {
        let mut words = Zeroizing::new(*words);
        words.swap(*position, *position + 1);
        passes(&words)
    };
    let position = (0..PAPER_WORDS - 1).find(swapped)?;
    Some(Suspicion::Exchanged { position })
}

/// The place where one word makes the others pass.
fn missing(words: &[u16]) -> Option<Suspicion> {
    (0..PAPER_WORDS).find_map(|position| {
        let mut whole = Zeroizing::new([0; PAPER_WORDS]);
        let (before, after) = words.split_at_checked(position)?;
        for (to, from) in whole.iter_mut().zip(before) {
            *to = *from;
        }
        for (to, from) in whole.iter_mut().skip(position + 1).zip(after) {
            *to = *from;
        }
        let [first, ..] = syndromes(&*whole);
        let right = mul(first, inverse(power(exponent(position, PAPER_WORDS))));
        *whole.get_mut(position)? = right;
        passes(&whole).then_some(Suspicion::Missing { position, right })
    })
}

/// The word without which the others pass.
fn surplus(words: &[u16]) -> Option<Suspicion> {
    (0..words.len()).find_map(|position| {
        let rest = words.iter().enumerate();
        let rest = rest.filter(|(at, _)| *at != position);
        let rest: Zeroizing<Vec<u16>> = Zeroizing::new(rest.map(|(_, word)| *word).collect());
        let whole = <&[u16; PAPER_WORDS]>::try_from(rest.as_slice()).ok()?;
        passes(whole).then_some(Suspicion::Surplus { position })
    })
}

/// Draws a secret and makes `sheets` shares of it, of which `needed` suffice.
///
/// # Errors
/// When the operating system has no randomness to give. Numbers that cannot be are brought to the nearest ones that can.
pub fn deal_paper(
    needed: u8,
    sheets: u8,
) -> Result<(CustodianSet, WayKey, Vec<PaperShare>), NoRandomness> {
    deal_paper_with(needed, sheets, &mut random::fill)
}

pub(crate) fn deal_paper_with(
    needed: u8,
    sheets: u8,
    entropy: Entropy<'_>,
) -> Result<(CustodianSet, WayKey, Vec<PaperShare>), NoRandomness> {
    let sheets = sheets.clamp(1, PAPER_MOST);
    let needed = needed.clamp(1, sheets);
    let mut set = [0; 4];
    entropy(&mut set)?;
    let set = u32::from_le_bytes(set) >> (32 - SET_BITS);
    let secret = Secret::<PAPER_SECRET>::filled(|out| entropy(out))?;
    let threshold = Threshold::new(needed, sheets).map_err(|_| NoRandomness)?;
    let mut shares: Vec<PaperShare> = threshold
        .indices()
        .map(|index| PaperShare {
            set,
            needed,
            index,
            piece: Secret::zeroed(),
        })
        .collect();
    let mut pieces: Vec<&mut [u8]> = shares
        .iter_mut()
        .map(|share| share.piece.expose_mut().as_mut_slice())
        .collect();
    // Counts and lengths are right, so only the generator can fail.
    split_with(threshold, secret.expose(), &mut pieces, entropy).map_err(|_| NoRandomness)?;
    let key = WayKey::of_paper(&secret, set);
    let set = CustodianSet {
        needed,
        sheets,
        set,
    };
    Ok((set, key, shares))
}

/// Joins sheets. Returns their set's number and the way key. More than are needed are checked against one another.
///
/// # Errors
/// [`JoinPaperError`].
pub fn join_paper(shares: &[PaperShare]) -> Result<(u32, WayKey), JoinPaperError> {
    let Some(first) = shares.first() else {
        return Err(JoinPaperError::TooFew { needed: 1, got: 0 });
    };
    let mut distinct: Vec<&PaperShare> = Vec::new();
    for share in shares {
        if share.set != first.set || share.needed != first.needed {
            return Err(JoinPaperError::Mixed);
        }
        match distinct.iter().find(|known| known.index == share.index) {
            Some(known) if known.piece.expose() != share.piece.expose() => {
                return Err(JoinPaperError::Contradiction);
            }
            Some(_) => {}
            None => distinct.push(share),
        }
    }
    let needed = usize::from(first.needed);
    let too_few = JoinPaperError::TooFew {
        needed: first.needed,
        got: distinct.len(),
    };
    let (used, spare) = distinct.split_at_checked(needed).ok_or(too_few)?;
    let indices: Vec<ShareIndex> = used.iter().map(|share| share.index).collect();
    let pieces: Vec<&[u8]> = used
        .iter()
        .map(|share| share.piece.expose().as_slice())
        .collect();
    let join = |weights: Weights| {
        Secret::<PAPER_SECRET>::filled(|out| weights.combine_into(&pieces, out))
            .map_err(|_| JoinPaperError::Contradiction)
    };
    for share in spare {
        let weights = Weights::at(share.index, &indices);
        let expected = join(weights.map_err(|_| JoinPaperError::Contradiction)?)?;
        if expected.expose() != share.piece.expose() {
            return Err(JoinPaperError::Contradiction);
        }
    }
    let weights = Weights::at_secret(&indices).map_err(|_| JoinPaperError::Contradiction)?;
    Ok((first.set, WayKey::of_paper(&join(weights)?, first.set)))
}
