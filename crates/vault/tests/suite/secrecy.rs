//! P1 and P3, as far as bytes can show it: what servers hold shows nothing of contents and names.

use std::collections::HashSet;

use warifu_core::format::{Plan, Scheme, bucket};
use warifu_testkit::stores::MemoryStore;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::XattrMode;

use crate::common::{EXTENT, Lab, ctx, name, noise, open, put, stat};

const WINDOW: usize = 16;

/// Every stretch of 16 bytes of some texts, except runs of one byte.
struct Stretches {
    /// Whether any stretch begins with eight bytes of this digest: most others are told by it at once.
    begins: Vec<bool>,
    all: HashSet<[u8; WINDOW]>,
}

fn digest(window: &[u8; WINDOW]) -> usize {
    let begin = u64::from_le_bytes(*window.first_chunk().unwrap());
    (begin.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

fn windows(bytes: &[u8]) -> impl Iterator<Item = &[u8; WINDOW]> {
    bytes
        .windows(WINDOW)
        .map(|window| window.first_chunk().unwrap())
}

impl Stretches {
    fn of(texts: &[Vec<u8>]) -> Self {
        let mut stretches = Self {
            begins: vec![false; 1 << 24],
            all: HashSet::new(),
        };
        for window in texts.iter().flat_map(|text| windows(text)) {
            if *window != [window[0]; WINDOW] {
                stretches.begins[digest(window)] = true;
                stretches.all.insert(*window);
            }
        }
        stretches
    }

    fn contains(&self, window: &[u8; WINDOW]) -> bool {
        self.begins[digest(window)] && self.all.contains(window)
    }
}

/// Where one of the stretches lies on a server.
fn found_on(servers: &[MemoryStore], secret: &Stretches) -> Option<(usize, String)> {
    for (place, server) in servers.iter().enumerate() {
        for (object, bytes) in server.everything() {
            if windows(&bytes).any(|window| secret.contains(window)) {
                return Some((place, object.to_string()));
            }
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn p1_p3_no_stretch_of_a_plaintext_or_name_lies_on_a_server() {
    no_stretch_lies_on_a_server(Scheme::Shamir).await;
}

#[tokio::test(start_paused = true)]
async fn p2_p3_no_stretch_lies_on_a_server_under_compact() {
    no_stretch_lies_on_a_server(Scheme::Compact).await;
}

async fn no_stretch_lies_on_a_server(scheme: Scheme) {
    for (k, n) in [(1, 1), (2, 3)] {
        let mut lab = Lab::new(k, n).await;
        lab.options.scheme = scheme;
        let vault = lab.start().await;
        let prose = "住民基本台帳の写しを交付した件数の一覧表です。"
            .repeat(400)
            .into_bytes();
        // Its second extent repeats itself, as tables do.
        let mut large = noise(1, EXTENT + 40_000);
        let line = b"a line of a table that nobody may read\n";
        let place = large[EXTENT..].iter_mut();
        place
            .zip(line.iter().cycle())
            .for_each(|(byte, text)| *byte = *text);
        // The noise is sampled: to look for all of it takes a minute.
        let sample: Vec<u8> = large[..EXTENT]
            .chunks(4096)
            .flat_map(|page| page[..64].to_vec())
            .collect();
        let long_name = "a file name that nobody else may read.docx";
        put(&vault, long_name, &prose).await.unwrap();
        put(&vault, "large", &large).await.unwrap();
        let changed = open(&vault, "large").await.unwrap();
        changed
            .write(&ctx(), 99, b"one more sentence of the secret")
            .await
            .unwrap();
        changed.fsync(&ctx()).await.unwrap();
        changed.release(&ctx()).await.unwrap();
        let node = stat(&vault, long_name).await.node;
        let value = b"a value that nobody else may read".to_vec();
        vault
            .set_xattr(
                &ctx(),
                node,
                b"user.of.the.author.alone",
                &value,
                XattrMode::Set,
            )
            .await
            .unwrap();
        put(&vault, long_name, &prose[7..]).await.unwrap();
        vault
            .make_dir(
                &ctx(),
                NodeId::ROOT,
                &name("a folder that nobody may know of"),
                0o700,
            )
            .await
            .unwrap();
        let texts = [
            prose,
            sample,
            large[EXTENT..].to_vec(),
            b"one more sentence of the secret".to_vec(),
            long_name.as_bytes().to_vec(),
            b"a folder that nobody may know of".to_vec(),
            b"user.of.the.author.alone".to_vec(),
            value,
        ];
        let secret = Stretches::of(&texts);
        assert_eq!(found_on(&lab.servers, &secret), None, "{k} of {n}");
        // The search finds what is there: a stretch in the middle of a real object.
        let object = lab.servers[0]
            .names()
            .into_iter()
            .find(|name| name.is_share())
            .unwrap();
        for text in &texts {
            let at = text.len() / 2 - WINDOW / 2;
            let planted: &[u8; WINDOW] = text[at..].first_chunk().unwrap();
            if !secret.contains(planted) {
                continue;
            }
            let before = lab.servers[0].bytes(&object).unwrap();
            lab.servers[0].damage(&object, |bytes| {
                bytes[1001..1001 + WINDOW].copy_from_slice(planted)
            });
            assert_eq!(
                found_on(&lab.servers, &secret),
                Some((0, object.to_string()))
            );
            lab.servers[0].replace(&object, before);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p1_servers_see_sizes_in_buckets_and_names_of_their_own() {
    sizes_are_those_of_buckets(Scheme::Shamir).await;
}

#[tokio::test(start_paused = true)]
async fn p2_servers_see_sizes_in_buckets_under_compact() {
    sizes_are_those_of_buckets(Scheme::Compact).await;
}

async fn sizes_are_those_of_buckets(scheme: Scheme) {
    let mut lab = Lab::new(2, 3).await;
    lab.options.scheme = scheme;
    let vault = lab.start().await;
    for size in [1, 100, 3000, 20_000, 20_001, 100_000] {
        put(&vault, &format!("f{size}"), &noise(size as u64, size))
            .await
            .unwrap();
    }
    let mut seen = HashSet::new();
    for server in &lab.servers {
        for (object, bytes) in server.everything() {
            if !object.is_share() {
                continue;
            }
            let len = bytes.len() as u64;
            let fits = (1..200_000)
                .step_by(64)
                .chain([4096])
                .any(|size| Plan::new(scheme, lab.threshold, bucket(size)).object_len() == len);
            assert!(fits, "{len} is the size of no bucket");
            assert!(seen.insert(object), "two servers share a name");
        }
    }
    let sizes: HashSet<_> = lab.servers[0]
        .everything()
        .iter()
        .map(|(_, bytes)| bytes.len())
        .collect();
    assert!(sizes.len() <= 5, "small files look alike: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn p1_the_same_contents_saved_twice_look_different() {
    look_different(Scheme::Shamir).await;
}

#[tokio::test(start_paused = true)]
async fn p2_the_same_contents_saved_twice_look_different_under_compact() {
    look_different(Scheme::Compact).await;
}

async fn look_different(scheme: Scheme) {
    let mut lab = Lab::new(2, 3).await;
    lab.options.scheme = scheme;
    let vault = lab.start().await;
    put(&vault, "one", &noise(1, 50_000)).await.unwrap();
    put(&vault, "two", &noise(1, 50_000)).await.unwrap();
    let mut chunks = HashSet::new();
    for server in &lab.servers {
        for (_, bytes) in server
            .everything()
            .into_iter()
            .filter(|(name, _)| name.is_share())
        {
            // Behind the header, which says k, n and sizes.
            for chunk in bytes[64..].chunks_exact(WINDOW) {
                assert!(
                    chunks.insert(chunk.to_vec()),
                    "a chunk of bytes occurs twice"
                );
            }
        }
    }
}
