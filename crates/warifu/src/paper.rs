//! Paper shares as people read and type them: words of a list, or what stands in a QR code.
//!
//! ```
//! use warifu::paper::{WordList, as_words, read};
//! use warifu::ways::deal_paper;
//!
//! let (_, _, sheets) = deal_paper(3, 5)?;
//! let words = as_words(&sheets[0].words(), WordList::Japanese);
//! let again = read(&words.join("　"))?;
//! assert_eq!(again.index(), sheets[0].index());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt::Write as _;

use bip39::Language;
use unicode_normalization::UnicodeNormalization as _;
use warifu_core::ways::{PAPER_WORDS, PaperShare, PaperWords, Suspicion, WordsError};
use zeroize::Zeroizing;

/// A list of 2048 words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordList {
    /// The English list of BIP-39.
    English,
    /// The Japanese list of BIP-39, in hiragana.
    Japanese,
}

impl WordList {
    const fn words(self) -> Language {
        match self {
            Self::English => Language::English,
            Self::Japanese => Language::Japanese,
        }
    }

    /// The word of a number, as people write it.
    fn word(self, number: u16) -> String {
        let word = self.words().word_list().get(usize::from(number));
        // Long enough for every word: what grows leaves a copy behind that is not erased.
        let mut text = String::with_capacity(64);
        text.extend(word.into_iter().flat_map(|word| word.nfc()));
        text
    }

    fn number(self, plain: &str) -> Option<u16> {
        let list = self.words().word_list();
        let at = list.iter().position(|word| word.nfkd().eq(plain.chars()));
        at.and_then(|at| u16::try_from(at).ok())
    }

    /// The words that are most like this one, the likeliest first.
    fn near(self, plain: &str) -> Vec<String> {
        let list = self.words().word_list();
        let distance = |word: &&str| {
            let word: String = word.nfkd().collect();
            strsim::damerau_levenshtein(&word, plain)
        };
        let mut near: Vec<(usize, &&str)> =
            list.iter().map(|word| (distance(word), word)).collect();
        near.sort();
        let near = near.into_iter().take_while(|(distance, _)| *distance <= 2);
        near.take(3).map(|(_, word)| word.nfc().collect()).collect()
    }
}

/// What begins the text in a QR code.
const MARK: &str = "WARIFU1:";

/// What is wrong with the words of a sheet. Positions count from 1, as they are printed. Whoever has the sheet at hand is told, nobody else: a
/// word that should stand there is a part of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaperError {
    /// A word is in none of the lists.
    #[error("word {position}, {word:?}, is not in the list{}", Near(.near))]
    Unknown {
        /// Which.
        position: usize,
        /// The word as it was typed.
        word: String,
        /// What it may be. One where the others tell.
        near: Vec<String>,
        /// Whether the others tell for certain what it should be.
        certain: bool,
    },
    /// A word is another than it should be.
    #[error("word {position} should be {right:?}")]
    Wrong {
        /// Which.
        position: usize,
        /// The word as it was typed.
        word: String,
        /// The word that should stand there.
        right: String,
    },
    /// Two words have been exchanged.
    #[error("words {position} and {} are exchanged", .position + 1)]
    Exchanged {
        /// The first of them.
        position: usize,
    },
    /// A word is missing.
    #[error("a word is missing: word {position} should be {right:?}")]
    Missing {
        /// Which.
        position: usize,
        /// The word that should stand there.
        right: String,
    },
    /// A word is one too many.
    #[error("word {position} is one too many")]
    Surplus {
        /// Which.
        position: usize,
    },
    /// Too few or too many words.
    #[error("a sheet has {PAPER_WORDS} words; there are {got}")]
    Count {
        /// How many there are.
        got: usize,
    },
    /// Several words are wrong.
    #[error("several words are wrong")]
    Several,
    /// It is of a newer warifu.
    #[error("the sheet is of a newer warifu (format {found})")]
    Newer {
        /// The format.
        found: u8,
    },
    /// The words are right and no sheet.
    #[error("these words are no paper share")]
    NoShare,
}

struct Near<'a>(&'a [String]);

impl std::fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => Ok(()),
            near => write!(f, "; perhaps {}", near.join(", ")),
        }
    }
}

