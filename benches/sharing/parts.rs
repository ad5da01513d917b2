//! What is measured.

use std::hint::black_box;

use warifu_core::engine;
use warifu_core::format::{
    Dealing, ExtentKind, Joiner, OpenShare, Scheme, Seat, ShareHeader, Suite, deal,
};
use warifu_core::ids::{
    ExtentId, FileId, Generation, ServerId, ShareIndex, Threshold, VaultId, VersionNo,
};
use warifu_core::keys::VaultKey;
use warifu_core::shamir::{Weights, split_into};

use crate::measure::{Candidate, measure};
use crate::peers::{GfShare, IsaL};
use crate::plot::{Line, draw};
use crate::{timing, yard};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const THRESHOLDS: [(u8, u8); 3] = [(2, 3), (3, 5), (5, 8)];
const SIZES: [usize; 2] = [64 << 10, 1 << 20];

pub fn all() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let asked = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    if wanted.iter().any(|word| word == "one-engine") {
        return one_engine();
    }
    if wanted.iter().any(|word| word == "one-timing") {
        timing::row();
        return Ok(());
    }
    if asked("engines") {
        println!(
            "MiB/s of secret, medians; in brackets the ratio to the yardstick of the same run\n"
        );
        println!("| engine | k of n | size | fan-out copy | split | XOR of k | join |");
        println!("|---|---|---|---|---|---|---|");
        each_engine("one-engine")?;
        println!();
    }
    if wanted.iter().any(|word| word == "timing") {
        println!(
            "Welch's t of the times on zeros and on random bytes (and the difference in cycles), three runs of each\n"
        );
        println!("| engine | split of 250 bytes, 3 of 5 | join of 250 | join of 4096 |");
        println!("|---|---|---|---|");
        each_engine("one-timing")?;
        timing::control();
        println!();
    }
    if asked("small") {
        small()?;
    }
    if asked("sealed") {
        sealed()?;
    }
    if asked("peers") {
        peers()?;
    }
    if asked("codes") {
        codes()?;
    }
    if asked("plot") {
        plot()?;
    }
    Ok(())
}

/// Runs a part once for each engine, in processes of their own.
fn each_engine(part: &str) -> Outcome<()> {
    for name in engine::available() {
        let status = std::process::Command::new(std::env::current_exe()?)
            .arg(part)
            .env("WARIFU_ENGINE", name)
            .status()?;
        if !status.success() {
            return Err(format!("engine {name}: {status}").into());
        }
    }
    Ok(())
}

/// Bytes that are in memory for certain, unlike fresh zeros.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn buffers(count: u8, len: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| pattern(len)).collect()
}

/// The last k: their weights are no special ones, while those of 1, 2 and 3 are all 1.
fn indices(k: u8, n: u8) -> Vec<ShareIndex> {
    (n - k + 1..=n).filter_map(ShareIndex::new).collect()
}

fn last(k: u8, shares: &[Vec<u8>]) -> Vec<&[u8]> {
    let skipped = shares.len() - usize::from(k);
    shares[skipped..].iter().map(Vec::as_slice).collect()
}

fn split(threshold: Threshold, secret: &[u8], shares: &mut [Vec<u8>]) {
    let mut places: Vec<&mut [u8]> = shares.iter_mut().map(Vec::as_mut_slice).collect();
    split_into(threshold, black_box(secret), &mut places).unwrap();
    black_box(shares);
}

