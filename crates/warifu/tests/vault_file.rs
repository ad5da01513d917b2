//! The vault file: what is written is read, and what is wrong is told with line and field.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use warifu::store::{CredentialRef, Credentials};
use warifu::{
    Every, MemoryRule, Problem, Retention, SaveDurability, Scheme, ServerEntry, ServerId,
    ShareIndex, SyslogTarget, Threshold, VaultFile, VaultFileError, VaultId,
};

fn sample() -> VaultFile {
    let servers = (1..=3u8)
        .map(|i| ServerEntry {
            index: ShareIndex::new(i).unwrap(),
            id: ServerId::from_bytes([i; 16]),
            name: format!("庁舎\"{i}\""),
            url: format!("servers/{i}"),
            credentials: Credentials::default(),
        })
        .collect();
    VaultFile {
        vault: VaultId::from_bytes([7; 16]),
        threshold: Threshold::new(2, 3).unwrap(),
        becoming: None,
        change: 0,
        scheme: Scheme::Shamir,
        durability: SaveDurability::Strict,
        retention: Retention::All,
        memory: MemoryRule::Guarded,
        syslog: None,
        passphrase: None,
        refresh: Some(Every { days: 7 }),
        catalog: "sqlite:office.db".into(),
        catalog_credentials: Credentials::default(),
        servers,
    }
}

fn problem(text: &str) -> (usize, Problem) {
    match VaultFile::parse(text, Path::new("office.toml")) {
        Err(VaultFileError::Invalid { line, problem, .. }) => (line, problem),
        other => panic!("{other:?}"),
    }
}

