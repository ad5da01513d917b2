//! Format 1 is read for ever: the committed files, through the public interface alone.

use warifu_core::format::{CHUNK, ExtentKind, Joiner, OpenShare, Scheme, Suite};
use warifu_core::head::{Content, Head, Timestamp};
use warifu_core::ids::{
    ExtentId, FileId, Generation, RoundId, ServerId, Threshold, VaultId, VersionNo,
};
use warifu_core::keys::{Field, VaultKey};
use warifu_core::loose::{LooseJoiner, LoosePart};
use warifu_core::vault_object::{RecoverError, VaultObject, recover_vault_key};
use warifu_core::ways::{
    PaperShare, WayId, WayKey, WayKind, WaysNumber, WaysObject, join_paper, recover_bolt,
};

fn file(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/format-1")
        .join(name);
    std::fs::read(path).unwrap()
}

fn derived(name: &str) -> Vec<u8> {
    let text = String::from_utf8(file("derived.txt")).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap();
    (0..value.len() / 2)
        .map(|at| u8::from_str_radix(&value[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn vault_key() -> VaultKey {
    let objects: Vec<_> = [3, 1]
        .map(|n| VaultObject::parse(&file(&format!("vault-{n}"))).unwrap())
        .into();
    assert_eq!(objects[0].vault(), VaultId::from_bytes([0x11; 16]));
    let (key, liars) = recover_vault_key(&objects).unwrap();
    assert!(liars.is_empty());
    key
}

fn server(number: u8) -> ServerId {
    ServerId::from_bytes([0x20 + number; 16])
}

/// Joins the two shares and gives what they hold and of what they are.
fn join(name: &str, numbers: &[u8]) -> (Joiner, Vec<u8>) {
    let key = vault_key();
    let objects: Vec<_> = numbers
        .iter()
        .map(|number| file(&format!("{name}-{number}")))
        .collect();
    let shares = objects.iter().zip(numbers).map(|(object, number)| {
        let share = OpenShare::open(object, &key.seal_key(server(*number))).unwrap();
        assert_eq!(
            (share.server(), share.index().get()),
            (server(*number), *number)
        );
        share
    });
    let mut joiner = Joiner::new(shares.collect()).unwrap();
    let prefix = joiner.shares()[0].header().prefix_len();
    let bodies: Vec<&[u8]> = objects.iter().map(|object| &object[prefix..]).collect();
    let mut secret = vec![0; usize::try_from(joiner.secret_len()).unwrap()];
    joiner.join_chunks(0, &bodies, &mut secret).unwrap();
    (joiner, secret)
}

#[test]
fn p7_share_objects_of_format_1_are_read() {
    for (name, suite, extent, generation, version) in [
        ("data-aes", Suite::Aes256Gcm, 0x41, 1, 2),
        (
            "data-chacha",
            Suite::ChaCha20Poly1305,
            0x42,
            0x0102_0304,
            0x0102_0304_0506_0708,
        ),
    ] {
        for numbers in [[1, 2], [3, 1], [2, 3]] {
            let (joiner, secret) = join(name, &numbers);
            assert_eq!(secret, "割符は二つに割った札".as_bytes());
            let dealing = joiner.dealing();
            assert_eq!(dealing.suite, suite);
            assert_eq!(dealing.kind, ExtentKind::Data);
            assert_eq!(dealing.number, 5);
            assert_eq!(dealing.threshold, Threshold::new(2, 3).unwrap());
            assert_eq!(dealing.vault, VaultId::from_bytes([0x11; 16]));
            assert_eq!(dealing.file, FileId::from_bytes([0x31; 16]));
            assert_eq!(dealing.extent, ExtentId::from_bytes([extent; 16]));
            assert_eq!(
                (dealing.generation, dealing.version),
                (Generation(generation), VersionNo(version))
            );
        }
    }
    let (joiner, secret) = join("refreshed", &[3, 2]);
    assert_eq!(secret, "割符は二つに割った札".as_bytes());
    let dealing = joiner.dealing();
    assert_eq!(
        (dealing.generation, dealing.round),
        (Generation(2), RoundId::from_bytes([0x57; 16]))
    );
    let (joiner, secret) = join("long", &[1]);
    assert_eq!(joiner.dealing().round, RoundId::NIL);
    assert_eq!(joiner.dealing().kind, ExtentKind::Journal);
    assert_eq!(
        secret,
        (0..=CHUNK).map(|at| (at % 251) as u8).collect::<Vec<_>>()
    );
}

#[test]
fn p7_compact_share_objects_of_format_1_are_read() {
    let long: Vec<u8> = (0..=CHUNK).map(|at| (at % 251) as u8).collect();
    for (name, suite, extent, text) in [
        (
            "compact",
            Suite::ChaCha20Poly1305,
            0x45,
            "割符は二つに割った札".as_bytes(),
        ),
        ("compact-aes", Suite::Aes256Gcm, 0x46, &long),
    ] {
        for numbers in [[1, 2, 3], [5, 1, 4], [3, 4, 5]] {
            let (joiner, secret) = join(name, &numbers);
            assert_eq!(secret, text);
            let dealing = joiner.dealing();
            assert_eq!((dealing.scheme, dealing.suite), (Scheme::Compact, suite));
            assert_eq!(dealing.threshold, Threshold::new(3, 5).unwrap());
            assert_eq!(dealing.extent, ExtentId::from_bytes([extent; 16]));
        }
    }
}

#[test]
fn p7_heads_of_format_1_are_read() {
    let (joiner, secret) = join("head", &[3, 2]);
    assert_eq!(joiner.dealing().kind, ExtentKind::Head);
    let (head, at) = Head::parse(&secret).unwrap();
    assert_eq!(&secret[at..], b"inline");
    assert_eq!(
        head.path,
        ["総務課".as_bytes(), "名簿 2026.xlsx".as_bytes()]
    );
    assert_eq!(
        (head.mode, head.uid, head.gid, head.size),
        (0o100_640, 1000, 100, 6)
    );
    let time = |secs, nanos| Timestamp { secs, nanos };
    assert_eq!(head.atime, time(1_790_000_000, 1));
    assert_eq!(head.mtime, time(1_790_000_001, 999_999_999));
    assert_eq!(head.ctime, time(1_790_000_002, 0));
    assert_eq!(head.btime, time(-1, 500_000_000));
    assert_eq!(head.saved_at, time(1_790_000_003, 7));
    assert_eq!(
        (head.version, head.base),
        (VersionNo(2), Some(ExtentId::from_bytes([0xB0; 16])))
    );
    assert_eq!(
        (head.author.as_str(), head.host.as_str()),
        ("sato", "pc-17")
    );
    assert_eq!(head.xattrs, [(b"user.note".to_vec(), b"\x00\xFF".to_vec())]);
    assert_eq!(head.content, Content::Inline);
}

#[test]
fn loose_shares_of_format_1_are_read() {
    let files = [file("loose-3"), file("loose-1")];
    let mut joiner = LooseJoiner::new(&[&files[0], &files[1]]).unwrap();
    let mut at = joiner.start();
    let mut text = Vec::new();
    let mut names = Vec::new();
    while !joiner.is_finished() {
        let rest = [files[0].get(at..), files[1].get(at..)];
        at += joiner.next_len(&rest).unwrap();
        match joiner.join(&rest).unwrap().part {
            LoosePart::Head(head) => names = head.path,
            LoosePart::Data(data) => text.extend_from_slice(data.expose()),
        }
    }
    assert_eq!(
        (text.as_slice(), names),
        (b"tally".as_slice(), vec!["札.txt".into()])
    );
    assert_eq!(at, files[0].len());
}

#[test]
fn what_is_derived_from_the_vault_key_stays() {
    let key = vault_key();
    let name = key.object_name(server(1), ExtentId::from_bytes([0x41; 16]), Generation(1));
    assert_eq!(name.as_bytes().as_slice(), derived("object name"));
    let catalog = key.catalog_key(VaultId::from_bytes([0x11; 16]));
    assert_eq!(
        catalog.name_tag(7, "名簿.xlsx".as_bytes()).as_slice(),
        derived("name tag")
    );
    assert_eq!(
        catalog.chain(&[0x61; 32], b"entry").as_slice(),
        derived("chain")
    );
    let field = catalog
        .open(Field::Name, b"row 7", &derived("sealed field"))
        .unwrap();
    assert_eq!(field.expose(), "名簿.xlsx".as_bytes());
}

#[test]
fn p3_ways_of_format_1_are_read() {
    let text = String::from_utf8(file("ways.txt")).unwrap();
    let said = |name: &str| {
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap().to_owned()
    };
    for numbers in [[1, 2], [3, 1]] {
        let objects = numbers.map(|n| WaysObject::parse(&file(&format!("ways-{n}"))).unwrap());
        let barred = recover_bolt(&objects).unwrap();
        assert_eq!(barred.vault(), VaultId::from_bytes([0x11; 16]));
        assert_eq!(barred.number(), WaysNumber(7));
        let ways: Vec<_> = barred.ways().cloned().collect();
        let names: Vec<_> = ways.iter().map(|way| (way.id().0, way.name())).collect();
        let expected = [
            (1, "open"),
            (2, "合言葉"),
            (3, "sato"),
            (4, "三役"),
            (9, "of tomorrow"),
        ];
        assert_eq!(names, expected);
        let sheets = [3, 1].map(|n| {
            let words = said(&format!("sheet {n}"));
            let words: Vec<u16> = words.split(' ').map(|word| word.parse().unwrap()).collect();
            PaperShare::read(&words).unwrap()
        });
        let mut keys = Vec::new();
        for way in &ways {
            let key = match way.kind() {
                WayKind::Open => WayKey::open(),
                WayKind::Passphrase(cost) => cost.derive("割符は二つ".as_bytes()).unwrap(),
                WayKind::Custodians(set) => {
                    assert_eq!((set.needed, set.sheets), (2, 3));
                    let (found, key) = join_paper(&sheets).unwrap();
                    assert_eq!(found, set.set);
                    key
                }
                // Known from what is kept, below.
                WayKind::Keys { recipients, sealed } => {
                    assert_eq!(
                        (recipients.as_str(), sealed.as_slice()),
                        ("age1golden", &b"sealed for age1golden"[..])
                    );
                    continue;
                }
                WayKind::Newer { code, bytes } => {
                    assert_eq!((*code, bytes.as_slice()), (250, &[1, 2, 3][..]));
                    continue;
                }
                other => panic!("{other:?}"),
            };
            let vault_key = barred.unseal(way.id(), &key).unwrap();
            assert!(objects.iter().all(|object| object.is_authentic(&vault_key)));
            keys.push(vault_key);
        }
        assert_eq!(keys.len(), 3);
        for (way, key) in barred.kept(&keys[0]).unwrap() {
            let hex: String = key
                .expose()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(hex, said(&format!("key of way {}", way.id())));
            assert!(barred.unseal(way.id(), &key).is_ok());
        }
        assert!(barred.unseal(WayId(3), &WayKey::open()).is_err());
    }
    let signs: Vec<_> = [1, 2, 3]
        .map(|n| VaultObject::parse(&file(&format!("sign-{n}"))).unwrap())
        .into();
    assert!(
        signs
            .iter()
            .all(|sign| sign.is_bound() && sign.is_authentic(&vault_key()))
    );
    assert_eq!(recover_vault_key(&signs).unwrap_err(), RecoverError::Bound);
}
