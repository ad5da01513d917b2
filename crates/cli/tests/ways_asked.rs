//! Ways in, asked for at a terminal (P3): what is typed is not shown, what is wrong is said and asked for again.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{WARIFU, World};

const V: &str = "office.toml";
const PASSPHRASE: &str = "合言葉は四つ辻の角";

/// The program at a terminal of its own, which `script` makes.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of it was looked at.
    seen: usize,
}

impl Terminal {
    fn new(world: &World, args: &[&str]) -> Self {
        let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
        let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
        Self::new_unquoted(world, &quoted)
    }

    /// The shell makes of the arguments what it does.
    fn new_unquoted(world: &World, args: &[&str]) -> Self {
        let line = format!("{WARIFU} {}", args.join(" "));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .current_dir(world.dir())
            .env("LC_ALL", "C.UTF-8")
            .env_remove("LANG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(got @ 1..) = screen.read(&mut some) {
                into.lock().unwrap().extend_from_slice(&some[..got]);
            }
        });
        Self {
            child,
            keys,
            shown,
            seen: 0,
        }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until this is shown, behind what was waited for before.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.screen();
            if let Some(at) = screen.get(self.seen..).and_then(|rest| rest.find(text)) {
                self.seen += at + text.len();
                return;
            }
            assert!(Instant::now() < end, "no {text:?} in {screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types a line, when the program has had the time to hide it.
    fn types(&mut self, line: &str) {
        std::thread::sleep(Duration::from_millis(200));
        writeln!(self.keys, "{line}").unwrap();
    }

    /// The exit code, and all that was shown.
    fn ends(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        std::thread::sleep(Duration::from_millis(100));
        (code, self.screen())
    }
}

fn has_terminals() -> bool {
    let asked = Command::new("script").arg("--version").output();
    let there = asked.is_ok_and(|out| out.status.success());
    if !there {
        eprintln!("skipped: there is no `script` of util-linux");
    }
    there
}

fn with_passphrase(world: &World) {
    let mut terminal = Terminal::new(world, &["way", "add", V, "passphrase", "--memory", "64"]);
    terminal.sees("[y/N]");
    terminal.types("y");
    terminal.sees("New passphrase:");
    terminal.types(PASSPHRASE);
    terminal.sees("Once more:");
    terminal.types(PASSPHRASE);
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains(PASSPHRASE), "{screen}");
}

#[test]
fn p3_a_passphrase_is_asked_for_and_not_shown() {
    if !has_terminals() {
        return;
    }
    let world = World::new();
    world.write("minutes.txt", "minutes");
    world.ok(["put", V, "minutes.txt", "/"]);
    // Two that differ change nothing.
    let mut terminal = Terminal::new(&world, &["way", "add", V, "passphrase"]);
    terminal.sees("[y/N]");
    terminal.types("y");
    terminal.sees("New passphrase:");
    terminal.types(PASSPHRASE);
    terminal.sees("Once more:");
    terminal.types("another one");
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(9), "{screen}");
    assert!(screen.contains("differ"), "{screen}");
    world.ok(["ls", V]);
    // Whoever says no has changed nothing either.
    let mut terminal = Terminal::new(&world, &["way", "add", V, "passphrase"]);
    terminal.sees("[y/N]");
    terminal.types("n");
    assert_eq!(terminal.ends().0, Some(3));
    world.ok(["ls", V]);

    with_passphrase(&world);
    let mut terminal = Terminal::new(&world, &["cat", V, "/minutes.txt"]);
    terminal.sees("Passphrase:");
    terminal.types("a wrong one");
    terminal.sees("The passphrase is wrong");
    terminal.sees("Passphrase:");
    terminal.types(PASSPHRASE);
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("minutes") && !screen.contains(PASSPHRASE));
    assert!(!screen.contains("a wrong one"), "{screen}");
    // What was named and is wrong is not asked for; an argument that is no UTF-8 is one like any other.
    let wrong = world.write("wrong", "a wrong one");
    fs::set_permissions(wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let strange = ["cat", V, "/$(printf '\\377')", "--passphrase-file=wrong"];
    let (code, screen) = Terminal::new_unquoted(&world, &strange).ends();
    assert_eq!(code, Some(9), "{screen}");
    assert!(screen.contains("The passphrase is wrong"), "{screen}");
    assert!(!screen.contains("panicked"), "{screen}");
    // Three times wrong is enough.
    let mut terminal = Terminal::new(&world, &["ls", V]);
    for _ in 0..3 {
        terminal.sees("Passphrase:");
        terminal.types("a wrong one");
    }
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(9), "{screen}");
}

#[test]
fn p3_a_drive_that_goes_to_the_background_asks_before_it_does() {
    if !has_terminals() || !common::can_mount() {
        return;
    }
    let world = World::new();
    with_passphrase(&world);
    fs::create_dir(world.path("mnt")).unwrap();
    let mut terminal = Terminal::new(&world, &["mount", V, "mnt"]);
    terminal.sees("Passphrase:");
    terminal.types(PASSPHRASE);
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(0), "{screen}");
    fs::write(world.path("mnt/note.txt"), "note").unwrap();
    assert_eq!(fs::read(world.path("mnt/note.txt")).unwrap(), b"note");
    world.ok(["umount", "mnt"]);
}

#[test]
fn p3_paper_shares_are_typed_in_and_a_mistyped_word_is_asked_for_again() {
    if !has_terminals() {
        return;
    }
    let world = World::new();
    with_passphrase(&world);
    let pass = world.write("pass", PASSPHRASE);
    fs::set_permissions(pass, fs::Permissions::from_mode(0o600)).unwrap();
    let by = ["--passphrase-file", "pass"];
    let add = [
        "way",
        "add",
        V,
        "custodians",
        "--needed",
        "2",
        "--sheets",
        "3",
        "--yes",
    ];
    let printed = world.ok(add.iter().chain(&["--words", "en"]).chain(&by));
    let words: Vec<&str> = printed
        .lines()
        .filter_map(|line| {
            let (number, word) = line.trim().split_once(". ")?;
            number.parse::<u8>().ok()?;
            Some(word)
        })
        .collect();
    let sheets: Vec<&[&str]> = words.chunks(18).collect();
    assert_eq!(sheets.len(), 3);
    let mut terminal = Terminal::new(&world, &["ls", V]);
    terminal.sees("Passphrase:");
    terminal.types("");
    terminal.sees("Paper share 1:");
    let mut wrong = sheets[0].to_vec();
    wrong[4] = if wrong[4] == "zoo" { "abandon" } else { "zoo" };
    terminal.types(&wrong.join(" "));
    terminal.sees("Word 5");
    terminal.sees("Paper share 1:");
    // As many lines as one likes.
    terminal.types(&sheets[0][..9].join(" "));
    terminal.types(&sheets[0][9..].join(" "));
    terminal.sees("is right");
    terminal.sees("Paper share 2:");
    terminal.types(&sheets[2].join(" "));
    terminal.sees("is right");
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(0), "{screen}");
}