/// The words of a sheet.
#[must_use]
pub fn as_words(words: &PaperWords, list: WordList) -> Zeroizing<Vec<String>> {
    let words = words.expose().iter().map(|number| list.word(*number));
    Zeroizing::new(words.collect())
}

/// What is to stand in a sheet's QR code.
#[must_use]
pub fn as_code(words: &PaperWords) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(MARK.len() + 4 * PAPER_WORDS));
    text.push_str(MARK);
    for number in words.expose() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{number:04}");
    }
    text
}

/// Reads a sheet: its words in whichever list, apart by any spaces and with or without their numbers, or the text of its QR code.
///
/// # Errors
/// [`PaperError`].
pub fn read(text: &str) -> Result<PaperShare, PaperError> {
    let code = text.trim();
    if let Some(digits) = code.strip_prefix(MARK) {
        let mut numbers = Zeroizing::new(Vec::with_capacity(digits.len() / 4 + 1));
        for four in digits.as_bytes().chunks(4) {
            let number = std::str::from_utf8(four).ok();
            let number = number.and_then(|four| four.parse::<u16>().ok());
            numbers.push(number.ok_or(PaperError::NoShare)?);
        }
        return PaperShare::read(&numbers).map_err(|error| match error {
            WordsError::Newer { found } => PaperError::Newer { found },
            WordsError::Count { got, .. } => PaperError::Count { got },
            _ => PaperError::Several,
        });
    }
    let tokens = || text.split_whitespace().filter(|token| !is_number(token));
    let mut typed = Zeroizing::new(Vec::with_capacity(tokens().count()));
    typed.extend(tokens().map(plain));
    let known = |list: WordList| {
        typed
            .iter()
            .filter(|word| list.number(word).is_some())
            .count()
    };
    let list = match known(WordList::Japanese) > known(WordList::English) {
        true => WordList::Japanese,
        false => WordList::English,
    };
    let numbers = typed
        .iter()
        .map(|word| list.number(word).unwrap_or(u16::MAX));
    let mut own: Zeroizing<Vec<u16>> = Zeroizing::new(Vec::with_capacity(typed.len()));
    own.extend(numbers);
    let numbers = own;
    match PaperShare::read(&numbers) {
        Ok(share) => Ok(share),
        Err(error) => Err(told(error, list, &typed, &numbers)),
    }
}

