//! Makes a vault that takes more to open than its servers: a passphrase, or three of five sheets of paper. Then the passphrase is lost.
//!
//! `cargo run -p warifu-examples --example ways_in`

use warifu::paper::{WordList, as_words, read};
use warifu::ways::{Keyring, NewWay, PassphraseCost, WayAnswer, WayKind, WaysChange};
use warifu::{Error, InitOptions, NewServer, OpenOptions, SecretBytes, Threshold, Warifu};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let servers = ["honcho", "shisho", "bunko"]
        .map(|name| NewServer::new(name, dir.path().join(name).display().to_string()));
    let path = dir.path().join("office.toml");
    let threshold = Threshold::new(2, 3)?;
    Warifu::init(
        &path,
        threshold,
        servers.into(),
        InitOptions::new("ways_in"),
    )
    .await?;
    let opening = || OpenOptions::new("ways_in");

    // Before there is anything in it: whoever has copied two servers before the first way has the vault's key.
    let warifu = Warifu::open(&path, opening()).await?;
    let passphrase = SecretBytes::from_slice("correct horse battery staple".as_bytes());
    let way = NewWay::passphrase(&passphrase, PassphraseCost::LEAST).await?;
    let add = |name: &str, way: NewWay| WaysChange::Add {
        name: name.to_owned(),
        way: way.0,
    };
    let change = add("section chief", way);
    warifu.vault().change_ways(warifu.context(), change).await?;
    let (way, shares) = NewWay::custodians(3, 5)?;
    // To be printed and handed out; nothing else holds them.
    let sheets: Vec<_> = shares
        .iter()
        .map(|share| as_words(&share.words(), WordList::English).join(" "))
        .collect();
    let change = add("three of five", way);
    warifu.vault().change_ways(warifu.context(), change).await?;
    warifu.write_file("/minutes.txt", b"final").await?;
    warifu.close().await;

    // All three servers, and no way: what is needed is said.
    match Warifu::open(&path, opening()).await {
        Err(Error::WayNeeded { ways }) => {
            for way in ways {
                println!("it can be opened by: {}", way.name());
            }
        }
        _ => return Err("the servers alone opened it".into()),
    }

    // The passphrase is lost. Two custodians cannot help, and a word that was mistyped is named; three can.
    let two = [read(&sheets[0])?, read(&sheets[4])?];
    println!("two sheets: {}", WayAnswer::paper(&two).unwrap_err());
    let mut words: Vec<&str> = sheets[2].split(' ').collect();
    words[6] = if words[6] == "zebra" { "zoo" } else { "zebra" };
    println!("a mistyped sheet: {}", read(&words.join(" ")).unwrap_err());
    let three = [read(&sheets[0])?, read(&sheets[2])?, read(&sheets[4])?];
    let keyring = Keyring::answer(WayAnswer::paper(&three)?);
    let warifu = Warifu::open(&path, opening().keyring(keyring)).await?;
    assert_eq!(warifu.read_file("/minutes.txt").await?.expose(), b"final");

    // A new one takes its place. No file is written anew.
    let ways = warifu.vault().ways().await.ways;
    let lost = ways
        .iter()
        .find(|way| matches!(way.kind(), WayKind::Passphrase(_)));
    let id = lost.ok_or("there is a passphrase")?.id();
    let passphrase = SecretBytes::from_slice("a quite different passphrase".as_bytes());
    let way = NewWay::passphrase(&passphrase, PassphraseCost::LEAST).await?;
    let change = WaysChange::Renew { id, way: way.0 };
    warifu.vault().change_ways(warifu.context(), change).await?;
    warifu.close().await;
    let keyring = Keyring::passphrase(passphrase);
    let warifu = Warifu::open(&path, opening().keyring(keyring)).await?;
    println!("{} ways in now", warifu.vault().ways().await.ways.len());
    warifu.close().await;
    Ok(())
}
