//! Embeds a vault: makes one on three folders that stand for file servers, streams a file in and out, goes on while a
//! server is away, and looks at a file's history.
//!
//! `cargo run -p warifu-examples --example embed_vault`

use tokio::io::AsyncReadExt as _;
use warifu::{
    FileMeta, InitOptions, NewServer, OpenOptions, Threshold, VaultPath, VersionNo, Warifu,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let servers = ["honcho", "shisho", "bunko"]
        .map(|name| NewServer::new(name, dir.path().join(name).display().to_string()));
    let path = dir.path().join("office.toml");
    Warifu::init(
        &path,
        Threshold::new(2, 3)?,
        servers.into(),
        InitOptions::new("embed_vault"),
    )
    .await?;
    let warifu = Warifu::open(&path, OpenOptions::new("embed_vault")).await?;

    // Small files, the short way. Saving again makes the next version.
    let folder = VaultPath::parse("/reports")?;
    warifu.make_dirs(&folder, 0o755).await?;
    warifu.write_file("/reports/minutes.txt", b"draft").await?;
    warifu.write_file("/reports/minutes.txt", b"final").await?;

    // A large one, streamed: memory stays bounded, and nobody sees a part of it.
    let size = 20_000_000;
    let mut stream = tokio::io::repeat(0x5a).take(size);
    let large = VaultPath::parse("/reports/scan.tiff")?;
    let mut sent = 0;
    let attr = warifu
        .copy_in(&large, &mut stream, FileMeta::default(), |bytes| {
            sent += bytes
        })
        .await?;
    println!("{sent} bytes are kept as three shares");

    // One server goes. Reading goes on.
    std::fs::rename(dir.path().join("shisho"), dir.path().join("gone"))?;
    let mut out = tokio::io::sink();
    let read = warifu.copy_out(&attr, None, &mut out, |_| ()).await?;
    assert_eq!((sent, read), (size, size));
    assert_eq!(
        warifu.read_file("/reports/minutes.txt").await?.expose(),
        b"final"
    );
    for server in warifu.vault().status(warifu.context()).await?.servers {
        println!("{}: {:?} {}", server.name, server.state, server.detail);
    }

    // Everything there is, and what it was before.
    let mut walk = warifu.walk(VaultPath::ROOT).await?;
    while let Some((path, attr)) = walk.next().await? {
        println!(
            "{}, version {}, {} bytes",
            String::from_utf8_lossy(&path.to_bytes()),
            attr.version,
            attr.size
        );
    }
    let minutes = warifu
        .stat(&VaultPath::parse("/reports/minutes.txt")?)
        .await?;
    let mut first = Vec::new();
    warifu
        .copy_out(&minutes, Some(VersionNo(1)), &mut first, |_| ())
        .await?;
    assert_eq!(first, b"draft");

    // Nothing may be lost silently: what could not be saved is named.
    for unsaved in warifu.close().await {
        eprintln!("{} could not be saved: {}", unsaved.path, unsaved.error);
    }
    Ok(())
}
