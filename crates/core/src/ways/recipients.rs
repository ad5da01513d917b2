//! People's keys: a way key sealed for the public keys of several people, any one of whom opens it with their private key.
//!
//! It is a file of the age format (`age-encryption.org/v1`, <https://c2sp.org/age>) with one stanza of type X25519 for each of them. So people use
//! keys that `age-keygen` has made, and what is sealed for them can be opened by `age` alone. Of that format only what is needed for this is here: keys that
//! begin with `age1` and `AGE-SECRET-KEY-1`, and a content of one chunk, the 32 bytes of the way key.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::{PARAMETERS_MAX, WayKey};
use crate::random::NoRandomness;
use crate::seal::{Cipher, Suite, TAG};
use crate::secret::Secret;

const FIRST_LINE: &str = "age-encryption.org/v1";
const STANZA: &str = "-> X25519 ";
const INFO: &[u8] = b"age-encryption.org/v1/X25519";
const PUBLIC: &str = "age";
const PRIVATE: &str = "age-secret-key-";
const NONCE: usize = 16;
/// The number of the first chunk, and that it is the last.
const ONLY_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// For how many people one way may be sealed.
pub const RECIPIENTS_MOST: usize = 64;

/// Somebody's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

/// Somebody's private key.
pub struct Identity(Secret<32>);

/// Why a text is no key that can be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// A key of SSH.
    #[error("that is a key for SSH")]
    Ssh,
    /// A key for a plugin of age, such as one that lies on a token, or of a newer kind.
    #[error("that is a key of age for a plugin, or of a kind that is not known here")]
    Plugin,
    /// A private key where a public one belongs.
    #[error("that is a private key")]
    Private,
    /// A public key where a private one belongs.
    #[error("that is a public key")]
    Public,
    /// Something in it is mistyped, or a part is missing.
    #[error("a character of the key is wrong or missing")]
    Mistyped,
    /// Nothing of the kind.
    #[error("that is no key")]
    Other,
}

/// Why a way key could not be sealed for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealForError {
    /// Nobody, or too many.
    #[error("a way in is for 1 to {RECIPIENTS_MOST} people's keys, and {got} were given")]
    Count {
        /// How many.
        got: usize,
    },
    /// One of the keys is such that everybody could open what is sealed for it.
    #[error("one of the keys is no real key")]
    Weak,
    /// Nothing can be sealed without randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Nothing was sealed for this private key, or what was sealed is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not sealed for that key")]
pub struct NotForThisKey;

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32(PUBLIC, &self.0))
    }
}

impl Recipient {
    /// Reads a public key as `age-keygen` prints it: `age1…`.
    ///
    /// # Errors
    /// [`KeyTextError`].
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let text = text.trim();
        let key = read_key(text, PUBLIC)?;
        Ok(Self(*key.expose()))
    }
}

impl Identity {
    /// Reads a private key: `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// [`KeyTextError`].
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        read_key(text.trim(), PRIVATE).map(Self)
    }

    /// Its public key.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(MontgomeryPoint::mul_base_clamped(*self.0.expose()).0)
    }
}

/// Seals a way key for all of these people: a file of the age format.
///
/// # Errors
/// [`SealForError`].
pub fn seal_for(recipients: &[Recipient], key: &WayKey) -> Result<Vec<u8>, SealForError> {
    let got = recipients.len();
    if got == 0 || got > RECIPIENTS_MOST {
        return Err(SealForError::Count { got });
    }
    let file_key = Secret::<16>::random()?;
    let mut text = String::from(FIRST_LINE);
    text.push('\n');
    for recipient in recipients {
        let ephemeral = Secret::<32>::random()?;
        let share = MontgomeryPoint::mul_base_clamped(*ephemeral.expose()).0;
        let wrap = wrap_key(&ephemeral, recipient.0, &share, &recipient.0);
        let wrap = wrap.ok_or(SealForError::Weak)?;
        let mut body = Zeroizing::new(file_key.expose().to_vec());
        // Each of these keys seals once.
        let tag = cipher(&wrap).and_then(|cipher| cipher.seal([0; 12], &[], &mut body).ok());
        body.extend_from_slice(&tag.ok_or(SealForError::Weak)?);
        text.push_str(STANZA);
        base64(&share, &mut text);
        text.push('\n');
        base64(&body, &mut text);
        text.push('\n');
    }
    text.push_str("---");
    let mac = header_mac(&file_key, text.as_bytes()).ok_or(SealForError::Weak)?;
    text.push(' ');
    base64(&mac, &mut text);
    text.push('\n');
    let mut nonce = [0; NONCE];
    crate::random::fill(&mut nonce)?;
    let mut sealed = Vec::with_capacity(text.len() + NONCE + 32 + TAG);
    sealed.extend_from_slice(text.as_bytes());
    sealed.extend_from_slice(&nonce);
    let at = sealed.len();
    sealed.extend_from_slice(key.expose());
    let tag = payload_cipher(&file_key, &nonce)
        .zip(sealed.get_mut(at..))
        .and_then(|(cipher, plain)| cipher.seal(ONLY_CHUNK, &[], plain).ok());
    match tag {
        Some(tag) => sealed.extend_from_slice(&tag),
        None => {
            // Never: a content of 32 bytes is within every limit.
            sealed.zeroize();
            return Err(SealForError::Weak);
        }
    }
    Ok(sealed)
}