fn one_engine() -> Outcome<()> {
    for size in SIZES {
        for (k, n) in THRESHOLDS {
            let threshold = Threshold::new(k, n)?;
            let secret = pattern(size);
            let mut shares = buffers(n, size);
            let mut copies: [_; 4] = std::array::from_fn(|_| buffers(n, size));
            let [small, large, wide, _] = &mut copies;
            let mut candidates = [
                Candidate::new("split", size, || split(threshold, &secret, &mut shares)),
                Candidate::new("", size, || {
                    yard::fan_out(512, black_box(&secret), black_box(small));
                }),
                Candidate::new("", size, || {
                    yard::fan_out(4096, black_box(&secret), black_box(large));
                }),
                Candidate::new("", size, || {
                    yard::fan_out_wide(black_box(&secret), black_box(wide));
                }),
            ];
            let rates = measure(&mut candidates);
            drop(candidates);
            let (split_rate, copy) = (rates[0], rates[1].max(rates[2]).max(rates[3]));

            split(threshold, &secret, &mut shares);
            let views = last(k, &shares);
            let weights = Weights::at_secret(&indices(k, n))?;
            let mut outs = buffers(3, size);
            let [joined, plain, wide] = outs.as_mut_slice() else {
                return Err("three buffers".into());
            };
            let rates = measure(&mut [
                Candidate::new("join", size, || {
                    weights.combine_into(black_box(&views), joined).unwrap();
                    black_box(&joined);
                }),
                Candidate::new("", size, || yard::xor(black_box(&views), black_box(plain))),
                Candidate::new("", size, || {
                    yard::xor_wide(black_box(&views), black_box(wide))
                }),
            ]);
            assert_eq!(*joined, secret);
            let (join_rate, xor) = (rates[0], rates[1].max(rates[2]));
            println!(
                "| {} | {k} of {n} | {} KiB | {copy:.0} | {split_rate:.0} ({:.2}) | {xor:.0} | {join_rate:.0} ({:.2}) |",
                engine::name(),
                size >> 10,
                split_rate / copy,
                join_rate / xor
            );
        }
    }
    Ok(())
}

/// Secrets of 32 bytes, as keys are.
fn small() -> Outcome<()> {
    println!(
        "Secrets of 32 bytes, engine {}, million per second\n",
        engine::name()
    );
    println!("| k of n | split | join |");
    println!("|---|---|---|");
    for (k, n) in THRESHOLDS {
        let threshold = Threshold::new(k, n)?;
        let secret = [7; 32];
        let mut shares = vec![vec![0_u8; 32]; usize::from(n)];
        let mut places: Vec<&mut [u8]> = shares.iter_mut().map(Vec::as_mut_slice).collect();
        let split = measure(&mut [Candidate::new("", 1 << 20, || {
            split_into(threshold, black_box(&secret), &mut places).unwrap();
        })]);
        let views = last(k, &shares);
        let (weights, mut out) = (Weights::at_secret(&indices(k, n))?, [0; 32]);
        let join = measure(&mut [Candidate::new("", 1 << 20, || {
            weights.combine_into(black_box(&views), &mut out).unwrap();
        })]);
        assert_eq!(out, secret);
        println!(
            "| {k} of {n} | {:.2} | {:.2} |",
            split[0] / 1e6,
            join[0] / 1e6
        );
    }
    println!();
    Ok(())
}

fn sealed() -> Outcome<()> {
    println!(
        "Shared and sealed, engine {}, MiB/s of plaintext\n",
        engine::name()
    );
    println!("| scheme | suite | k of n | size | fan-out copy | deal | open and join |");
    println!("|---|---|---|---|---|---|---|");
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            for (k, n) in THRESHOLDS {
                for size in [64 << 10, 4 << 20] {
                    sealed_row(scheme, suite, k, n, size)?;
                }
            }
        }
    }
    println!();
    Ok(())
}