/// The number of the first line that has `text` in it.
fn line(whole: &str, text: &str) -> usize {
    whole.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn a_threshold_that_changes_is_read_with_a_server_for_every_index() {
    let mut file = sample();
    (file.becoming, file.change) = (Some(Threshold::new(1, 2).unwrap()), 9);
    let text = file.render();
    assert!(
        text.contains("\nbecoming = { k = 1, n = 2, change = 9 }\n"),
        "{text}"
    );
    assert_eq!(VaultFile::parse(&text, Path::new("x")).unwrap(), file);
    let more = text.replace("k = 1, n = 2", "k = 3, n = 4");
    let (_, found) = problem(&more);
    assert_eq!(found, Problem::ServerCount { needed: 4, got: 3 });
    let (at, found) = problem(&text.replace("k = 1, n = 2", "k = 3, n = 2"));
    assert_eq!(at, line(&text, "becoming"));
    assert!(
        matches!(
            found,
            Problem::Value {
                field: "threshold.becoming",
                ..
            }
        ),
        "{found:?}"
    );
}

/// As a rebuild from few servers writes it.
#[test]
fn several_servers_may_be_lost() {
    let mut file = sample();
    for server in &mut file.servers[1..] {
        server.url = "missing:".into();
    }
    let text = file.render();
    assert_eq!(VaultFile::parse(&text, Path::new("x")).unwrap(), file);
}

#[test]
fn p10_where_the_passphrase_is_is_read_and_a_passphrase_itself_is_refused() {
    let path = Path::new("office.toml");
    let passphrase = CredentialRef::parse("passphrase", "file:office.passphrase").ok();
    assert!(passphrase.is_some());
    let file = VaultFile {
        passphrase,
        ..sample()
    };
    let text = file.render();
    assert_eq!(VaultFile::parse(&text, path).unwrap(), file);
    assert!(sample().render().contains("# passphrase = "));
    let bad = text.replace("file:office.passphrase", "gibberish");
    let (at, problem) = problem(&bad);
    assert_eq!(at, line(&bad, "gibberish"));
    assert_eq!(
        problem,
        Problem::Secret {
            field: "passphrase"
        }
    );
    assert!(!problem.to_string().contains("gibberish"));
}

#[test]
fn where_the_log_is_sent_is_read_and_checked() {
    let path = Path::new("office.toml");
    let syslog = SyslogTarget::parse("tcp://log.example.jp:6514");
    assert!(syslog.is_some());
    let file = VaultFile { syslog, ..sample() };
    let text = file.render();
    assert_eq!(VaultFile::parse(&text, path).unwrap(), file);
    let bad = text.replace("tcp://log.example.jp:6514", "https://log.example.jp");
    let (at, problem) = problem(&bad);
    assert_eq!(at, line(&bad, "https://"));
    assert!(
        matches!(
            problem,
            Problem::Value {
                field: "syslog",
                ..
            }
        ),
        "{problem:?}"
    );
}

#[test]
fn what_is_written_is_read() {
    for (scheme, line) in [
        (Scheme::Shamir, "scheme = \"shamir\"\n"),
        (Scheme::Compact, "scheme = \"compact\"\n"),
    ] {
        let file = VaultFile { scheme, ..sample() };
        assert!(file.render().contains(line), "{}", file.render());
        assert_eq!(
            VaultFile::parse(&file.render(), Path::new("x")).unwrap(),
            file
        );
    }
    // A vault file that says nothing is one of the first.
    let silent = sample().render().replace("scheme = \"shamir\"\n", "");
    let read = VaultFile::parse(&silent, Path::new("x")).unwrap();
    assert_eq!(read.scheme, Scheme::Shamir);
    for memory in [MemoryRule::Guarded, MemoryRule::Locked, MemoryRule::Any] {
        let file = VaultFile { memory, ..sample() };
        assert_eq!(
            VaultFile::parse(&file.render(), Path::new("x")).unwrap(),
            file
        );
    }
    let silent = sample().render().replace("memory = \"guarded\"\n", "");
    let read = VaultFile::parse(&silent, Path::new("x")).unwrap();
    assert_eq!(read.memory, MemoryRule::Guarded);
}

#[test]
fn p10_servers_name_their_secrets_and_never_hold_them() {
    let mut file = sample();
    let server = &mut file.servers[1];
    server.url = "sftp://warifu@honcho/srv/warifu".into();
    for (field, value) in [
        ("key", "file:keys/honcho"),
        ("passphrase", "env:PHRASE"),
        ("known_hosts", "known_hosts"),
    ] {
        server.credentials.set(field, value).unwrap();
    }
    let text = file.render();
    assert!(text.contains("key = \"file:keys/honcho\"\n"), "{text}");
    assert_eq!(VaultFile::parse(&text, Path::new("x")).unwrap(), file);
    let (at, found) = problem(&text.replace("env:PHRASE", "hunter2"));
    assert_eq!(
        found,
        Problem::Secret {
            field: "passphrase"
        }
    );
    assert_eq!(at, line(&text, "env:PHRASE"));
    let (at, found) =
        problem(&text.replace("key = \"file:keys/honcho\"", "host_key = \"hunter2\""));
    assert!(
        matches!(&found, Problem::Syntax(text) if text.contains("host_key") && !text.contains("hunter2")),
        "{found:?}"
    );
    assert_eq!(at, line(&text, "file:keys/honcho"));
}

#[test]
fn a_new_file_is_private_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("office.toml");
    sample().write_new(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(VaultFile::read(&path).unwrap(), sample());
    let before = fs::read(&path).unwrap();
    assert!(matches!(
        sample().write_new(&path),
        Err(VaultFileError::Exists { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn errors_name_line_and_field() {
    let good = sample().render();
    let cases: [(&str, &str, &str); 9] = [
        ("format = 1", "format = 0", "format"),
        ("vault = \"07", "vault = \"zz", "vault"),
        (
            "durability = \"strict\"",
            "durability = \"maybe\"",
            "durability",
        ),
        ("retention = \"all\"", "retention = \"some\"", "retention"),
        ("scheme = \"shamir\"", "scheme = \"raid\"", "scheme"),
        (
            "url = \"sqlite:office.db\"",
            "url = \"mysql:x\"",
            "catalog.url",
        ),
        ("index = 3", "index = 4", "server.index"),
        ("url = \"servers/3\"", "url = \"\"", "server.url"),
        ("k = 2", "k = 4", "threshold"),
    ];
    for (from, to, expected) in cases {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let (at, problem) = problem(&text);
        let Problem::Value { field, .. } = &problem else {
            panic!("{problem:?}")
        };
        assert_eq!(*field, expected);
        let wanted = if expected == "threshold" {
            line(&text, "[threshold]")
        } else {
            line(&text, to)
        };
        assert_eq!(at, wanted, "{problem}");
    }
}

#[test]
fn what_two_servers_share_is_refused() {
    let good = sample().render();
    for (from, to, field) in [
        ("index = 3", "index = 2", "index"),
        ("servers/3", "servers/1", "url"),
        (
            "03030303030303030303030303030303",
            "02020202020202020202020202020202",
            "id",
        ),
    ] {
        let (_, problem) = problem(&good.replacen(from, to, 1));
        assert!(
            matches!(&problem, Problem::Twice { field: f, .. } if *f == field),
            "{problem:?}"
        );
    }
}

#[test]
fn counts_unknown_fields_secrets_and_newer_formats() {
    let good = sample().render();
    assert_eq!(
        problem(&good.replace("n = 3", "n = 4")).1,
        Problem::ServerCount { needed: 4, got: 3 }
    );
    let (at, unknown) = problem(&good.replace("k = 2", "k = 2\nl = 5"));
    assert!(
        matches!(&unknown, Problem::Syntax(text) if text.contains('l')),
        "{unknown:?}"
    );
    assert_eq!(at, line(&good, "k = 2") + 1);
    let secret = good.replace("servers/3", "sftp://me:hunter2@host/x");
    assert!(matches!(
        problem(&secret).1,
        Problem::Secret {
            field: "server.url"
        }
    ));
    let newer = good.replace("format = 1", "format = 2\nfuture = true");
    assert!(matches!(
        VaultFile::parse(&newer, Path::new("x")),
        Err(VaultFileError::Newer { found: 2, .. })
    ));
}
