//! A vault whose catalogue is in a PostgreSQL database, and moves of a catalogue there and back.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{World, noise};
use warifu_testkit::servers::{Postgres, PostgresOptions, SharedPostgres, fresh_schema};

const SERVERS: [&str; 3] = ["honcho=a", "shisho=b", "bunko=c"];

fn init(world: &World, options: &[&str]) {
    let mut args = vec!["init", "office.toml", "-k", "2"];
    args.extend(SERVERS);
    args.extend(options);
    world.ok(args);
}

fn furnish(world: &World) {
    world.write("in/福祉部/申請.docx", noise(20_000));
    world.write("in/large.bin", noise(5 << 20));
    world.ok(["put", "office.toml", "in/福祉部", "in/large.bin", "/"]);
    world.write("note", b"first");
    world.ok(["put", "office.toml", "note", "/note"]);
    world.write("note", b"second");
    world.ok(["put", "office.toml", "note", "/note"]);
    world.ok(["mkdir", "office.toml", "/archive"]);
    world.ok(["mv", "office.toml", "/large.bin", "/archive/"]);
    world.ok(["put", "office.toml", "note", "/gone"]);
    world.ok(["rm", "office.toml", "/gone"]);
}

fn check(world: &World) {
    let _gone = fs::remove_dir_all(world.path("out"));
    world.ok(["get", "office.toml", "/", "out"]);
    assert_eq!(world.read("out/archive/large.bin"), noise(5 << 20));
    assert_eq!(world.read("out/福祉部/申請.docx"), noise(20_000));
    assert_eq!(world.read("out/note"), b"second");
    assert!(!world.path("out/gone").exists());
    let first = world.ok(["cat", "office.toml", "--version", "1", "/note"]);
    assert_eq!(first, "first");
    world.ok(["verify", "office.toml"]);
    // What was is there too, and the servers know the log from its first line on.
    let history = world.ok(["history", "office.toml", "/archive/large.bin"]);
    assert!(history.contains("was called large.bin until"), "{history}");
    let history = world.ok(["history", "office.toml", "/gone"]);
    assert!(history.contains("was removed at"), "{history}");
}

/// A syslog server on this machine.
struct Receiver {
    thread: std::thread::JoinHandle<Vec<u64>>,
    done: Arc<AtomicBool>,
}

impl Receiver {
    fn begin(socket: &Path) -> Self {
        let receiver = UnixDatagram::bind(socket).unwrap();
        let pause = Duration::from_millis(50);
        receiver.set_read_timeout(Some(pause)).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let (mut seqs, mut buffer) = (Vec::new(), vec![0; 65_536]);
            loop {
                let Ok(len) = receiver.recv(&mut buffer) else {
                    if ended.load(Ordering::Relaxed) {
                        return seqs;
                    }
                    continue;
                };
                let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
                let (_, seq) = line
                    .split_once(" seq=\"")
                    .or(line.split_once("[warifu@32473 seq=\""))
                    .unwrap();
                seqs.push(seq.split('"').next().unwrap().parse().unwrap());
            }
        });
        Self { thread, done }
    }

    /// The numbers of the lines that came.
    fn end(self) -> Vec<u64> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn tree(world: &World) -> serde_json::Value {
    world.json(0, ["ls", "office.toml", "-l", "-R", "--json"])
}

#[test]
fn a_vault_works_with_its_catalogue_in_a_database() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let world = World::empty();
    let url = server.url(&fresh_schema());
    init(&world, &["--catalog", &url]);
    assert!(!world.path("office.db").exists());
    let text = String::from_utf8(world.read("office.toml")).unwrap();
    assert!(text.contains(&url), "{text}");
    furnish(&world);
    check(&world);
    world.json(0, ["status", "office.toml", "--json"]);
    // What is there is not overwritten, not even by a vault of its own.
    let mut args = vec!["init", "other.toml", "-k", "1", "x", "y", "--catalog", &url];
    let told = world.ends(6, args.drain(..));
    assert!(told.contains("catalogue"), "{told}");
    assert!(!world.path("other.toml").exists());
    check(&world);
}

#[test]
fn p7_a_catalogue_in_a_database_is_made_anew_there() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let world = World::empty();
    let url = server.url(&fresh_schema());
    init(&world, &["--catalog", &url]);
    furnish(&world);
    let before = tree(&world);
    let there = world.ends(6, ["rebuild", "office.toml"]);
    assert!(there.contains("already"), "{there}");
    // A database in which nothing is.
    let text = String::from_utf8(world.read("office.toml")).unwrap();
    world.write(
        "office.toml",
        text.replace(&url, &server.url(&fresh_schema())),
    );
    let told = world.ends(4, ["ls", "office.toml"]);
    assert!(told.contains("warifu rebuild office.toml"), "{told}");
    world.json(0, ["rebuild", "office.toml", "--json"]);
    assert_eq!(tree(&world), before);
    check(&world);
}