fn sealed_row(scheme: Scheme, suite: Suite, k: u8, n: u8, size: usize) -> Outcome<()> {
    let vault_key = VaultKey::generate()?;
    let servers: Vec<ServerId> = (0..n)
        .map(|_| ServerId::fresh())
        .collect::<Result<_, _>>()?;
    let keys: Vec<_> = servers
        .iter()
        .map(|server| vault_key.seal_key(*server))
        .collect();
    let seats: Vec<_> = servers
        .iter()
        .zip(&keys)
        .map(|(&server, key)| Seat { server, key })
        .collect();
    let dealing = Dealing {
        vault: VaultId::fresh()?,
        file: FileId::fresh()?,
        version: VersionNo(1),
        kind: ExtentKind::Data,
        number: 0,
        extent: ExtentId::fresh()?,
        generation: Generation(1),
        round: warifu_core::ids::RoundId::NIL,
        threshold: Threshold::new(k, n)?,
        scheme,
        suite,
    };
    let secret = pattern(size);
    let mut objects = vec![Vec::new(); usize::from(n)];
    deal(&dealing, &seats, &secret, &mut objects)?;
    let whole = objects.clone();
    // The last k: those of a compact dealing have to be computed with.
    let skipped = usize::from(n - k);
    let prefix = ShareHeader::parse(&whole[0])?.prefix_len();
    let bodies: Vec<&[u8]> = whole[skipped..]
        .iter()
        .map(|object| &object[prefix..])
        .collect();
    let shares = whole.iter().zip(&keys).skip(skipped);
    let shares = shares.map(|(object, key)| OpenShare::open(object, key));
    let mut joiner = Joiner::new(shares.collect::<Result<_, _>>()?)?;
    let mut out = pattern(size);
    let mut copies = buffers(n, size);
    let rates = measure(&mut [
        Candidate::new("deal", size, || {
            deal(&dealing, &seats, black_box(&secret), &mut objects).unwrap();
        }),
        Candidate::new("join", size, || {
            joiner.join_chunks(0, black_box(&bodies), &mut out).unwrap();
        }),
        Candidate::new("copy", size, || {
            yard::fan_out_wide(black_box(&secret), black_box(&mut copies));
        }),
    ]);
    assert_eq!(out, secret);
    println!(
        "| {scheme:?} | {suite:?} | {k} of {n} | {} KiB | {:.0} | {:.0} | {:.0} |",
        size >> 10,
        rates[2],
        rates[0],
        rates[1]
    );
    Ok(())
}

fn peers() -> Outcome<()> {
    println!(
        "Others, secrets of 64 KiB, MiB/s; in brackets how many times quicker warifu-core ({}) is\n",
        engine::name()
    );
    println!("| library | k of n | split | join |");
    println!("|---|---|---|---|");
    for (k, n) in THRESHOLDS {
        peers_row(k, n)?;
    }
    println!();
    Ok(())
}

fn peers_row(k: u8, n: u8) -> Outcome<()> {
    let size = 64 << 10;
    let threshold = Threshold::new(k, n)?;
    let (few, many) = (usize::from(k), usize::from(n));
    let secret = pattern(size);
    let mut shares = buffers(n, size);
    split(threshold, &secret, &mut shares);
    let weights = Weights::at_secret(&indices(k, n))?;
    let joinable = shares.clone();
    let views = last(k, &joinable);
    let mut out = pattern(size);

    let sharks_shares: Vec<_> = sharks::Sharks(k).dealer(&secret).take(few).collect();
    let blahaj_shares: Vec<_> = blahaj::Sharks(k).dealer(&secret).take(few).collect();
    let shamirs_shares: Vec<_> = shamirs::Sharks(k).dealer(&secret).take(few).collect();
    let vsss_shares = vsss_rs::Gf256::split_array(few, many, &secret, rand::rng())
        .map_err(|error| error.to_string())?;
    let vsss_few = vsss_shares[..few].to_vec();
    let gfshare = GfShare::open();
    let isal = IsaL::open();
    let (mut gf_shares, mut gf_out) = (buffers(n, size), pattern(size));
    let gf_views = buffers(k, size);
    let gf_views: Vec<&[u8]> = gf_views.iter().map(Vec::as_slice).collect();
    let mut isal_out = pattern(size);

    let row = weights_of(k, n);
    let tables = isal
        .as_ref()
        .map(|library| library.tables(&row))
        .unwrap_or_default();

    let mut splits = vec![
        Candidate::new("warifu-core", size, || {
            split(threshold, &secret, &mut shares)
        }),
        Candidate::new("sharks 0.5.0", size, || {
            black_box(
                sharks::Sharks(k)
                    .dealer(&secret)
                    .take(many)
                    .collect::<Vec<_>>(),
            );
        }),
        Candidate::new("blahaj 0.7.0", size, || {
            black_box(
                blahaj::Sharks(k)
                    .dealer(&secret)
                    .take(many)
                    .collect::<Vec<_>>(),
            );
        }),
        Candidate::new("shamirs 0.7.0", size, || {
            black_box(
                shamirs::Sharks(k)
                    .dealer(&secret)
                    .take(many)
                    .collect::<Vec<_>>(),
            );
        }),
        Candidate::new("vsss-rs 6.0.1", size, || {
            black_box(vsss_rs::Gf256::split_array(few, many, &secret, rand::rng()).ok());
        }),
    ];
    if let Some(library) = &gfshare {
        splits.push(Candidate::new("libgfshare 2.0.0", size, || {
            library.split(k, &secret, &mut gf_shares);
        }));
    }
    let split_rates = measure(&mut splits);
    let mut joins = vec![
        Candidate::new("warifu-core", size, || {
            weights.combine_into(black_box(&views), &mut out).unwrap();
        }),
        Candidate::new("sharks 0.5.0", size, || {
            black_box(sharks::Sharks(k).recover(&sharks_shares).ok());
        }),
        Candidate::new("blahaj 0.7.0", size, || {
            black_box(blahaj::Sharks(k).recover(&blahaj_shares).ok());
        }),
        Candidate::new("shamirs 0.7.0", size, || {
            black_box(shamirs::Sharks(k).recover(&shamirs_shares).ok());
        }),
        Candidate::new("vsss-rs 6.0.1", size, || {
            black_box(vsss_rs::Gf256::combine_array(&vsss_few).ok());
        }),
    ];
    if let Some(library) = &gfshare {
        joins.push(Candidate::new("libgfshare 2.0.0", size, || {
            library.join(&gf_views, &mut gf_out);
        }));
    }
    if let Some(library) = &isal {
        joins.push(Candidate::new("isa-l 2.30", size, || {
            library.join(&tables, black_box(&views), &mut isal_out);
        }));
    }
    let join_rates = measure(&mut joins);
    for (number, join) in joins.iter().enumerate() {
        let split = match (split_rates.get(number), split_rates.first()) {
            (Some(rate), Some(ours)) => format!("{rate:.0} ({:.1})", ours / rate),
            _ => "–".into(),
        };
        let (rate, ours) = (join_rates[number], join_rates[0]);
        println!(
            "| {} | {k} of {n} | {split} | {rate:.0} ({:.1}) |",
            join.name,
            ours / rate
        );
    }
    drop(joins);
    assert!(
        isal.is_none() || isal_out == secret,
        "isa-l joins the same secret"
    );
    for (name, missing) in [
        ("libgfshare2", gfshare.is_none()),
        ("libisal2", isal.is_none()),
    ] {
        if missing {
            println!("| {name} is not installed | {k} of {n} | | |");
        }
    }
    Ok(())
}

