//! Looking for words in bytes of any kind: as text, within zip packages, within the streams of PDF files.

use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::{AhoCorasick, MatchKind};
use flate2::{Decompress, FlushDecompress, Status};

/// How a word was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As UTF-8.
    Utf8,
    /// As UTF-16, low byte first.
    Utf16Le,
    /// As UTF-16, high byte first.
    Utf16Be,
    /// As the bytes that were given.
    Bytes,
}

/// Where a word was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the open.
    Open,
    /// In a part of a zip package, such as a Word file.
    Zip,
    /// In a stream of a PDF file.
    Pdf,
}

/// A word that was found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// What was looked for.
    pub word: String,
    /// How.
    pub form: Form,
    /// Where.
    pub place: Place,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} as {:?} in {:?}", self.word, self.form, self.place)
    }
}

/// Words to look for.
#[derive(Debug)]
pub struct Scan {
    engine: AhoCorasick,
    words: Vec<(String, Form)>,
}

/// How much of one deflated part is looked at.
const MOST: usize = 16 << 20;

impl Scan {
    /// A search for these words in each encoding, and for these stretches of bytes as they are. What is so short that chance
    /// could bring it forth is left out.
    ///
    /// # Panics
    /// When nothing is left to look for.
    #[must_use]
    pub fn new(words: &BTreeSet<String>, stretches: &[(String, Vec<u8>)]) -> Self {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        let mut meanings = Vec::new();
        let mut add = |word: &str, form, bytes: Vec<u8>| {
            if bytes.len() >= 8 {
                patterns.push(bytes);
                meanings.push((word.to_owned(), form));
            }
        };
        for word in words {
            let units: Vec<u16> = word.encode_utf16().collect();
            add(word, Form::Utf8, word.as_bytes().to_vec());
            add(
                word,
                Form::Utf16Le,
                units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
            );
            add(
                word,
                Form::Utf16Be,
                units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
            );
        }
        for (name, bytes) in stretches {
            add(name, Form::Bytes, bytes.clone());
        }
        assert!(!patterns.is_empty(), "nothing to look for");
        let engine = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(&patterns)
            .expect("the patterns");
        Self {
            engine,
            words: meanings,
        }
    }

    /// Everything that is found in these bytes.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> BTreeSet<Found> {
        let mut found = BTreeSet::new();
        self.look(bytes, Place::Open, &mut found);
        // A part of a package begins with its own header, wherever on the disk the package lies.
        for at in starts(bytes, b"PK\x03\x04") {
            if let Some(part) = zip_part(bytes, at) {
                self.look(&part, Place::Zip, &mut found);
            }
        }
        for at in starts(bytes, b"stream") {
            let after = bytes.get(at + 6..).unwrap_or_default();
            let data = after
                .strip_prefix(b"\r\n")
                .or_else(|| after.strip_prefix(b"\n"));
            if let Some(data) = data
                && let Some(stream) = inflate(data, true)
            {
                self.look(&stream, Place::Pdf, &mut found);
            }
        }
        found
    }

    fn look(&self, bytes: &[u8], place: Place, found: &mut BTreeSet<Found>) {
        for hit in self.engine.find_overlapping_iter(bytes) {
            let (word, form) = &self.words[hit.pattern().as_usize()];
            found.insert(Found {
                word: word.clone(),
                form: *form,
                place,
            });
        }
    }
}

fn starts<'a>(bytes: &'a [u8], mark: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let engine = AhoCorasick::new([mark]).expect("a mark");
    let places: Vec<usize> = engine.find_iter(bytes).map(|hit| hit.start()).collect();
    places.into_iter()
}

/// The contents of the part whose local header begins at `at`, where it is deflated. What is stored is in the open.
fn zip_part(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let header = bytes.get(at..at + 30)?;
    let number = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let (method, name, extra) = (number(8), number(26), number(28));
    (method == 8).then_some(())?;
    inflate(bytes.get(at + 30 + name + extra..)?, false)
}

/// As much as can be inflated; `None` when nothing can.
fn inflate(bytes: &[u8], zlib: bool) -> Option<Vec<u8>> {
    let mut engine = Decompress::new(zlib);
    let mut out = Vec::new();
    loop {
        out.reserve(64 << 10);
        let read = usize::try_from(engine.total_in()).ok()?;
        let status = engine.decompress_vec(bytes.get(read..)?, &mut out, FlushDecompress::None);
        match status {
            Ok(Status::Ok) if out.len() < MOST && read < bytes.len() => {}
            _ => return (!out.is_empty()).then_some(out),
        }
    }
}

/// A zip package with one deflated part.
///
/// # Panics
/// When it is too large.
#[must_use]
pub fn zipped(name: &str, contents: &[u8]) -> Vec<u8> {
    use flate2::{Compression, Crc, write::DeflateEncoder};
    use std::io::Write as _;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(contents).expect("in memory");
    let packed = encoder.finish().expect("in memory");
    let mut crc = Crc::new();
    crc.update(contents);
    let short = |number: usize| u16::try_from(number).expect("small").to_le_bytes();
    let long = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
    // From the version needed to the length of the extra field, as both headers have it.
    let mut common = [
        20_u16.to_le_bytes(),
        0_u16.to_le_bytes(),
        8_u16.to_le_bytes(),
    ]
    .concat();
    common.extend([0x00, 0x00, 0x21, 0x00]);
    common.extend(crc.sum().to_le_bytes());
    common.extend(long(packed.len()));
    common.extend(long(contents.len()));
    common.extend(short(name.len()));
    common.extend(short(0));
    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend(&common);
    zip.extend(name.as_bytes());
    zip.extend(&packed);
    let directory = zip.len();
    zip.extend(b"PK\x01\x02\x14\x00");
    zip.extend(&common);
    zip.extend([0; 14]);
    zip.extend(name.as_bytes());
    let size = zip.len() - directory;
    zip.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    zip.extend(long(size));
    zip.extend(long(directory));
    zip.extend(short(0));
    zip
}

/// A PDF file with one deflated stream.
///
/// # Panics
/// Never: it is made in memory.
#[must_use]
pub fn pdf(contents: &[u8]) -> Vec<u8> {
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write as _;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(contents).expect("in memory");
    let packed = encoder.finish().expect("in memory");
    let mut file = format!(
        "%PDF-1.7\n1 0 obj\n<</Length {}/Filter/FlateDecode>>\nstream\n",
        packed.len()
    )
    .into_bytes();
    file.extend(packed);
    file.extend(b"\nendstream\nendobj\n");
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_and_nothing_in_noise() {
        let word = "割符町の秘密 4711".to_owned();
        let scan = Scan::new(&BTreeSet::from([word.clone()]), &[]);
        assert!(scan.bytes(&crate::noise(1 << 20, 1)).is_empty());
        let units: Vec<u16> = word.encode_utf16().collect();
        let le: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let mut package = crate::noise(5000, 2);
        package.extend(zipped("word/document.xml", &le));
        package.extend(crate::noise(5000, 3));
        let found = scan.bytes(&package);
        let expected = |form, place| {
            BTreeSet::from([Found {
                word: word.clone(),
                form,
                place,
            }])
        };
        assert_eq!(found, expected(Form::Utf16Le, Place::Zip));
        assert_eq!(
            scan.bytes(&pdf(word.as_bytes())),
            expected(Form::Utf8, Place::Pdf)
        );
        assert_eq!(
            scan.bytes(word.as_bytes()),
            expected(Form::Utf8, Place::Open)
        );
    }
}