/// Opens what was sealed for people by the private key of one of them.
///
/// # Errors
/// [`NotForThisKey`].
pub fn open_with(sealed: &[u8], identity: &Identity) -> Result<WayKey, NotForThisKey> {
    opened(sealed, identity).ok_or(NotForThisKey)
}

fn opened(sealed: &[u8], identity: &Identity) -> Option<WayKey> {
    if sealed.len() > PARAMETERS_MAX {
        return None;
    }
    let own = identity.recipient();
    let mut rest = sealed;
    if line(&mut rest)? != FIRST_LINE {
        return None;
    }
    let mut found = None;
    let mac = loop {
        let before = sealed.len() - rest.len();
        let head = line(&mut rest)?;
        if let Some(mac) = head.strip_prefix("--- ") {
            let signed = sealed.get(..before + 3)?;
            break (signed, unbase64::<32>(mac)?);
        }
        let share = unbase64::<32>(head.strip_prefix(STANZA)?)?;
        let body = unbase64::<{ 16 + TAG }>(line(&mut rest)?)?;
        if found.is_some() {
            continue;
        }
        let wrap = wrap_key(&identity.0, share, &share, &own.0)?;
        let cipher = cipher(&wrap)?;
        found = Secret::<16>::filled(|out| cipher.open([0; 12], &[], &body, out)).ok();
    };
    let file_key = found?;
    let (signed, mac) = mac;
    if !bool::from(header_mac(&file_key, signed)?.ct_eq(&mac)) {
        return None;
    }
    let (nonce, content) = rest.split_first_chunk::<NONCE>()?;
    let cipher = payload_cipher(&file_key, nonce)?;
    let key = Secret::filled(|out| cipher.open(ONLY_CHUNK, &[], content, out)).ok()?;
    Some(WayKey::from_secret(key))
}

/// The next line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = (rest.get(..end)?, rest.get(end + 1..)?);
    *rest = after;
    core::str::from_utf8(line).ok()
}

fn cipher(key: &Secret<32>) -> Option<Cipher> {
    Cipher::new(Suite::ChaCha20Poly1305, key).ok()
}

fn hkdf(salt: &[u8], from: &[u8], info: &[u8]) -> Option<Secret<32>> {
    let hkdf = Hkdf::<Sha256>::new(Some(salt), from);
    Secret::filled(|out| hkdf.expand(info, out)).ok()
}

/// What the key of the file is sealed under for one person; `None` where the two keys have nothing in common that is secret.
fn wrap_key(
    private: &Secret<32>,
    public: [u8; 32],
    share: &[u8; 32],
    recipient: &[u8; 32],
) -> Option<Secret<32>> {
    let mut point = MontgomeryPoint(public).mul_clamped(*private.expose());
    let is_nothing = bool::from(point.0.ct_eq(&[0; 32]));
    let mut salt = [0; 64];
    salt[..32].copy_from_slice(share);
    salt[32..].copy_from_slice(recipient);
    let key = hkdf(&salt, &point.0, INFO);
    point.0.zeroize();
    key.filter(|_| !is_nothing)
}

fn header_mac(file_key: &Secret<16>, header: &[u8]) -> Option<[u8; 32]> {
    let key = hkdf(&[], file_key.expose(), b"header")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    mac.update(header);
    Some(mac.finalize().into_bytes().into())
}

fn payload_cipher(file_key: &Secret<16>, nonce: &[u8; NONCE]) -> Option<Cipher> {
    cipher(&hkdf(nonce, file_key.expose(), b"payload")?)
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Without padding. What is written so is never secret.
fn base64(bytes: &[u8], out: &mut String) {
    for three in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(bits);
        for place in 0..=three.len() {
            let letter = (bits >> (18 - 6 * place)) as usize & 63;
            out.push(char::from(LETTERS[letter]));
        }
    }
}

