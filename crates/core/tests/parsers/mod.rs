//! What every parser must bear: any bytes at all. Used by the property tests and by the fuzz targets.
#![allow(dead_code, reason = "each fuzz target uses one")]

use warifu_core::format::{CHUNK, Joiner, OpenShare, Scheme, ShareHeader, chunk_count, object_len};
use warifu_core::head::Head;
use warifu_core::ids::{ServerId, ShareIndex, VaultId};
use warifu_core::keys::{Field, ObjectName, VaultKey};
use warifu_core::loose::{LOOSE_PRELUDE_LEN, LooseJoiner};
use warifu_core::shamir::bare;
use warifu_core::vault_object::{VAULT_OBJECT_LEN, VaultObject, recover_vault_key};
use warifu_core::ways::{
    Identity, PaperShare, Recipient, WaysObject, WordsError, join_paper, open_with, recover_bolt,
};

/// All of them.
pub const ALL: [fn(&[u8]); 9] = [
    share_object,
    vault_objects,
    head,
    loose_share,
    bare_shares,
    sealed_field,
    ways_object,
    paper_words,
    age_file,
];

/// A key that cannot have sealed what is read.
fn any_key() -> VaultKey {
    VaultKey::generate().unwrap()
}

/// Header, identity and chunks of a share object.
pub fn share_object(bytes: &[u8]) {
    if let Ok(header) = ShareHeader::parse(bytes) {
        let threshold = header.threshold();
        assert!(
            1 <= threshold.k()
                && threshold.k() <= threshold.n()
                && header.index().get() <= threshold.n()
        );
        if header.scheme() == Scheme::Shamir {
            assert_eq!(header.object_len(), object_len(header.secret_len()));
        }
        assert!(header.object_len() > header.prefix_len() as u64);
        assert!(chunk_count(header.secret_len()) >= 1);
    }
    // Nobody without the key makes a share that opens.
    assert!(OpenShare::open(bytes, &any_key().seal_key(ServerId::NIL)).is_err());
}

/// Chunks of a share that is authentic, from wherever.
pub fn chunks(share: OpenShare, bytes: &[u8]) {
    let first = u64::from(bytes.first().copied().unwrap_or(0));
    assert!(share.verify_chunks(first, bytes).is_err() || bytes.is_empty());
    let mut joiner = Joiner::new(vec![share]).unwrap();
    let mut out = vec![1; bytes.len().saturating_sub(16).min(CHUNK)];
    assert!(joiner.join_chunks(first, &[bytes], &mut out).is_err() || out.is_empty());
    assert!(out.iter().all(|byte| *byte == 0));
}

/// As many vault objects as there are.
pub fn vault_objects(bytes: &[u8]) {
    let objects: Vec<_> = bytes
        .chunks(VAULT_OBJECT_LEN)
        .filter_map(|bytes| VaultObject::parse(bytes).ok())
        .collect();
    for object in &objects {
        assert_eq!(
            VaultObject::parse(&object.encode()).unwrap().encode(),
            object.encode()
        );
    }
    let _ = recover_vault_key(&objects);
}

/// A head; what is read can be written and read again.
pub fn head(bytes: &[u8]) {
    if let Ok((head, at)) = Head::parse(bytes) {
        assert!(at <= bytes.len());
        let encoded = head.encode();
        let (again, end) = Head::parse(&encoded).unwrap();
        assert!(again == head && end == encoded.len());
    }
}

/// A loose share alone and beside itself.
pub fn loose_share(bytes: &[u8]) {
    for files in [&[bytes][..], &[bytes, bytes]] {
        if let Ok(mut joiner) = LooseJoiner::new(files) {
            let rest: Vec<_> = files
                .iter()
                .map(|file| file.get(LOOSE_PRELUDE_LEN..))
                .collect();
            let _ = joiner.next_len(&rest);
            let _ = joiner.join(&rest);
        }
    }
}

/// Bare shares, cut from the bytes at equal lengths.
pub fn bare_shares(bytes: &[u8]) {
    let _ = bare::parse(bytes);
    let Some((k, rest)) = bytes.split_first() else {
        return;
    };
    let shares: Vec<&[u8]> = rest.chunks(usize::from(*k % 7) + 1).collect();
    if let Ok(secret) = bare::combine(*k % 5, &shares) {
        assert_eq!(secret.len(), shares[0].len() - 1);
        assert!(
            shares
                .iter()
                .all(|share| ShareIndex::new(share[0]).is_some())
        );
    }
}

/// A sealed field of the catalogue, and an object's name.
pub fn sealed_field(bytes: &[u8]) {
    let key = any_key().catalog_key(VaultId::NIL);
    assert!(key.open(Field::Name, b"", bytes).is_err());
    if let Some(name) = std::str::from_utf8(bytes).ok().and_then(ObjectName::parse) {
        assert_eq!(name.to_string().as_bytes(), bytes);
    }
}

/// A ways object alone, and beside itself. Nobody without the vault key makes one that is authentic.
pub fn ways_object(bytes: &[u8]) {
    if let Ok(object) = WaysObject::parse(bytes) {
        assert_eq!(object.encode(), bytes);
        assert!(!object.is_authentic(&any_key()));
        let again = WaysObject::parse(bytes).unwrap();
        if let Ok(barred) = recover_bolt(&[object, again]) {
            assert!(barred.ways().count() > 0);
            assert!(barred.kept(&any_key()).is_none());
        }
    }
}

/// The words of a paper share, two bytes each; what passes is written as it was read.
pub fn paper_words(bytes: &[u8]) {
    let words: Vec<u16> = bytes
        .chunks(2)
        .map(|pair| {
            pair.iter()
                .fold(0, |value, byte| value << 8 | u16::from(*byte))
        })
        .collect();
    let small: Vec<u16> = words.iter().map(|word| word % 2048).collect();
    for words in [words, small] {
        match PaperShare::read(&words) {
            Ok(share) => {
                assert_eq!(share.words().expose().as_slice(), words);
                let _ = join_paper(&[share]);
            }
            Err(WordsError::Count { got, .. }) => assert_eq!(got, words.len()),
            Err(_) => {}
        }
    }
}

/// What was sealed for people's keys, and the keys themselves.
pub fn age_file(bytes: &[u8]) {
    let one = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let identity = Identity::parse(one).unwrap();
    // Nobody without the key of the file makes one that opens.
    assert!(open_with(bytes, &identity).is_err());
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(recipient) = Recipient::parse(text) {
            assert_eq!(Recipient::parse(&recipient.to_string()), Ok(recipient));
        }
        let _ = Identity::parse(text);
    }
}
