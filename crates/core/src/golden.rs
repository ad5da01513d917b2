//! The golden vectors of format 1: made here from fixed "random" bytes, compared with what was committed.
//!
//! The files are read, through the public interface alone, in `tests/golden.rs`. They are never made anew for format 1: a difference
//! means that the format was broken.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use std::path::{Path, PathBuf};

use crate::coefficients::Entropy;
use crate::format::{CHUNK, Dealing, ExtentKind, Scheme, Seat, Suite, deal_with};
use crate::head::{Content, Head, Timestamp};
use crate::ids::{ExtentId, FileId, Generation, RoundId, ServerId, Threshold, VaultId, VersionNo};
use crate::keys::{Field, VaultKey};
use crate::loose::LooseDealer;
use crate::random::NoRandomness;
use crate::secret::Secret;
use crate::vault_object::{VaultObject, deal_vault_key_with};
use crate::ways::{
    PassphraseCost, Way, WayId, WayKey, WayKind, WaysNumber, deal_paper_with, deal_ways_with,
};

/// Bytes that look random and are the same each time: the output of BLAKE3 in extended mode, read on and on.
fn entropy() -> impl FnMut(&mut [u8]) -> Result<(), NoRandomness> + Clone {
    let mut reader =
        blake3::Hasher::new_derive_key("warifu golden vectors, format 1").finalize_xof();
    move |bytes| {
        reader.fill(bytes);
        Ok(())
    }
}

fn head() -> Head {
    Head {
        path: vec!["総務課".into(), "名簿 2026.xlsx".into()],
        mode: 0o100_640,
        uid: 1000,
        gid: 100,
        atime: Timestamp {
            secs: 1_790_000_000,
            nanos: 1,
        },
        mtime: Timestamp {
            secs: 1_790_000_001,
            nanos: 999_999_999,
        },
        ctime: Timestamp {
            secs: 1_790_000_002,
            nanos: 0,
        },
        btime: Timestamp {
            secs: -1,
            nanos: 500_000_000,
        },
        size: 6,
        version: VersionNo(2),
        base: Some(ExtentId::from_bytes([0xB0; 16])),
        author: "sato".into(),
        host: "pc-17".into(),
        saved_at: Timestamp {
            secs: 1_790_000_003,
            nanos: 7,
        },
        xattrs: vec![(b"user.note".to_vec(), b"\x00\xFF".to_vec())],
        content: Content::Inline,
    }
}

/// By the portable engine: the coefficients of the others are another generator's, and are none of the format's concern.
fn make() -> Vec<(String, Vec<u8>)> {
    crate::engine::with(crate::engine::Engine::Portable, make_portably)
}