/// Reads so many bytes, written in the one way there is to write them.
fn unbase64<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (mut bits, mut held, mut at) = (0_u32, 0, 0);
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            *bytes.get_mut(at)? = (bits >> held) as u8;
            at += 1;
            bits &= (1 << held) - 1;
        }
    }
    (at == N && held < 6 && bits == 0).then_some(bytes)
}

const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECK: usize = 6;

/// The checksum of Bech32 (BIP 173) over these values of five bits.
fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [
        0x3B6A_57B2,
        0x2650_8E6D,
        0x1EA1_19FA,
        0x3D42_33DD,
        0x2A14_62B3,
    ];
    let mut sum = 1;
    for value in values {
        let top = sum >> 25;
        sum = ((sum & 0x01FF_FFFF) << 5) ^ u32::from(value);
        for (bit, generator) in GENERATOR.iter().enumerate() {
            if (top >> bit) & 1 == 1 {
                sum ^= generator;
            }
        }
    }
    sum
}

fn expanded(prefix: &str) -> impl Iterator<Item = u8> + '_ {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    high.chain([0]).chain(low)
}

fn bech32(prefix: &str, bytes: &[u8]) -> String {
    let mut values = Zeroizing::new(Vec::with_capacity(bytes.len() * 8 / 5 + 1));
    let (mut bits, mut held) = (0_u32, 0);
    for byte in bytes {
        bits = ((bits << 8) | u32::from(*byte)) & 0xFFF;
        held += 8;
        while held >= 5 {
            held -= 5;
            values.push((bits >> held) as u8 & 31);
        }
    }
    if held > 0 {
        values.push((bits << (5 - held)) as u8 & 31);
    }
    let all = expanded(prefix).chain(values.iter().copied());
    let sum = polymod(all.chain([0; CHECK])) ^ 1;
    let mut text = String::with_capacity(prefix.len() + 1 + values.len() + CHECK);
    text.push_str(prefix);
    text.push('1');
    let check = (0..CHECK).map(|place| (sum >> (5 * (CHECK - 1 - place))) as u8 & 31);
    for value in values.iter().copied().chain(check) {
        text.push(char::from(CHARSET[usize::from(value)]));
    }
    text
}

