//! A store on a real OpenSSH server.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::sftp::{World, options};
use common::temporary_files;
use tempfile::tempdir;
use warifu_core::ids::Generation;
use warifu_store::{
    CreateError, OpenError, SftpOptions, SftpStore, StoreSpec, attach_store, identity, probe,
};
use warifu_testkit::servers::{Sshd, SshdOptions};
use warifu_testkit::stores::{contract, share_name};
use warifu_vault::seam::store::{Durability, ObjectKey, Page, ShareStore, StoreErrorKind};

#[tokio::test(flavor = "multi_thread")]
async fn the_sftp_store_keeps_the_contract() {
    let Some(world) = World::start() else { return };
    let number = AtomicU32::new(0);
    contract::store(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Arc::new(world.create(&format!("server-{number}")).await) as Arc<dyn ShareStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_openssh_extensions_keep_the_contract_too() {
    // Without links a rename gives the name; without either, files are written in place.
    for (forbidden, atomic, durable) in [
        ("-P hardlink,fsync,statvfs,limits", true, false),
        ("-P hardlink,rename", false, true),
    ] {
        let options = SshdOptions {
            sftp: forbidden.into(),
            ..SshdOptions::default()
        };
        let Some(sshd) = Sshd::with(&options) else {
            return;
        };
        let world = World {
            sshd,
            base: tempdir().unwrap(),
        };
        let store = world.create("server").await;
        let name = share_name(1);
        for durability in [Durability::Now, Durability::Soon] {
            store
                .put_new(&name, vec![7; 600_000].into(), durability)
                .await
                .unwrap();
            let again = store
                .put_new(&name, "x".into(), durability)
                .await
                .unwrap_err();
            assert_eq!(again.kind, StoreErrorKind::AlreadyExists, "{again}");
            assert_eq!(store.get(&name, None).await.unwrap(), vec![7; 600_000]);
            store.sync().await.unwrap();
            store.delete(&name).await.unwrap();
        }
        let profile = probe(&world.spec("server")).await.unwrap();
        assert_eq!(
            (profile.atomic_put, profile.durable_sync),
            (atomic, durable),
            "{forbidden}: {profile:?}"
        );
        assert_eq!(temporary_files(&world.base.path().join("server")), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_the_same_store_as_a_directory_and_over_sftp() {
    let Some(world) = World::start() else { return };
    let path = world.base.path().join("server");
    let directory = common::create(&path).await;
    let sftp = SftpStore::open(&world.spec("server"), SftpOptions::default())
        .await
        .unwrap();
    for number in 0..20 {
        let (one, other): (&dyn ShareStore, &dyn ShareStore) = match number % 2 {
            0 => (&directory, &sftp),
            _ => (&sftp, &directory),
        };
        let share = vec![number as u8; 10_000];
        one.put_new(&share_name(number), share.clone().into(), Durability::Now)
            .await
            .unwrap();
        assert_eq!(other.get(&share_name(number), None).await.unwrap(), share);
        let again = other
            .put_new(&share_name(number), "x".into(), Durability::Soon)
            .await;
        assert_eq!(again.unwrap_err().kind, StoreErrorKind::AlreadyExists);
    }
    let vault = ObjectKey::vault_object(Generation(1));
    sftp.put_new(&vault, "piece".into(), Durability::Now)
        .await
        .unwrap();
    assert_eq!(directory.get(&vault, None).await.unwrap(), "piece");
    let lists = (
        directory.list(None, 100).await.unwrap(),
        sftp.list(None, 100).await.unwrap(),
    );
    let plain = |page: &Page| -> Vec<_> {
        page.objects
            .iter()
            .map(|(name, stat)| (name.clone(), stat.len, stat.modified.unwrap().secs))
            .collect()
    };
    assert_eq!(plain(&lists.0), plain(&lists.1));
    assert_eq!(lists.0.objects.len(), 21);
    // Made over SFTP, opened as a directory; and a store in use is not made anew.
    drop(world.create("other").await);
    drop(common::open(&world.base.path().join("other")).await);
    let again = SftpStore::create(&world.spec("server"), SftpOptions::default()).await;
    assert!(matches!(again, Err(CreateError::InUse { .. })), "{again:?}");
    let inside = SftpStore::create(&world.spec("server/objects/x"), SftpOptions::default()).await;
    assert!(
        matches!(inside, Err(CreateError::Inside { .. })),
        "{inside:?}"
    );
    assert_ne!(
        identity(&world.spec("server")).await.unwrap(),
        identity(&world.spec("other")).await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_wrong_folder_on_a_server_is_refused_and_nothing_is_made_in_it() {
    let Some(world) = World::start() else { return };
    let open = async |folder: &str| {
        SftpStore::open(&world.spec(folder), SftpOptions::default())
            .await
            .unwrap_err()
    };
    assert!(matches!(open("none").await, OpenError::Missing { .. }));
    std::fs::create_dir(world.base.path().join("empty")).unwrap();
    assert!(matches!(
        open("empty").await,
        OpenError::NotAStore { empty: true, .. }
    ));
    std::fs::write(world.base.path().join("file"), "x").unwrap();
    let error = open("file").await;
    assert!(matches!(error, OpenError::NotAFolder { .. }), "{error}");
    std::fs::create_dir(world.base.path().join("full")).unwrap();
    std::fs::write(world.base.path().join("full/letter.docx"), "x").unwrap();
    let create = async |folder: &str| {
        SftpStore::create(&world.spec(folder), SftpOptions::default())
            .await
            .unwrap_err()
    };
    let error = create("full").await;
    assert!(
        matches!(&error, CreateError::NotEmpty { found, .. } if found == &["letter.docx"]),
        "{error}"
    );
    let error = create("not/there").await;
    assert!(matches!(&error, CreateError::NoParent { .. }), "{error}");
    assert_eq!(std::fs::read_dir(world.base.path()).unwrap().count(), 3);
    std::fs::write(world.base.path().join("empty/warifu-store"), "hello").unwrap();
    assert!(matches!(
        open("empty").await,
        OpenError::DamagedMarker { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_only_a_host_key_that_is_known_is_taken() {
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let known_hosts = world.base.path().join("known_hosts");
    let key = format!("file:{}", world.sshd.key().display());
    let with = |field: &str, value: &str| {
        world.spec_with("server", options(&[("key", &key), (field, value)]))
    };
    let known = with("known_hosts", known_hosts.to_str().unwrap());
    let open = async |spec: &StoreSpec| SftpStore::open(spec, SftpOptions::default()).await;

    let Err(error) = open(&known).await else {
        panic!("an unknown key was taken")
    };
    let text = error.to_string();
    assert!(
        text.contains(&world.sshd.fingerprint()) && text.contains(known_hosts.to_str().unwrap()),
        "{text}"
    );
    let OpenError::UnknownHostKey { shown, .. } = error else {
        panic!("{text}")
    };
    // What the message says to do, does.
    std::fs::write(&known_hosts, format!("{}\n", shown.line)).unwrap();
    drop(open(&known).await.unwrap());
    let hashed = Command::new("ssh-keygen")
        .args(["-q", "-H", "-f"])
        .arg(&known_hosts)
        .status()
        .unwrap();
    assert!(hashed.success());
    assert!(
        std::fs::read_to_string(&known_hosts)
            .unwrap()
            .starts_with("|1|")
    );
    drop(open(&known).await.unwrap());

    std::fs::write(&known_hosts, world.sshd.known_hosts_line(true)).unwrap();
    let error = open(&known).await.unwrap_err();
    assert!(matches!(error, OpenError::HostKeyChanged { .. }), "{error}");
    assert!(
        error.to_string().contains(&world.sshd.other_fingerprint()),
        "{error}"
    );
    let line = world.sshd.known_hosts_line(false);
    std::fs::write(&known_hosts, format!("{line}@revoked {line}")).unwrap();
    let error = open(&known).await.unwrap_err();
    assert!(matches!(error, OpenError::HostKeyRevoked { .. }), "{error}");
    let error = open(&with("host_key", &world.sshd.other_fingerprint()))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::HostKeyChanged { .. }), "{error}");
    // To a store that is attached, a server that is not the right one is one that does not answer.
    let attached = attach_store(&with("host_key", &world.sshd.other_fingerprint()));
    let error = attached.stat(&share_name(1)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_who_is_not_let_in_is_told_why() {
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let pin = world.sshd.fingerprint();
    let file = |path: &Path| format!("file:{}", path.display());
    let (locked, passphrase) = world.sshd.locked_key();
    let password = world.base.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    private(&password, 0o600);
    let open = async |entries: &[(&str, &str)]| {
        let mut entries = entries.to_vec();
        entries.push(("host_key", &pin));
        SftpStore::open(
            &world.spec_with("server", options(&entries)),
            SftpOptions::default(),
        )
        .await
    };
    drop(
        open(&[("key", &file(&locked)), ("passphrase", &file(&passphrase))])
            .await
            .unwrap(),
    );
    for (entries, expected) in [
        (vec![], "no key"),
        (
            vec![("key", file(&world.sshd.strange_key()))],
            "tried: the key SHA256:",
        ),
        (vec![("password", file(&password))], "tried: the password"),
        (vec![("key", file(&locked))], "has a passphrase"),
        (
            vec![("key", file(&locked)), ("passphrase", file(&password))],
            "cannot be read with this passphrase",
        ),
        (vec![("key", file(&password))], "is not a private key"),
        (vec![("key", "file:/none".into())], "No such file"),
    ] {
        let entries: Vec<_> = entries
            .iter()
            .map(|(field, value): &(&str, String)| (*field, value.as_str()))
            .collect();
        let error = open(&entries).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{entries:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    private(&world.sshd.key(), 0o644);
    let error = open(&[("key", &file(&world.sshd.key()))])
        .await
        .unwrap_err();
    let advice = format!("chmod 600 {}", world.sshd.key().display());
    assert!(error.to_string().contains(&advice), "{error}");
}

/// A password against the system's own files, once as such and once as the answer to a question, as servers that ask by PAM have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_whether_it_is_sent_or_asked_for() {
    const USER: &str = "warifu-test";
    const ID: u32 = 61_234;
    const PASSWORD: &str = "p\u{e4}ss w\u{f6}rd\"'";
    // The files are covered by others that know one user more, for this test alone.
    if !common::in_root_namespace("a_password_lets_in_whether_it_is_sent_or_asked_for") {
        return;
    }
    let base = tempdir().unwrap();
    private(base.path(), 0o755);
    let hash = Command::new("openssl")
        .args(["passwd", "-6", PASSWORD])
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let pam =
        "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";
    for (file, more) in [
        ("/etc/passwd", format!("{USER}:x:{ID}:{ID}::/:/bin/sh\n")),
        (
            "/etc/shadow",
            format!("{USER}:{}:19000:0:99999:7:::\n", hash.trim()),
        ),
        ("/etc/pam.d/sshd", pam.to_owned()),
    ] {
        let mut text = match file {
            "/etc/pam.d/sshd" => String::new(),
            file => std::fs::read_to_string(file).unwrap(),
        };
        text.push_str(&more);
        let cover = base.path().join(file.replace('/', "-"));
        std::fs::write(&cover, text).unwrap();
        private(&cover, if file == "/etc/shadow" { 0o600 } else { 0o644 });
        common::run("mount", &["--bind", cover.to_str().unwrap(), file]);
    }
    let home = base.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(ID), Some(ID)).unwrap();
    let (right, wrong) = (base.path().join("right"), base.path().join("wrong"));
    for (file, password) in [(&right, PASSWORD), (&wrong, "hunter2")] {
        std::fs::write(file, format!("{password}\n")).unwrap();
        private(file, 0o600);
    }
    for (number, lines) in [
        &["UsePAM no", "KbdInteractiveAuthentication no"][..],
        &[
            "UsePAM yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication yes",
        ],
        &["UsePAM yes", "KbdInteractiveAuthentication yes"],
    ]
    .iter()
    .enumerate()
    {
        let Some(sshd) = Sshd::with(&SshdOptions {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..SshdOptions::default()
        }) else {
            return;
        };
        let folder = home.join(format!("server-{number}"));
        let url = format!(
            "sftp://{USER}@127.0.0.1:{}{}",
            sshd.port(),
            folder.display()
        );
        let spec = |password: &Path| {
            let password = format!("file:{}", password.display());
            let credentials =
                options(&[("password", &password), ("host_key", &sshd.fingerprint())]);
            StoreSpec::parse(&url, credentials, Path::new("/")).unwrap()
        };
        let store = SftpStore::create(&spec(&right), SftpOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{lines:?}: {error}\n{}", sshd.log()));
        store
            .put_new(&share_name(1), "share".into(), Durability::Now)
            .await
            .unwrap();
        assert_eq!(store.get(&share_name(1), None).await.unwrap(), "share");
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&folder).unwrap());
        assert_eq!(owner, ID, "{lines:?}: who logged in made it");
        let error = SftpStore::open(&spec(&wrong), SftpOptions::default())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, OpenError::Login { user, .. } if user == USER),
            "{lines:?}: {error}"
        );
    }
}

fn private(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