fn make_portably() -> Vec<(String, Vec<u8>)> {
    let mut entropy = entropy();
    let mut files = Vec::new();
    let key = VaultKey::from_secret(Secret::filled(|bytes| entropy(bytes)).unwrap());
    let vault = VaultId::from_bytes([0x11; 16]);
    let servers = [0x21, 0x22, 0x23].map(|byte| ServerId::from_bytes([byte; 16]));
    let threshold = Threshold::new(2, 3).unwrap();

    let objects = deal_vault_key_with(
        &key,
        &vault,
        threshold,
        Generation(1),
        &servers,
        &mut entropy,
    )
    .unwrap();
    for (number, object) in (1..).zip(&objects) {
        files.push((format!("vault-{number}"), object.encode().to_vec()));
    }

    let keys = servers.map(|server| key.seal_key(server));
    let seats: Vec<Seat<'_>> = servers
        .iter()
        .zip(&keys)
        .map(|(server, key)| Seat {
            server: *server,
            key,
        })
        .collect();
    let base = Dealing {
        vault,
        file: FileId::from_bytes([0x31; 16]),
        version: VersionNo(2),
        kind: ExtentKind::Data,
        number: 5,
        extent: ExtentId::from_bytes([0x41; 16]),
        generation: Generation(1),
        round: RoundId::NIL,
        threshold,
        scheme: Scheme::Shamir,
        suite: Suite::Aes256Gcm,
    };
    let chacha = Dealing {
        suite: Suite::ChaCha20Poly1305,
        extent: ExtentId::from_bytes([0x42; 16]),
        generation: Generation(0x0102_0304),
        version: VersionNo(0x0102_0304_0506_0708),
        ..base
    };
    let head_dealing = Dealing {
        kind: ExtentKind::Head,
        number: 0,
        extent: ExtentId::from_bytes([0x43; 16]),
        ..base
    };
    let long = Dealing {
        kind: ExtentKind::Journal,
        number: 0,
        extent: ExtentId::from_bytes([0x44; 16]),
        threshold: Threshold::new(1, 1).unwrap(),
        ..chacha
    };
    let head_bytes = [head().encode().as_slice(), b"inline"].concat();
    let long_bytes: Vec<u8> = (0..=CHUNK).map(|at| (at % 251) as u8).collect();
    let tally = "割符は二つに割った札".as_bytes();
    for (name, dealing, secret) in [
        ("data-aes", base, tally),
        ("data-chacha", chacha, tally),
        ("head", head_dealing, &head_bytes),
        ("long", long, &long_bytes),
    ] {
        let mut objects = vec![Vec::new(); usize::from(dealing.threshold.n())];
        let seats = &seats[..objects.len()];
        deal_with(&dealing, seats, secret, &mut objects, &mut entropy).unwrap();
        for (number, object) in (1..).zip(objects) {
            files.push((format!("{name}-{number}"), object));
        }
    }

    let loose_head = Head {
        path: vec!["札.txt".into()],
        size: 5,
        ..Head::default()
    };
    let mut dealer =
        LooseDealer::new_with(threshold, loose_head, Suite::ChaCha20Poly1305, &mut entropy)
            .unwrap();
    let mut loose = dealer.blocks().to_vec();
    for (file, block) in loose
        .iter_mut()
        .zip(dealer.push_with(b"tally", &mut entropy).unwrap())
    {
        file.extend_from_slice(block);
    }
    for (number, file) in (1..).zip(loose) {
        files.push((format!("loose-{number}"), file));
    }

    let catalog = key.catalog_key(vault);
    let sealed = catalog
        .seal_with(Field::Name, b"row 7", "名簿.xlsx".as_bytes(), [0x51; 24])
        .unwrap();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let derived = [
        ("vault key", hex(key.expose())),
        (
            "object name",
            key.object_name(servers[0], base.extent, Generation(1))
                .to_string(),
        ),
        (
            "name tag",
            hex(&catalog.name_tag(7, "名簿.xlsx".as_bytes())),
        ),
        ("chain", hex(&catalog.chain(&[0x61; 32], b"entry"))),
        ("sealed field", hex(&sealed)),
    ];
    let derived: String = derived
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    files.push(("derived.txt".to_string(), derived.into_bytes()));

    // After all others, whose random bytes come before.
    let servers: Vec<ServerId> = (0x21..=0x25)
        .map(|byte| ServerId::from_bytes([byte; 16]))
        .collect();
    let keys: Vec<_> = servers.iter().map(|server| key.seal_key(*server)).collect();
    let seats: Vec<Seat<'_>> = servers
        .iter()
        .zip(&keys)
        .map(|(server, key)| Seat {
            server: *server,
            key,
        })
        .collect();
    let compact = Dealing {
        scheme: Scheme::Compact,
        threshold: Threshold::new(3, 5).unwrap(),
        extent: ExtentId::from_bytes([0x45; 16]),
        ..chacha
    };
    let compact_aes = Dealing {
        suite: Suite::Aes256Gcm,
        extent: ExtentId::from_bytes([0x46; 16]),
        ..compact
    };
    for (name, dealing, secret) in [
        ("compact", compact, tally),
        ("compact-aes", compact_aes, &long_bytes),
    ] {
        let mut objects = vec![Vec::new(); 5];
        deal_with(&dealing, &seats, secret, &mut objects, &mut entropy).unwrap();
        for (number, object) in (1..).zip(objects) {
            files.push((format!("{name}-{number}"), object));
        }
    }

    // Both came to format 1 at a time, and neither knew of the other: so both begin with the same bytes of randomness.
    let mut same = entropy.clone();

    // As a refresh leaves an extent.
    let refreshed = Dealing {
        extent: ExtentId::from_bytes([0x47; 16]),
        generation: Generation(2),
        round: RoundId::from_bytes([0x57; 16]),
        ..base
    };
    let mut objects = vec![Vec::new(); 3];
    deal_with(&refreshed, &seats[..3], tally, &mut objects, &mut entropy).unwrap();
    for (number, object) in (1..).zip(objects) {
        files.push((format!("refreshed-{number}"), object));
    }
    files.extend(ways(&key, vault, threshold, &servers, &mut same));
    files
}

