//! A vault on in-memory servers that can be made to fail, crash and lose power.

pub mod dice;
pub mod jitter;
pub mod lab;
pub mod rebuilding;
pub mod tree;

use warifu_core::ids::VersionNo;
use warifu_vault::node::{Attr, Name, NodeId};
use warifu_vault::{Access, Context, FileHandle, Vault, VaultError};

pub use dice::Dice;
pub use lab::{Lab, Machine, live};
pub use tree::{Held, Tree, alike, tree};

/// The length of an extent of contents.
pub const EXTENT: usize = 4 << 20;

/// Whoever works with the vault in a test.
pub fn ctx() -> Context {
    who("hanako")
}

/// Somebody of this name.
pub fn who(actor: &str) -> Context {
    Context {
        actor: actor.to_owned(),
        uid: 1000,
        gid: 100,
        host: "pc-1".to_owned(),
        program: "writer".to_owned(),
        purpose: String::new(),
    }
}

/// Somebody on this machine.
pub fn at_host(host: &str) -> Context {
    Context {
        host: host.to_owned(),
        ..ctx()
    }
}

/// A name.
pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

/// Bytes that follow from a seed, and look like nothing.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Compares long contents without printing them.
#[track_caller]
pub fn same(got: &[u8], expected: &[u8], what: &str) {
    if got == expected {
        return;
    }
    let at = got.iter().zip(expected).position(|(a, b)| a != b);
    panic!(
        "{what}: {} bytes instead of {}, first difference at {at:?}",
        got.len(),
        expected.len()
    );
}

/// Everything that a handle can read.
pub async fn read_all(handle: &FileHandle) -> Result<Vec<u8>, VaultError> {
    let mut all = Vec::new();
    loop {
        let part = handle.read(all.len() as u64, 1 << 20).await?;
        if part.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(part.expose());
    }
}

/// Makes a file in the root, or empties the one there is, and opens it for writing.
pub async fn rewrite(vault: &Vault, file: &str) -> Result<FileHandle, VaultError> {
    match vault.lookup(&ctx(), NodeId::ROOT, &name(file)).await {
        Ok(attr) => vault.open(&ctx(), attr.node, Access::REWRITE).await,
        Err(VaultError::NotFound { .. }) => {
            let made = vault
                .create_file(&ctx(), NodeId::ROOT, &name(file), 0o640, Access::READ_WRITE)
                .await?;
            Ok(made.1)
        }
        Err(error) => Err(error),
    }
}

/// Writes in pieces, as programs do.
pub async fn write_all(handle: &FileHandle, bytes: &[u8]) -> Result<(), VaultError> {
    for (piece, part) in bytes.chunks(1 << 20).enumerate() {
        handle.write(&ctx(), (piece << 20) as u64, part).await?;
    }
    Ok(())
}

/// Saves a file in the root as a program does: open, write, close.
pub async fn put(vault: &Vault, file: &str, bytes: &[u8]) -> Result<(), VaultError> {
    let handle = rewrite(vault, file).await?;
    let saved = async {
        write_all(&handle, bytes).await?;
        handle.flush(&ctx()).await
    }
    .await;
    let released = handle.release(&ctx()).await;
    saved.and(released)
}

/// A file of the root opened for reading and writing.
pub async fn open(vault: &Vault, file: &str) -> Result<FileHandle, VaultError> {
    let attr = vault.lookup(&ctx(), NodeId::ROOT, &name(file)).await?;
    vault.open(&ctx(), attr.node, Access::READ_WRITE).await
}

/// Reads a file of the root from beginning to end.
pub async fn get(vault: &Vault, file: &str) -> Result<Vec<u8>, VaultError> {
    let attr = vault.lookup(&ctx(), NodeId::ROOT, &name(file)).await?;
    let handle = vault.open(&ctx(), attr.node, Access::READ).await?;
    let bytes = read_all(&handle).await;
    handle.release(&ctx()).await?;
    bytes
}

/// The attributes of a file of the root.
pub async fn stat(vault: &Vault, file: &str) -> Attr {
    vault
        .lookup(&ctx(), NodeId::ROOT, &name(file))
        .await
        .unwrap()
}

/// The names in the root, sorted.
pub async fn names(vault: &Vault) -> Vec<String> {
    let mut names: Vec<String> = vault
        .list(&ctx(), NodeId::ROOT, None, 1000)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.name.display().into_owned())
        .collect();
    names.sort();
    names
}

/// The newest version of a file of the root.
pub async fn version(vault: &Vault, file: &str) -> VersionNo {
    stat(vault, file).await.version
}
