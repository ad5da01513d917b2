//! What the user's card tells a new administrator, run command by command as it stands there, on a machine that is new to warifu.
//!
//! That machine is this one with all that is written to it thrown away afterwards: an overlay in memory over its files, with mounts and
//! processes of its own. The package is built and installed, and the vault made, mounted, robbed of a server and repaired at the places that the card
//! names. These things stand in for what a test cannot have:
//!
//! - hosts and ports of the SFTP and WebDAV servers, which are real ones on this machine (see `Servers::as_they_are`); the authority that signed the
//!   WebDAV server's certificate is among those that the machine trusts;
//! - `cargo`, since the program is built already;
//! - `systemctl`, since systemd is not the first process here: a script (`administrator/systemctl`) that starts just what the unit says, with
//!   just its environment and limits. That the unit means what it says to systemd is checked by `systemd-analyze verify`, where that is installed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use warifu_testkit::servers::{Process, Sshd, WebdavServer};
use warifu_tests::{can_mount, is_root, root, said, skipped, wait_until, warifu, which};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the machine: `$1` is a folder, `$2` the source tree, `$3` the program, `$4` what stands in for `systemctl`, `$5` a certificate.
const MAKE: &str = r#"
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1"/{upper,work,root,source,source-work}
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mkdir -p ".$2"
mount -t overlay -o "lowerdir=$2,upperdir=$1/source,workdir=$1/source-work" overlay ".$2"
for shared in dev sys; do mount --rbind "/$shared" "$shared"; done
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p ".$2/target/release" usr/local/bin etc/ssl/certs etc/ssh etc/apt/apt.conf.d
rm -f ".$2/target/release/warifu"
touch ".$2/target/release/warifu"
mount --bind "$3" ".$2/target/release/warifu"
printf '#!/bin/sh\n' > usr/local/bin/cargo
cp "$4" usr/local/bin/systemctl
chmod 755 usr/local/bin/cargo usr/local/bin/systemctl
cat "$5" >> etc/ssl/certs/ca-certificates.crt
# What is recommended would be fetched.
echo 'APT::Install-Recommends "false";' > etc/apt/apt.conf.d/99-as-it-is
mkdir -p mnt/honcho
touch run/made
# A shell takes in what is orphaned, as a first process has to.
exec chroot . bash -c 'sleep infinity & wait'
"#;

/// A machine that forgets everything at the end.
struct Machine {
    /// Its first process is the child of this one.
    first: Process,
    _top: TempDir,
}

impl Machine {
    /// `None` where this kernel makes no such machines.
    fn start(authority: &Path) -> Option<Self> {
        let top = tempfile::tempdir().unwrap();
        let systemctl = root().join("tests/administrator/systemctl");
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .args(["bash", "-euc", MAKE, "bash"])
            .args([top.path(), &root(), &warifu(), &systemctl, authority])
            .stdin(Stdio::null());
        let mut machine = Self {
            first: Process::start(&mut command),
            _top: top,
        };
        let up = wait_until(Duration::from_secs(60), || {
            !machine.first.runs() || machine.is_made()
        });
        if !up || !machine.first.runs() {
            skipped("this kernel lays no overlay over its own files");
            return None;
        }
        Some(machine)
    }

    fn first(&self) -> Option<u32> {
        self.first.below().first().copied()
    }

    fn is_made(&self) -> bool {
        let first = self
            .first()
            .map(|id| Path::new("/proc").join(id.to_string()));
        first.is_some_and(|first| first.join("root").join("run/made").exists())
    }