/// Reads a key of 32 bytes with this prefix.
fn read_key(text: &str, wanted: &str) -> Result<Secret<32>, KeyTextError> {
    if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("-----BEGIN") {
        return Err(KeyTextError::Ssh);
    }
    let (mut lower, mut upper) = (false, false);
    for letter in text.bytes() {
        lower |= letter.is_ascii_lowercase();
        upper |= letter.is_ascii_uppercase();
    }
    let (prefix, data) = text.rsplit_once('1').ok_or(KeyTextError::Other)?;
    if !prefix.eq_ignore_ascii_case(wanted) {
        let known = |other: &str| prefix.eq_ignore_ascii_case(other);
        let of_age = prefix
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(PUBLIC));
        return Err(match of_age {
            true if known(PRIVATE) => KeyTextError::Private,
            true if known(PUBLIC) => KeyTextError::Public,
            true => KeyTextError::Plugin,
            false => KeyTextError::Other,
        });
    }
    // With other letters, "1" among them, what stands before the last one is no prefix that is known.
    if lower && upper {
        return Err(KeyTextError::Mistyped);
    }
    let mut values = Zeroizing::new([0_u8; 52 + CHECK]);
    if data.len() != values.len() {
        return Err(KeyTextError::Mistyped);
    }
    for (value, letter) in values.iter_mut().zip(data.bytes()) {
        let letter = letter.to_ascii_lowercase();
        let place = CHARSET.iter().position(|known| *known == letter);
        let place = place.and_then(|place| u8::try_from(place).ok());
        *value = place.ok_or(KeyTextError::Mistyped)?;
    }
    if polymod(expanded(wanted).chain(values.iter().copied())) != 1 {
        return Err(KeyTextError::Mistyped);
    }
    let (mut bits, mut held, mut at) = (0_u32, 0, 0);
    let mut key = Secret::zeroed();
    for value in values.iter().take(52) {
        bits = ((bits << 5) | u32::from(*value)) & 0xFFF;
        held += 5;
        if held >= 8 {
            held -= 8;
            let byte = key.expose_mut().get_mut(at).ok_or(KeyTextError::Mistyped)?;
            *byte = (bits >> held) as u8;
            at += 1;
        }
    }
    // Four bits are left over, and must say nothing.
    if at != 32 || bits & ((1 << held) - 1) != 0 {
        return Err(KeyTextError::Mistyped);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(seed: u8) -> Identity {
        let mut secret = Secret::zeroed();
        secret.expose_mut().fill(seed);
        Identity(secret)
    }

    fn private_text(identity: &Identity) -> String {
        bech32(PRIVATE, identity.0.expose()).to_ascii_uppercase()
    }

    #[test]
    fn keys_are_written_as_age_writes_them() {
        // The pair of the age specification's example.
        let private = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
        let public = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
        let read = Identity::parse(private).unwrap();
        assert_eq!(read.0.expose(), &[0x42; 32]);
        assert_eq!(read.recipient(), Recipient::parse(public).unwrap());
        assert_eq!(alloc::format!("{}", read.recipient()), public);
        assert_eq!(private_text(&read), private);
        assert_eq!(alloc::format!("{read:?}"), "Identity(..)");
    }

    /// What age 1.1.1 (`age -r …`) has sealed for two people is opened by the second one.
    #[test]
    fn what_age_has_sealed_is_opened() {
        let sealed = include_bytes!("../../tests/vectors/age/age-1.1.1");
        let key = open_with(sealed, &identity(0x42)).unwrap();
        assert!((0..32).eq(key.expose().iter().copied()));
        assert!(open_with(sealed, &identity(0x43)).is_err());
    }

    #[test]
    fn each_of_the_people_opens_it_and_nobody_else() {
        let people = [identity(1), identity(2), identity(3)];
        let keys = people.each_ref().map(Identity::recipient);
        let key = WayKey::generate().unwrap();
        let sealed = seal_for(&keys, &key).unwrap();
        for person in &people {
            assert_eq!(open_with(&sealed, person).unwrap().expose(), key.expose());
        }
        assert!(open_with(&sealed, &identity(4)).is_err());
        assert_eq!(
            seal_for(&[], &key).unwrap_err(),
            SealForError::Count { got: 0 }
        );
        // A point of small order would give everybody the same key.
        assert_eq!(
            seal_for(&[Recipient([0; 32])], &key).unwrap_err(),
            SealForError::Weak
        );
    }

    #[test]
    fn p10_what_is_sealed_and_damaged_anywhere_opens_nothing() {
        let person = identity(9);
        let key = WayKey::generate().unwrap();
        let sealed = seal_for(&[identity(1).recipient(), person.recipient()], &key).unwrap();
        for at in 0..sealed.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bad = sealed.clone();
                bad[at] ^= flip;
                assert!(open_with(&bad, &person).is_err(), "{at} ^ {flip}");
            }
            assert!(open_with(&sealed[..at], &person).is_err(), "{at}");
        }
        let mut longer = sealed;
        longer.push(0);
        assert!(open_with(&longer, &person).is_err());
    }

    #[test]
    fn p10_what_is_no_key_is_called_by_its_name() {
        let public = alloc::format!("{}", identity(5).recipient());
        let private = private_text(&identity(5));
        let is = |text: &str| Recipient::parse(text).unwrap_err();
        assert_eq!(is(&private), KeyTextError::Private);
        assert_eq!(Identity::parse(&public).unwrap_err(), KeyTextError::Public);
        assert_eq!(is("ssh-ed25519 AAAA someone"), KeyTextError::Ssh);
        assert_eq!(is("age1yubikey1qwerty"), KeyTextError::Plugin);
        assert_eq!(is("age1pq1qwerty"), KeyTextError::Plugin);
        assert_eq!(is("hello"), KeyTextError::Other);
        assert_eq!(is(""), KeyTextError::Other);
        for at in 4..public.len() {
            let mut other = public.clone().into_bytes();
            other[at] = if other[at] == b'q' { b'p' } else { b'q' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(is(&other), KeyTextError::Mistyped, "{at}");
            assert!(Recipient::parse(&public[..at]).is_err(), "{at}");
        }
        let mut mixed = public.clone();
        mixed.replace_range(5..6, &public[5..6].to_ascii_uppercase());
        if mixed != public {
            assert_eq!(is(&mixed), KeyTextError::Mistyped);
        }
        assert!(Recipient::parse(&public.to_ascii_uppercase()).is_ok());
        assert!(Recipient::parse(&alloc::format!("  {public}\n")).is_ok());
    }

    #[test]
    fn base64_is_read_in_one_way_only() {
        let mut text = String::new();
        base64(&[0xFB, 0xFF, 0], &mut text);
        assert_eq!(text, "+/8A");
        assert_eq!(unbase64::<3>("+/8A"), Some([0xFB, 0xFF, 0]));
        assert_eq!(unbase64::<1>("/w"), Some([0xFF]));
        for bad in ["/x", "/w=", "/w==", "/", "/wA", "-w"] {
            assert_eq!(unbase64::<1>(bad), None, "{bad}");
        }
    }
}
