//! P1, P4: from 2 of 3 to 3 of 5 while a drive is in use and files are being saved, and whoever does it is killed ten times.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use warifu_tests::office::scratch;
use warifu_tests::servers::{Server, Sftp};
use warifu_tests::{Rig, can_mount, must, noise, run, said, tree, warifu};

const FILES: u64 = 40;

fn contents(file: u64, number: u64) -> Vec<u8> {
    let mut bytes = format!("{file:04} {number:012} ").into_bytes();
    let len = 5_000 + usize::try_from(file * 3_000).unwrap();
    bytes.extend(noise(len, file << 32 | number));
    bytes
}

fn number_of(bytes: &[u8]) -> u64 {
    let head = std::str::from_utf8(&bytes[5..17]).expect("the beginning of a version");
    head.parse().unwrap()
}

fn name(file: u64) -> String {
    format!("文書-{file}.docx")
}

/// All ways to take `k` of five.
fn choices(k: u32) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << 5)
        .filter(move |set| set.count_ones() == k)
        .map(|set| (0..5).filter(|at| set >> at & 1 == 1).collect())
}

/// How many servers are needed to join the share objects below a folder: each says it in its tenth byte, and of how many in the next.
fn thresholds(server: &Path) -> Vec<(u8, u8)> {
    let files = tree(server).into_iter();
    let objects = files.filter_map(|(path, bytes)| {
        let name = path.file_name()?.to_str()?.to_owned();
        let is_share = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.filter(|_| is_share)
    });
    objects.map(|bytes| (bytes[10], bytes[11])).collect()
}

/// What is done with the drive meanwhile.
struct Use<'a> {
    drive: &'a Path,
    stop: AtomicBool,
    /// The number of the last save of each file that was acknowledged.
    saved: Vec<AtomicU64>,
    saves: AtomicU64,
    reads: AtomicU64,
    /// In milliseconds.
    longest: AtomicU64,
    large: Vec<u8>,
}

