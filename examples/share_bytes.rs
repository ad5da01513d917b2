//! Splits a secret into five shares of which any three give it back, with `warifu-core` alone: no file, no server, no clock.
//!
//! `cargo run -p warifu-examples --example share_bytes`

use warifu_core::ids::Threshold;
use warifu_core::shamir::{Weights, bare, split_into};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = b"the combination of the safe is 31-41-59";
    let threshold = Threshold::new(3, 5)?;

    // Into buffers of yours: share i lies on the polynomials' point i + 1.
    let mut shares = vec![vec![0; secret.len()]; 5];
    let mut buffers: Vec<&mut [u8]> = shares.iter_mut().map(Vec::as_mut_slice).collect();
    split_into(threshold, secret, &mut buffers)?;

    // Any three will do; here the second, the third and the fifth.
    let indices: Vec<_> = threshold
        .indices()
        .filter(|index| [2, 3, 5].contains(&index.get()))
        .collect();
    let weights = Weights::at_secret(&indices)?;
    let mut joined = vec![0; secret.len()];
    weights.combine_into(&[&shares[1], &shares[2], &shares[4]], &mut joined)?;
    assert_eq!(joined, secret);

    // A lost share is made again from any three others, without forming the secret.
    let first = threshold.indices().next().ok_or("there is a first share")?;
    let mut rebuilt = vec![0; secret.len()];
    Weights::at(first, &indices)?
        .combine_into(&[&shares[1], &shares[2], &shares[4]], &mut rebuilt)?;
    assert_eq!(rebuilt, shares[0]);

    // The bare form (x, then the y bytes) is that of the crates `sharks` and `blahaj`, which can read it and be read.
    // Bare shares are not sealed: a damaged one gives a wrong secret. A vault, or `warifu split`, tells.
    let bare_shares = bare::split(threshold, secret)?;
    let three: Vec<&[u8]> = bare_shares
        .iter()
        .skip(2)
        .map(|share| share.as_slice())
        .collect();
    let back = bare::combine(3, &three)?;
    assert_eq!(back.expose(), secret);

    println!(
        "five shares of {} bytes each; any three of them give the secret back",
        secret.len()
    );
    Ok(())
}