    /// Runs a line in a folder, as root's shell does, with something typed.
    fn run(&self, folder: &str, line: &str, typed: &[u8]) -> Output {
        let id = self.first().unwrap().to_string();
        let mut child = Command::new("nsenter")
            .args(["--target", &id, "--mount", "--pid", "--root", "--wd"])
            .args([
                "env",
                "-i",
                PATH,
                "HOME=/root",
                "LC_ALL=C.UTF-8",
                "DEBIAN_FRONTEND=noninteractive",
            ])
            // The program that is tested is large, and nobody keeps this package.
            .arg("DPKG_DEB_COMPRESSOR_TYPE=none")
            .args([
                "bash",
                "-c",
                "cd \"$1\" && eval \"$2\"",
                "bash",
                folder,
                line,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Most commands read nothing, and may be over by then.
        let _ = child.stdin.take().unwrap().write_all(typed);
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.run("/", line, b"");
        assert!(output.status.success(), "{line}\n{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A member of staff, who has no rights but those of the group `users`.
    #[track_caller]
    fn staff(&self, line: &str) -> String {
        self.ok(&format!(
            "setpriv --reuid 65534 --regid users --clear-groups bash -c '{line}'"
        ))
    }

    /// What has been started at the machine's start is ended, and started again.
    fn boot(&self) {
        let units = self.ok("ls /etc/systemd/system/multi-user.target.wants | grep ^warifu");
        for verb in ["stop", "start"] {
            for unit in units.lines() {
                self.ok(&format!("systemctl {verb} {unit}"));
            }
        }
    }
}

/// The servers of the other offices.
struct Servers {
    branch: Sshd,
    branch_disk: TempDir,
    archive: WebdavServer,
}

impl Servers {
    fn start() -> Option<Self> {
        Some(Self {
            branch: Sshd::start()?,
            branch_disk: tempfile::tempdir().unwrap(),
            archive: WebdavServer::apache(true)?,
        })
    }

    /// What the card calls them by, and where they are here.
    fn as_they_are(&self) -> [(&'static str, String); 3] {
        let port = self.branch.port();
        [
            (
                "ssh-keyscan shisho.example.jp",
                format!("ssh-keyscan -p {port} 127.0.0.1"),
            ),
            (
                "sftp://warifu@shisho.example.jp/srv/warifu",
                self.branch.url(&self.branch_disk.path().join("warifu")),
            ),
            (
                "webdavs://warifu@bunko.example.jp/warifu",
                self.archive.url("warifu", self.archive.port()),
            ),
        ]
    }
}

/// The commands of a section, block by block: without comments, those of several lines in one.
fn blocks(card: &str, section: &str) -> Vec<Vec<String>> {
    let mut sections = card.split("\n## ");
    let section = sections.find(|text| text.starts_with(section)).unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    let commands = |block: &str| {
        let block = block.strip_prefix("sh\n").unwrap().replace("\\\n", " ");
        let lines = block
            .lines()
            .map(|line| line.split("  #").next().unwrap().trim_end().to_owned());
        lines.collect()
    };
    blocks.map(commands).collect()
}

/// The codes that a command may end with. Looking does not change anything, and says by its code that there is something to do.
fn codes(line: &str, lost: bool) -> &'static [i32] {
    match line {
        _ if line.starts_with("warifu status ") && lost => &[3],
        _ if line.starts_with("warifu server replace ") && !line.ends_with(" --yes") => &[3],
        _ if line.starts_with("warifu doctor ") => &[0, 3],
        _ => &[0],
    }
}

#[test]
fn p4_a_new_administrator_sets_up_three_servers_by_the_card_and_loses_one() {
    if !can_mount() {
        return;
    }
    if !is_root() || which("unshare").is_none() || which("apt").is_none() {
        return skipped("a machine of one's own is for root, with util-linux and apt");
    }
    let Some(mut servers) = Servers::start() else {
        return;
    };
    let authority = servers.archive.authority().unwrap();
    let Some(machine) = Machine::start(&authority) else {
        return;
    };
    let password = fs::read(servers.archive.password()).unwrap();
    let places = servers.as_they_are();
    let card = fs::read_to_string(root().join("README.ja.md")).unwrap();
    let blocks = blocks(&card, "庁内への導入\n");
    let mut folder = root().display().to_string();
    let mut used = [false; 3];
    let mut ran = 0;
    for block in &blocks {
        let has = |start: &str| block.iter().any(|line| line.starts_with(start));
        let mut lost = has("warifu server replace ");
        if lost {
            servers.archive.process().kill();
            // Nothing has changed for staff.
            assert_eq!(machine.staff("cat /srv/office/総務課/予算.txt"), "一\n");
            machine.staff(
                "echo 二 >> /srv/office/総務課/予算.txt; echo 新 > /srv/office/総務課/新規.txt",
            );
        }
        for line in block {
            let mut here = line.clone();
            for ((card, real), used) in places.iter().zip(&mut used) {
                *used |= here.contains(card);
                here = here.replace(card, real);
            }
            let typed = if line.contains("cat >") {
                &password[..]
            } else {
                &[]
            };
            let output = machine.run(&folder, &here, typed);
            let code = output.status.code();
            assert!(
                code.is_some_and(|code| codes(line, lost).contains(&code)),
                "{line}\nended with {code:?}\n{}",
                said(&output)
            );
            ran += 1;
            if let Some(to) = line.strip_prefix("cd ") {
                folder = to.to_owned();
            } else if line.starts_with("ssh-keygen ") {
                servers
                    .branch
                    .let_in(&machine.ok("cat /etc/warifu/shisho.key.pub"));
            } else if line.starts_with("install -d ") {
                machine.staff("echo 一 > /srv/office/総務課/予算.txt");
            } else if line.starts_with("warifu status ") && lost {
                assert!(said(&output).contains("bunko"), "{}", said(&output));
            }
            lost &= !(line.starts_with("warifu server replace ") && line.ends_with(" --yes"));
        }
        if has("systemctl enable ") {
            machine.boot();
            assert_eq!(machine.staff("cat /srv/office/総務課/予算.txt"), "一\n");
        }
        if has("warifu server replace ") {
            // As many may go as before, once the drive has looked at its vault file, which it does every second.
            std::thread::sleep(Duration::from_secs(3));
            servers.branch.stop();
            assert_eq!(machine.staff("cat /srv/office/総務課/予算.txt"), "一\n二\n");
            assert_eq!(machine.staff("cat /srv/office/総務課/新規.txt"), "新\n");
            servers.branch.resume();
        }
    }
    assert!(ran > 20 && used == [true; 3], "{blocks:?}");
    // The last block has mounted it by another way.
    assert_eq!(machine.staff("cat /srv/office/総務課/予算.txt"), "一\n二\n");
    machine.ok("umount /srv/office");
    if which("systemd-analyze").is_some() {
        let units = "warifu@office.service warifu-metrics@office.timer warifu-refresh@office.timer";
        let checked = machine.ok(&format!("systemd-analyze verify --man=no {units} 2>&1"));
        assert!(!checked.contains("warifu"), "{checked}");
    } else {
        skipped("no systemd-analyze: the units are not checked");
    }
}
