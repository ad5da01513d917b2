//! A vault of which one server is reached over SFTP.

use std::path::Path;

use tempfile::tempdir;
use warifu::store::{CreateError, OpenError};
use warifu::{Error, InitOptions, NewServer, OpenOptions, Threshold, Warifu};
use warifu_testkit::servers::Sshd;

async fn init(path: &Path, servers: Vec<NewServer>) -> Result<warifu::VaultFile, Error> {
    let threshold = Threshold::new(2, 3).unwrap();
    Warifu::init(path, threshold, servers, InitOptions::new("test")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_vault_on_mixed_servers_is_made_used_and_read_without_one() {
    let Some(mut sshd) = Sshd::start() else {
        return;
    };
    let base = tempdir().unwrap();
    let key = base.path().join("keys");
    std::fs::create_dir(&key).unwrap();
    let key = key.join("nas");
    std::fs::copy(sshd.key(), &key).unwrap();
    let servers = |pin: Option<&str>| {
        let mut nas = NewServer::new("nas", sshd.url(&base.path().join("nas")));
        let reference = format!("file:{}", key.display());
        nas.credentials.set("key", &reference).unwrap();
        match pin {
            Some(pin) => nas.credentials.set("host_key", pin).unwrap(),
            None => nas.credentials.set("known_hosts", "/dev/null").unwrap(),
        }
        let folder = |name: &str| NewServer::new(name, base.path().join(name).to_string_lossy());
        vec![folder("a"), nas, folder("c")]
    };
    let path = base.path().join("office.toml");
    // A key that nobody vouched for is said, and nothing is made.
    let error = init(&path, servers(None)).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Create { source: CreateError::Open(OpenError::UnknownHostKey { shown, .. }), .. }
                if shown.fingerprint == sshd.fingerprint()
        ),
        "{error}"
    );
    assert!(!path.exists() && !base.path().join("nas").exists());

    let file = init(&path, servers(Some(&sshd.fingerprint())))
        .await
        .unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("key = \"file:keys/nas\""),
        "relative to the vault file: {text}"
    );
    assert_eq!(file.servers[1].url, sshd.url(&base.path().join("nas")));
    let warifu = Warifu::open(&path, OpenOptions::new("test")).await.unwrap();
    assert!(warifu.faults().is_empty(), "{:?}", warifu.faults());
    warifu.write_file("/minutes.txt", b"text").await.unwrap();
    assert!(warifu.close().await.is_empty());
    // Any two of the three, one of them over SFTP.
    std::fs::rename(base.path().join("a"), base.path().join("away")).unwrap();
    let warifu = Warifu::open(&path, OpenOptions::new("test")).await.unwrap();
    assert_eq!(
        warifu.read_file("/minutes.txt").await.unwrap().expose(),
        b"text"
    );
    drop(warifu.close().await);
    std::fs::rename(base.path().join("away"), base.path().join("a")).unwrap();
    sshd.stop();
    let warifu = Warifu::open(&path, OpenOptions::new("test")).await.unwrap();
    assert_eq!(
        warifu.read_file("/minutes.txt").await.unwrap().expose(),
        b"text"
    );
    drop(warifu.close().await);
}