/// Lagrange's weights at 0 for the last k indices, read off the shares of unit vectors.
fn weights_of(k: u8, n: u8) -> Vec<u8> {
    let weights = Weights::at_secret(&indices(k, n)).unwrap();
    let units: Vec<Vec<u8>> = (0..k)
        .map(|own| (0..k).map(|other| u8::from(own == other)).collect())
        .collect();
    let views: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
    let mut row = vec![0; usize::from(k)];
    weights.combine_into(&views, &mut row).unwrap();
    row
}

/// The code under the compact scheme beside two crates for it: k pieces of an extent of 1 MiB to n, and back from the last k.
fn codes() -> Outcome<()> {
    println!(
        "Reed–Solomon, 1 MiB in k pieces, MiB/s of data; engine {}\n",
        engine::name()
    );
    println!("| library | k of n | encode | decode from the last k |");
    println!("|---|---|---|---|");
    for (k, n) in THRESHOLDS {
        codes_row(k, n)?;
    }
    println!();
    Ok(())
}

fn codes_row(k: u8, n: u8) -> Outcome<()> {
    let (few, many) = (usize::from(k), usize::from(n));
    let piece = ((1 << 20) / few).next_multiple_of(64);
    let size = piece * few;
    let data: Vec<Vec<u8>> = (0..few)
        .map(|at| pattern(piece + at).split_off(at))
        .collect();
    let views: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let first: Vec<ShareIndex> = (1..=k).filter_map(ShareIndex::new).collect();
    let beyond: Vec<Weights> = (k + 1..=n)
        .filter_map(ShareIndex::new)
        .map(|index| Weights::at(index, &first))
        .collect::<Result<_, _>>()?;
    let mut parity = vec![vec![0; piece]; many - few];
    for (weights, parity) in beyond.iter().zip(&mut parity) {
        weights.combine_into(&views, parity)?;
    }
    // The first n − k are lost.
    let lost = (many - few).min(few);
    let given: Vec<Vec<u8>> = data
        .iter()
        .chain(&parity)
        .skip(many - few)
        .cloned()
        .collect();
    let given: Vec<&[u8]> = given.iter().map(Vec::as_slice).collect();
    let back: Vec<Weights> = first[..lost]
        .iter()
        .map(|index| Weights::at(*index, &indices(k, n)))
        .collect::<Result<_, _>>()?;
    let mut restored = vec![vec![0; piece]; lost];

    let erasure = reed_solomon_erasure::galois_8::ReedSolomon::new(few, many - few)?;
    let mut erasure_parity = parity.clone();
    erasure.encode_sep(&data, &mut erasure_parity)?;
    let mut shards: Vec<(Vec<u8>, bool)> = data
        .iter()
        .chain(&erasure_parity)
        .map(|shard| (shard.clone(), true))
        .collect();
    let simd_parity = reed_solomon_simd::encode(few, many - few, &data)?;

    let encoded = measure(&mut [
        Candidate::new("warifu-core", size, || {
            for (weights, parity) in beyond.iter().zip(&mut parity) {
                weights.combine_into(black_box(&views), parity).unwrap();
            }
        }),
        Candidate::new("reed-solomon-erasure 6.0.0", size, || {
            erasure
                .encode_sep(black_box(&data), &mut erasure_parity)
                .unwrap();
        }),
        Candidate::new("reed-solomon-simd 3.1.0", size, || {
            black_box(reed_solomon_simd::encode(few, many - few, &data).unwrap());
        }),
    ]);
    let mut candidates = [
        Candidate::new("warifu-core", size, || {
            for (weights, piece) in back.iter().zip(&mut restored) {
                weights.combine_into(black_box(&given), piece).unwrap();
            }
        }),
        Candidate::new("reed-solomon-erasure 6.0.0", size, || {
            for (_, there) in &mut shards[..many - few] {
                *there = false;
            }
            erasure.reconstruct_data(black_box(&mut shards)).unwrap();
        }),
        Candidate::new("reed-solomon-simd 3.1.0", size, || {
            let kept = data.iter().enumerate().skip(many - few);
            let spare = simd_parity.iter().enumerate();
            black_box(reed_solomon_simd::decode(few, many - few, kept, spare).unwrap());
        }),
    ];
    let decoded = measure(&mut candidates);
    for ((candidate, encoded), decoded) in candidates.iter().zip(encoded).zip(decoded) {
        println!(
            "| {} | {k} of {n} | {encoded:.0} | {decoded:.0} |",
            candidate.name
        );
    }
    drop(candidates);
    assert!(
        restored
            .iter()
            .zip(&data)
            .all(|(restored, data)| restored == data)
    );
    Ok(())
}

