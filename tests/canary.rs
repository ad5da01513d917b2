//! P6: what is in documents, and what they are called, is nowhere on a disk. Everything that the test and its processes write
//! lies on a disk of its own, and every byte of that is looked at, also of what was removed and of what a crash left.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use warifu_tests::disk::Disk;
use warifu_tests::scan::{Form, Found, Place, Scan, pdf, zipped};
use warifu_tests::{can_mount, noise, run, said, shared, skipped, wait_until, warifu};

/// A word that was never written before.
fn fresh(what: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = u64::try_from(now.unwrap().as_nanos() & u128::from(u64::MAX)).unwrap();
    let tail: String = noise(8, seed ^ u64::from(std::process::id()))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("割符の印-{what}-{tail}")
}

fn utf16(text: &str, bytes_of: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes_of).collect()
}

/// A disk with a vault, home, temporary files and all on it.
struct Scene {
    disk: Disk,
    _outer: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let scene = Self {
            disk: Disk::new(outer.path(), 224),
            _outer: outer,
        };
        for folder in [
            "home", "tmp", "cores", "drive", "config", "cache", "runtime",
        ] {
            fs::create_dir(scene.at(folder)).unwrap();
        }
        let servers = ["a", "b", "c"].map(|name| scene.at(name));
        let mut words = ["init", "-k", "2"].map(PathBuf::from).to_vec();
        words.push(scene.at("office.toml"));
        words.extend(servers);
        let made = scene.warifu(&words);
        assert!(made.status.success(), "{}", said(&made));
        scene
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.disk.at.join(name)
    }

    fn on_drive(&self, name: impl AsRef<Path>) -> PathBuf {
        self.at("drive").join(name)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.at("cores"))
            .env("HOME", self.at("home"))
            .env("TMPDIR", self.at("tmp"))
            .env("XDG_CONFIG_HOME", self.at("config"))
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("XDG_RUNTIME_DIR", self.at("runtime"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    fn warifu(&self, words: &[PathBuf]) -> Output {
        self.command(&warifu()).args(words).output().unwrap()
    }

    /// Serves the drive by a process that could leave a core where it stands, if it did not see to it that it cannot.
    fn serve(&self) -> Child {
        let mut server = self
            .command(Path::new("bash"))
            .args(["-c", "ulimit -c unlimited; exec \"$@\"", "bash"])
            .arg(warifu())
            .args(["mount", "--foreground"])
            .args([self.at("office.toml"), self.at("drive")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let there = wait_until(Duration::from_secs(30), || {
            self.is_mounted() || server.try_wait().is_ok_and(|ended| ended.is_some())
        });
        if !(there && self.is_mounted()) {
            let _ = server.kill();
            panic!("no drive: {}", said(&server.wait_with_output().unwrap()));
        }
        server
    }

    fn is_mounted(&self) -> bool {
        let drive = self.at("drive");
        fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .lines()
            .any(|line| line.split(' ').nth(1).map(Path::new) == Some(&drive))
    }

    /// Ends the server by a signal, as a fault of its own or of the machine would.
    fn strike(&self, mut server: Child, signal: i32) {
        let pid = server.id().to_string();
        let ended = wait_until(Duration::from_secs(20), || {
            // Once may not do: a handler takes a first fault that comes from outside for none.
            run("kill", [&format!("-{signal}"), &pid]);
            server.try_wait().is_ok_and(|status| status.is_some())
        });
        assert!(ended, "signal {signal} did not end the server");
        let status = server.wait().unwrap();
        assert_eq!(status.signal(), Some(signal));
        assert!(!status.core_dumped(), "signal {signal} left a core");
        run("umount", [Path::new("-l"), &self.at("drive")]);
    }
}

/// Writes into a file by mapping it, as far as the mapping is long; nobody is asked to write it back.
fn write_mapped(file: &File, text: &[u8]) {
    let len = text.len();
    file.set_len(u64::try_from(len).unwrap()).unwrap();
    // SAFETY: a new shared mapping of a file that is long enough; it is written within its length, and unmapped by nobody but us.
    unsafe {
        let place = libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert!(place != libc::MAP_FAILED, "mmap");
        std::ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), len);
        libc::munmap(place, len);
    }
}

/// Documents with words in them, by name; one of them is called by its word.
fn documents(words: &BTreeSet<String>) -> Vec<(String, Vec<u8>)> {
    let mut documents = Vec::new();
    for (number, word) in words.iter().enumerate() {
        let text = format!("<w:t>{word}</w:t>\n").repeat(40);
        let (name, contents) = match number % 5 {
            0 => (format!("{word}.txt"), text.into_bytes()),
            1 => ("名簿.csv".to_owned(), utf16(&text, u16::to_le_bytes)),
            2 => (
                "通知.docx".to_owned(),
                zipped("word/document.xml", text.as_bytes()),
            ),
            3 => ("案内.pdf".to_owned(), pdf(&utf16(&text, u16::to_be_bytes))),
            // More than one extent.
            _ => (
                "台帳.dat".to_owned(),
                text.repeat((5 << 20) / text.len()).into_bytes(),
            ),
        };
        documents.push((name, contents));
    }
    documents
}

/// Some bytes of a document, and what to call them.
type Stretch = (String, Vec<u8>);

/// Names and numbers of the synthetic residents, and stretches of the documents that hold them.
fn residents() -> (BTreeSet<String>, Vec<Stretch>, Vec<PathBuf>) {
    let Some(folder) = shared("pii") else {
        return Default::default();
    };
    let truth: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("truth.json")).unwrap()).unwrap();
    let mut words = BTreeSet::new();
    for document in truth["documents"].as_array().unwrap() {
        for values in document["values"].as_object().into_iter().flatten() {
            let texts = values.1.as_array().into_iter().flatten();
            words.extend(
                texts
                    .filter_map(|value| value["text"].as_str())
                    .filter(|text| text.chars().count() >= 5)
                    .map(str::to_owned),
            );
        }
    }
    assert!(words.len() > 100, "{} words", words.len());
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("files"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut stretches = Vec::new();
    for file in &files {
        let contents = fs::read(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        words.insert(name.clone());
        for quarter in 1..=3 {
            let at = contents.len() * quarter / 4;
            let stretch = contents.get(at..at + 24).unwrap_or_default();
            let different: BTreeSet<&u8> = stretch.iter().collect();
            if different.len() >= 10 {
                stretches.push((format!("{name}, from byte {at}"), stretch.to_vec()));
            }
        }
    }
    (words, stretches, files)
}

#[test]
fn p6_nothing_of_a_document_is_on_any_disk_whatever_ends_the_drive() {
    if !can_mount() {
        return;
    }
    if !Disk::can() {
        skipped("only root can mount a disk image");
        return;
    }
    let scene = Scene::new();
    let ours: BTreeSet<String> = (0..5).map(|n| fresh(&format!("文書{n}"))).collect();
    let half_done = fresh("書きかけ");
    let (theirs, stretches, files) = residents();
    let mut words: BTreeSet<String> = ours.union(&theirs).cloned().collect();
    words.insert(half_done.clone());
    let scan = Scan::new(&words, &stretches);
    let documents = documents(&ours);

    // Saved, copied within the drive, changed as editors do, written through a mapping; and ended in peace.
    let server = scene.serve();
    for file in &files {
        fs::copy(file, scene.on_drive(file.file_name().unwrap())).unwrap();
    }
    for (name, contents) in &documents {
        let path = scene.on_drive(name);
        fs::write(&path, contents).unwrap();
        fs::copy(&path, scene.on_drive(format!("写し {name}"))).unwrap();
    }
    let mut server = server;
    let ended = scene.warifu(&["umount".into(), scene.at("drive")]);
    assert!(ended.status.success(), "{}", said(&ended));
    assert!(server.wait().unwrap().success());

    for signal in [libc::SIGSEGV, libc::SIGKILL, libc::SIGABRT] {
        let server = scene.serve();
        let mut open = Vec::new();
        for (name, contents) in &documents {
            let path = scene.on_drive(name);
            assert!(
                fs::read(&path).unwrap() == *contents,
                "{name} before signal {signal}"
            );
            // Beside it and over it, as Word does.
            let beside = scene.on_drive(format!("~${name}"));
            fs::write(&beside, contents).unwrap();
            fs::rename(&beside, &path).unwrap();
            // Not saved, and still open when the server dies.
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(scene.on_drive(format!("開いたまま {name}")))
                .unwrap();
            file.write_all(contents).unwrap();
            open.push(file);
        }
        let mapped = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(scene.on_drive("写像.dat"))
            .unwrap();
        write_mapped(&mapped, half_done.repeat(3000).as_bytes());
        scene.strike(server, signal);
        drop(open);
        drop(mapped);
    }

    // All is there, so all of it was on the servers, and what is not found is hidden and not lost.
    let mut server = scene.serve();
    for (name, contents) in &documents {
        assert!(
            fs::read(scene.on_drive(name)).unwrap() == *contents,
            "{name}"
        );
    }
    for file in &files {
        let copy = scene.on_drive(file.file_name().unwrap());
        assert!(
            fs::read(copy).unwrap() == fs::read(file).unwrap(),
            "{}",
            file.display()
        );
    }
    let ended = scene.warifu(&["umount".into(), scene.at("drive")]);
    assert!(ended.status.success(), "{}", said(&ended));
    assert!(server.wait().unwrap().success());
    let left: Vec<_> = fs::read_dir(scene.at("cores")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    let image = scene.disk.take_off();
    let found = scan.bytes(&image);
    assert!(found.is_empty(), "on the disk: {found:?}");
    drop(image);

    // And had there been something, it would have been found: one of each kind.
    scene.disk.put_on();
    let word = half_done;
    let plant = |name: &str, contents: &[u8]| {
        let path = scene.at(name);
        let mut file = File::create(&path).unwrap();
        file.write_all(contents).unwrap();
        file.sync_all().unwrap();
        path
    };
    fs::remove_file(plant("tmp/removed", word.as_bytes())).unwrap();
    plant("home/le", &utf16(&word, u16::to_le_bytes));
    plant("home/be", &utf16(&word, u16::to_be_bytes));
    plant(
        "cache/a.docx",
        &zipped("word/document.xml", word.as_bytes()),
    );
    plant("config/a.pdf", &pdf(&utf16(&word, u16::to_be_bytes)));
    if let Some((name, bytes)) = stretches.first() {
        plant("a/stretch", bytes);
        assert!(!name.is_empty());
    }
    let found = scan.bytes(&scene.disk.take_off());
    for (form, place) in [
        (Form::Utf8, Place::Open),
        (Form::Utf16Le, Place::Open),
        (Form::Utf16Be, Place::Open),
        (Form::Utf8, Place::Zip),
        (Form::Utf16Be, Place::Pdf),
    ] {
        let word = word.clone();
        let planted = Found { word, form, place };
        assert!(found.contains(&planted), "{planted:?} was not found");
    }
    assert_eq!(
        found.iter().any(|found| found.form == Form::Bytes),
        !stretches.is_empty()
    );
}

#[test]
fn p6_a_core_with_a_word_in_it_would_be_found() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with('|') || pattern.contains('/') {
        // Cores go elsewhere here; that none is written is asked of the process itself in the other test.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let word = fresh("core");
    let mut victim = Command::new("bash")
        .args(["-c", "ulimit -c unlimited && exec sleep 60"])
        .env("WORD", &word)
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    run("kill", ["-SEGV", &victim.id().to_string()]);
    if !victim.wait().unwrap().core_dumped() {
        // No cores at all: the limit above cannot be had here.
        return;
    }
    let scan = Scan::new(&BTreeSet::from([word]), &[]);
    let found = fs::read_dir(folder.path()).unwrap().any(|core| {
        !scan
            .bytes(&fs::read(core.unwrap().path()).unwrap())
            .is_empty()
    });
    assert!(found, "the core was not found or could not be read");
}
