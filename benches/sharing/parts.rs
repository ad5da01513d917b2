//! What is measured.

use std::hint::black_box;

use warifu_core::engine;
use warifu_core::format::{
    Dealing, ExtentKind, Joiner, OpenShare, PREFIX_LEN, Scheme, Seat, Suite, deal,
};
use warifu_core::ids::{
    ExtentId, FileId, Generation, ServerId, ShareIndex, Threshold, VaultId, VersionNo,
};
use warifu_core::keys::VaultKey;
use warifu_core::shamir::{Weights, split_into};

use crate::measure::{Candidate, measure};
use crate::peers::{GfShare, IsaL};
use crate::yard;

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
    if asked("engines") {
        println!(
            "MiB/s of secret, medians; in brackets the ratio to the yardstick of the same run\n"
        );
        println!("| engine | k of n | size | fan-out copy | split | XOR of k | join |");
        println!("|---|---|---|---|---|---|---|");
        for name in engine::available() {
            let status = std::process::Command::new(std::env::current_exe()?)
                .arg("one-engine")
                .env("WARIFU_ENGINE", name)
                .status()?;
            if !status.success() {
                return Err(format!("engine {name}: {status}").into());
            }
        }
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
    println!("| suite | k of n | size | fan-out copy | deal | open and join |");
    println!("|---|---|---|---|---|---|");
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for (k, n) in THRESHOLDS {
            for size in [64 << 10, 4 << 20] {
                sealed_row(suite, k, n, size)?;
            }
        }
    }
    println!();
    Ok(())
}

fn sealed_row(suite: Suite, k: u8, n: u8, size: usize) -> Outcome<()> {
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
        threshold: Threshold::new(k, n)?,
        scheme: Scheme::Shamir,
        suite,
    };
    let secret = pattern(size);
    let mut objects = vec![Vec::new(); usize::from(n)];
    deal(&dealing, &seats, &secret, &mut objects)?;
    let whole = objects.clone();
    let bodies: Vec<&[u8]> = whole[..usize::from(k)]
        .iter()
        .map(|object| &object[PREFIX_LEN..])
        .collect();
    let shares = whole.iter().zip(&keys).take(usize::from(k));
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
        "| {suite:?} | {k} of {n} | {} KiB | {:.0} | {:.0} | {:.0} |",
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