/// The number before a word, as it is printed: `3.` or `3)`.
fn is_number(token: &str) -> bool {
    let digits = token.trim_end_matches(['.', ')', ':', '．', '：']);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// A word as it is compared: katakana is taken for hiragana, capitals for small letters, and every way of writing a sound for one.
fn plain(token: &str) -> String {
    let hiragana = |c: char| match c {
        'ァ'..='ヶ' => char::from_u32(u32::from(c) - 0x60).unwrap_or(c),
        c => c,
    };
    // Nothing that is a word grows by more than this; what is none is no secret.
    let mut plain = String::with_capacity((token.len() * 20).min(4096));
    let letters = token.nfkc().map(hiragana);
    plain.extend(letters.flat_map(char::to_lowercase).nfkd());
    plain
}

fn told(error: WordsError, list: WordList, typed: &[String], numbers: &[u16]) -> PaperError {
    let shown = |at: usize| -> String {
        let word = typed.get(at).map(|word| word.nfc().collect());
        word.unwrap_or_default()
    };
    let suspicion = match &error {
        WordsError::Damaged { suspicion } | WordsError::Count { suspicion, .. } => *suspicion,
        _ => None,
    };
    let unknown = numbers.iter().position(|number| *number == u16::MAX);
    match (suspicion, error) {
        (Some(Suspicion::Wrong { position, right }), _) if unknown == Some(position) => {
            PaperError::Unknown {
                position: position + 1,
                word: shown(position),
                near: vec![list.word(right)],
                certain: true,
            }
        }
        (Some(Suspicion::Wrong { position, right }), _) => PaperError::Wrong {
            position: position + 1,
            word: shown(position),
            right: list.word(right),
        },
        (Some(Suspicion::Exchanged { position }), _) => PaperError::Exchanged {
            position: position + 1,
        },
        (Some(Suspicion::Missing { position, right }), _) => PaperError::Missing {
            position: position + 1,
            right: list.word(right),
        },
        (Some(Suspicion::Surplus { position }), _) => PaperError::Surplus {
            position: position + 1,
        },
        (None, WordsError::Newer { found }) => PaperError::Newer { found },
        (None, WordsError::NoShare) => PaperError::NoShare,
        (None, error) => match (unknown, error) {
            (Some(at), _) => PaperError::Unknown {
                position: at + 1,
                word: shown(at),
                near: typed
                    .get(at)
                    .map(|word| list.near(word))
                    .unwrap_or_default(),
                certain: false,
            },
            (None, WordsError::Count { got, .. }) => PaperError::Count { got },
            (None, _) => PaperError::Several,
        },
    }
}

#[cfg(test)]
mod tests {
    use warifu_core::ways::deal_paper;

    use super::*;

    #[test]
    fn p3_a_sheet_is_read_back_in_both_lists_and_from_its_code() {
        let (set, _, sheets) = deal_paper(3, 5).unwrap();
        for sheet in &sheets {
            for list in [WordList::English, WordList::Japanese] {
                let words = as_words(&sheet.words(), list);
                let numbered: Vec<String> = (1..)
                    .zip(words.iter())
                    .map(|(number, word)| format!("{number}. {word}"))
                    .collect();
                let decomposed: String = words.join("　").nfkd().collect();
                let katakana: String = words
                    .join(" ")
                    .chars()
                    .map(|c| match c {
                        'ぁ'..='ゖ' => char::from_u32(u32::from(c) + 0x60).unwrap(),
                        c => c.to_ascii_uppercase(),
                    })
                    .collect();
                for text in [words.join(" "), numbered.join("\n"), decomposed, katakana] {
                    let again = read(&text).unwrap();
                    assert_eq!(
                        (again.index(), again.set()),
                        (sheet.index(), set.set),
                        "{text}"
                    );
                }
            }
            assert_eq!(
                read(&format!("{}\n", *as_code(&sheet.words())))
                    .unwrap()
                    .index(),
                sheet.index()
            );
        }
    }

    #[test]
    fn p3_a_mistyped_word_is_named_by_its_position_with_what_it_may_be() {
        let (_, _, sheets) = deal_paper(3, 5).unwrap();
        for list in [WordList::English, WordList::Japanese] {
            let words = as_words(&sheets[0].words(), list);
            let with = |change: &dyn Fn(&mut Vec<String>)| {
                let mut typed = words.to_vec();
                change(&mut typed);
                read(&typed.join(" ")).map(drop).unwrap_err()
            };
            // One that is in no list: the others tell what it should be.
            let wrong = with(&|typed| typed[6].push('q'));
            let PaperError::Unknown {
                position: 7,
                near,
                certain: true,
                ..
            } = wrong
            else {
                panic!("{wrong}")
            };
            assert_eq!(near, [words[6].clone()]);
            // One that is another word of the list.
            let other = list.word(sheets[0].words().expose()[6] ^ 1);
            let wrong = with(&|typed| typed[6] = other.clone());
            let expected = PaperError::Wrong {
                position: 7,
                word: other.clone(),
                right: words[6].clone(),
            };
            assert_eq!(wrong, expected);
            // Two that are in no list: the first is named with those that are like it.
            let wrong = with(&|typed| {
                typed[2].push('q');
                typed[9].push('q');
            });
            let PaperError::Unknown {
                position: 3,
                near,
                certain: false,
                ..
            } = wrong
            else {
                panic!("{wrong}")
            };
            assert!(near.contains(&words[2]), "{near:?}");
            assert_eq!(
                with(&|typed| typed.swap(3, 4)),
                PaperError::Exchanged { position: 4 }
            );
            assert!(matches!(
                with(&|typed| drop(typed.remove(17))),
                PaperError::Missing { position: 18, .. }
            ));
            assert_eq!(
                with(&|typed| typed.truncate(9)),
                PaperError::Count { got: 9 }
            );
            let wrong = with(&|typed| {
                typed[2] = other.clone();
                typed[9] = other.clone();
            });
            assert_eq!(wrong, PaperError::Several);
        }
        assert_eq!(read("").unwrap_err(), PaperError::Count { got: 0 });
        assert_eq!(read("WARIFU1:12x4").unwrap_err(), PaperError::NoShare);
    }
}