/// A vault with a way of each kind; what stands on a server in the place of a piece; and the paper shares of one of the ways.
fn ways(
    key: &VaultKey,
    vault: VaultId,
    threshold: Threshold,
    servers: &[ServerId],
    entropy: Entropy<'_>,
) -> Vec<(String, Vec<u8>)> {
    let servers = &servers[..3];
    let mut files = Vec::new();
    let (set, paper_key, sheets) = deal_paper_with(2, 3, entropy).unwrap();
    let mut salt = [0; 32];
    entropy(&mut salt).unwrap();
    let cost = PassphraseCost::of(64, 1, salt);
    let passphrase_key = cost.derive("割符は二つ".as_bytes()).unwrap();
    let own_key = WayKey::from_secret(Secret::filled(|bytes| entropy(bytes)).unwrap());
    let made = Timestamp {
        secs: 1_790_000_004,
        nanos: 8,
    };
    let way = |id, kind, name| Way::new(WayId(id), kind, name, made).unwrap();
    let keys = WayKind::Keys {
        recipients: "age1golden".into(),
        sealed: b"sealed for age1golden".to_vec(),
    };
    let newer = WayKind::Newer {
        code: 250,
        bytes: vec![1, 2, 3],
    };
    let ways = [
        (way(1, WayKind::Open, "open"), WayKey::open()),
        (way(2, WayKind::Passphrase(cost), "合言葉"), passphrase_key),
        (way(3, keys, "sato"), own_key),
        (way(4, WayKind::Custodians(set), "三役"), paper_key),
        (
            way(9, newer, "of tomorrow"),
            WayKey::from_secret(Secret::filled(|bytes| entropy(bytes)).unwrap()),
        ),
    ];
    let borrowed: Vec<_> = ways.iter().map(|(way, key)| (way, key)).collect();
    let number = WaysNumber(7);
    let dealt = deal_ways_with(key, vault, threshold, number, servers, &borrowed, entropy);
    for (number, object) in (1..).zip(dealt.unwrap()) {
        files.push((format!("ways-{number}"), object.encode()));
    }
    let generation = Generation(1);
    for ((number, index), server) in (1..).zip(threshold.indices()).zip(servers) {
        let sign = VaultObject::without_piece(key, vault, threshold, generation, *server, index);
        files.push((format!("sign-{number}"), sign.encode().to_vec()));
    }
    let mut text = String::new();
    for sheet in &sheets {
        let words: Vec<String> = sheet
            .words()
            .expose()
            .iter()
            .map(ToString::to_string)
            .collect();
        text.push_str(&format!("sheet {}: {}\n", sheet.index(), words.join(" ")));
    }
    for (way, key) in &ways {
        let hex: String = key
            .expose()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text.push_str(&format!("key of way {}: {hex}\n", way.id()));
    }
    files.push(("ways.txt".to_string(), text.into_bytes()));
    files
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/format-1")
}

#[test]
fn format_1_is_still_written_byte_for_byte() {
    let made = make();
    for (name, bytes) in &made {
        let committed = std::fs::read(folder().join(name)).unwrap();
        assert!(committed == *bytes, "{name} differs from what format 1 is");
    }
    assert_eq!(std::fs::read_dir(folder()).unwrap().count(), made.len());
}

/// For a new format: writes the files that are missing, and never over one that is there.
#[test]
#[ignore = "writes files; only for a new format"]
fn write_golden_vectors() {
    std::fs::create_dir_all(folder()).unwrap();
    for (name, bytes) in make() {
        let path = folder().join(name);
        if !path.exists() {
            std::fs::write(path, bytes).unwrap();
        }
    }
}
