//! The key schedule and the catalogue's fields.

use std::collections::BTreeSet;

use warifu_core::ids::{ExtentId, Generation, ServerId, VaultId};
use warifu_core::keys::{CatalogKey, Field, ObjectName, SealedFieldError, VaultKey};

fn catalog() -> CatalogKey {
    VaultKey::generate()
        .unwrap()
        .catalog_key(VaultId::fresh().unwrap())
}

const FIELDS: [Field; 7] = [
    Field::Name,
    Field::Link,
    Field::Xattr,
    Field::Audit,
    Field::Author,
    Field::Path,
    Field::Note,
];

#[test]
fn object_names_differ_by_everything_and_are_stable() {
    let key = VaultKey::generate().unwrap();
    let (server, extent) = (ServerId::fresh().unwrap(), ExtentId::fresh().unwrap());
    let name = key.object_name(server, extent, Generation(1));
    assert_eq!(name, key.object_name(server, extent, Generation(1)));
    let others = [
        key.object_name(ServerId::fresh().unwrap(), extent, Generation(1)),
        key.object_name(server, ExtentId::fresh().unwrap(), Generation(1)),
        key.object_name(server, extent, Generation(2)),
        VaultKey::generate()
            .unwrap()
            .object_name(server, extent, Generation(1)),
    ];
    let all: BTreeSet<_> = others.iter().chain([&name]).collect();
    assert_eq!(all.len(), 5);
}

#[test]
fn object_names_are_64_lower_case_digits() {
    let name =
        VaultKey::generate()
            .unwrap()
            .object_name(ServerId::NIL, ExtentId::NIL, Generation(0));
    let text = name.to_string();
    assert_eq!(ObjectName::parse(&text), Some(name));
    assert_eq!(ObjectName::from_bytes(*name.as_bytes()), name);
    assert!(
        text.len() == 64
            && text
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    );
    let upper = format!("{:A<64}", &text[..10].to_uppercase());
    for wrong in [
        "",
        "00",
        &text[1..],
        &format!("{text}0"),
        &upper,
        &text.replace(&text[..1], "g"),
        &"é".repeat(32),
    ] {
        assert_eq!(ObjectName::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn sealed_fields_open_where_they_belong_and_nowhere_else() {
    let key = catalog();
    for field in FIELDS {
        let sealed = key.seal(field, b"row 1", "議事録.docx".as_bytes()).unwrap();
        assert_eq!(
            key.open(field, b"row 1", &sealed).unwrap().expose(),
            "議事録.docx".as_bytes()
        );
        let refused = |field, key: &CatalogKey, row: &[u8], sealed: &[u8]| {
            assert_eq!(
                key.open(field, row, sealed).unwrap_err(),
                SealedFieldError::NotAuthentic { field }
            );
        };
        refused(field, &key, b"row 2", &sealed);
        refused(field, &key, b"row ", &sealed);
        refused(field, &catalog(), b"row 1", &sealed);
        for other in FIELDS.into_iter().filter(|other| *other != field) {
            refused(other, &key, b"row 1", &sealed);
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(field, &key, b"row 1", &flipped);
        }
        for cut in 0..40 {
            let error = key.open(field, b"row 1", &sealed[..cut]).unwrap_err();
            assert_eq!(error, SealedFieldError::Short { got: cut });
        }
        refused(field, &key, b"row 1", &sealed[..40]);
    }
}

#[test]
fn p1_sealed_fields_blur_lengths_and_never_repeat() {
    let key = catalog();
    let mut lengths = BTreeSet::new();
    for len in 0..=255 {
        let text = vec![b'n'; len];
        let sealed = key.seal(Field::Name, b"", &text).unwrap();
        assert_eq!(key.open(Field::Name, b"", &sealed).unwrap().expose(), text);
        assert_eq!((sealed.len() - 40) % 32, 0);
        assert_ne!(sealed, key.seal(Field::Name, b"", &text).unwrap());
        lengths.insert(sealed.len());
    }
    assert_eq!(lengths.len(), 9, "256 lengths of names look like 9");
}

#[test]
fn name_tags_depend_on_directory_name_and_vault() {
    let key = catalog();
    let tag = key.name_tag(1, b"name");
    assert_eq!(tag, key.name_tag(1, b"name"));
    for other in [
        key.name_tag(2, b"name"),
        key.name_tag(1, b"Name"),
        key.name_tag(1, b""),
        catalog().name_tag(1, b"name"),
    ] {
        assert_ne!(tag, other);
    }
}

#[test]
fn p9_the_chain_depends_on_every_entry_and_their_order() {
    let key = catalog();
    let run = |key: &CatalogKey, entries: &[&[u8]]| {
        entries
            .iter()
            .fold([0; 32], |previous, entry| key.chain(&previous, entry))
    };
    let whole = run(&key, &[b"a", b"b", b"c"]);
    assert_eq!(whole, run(&key, &[b"a", b"b", b"c"]));
    for altered in [
        &[b"a".as_slice(), b"c", b"b"][..],
        &[b"a", b"b"],
        &[b"a", b"bc"],
        &[b"a", b"x", b"c"],
        &[b"", b"a", b"b", b"c"],
    ] {
        assert_ne!(whole, run(&key, altered));
    }
    assert_ne!(whole, run(&catalog(), &[b"a", b"b", b"c"]));
}