impl Use<'_> {
    fn save(&self) {
        let mut number = 2;
        while !self.stop.load(Ordering::Relaxed) {
            let file = number % (FILES / 2);
            fs::write(self.drive.join(name(file)), contents(file, number)).unwrap();
            self.saved[usize::try_from(file).unwrap()].store(number, Ordering::SeqCst);
            self.saves.fetch_add(1, Ordering::Relaxed);
            number += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nobody saves these, and nothing may ever be missing of them.
    fn read(&self) {
        let mut turn = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let file = FILES / 2 + turn % (FILES / 2);
            let begin = Instant::now();
            let read = fs::read(self.drive.join(name(file))).unwrap();
            let took = u64::try_from(begin.elapsed().as_millis()).unwrap();
            self.longest.fetch_max(took, Ordering::Relaxed);
            assert!(read == contents(file, 1), "file {file}");
            if turn % 50 == 0 {
                let read = fs::read(self.drive.join("large.pdf")).unwrap();
                assert!(read == self.large);
            }
            self.reads.fetch_add(1, Ordering::Relaxed);
            turn += 1;
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The command, as somebody gives it again and again.
fn change(rig: &Rig, servers: &[OsString], options: &[String], limit: &str) -> Command {
    let mut command = Command::new(warifu());
    command
        .args([OsStr::new("threshold"), rig.vault.as_os_str()])
        .args(["-k", "3", "-n", "5", "--yes", "--limit", limit]);
    for server in servers {
        command.arg("--server").arg(server);
    }
    for option in options {
        command.args(["-o", option]);
    }
    command
}

/// Kills the change ten times, each time later, and lets it end then.
fn ten_kills(rig: &Rig, servers: &[OsString], options: &[String]) {
    let mut killed = 0;
    for round in 0..10_u64 {
        let mut child = change(rig, servers, options, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(200 + 900 * round));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        if round == 9 {
            let status = rig.warifu("status", &[OsStr::new("--json")]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            let becoming = &status["generations"]["becoming"];
            assert_eq!((&becoming["k"], &becoming["n"]), (&3.into(), &5.into()));
            println!(
                "after ten kills {} extents are left",
                status["generations"]["left"]
            );
        }
    }
    assert!(killed == 10, "{killed} of 10 were killed in the middle");
    // What a killed run was about to put is its own until its lease ends.
    let until = Instant::now() + Duration::from_secs(300);
    while Instant::now() < until {
        let begin = Instant::now();
        let ended = rig.warifu("threshold", &[OsStr::new("--yes")]);
        println!("the last run took {:?}: {}", begin.elapsed(), said(&ended));
        if ended.status.success() {
            return;
        }
        assert_eq!(ended.status.code(), Some(3), "{}", said(&ended));
        std::thread::sleep(Duration::from_secs(5));
    }
    panic!("the change does not end");
}

#[test]
fn p1_p4_a_change_of_the_threshold_killed_ten_times_while_a_drive_is_in_use() {
    if !can_mount() {
        return;
    }
    let dir = scratch("warifu-sftp-");
    let Some(sftp) = Sftp::new(&dir.path().join("sftp-5")) else {
        return;
    };
    let mut rig = Rig::new(2, 3);
    let fourth = rig.scratch().join("server-4");
    let servers: Vec<OsString> = vec![fourth.clone().into(), sftp.url()];
    let options: Vec<String> = sftp
        .options()
        .iter()
        .map(|(field, value)| format!("server-5.{field}={value}"))
        .collect();
    rig.mount();
    for file in 0..FILES {
        fs::write(rig.drive.join(name(file)), contents(file, 1)).unwrap();
    }
    let busy = Use {
        drive: &rig.drive,
        stop: AtomicBool::new(false),
        saved: (0..FILES).map(|_| AtomicU64::new(1)).collect(),
        saves: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        longest: AtomicU64::new(0),
        large: noise(9 << 20, 77),
    };
    fs::write(rig.drive.join("large.pdf"), &busy.large).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| busy.save());
        scope.spawn(|| busy.read());
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ten_kills(&rig, &servers, &options);
            // And some time after it.
            std::thread::sleep(Duration::from_secs(1));
        }));
        busy.stop();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let longest = busy.longest.load(Ordering::Relaxed);
    println!(
        "{} saves, {} reads, the longest of which took {longest} ms",
        busy.saves.load(Ordering::Relaxed),
        busy.reads.load(Ordering::Relaxed)
    );
    assert!(longest < 1000, "something was unreadable for {longest} ms");
    let saved: Vec<u64> = busy
        .saved
        .iter()
        .map(|number| number.load(Ordering::SeqCst))
        .collect();
    let large = busy.large;
    rig.unmount_cleanly();
    let file = fs::read_to_string(&rig.vault).unwrap();
    assert!(
        !file.contains("becoming") && file.contains("k = 3"),
        "{file}"
    );
    let verify = [
        OsStr::new("verify"),
        rig.vault.as_os_str(),
        OsStr::new("--deep"),
    ];
    must(warifu(), verify);
    rig.servers.extend([fourth, sftp.data().join("server")]);

    // Every object says that three are needed.
    for server in &rig.servers {
        let found = thresholds(server);
        assert!(found.len() > 40, "{} objects on {server:?}", found.len());
        assert!(found.iter().all(|found| *found == (3, 5)), "{server:?}");
    }
    // All that any two servers have, and nothing else, gives nothing; all that any three have gives everything.
    for pair in choices(2) {
        let from = scratch("warifu-pair-");
        let rebuilt = rebuild(&rig.servers, &pair, from.path());
        assert_eq!(
            rebuilt.status.code(),
            Some(5),
            "{pair:?}: {}",
            said(&rebuilt)
        );
    }
    for triple in choices(3) {
        let from = scratch("warifu-triple-");
        let rebuilt = rebuild(&rig.servers, &triple, from.path());
        assert!(
            [Some(0), Some(3)].contains(&rebuilt.status.code()),
            "{triple:?}: {}",
            said(&rebuilt)
        );
        let (vault, out) = (from.path().join("again.toml"), from.path().join("out"));
        let get = [
            OsStr::new("get"),
            vault.as_os_str(),
            OsStr::new("/"),
            out.as_os_str(),
        ];
        must(warifu(), get);
        for file in 0..FILES {
            let read = fs::read(out.join(name(file))).unwrap();
            let number = number_of(&read);
            assert!(read == contents(file, number), "{triple:?}: file {file}");
            let acknowledged = saved[usize::try_from(file).unwrap()];
            assert!(
                number >= acknowledged,
                "{triple:?}, file {file}: {number} after {acknowledged}"
            );
        }
        assert!(
            fs::read(out.join("large.pdf")).unwrap() == large,
            "{triple:?}"
        );
    }
}

/// A vault anew from these servers alone, in a folder.
fn rebuild(servers: &[PathBuf], these: &[usize], folder: &Path) -> std::process::Output {
    let mut arguments: Vec<OsString> = vec!["rebuild".into(), folder.join("again.toml").into()];
    arguments.extend(these.iter().map(|server| servers[*server].clone().into()));
    run(warifu(), arguments)
}