fn plot() -> Outcome<()> {
    let size = 64 << 10;
    let secret = pattern(size);
    let colors = [(0, 90, 180), (200, 80, 0), (0, 130, 80), (150, 50, 150)];
    let mut splits = Vec::new();
    for (k, (r, g, b)) in [2, 3, 5, 8].into_iter().zip(colors) {
        let mut points = Vec::new();
        for n in k..=16 {
            let threshold = Threshold::new(k, n)?;
            let mut shares = buffers(n, size);
            let rates = measure(&mut [Candidate::new("", size, || {
                split(threshold, &secret, &mut shares);
            })]);
            points.push((f64::from(n), rates[0] / 1024.0));
        }
        let (name, color) = (format!("k = {k}"), plotters::style::RGBColor(r, g, b));
        splits.push(Line {
            name,
            color,
            points,
        });
    }
    let mut points = Vec::new();
    for k in 2..=16 {
        let (shares, mut out) = (buffers(17, size), pattern(size));
        let views = last(k, &shares);
        let weights = Weights::at_secret(&indices(k, 17))?;
        let rates = measure(&mut [Candidate::new("", size, || {
            weights.combine_into(black_box(&views), &mut out).unwrap();
        })]);
        points.push((f64::from(k), rates[0] / 1024.0));
    }
    let joins = Line {
        name: "join".into(),
        color: plotters::style::RGBColor(0, 90, 180),
        points,
    };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sharing.svg");
    let title = format!("Secrets of 64 KiB, engine {}", engine::name());
    draw(&path, &title, &splits, &joins)?;
    println!("Drawn: benches/sharing.svg");
    Ok(())
}