#[test]
fn a_catalogue_moves_to_a_database_and_back() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let world = World::new();
    furnish(&world);
    // Who follows the log from outside hears each line once, wherever the catalogue is.
    let socket = world.path("log.sock");
    let receiver = Receiver::begin(&socket);
    let line = format!("syslog = \"unixgram:{}\"", socket.display());
    let file = String::from_utf8(world.read("office.toml")).unwrap();
    world.write(
        "office.toml",
        file.replace("# syslog = \"unixgram:/dev/log\"", &line),
    );
    let before = tree(&world);
    let url = server.url(&fresh_schema());
    let to = |url: &str| ["catalog", "move", "office.toml", "--to", url].map(String::from);

    // A plan changes nothing.
    let plan = world.json(0, to(&url).into_iter().chain(["--json".into()]));
    assert_eq!(plan["applied"], false);
    check(&world);
    fs::copy(world.path("office.toml"), world.path("old.toml")).unwrap();

    let done = world.json(
        0,
        to(&url)
            .into_iter()
            .chain(["--json", "--yes"].map(String::from)),
    );
    assert_eq!(done["applied"], true);
    assert!(done["rows"].as_u64().unwrap() > 10 && done["log_lines"].as_u64().unwrap() > 5);
    assert_eq!(tree(&world), before);
    check(&world);
    // Whoever still has the old vault file does nothing that the new catalogue would not know, not even an opening.
    for args in [["mkdir", "old.toml", "/x"], ["cat", "old.toml", "/note"]] {
        let refused = world.ends(1, args);
        assert!(refused.contains("moved"), "{refused}");
    }
    world.ok(["mkdir", "office.toml", "/made in the database"]);

    let taken = world.ends(
        6,
        to("sqlite:office.db").into_iter().chain(["--yes".into()]),
    );
    assert!(taken.contains("office.db"), "{taken}");
    world.ok(["ls", "office.toml"]);
    world.ok(["mkdir", "office.toml", "/a refused move leaves it writable"]);
    let before = tree(&world);
    world.ok(to("sqlite:back.db").into_iter().chain(["--yes".into()]));
    assert_eq!(tree(&world), before);
    check(&world);
    world.ok(["mkdir", "office.toml", "/made in the file"]);
    let lines = receiver.end();
    let last = lines.len() as u64;
    assert_eq!(lines, (1..=last).collect::<Vec<_>>(), "each once, in order");
    assert!(
        world
            .ok(["audit", "verify", "office.toml"])
            .contains("same lines")
    );
    // The journal on the servers goes on through both moves.
    for end in ["", "-wal", "-shm"] {
        let _gone = fs::remove_file(world.path(format!("back.db{end}")));
    }
    let before = before.to_string();
    world.ok(["rebuild", "office.toml"]);
    assert!(tree(&world).to_string().len() > before.len());
    check(&world);
}

#[test]
fn a_move_that_was_done_is_never_taken_back() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let world = World::new();
    furnish(&world);
    let url = server.url(&fresh_schema());
    let before = world.read("office.toml");
    world.ok(["catalog", "move", "office.toml", "--to", &url, "--yes"]);
    let after = world.read("office.toml");
    world.ok(["mkdir", "office.toml", "/made in the database"]);
    // Another machine still has the old vault file, and somebody gives the same command there.
    world.write("office.toml", &before);
    world.ends(1, ["mkdir", "office.toml", "/x"]);
    let back = [
        "catalog",
        "move",
        "office.toml",
        "--to",
        "sqlite:office.db",
        "--yes",
    ];
    let refused = world.ends(1, back);
    assert!(refused.contains("moved"), "{refused}");
    world.ends(1, ["mkdir", "office.toml", "/x"]);
    world.ok(["catalog", "move", "office.toml", "--to", &url, "--yes"]);
    assert_eq!(world.read("office.toml"), after);
    let listed = world.ok(["ls", "office.toml"]);
    assert!(listed.contains("made in the database"), "{listed}");
    check(&world);
}

#[test]
fn a_password_is_asked_for_by_reference_only() {
    let options = PostgresOptions {
        password: Some("correct horse".into()),
        ..PostgresOptions::default()
    };
    let Some(mut server) = Postgres::start(options) else {
        return;
    };
    let world = World::empty();
    let url = server.url("warifu");
    let args = |options: &[&str]| -> Vec<String> {
        let mut args = vec!["init", "office.toml", "-k", "2"];
        args.extend(SERVERS);
        args.extend(["--catalog", &url]);
        args.extend(options);
        args.into_iter().map(String::from).collect()
    };
    let literal = world.ends(2, args(&["--catalog-option", "password=correct horse"]));
    assert!(!literal.contains("horse"), "{literal}");
    let in_url = url.replace("warifu@", "warifu:horse@");
    let mut literal = args(&[]);
    for word in &mut literal {
        if *word == url {
            word.clone_from(&in_url);
        }
    }
    let told = world.ends(2, literal);
    assert!(!told.contains("horse"), "{told}");
    let missing = world.ends(9, args(&["--catalog-option", "password=file:secret"]));
    assert!(missing.contains("secret"), "{missing}");
    let secret = world.write("secret", "correct horse\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.ends(9, args(&["--catalog-option", "password=file:secret"]));
    assert!(open.contains("chmod"), "{open}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    world.ok(args(&["--catalog-option", "password=file:secret"]));
    let text = String::from_utf8(world.read("office.toml")).unwrap();
    assert!(
        text.contains("file:secret") && !text.contains("horse"),
        "{text}"
    );
    world.ok(["mkdir", "office.toml", "/x"]);

    server.stop();
    let gone = world.ends(1, ["ls", "office.toml"]);
    assert!(gone.contains("database"), "{gone}");
    server.run();
    world.ok(["ls", "office.toml"]);
}
