//! What an administrator does around the drive: looking the machine over, mounting at the machine's start, installing.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{WARIFU, World, can_mount, noise, text};

fn project(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn check<'a>(found: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let checks = found["checks"].as_array().unwrap();
    let mut checks = checks.iter().filter(|check| check["check"] == name);
    checks
        .next()
        .unwrap_or_else(|| panic!("{name} was not looked at: {found}"))
}

#[test]
fn doctor_finds_a_healthy_vault_healthy_and_names_what_is_not() {
    let world = World::new();
    let doctor = |vault: bool| {
        let mut args = vec!["doctor", "--json"];
        args.extend(vault.then_some("office.toml"));
        let out = world.run(args);
        // What is to be said of this machine differs from one to the next.
        assert!(
            matches!(out.status.code(), Some(0 | 3)),
            "{}",
            text(&out.stderr)
        );
        serde_json::from_str::<serde_json::Value>(&text(&out.stdout)).unwrap()
    };
    let machine = doctor(false);
    for name in ["drive", "swap", "memory-lock", "clock"] {
        let check = check(&machine, name);
        // Whatever is not as it should be comes with the next step.
        let settled = check["state"] == "good" || check["state"] == "unknown";
        assert_eq!(check["next"] == "", settled, "{check}");
    }
    assert_eq!(check(&machine, "drive")["state"] == "good", can_mount());

    let well = doctor(true);
    for name in ["vault-file", "catalogue", "servers", "ways"] {
        assert_eq!(check(&well, name)["state"], "good", "{well}");
    }

    let file = world.path("office.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let open = doctor(true);
    let open = check(&open, "vault-file");
    assert_eq!(open["state"], "care");
    assert!(
        open["next"]
            .as_str()
            .unwrap()
            .contains("chmod go-w office.toml"),
        "{open}"
    );

    world.away("b");
    let away = doctor(true);
    let away = check(&away, "server-stopped");
    assert_eq!(away["state"], "care");
    assert!(away["what"].as_str().unwrap().contains("shisho"), "{away}");

    world.away("c");
    assert_eq!(check(&doctor(true), "open")["state"], "bad");
    world.ends(3, ["doctor", "office.toml"]);
    world.write("office.toml", "format = ");
    assert_eq!(check(&doctor(true), "vault-file")["state"], "bad");
}

/// A process that is ended when the test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The unit's line, with what systemd puts in.
fn unit_line(key: &str, instance: &str, dir: &Path) -> Vec<String> {
    let unit = fs::read_to_string(project("dist/systemd/warifu@.service")).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}=")))
        .unwrap_or_else(|| panic!("{key} is not in the unit"));
    line.replace("%i", instance)
        .replace("${DIR}", dir.to_str().unwrap())
        .split(' ')
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_systemd_unit_hears_when_the_drive_is_there_and_ends_it_saved() {
    if !can_mount() {
        eprintln!("skipped: no drive can be mounted here");
        return;
    }
    let world = World::new();
    let drive = world.path("drive");
    fs::create_dir(&drive).unwrap();
    let socket = world.path("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();

    let start = unit_line("ExecStart", "office", &drive);
    assert_eq!(start[0], "/usr/bin/warifu");
    let args = start[1..].iter().filter_map(|word| match word.as_str() {
        // Who is not root may not; it is not what this is about.
        "$OPTIONS" => None,
        "/etc/warifu/office.toml" => Some(world.path("office.toml").to_str().unwrap().to_owned()),
        word => Some(word.to_owned()),
    });
    let child = world
        .command(args)
        .env("NOTIFY_SOCKET", &socket)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut said = [0; 64];
    let len = systemd.recv(&mut said).unwrap();
    assert_eq!(&said[..len], b"READY=1\n");
    fs::write(drive.join("budget.txt"), "saved before the drive goes").unwrap();

    let stop = unit_line("ExecStop", "office", &drive);
    world.ok(&stop[1..]);
    let begun = Instant::now();
    while running.0.try_wait().unwrap().is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the drive's process goes on"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let kept = world.ok(["cat", "office.toml", "/budget.txt"]);
    assert_eq!(kept, "saved before the drive goes");
}

#[test]
fn mount_and_fstab_call_it_by_another_name() {
    let world = World::new();
    let helper = world.path("mount.fuse.warifu");
    symlink(WARIFU, &helper).unwrap();
    fs::create_dir(world.path("drive")).unwrap();
    let call = |options: &str| {
        Command::new(&helper)
            .args([world.path("office.toml"), world.path("drive")])
            .args(["-n", "-o", options])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap()
    };
    // mount(8) has exit codes of its own.
    let wrong = call("rw,allow_othr");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text(&wrong.stderr).contains("allow_othr"),
        "{}",
        text(&wrong.stderr)
    );
    let wrong = call("lang=ja,noexec");
    assert!(
        text(&wrong.stderr).contains("次の手順"),
        "{}",
        text(&wrong.stderr)
    );
    if !can_mount() {
        eprintln!("skipped: no drive can be mounted here");
        return;
    }
    let done = call("rw,_netdev,nofail,x-systemd.requires=network-online.target,memory_limit=256");
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), "");
    fs::write(world.path("drive/a.txt"), "a").unwrap();
    // Somebody else's folder cannot be mounted on: not done, by mount's own code.
    assert_eq!(call("rw").status.code(), Some(32));
    world.ok(["umount", "drive"]);
    assert_eq!(world.ok(["cat", "office.toml", "/a.txt"]), "a");
}

#[test]
fn the_manual_has_a_page_for_every_command_in_both_languages() {
    let world = World::empty();
    for (lang, word) in [("en", ".SH EXAMPLES"), ("ja", ".SH 例")] {
        world.ok(["--lang", lang, "manpages", lang]);
        let mut pages: Vec<String> = fs::read_dir(world.path(lang))
            .unwrap()
            .map(|page| page.unwrap().file_name().into_string().unwrap())
            .collect();
        pages.sort();
        for page in ["warifu.1", "warifu-mount.1", "warifu-server-replace.1"] {
            assert!(pages.iter().any(|name| name == page), "{pages:?}");
        }
        let mount = text(&world.read(format!("{lang}/warifu-mount.1")));
        assert!(
            mount.contains(".TH WARIFU-MOUNT 1") && mount.contains(word),
            "{mount}"
        );
        assert!(mount.contains("memory\\-limit"), "{mount}");
    }
}

#[test]
fn the_debian_package_holds_all_that_a_machine_needs() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "dpkg-deb is not installed"
        );
        eprintln!("skipped: dpkg-deb is not installed");
        return;
    }
    let world = World::empty();
    let out = Command::new(project("dist/debian/build"))
        .args([WARIFU, world.dir().to_str().unwrap()])
        // The program that is tested is large, and nobody keeps this package.
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let package = text(&out.stdout).trim().to_owned();
    let unpacked = world.path("root");
    let done = Command::new("dpkg-deb")
        .args(["--extract", &package, unpacked.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(done.success());
    for path in [
        "usr/bin/warifu",
        "usr/sbin/mount.fuse.warifu",
        "lib/systemd/system/warifu@.service",
        "lib/systemd/system/warifu-metrics@.service",
        "lib/systemd/system/warifu-metrics@.timer",
        "lib/systemd/system/warifu-refresh@.timer",
        "usr/share/man/man1/warifu.1.gz",
        "usr/share/man/ja/man1/warifu-mount.1.gz",
        "usr/share/bash-completion/completions/warifu",
        "usr/share/doc/warifu/copyright",
        "etc/warifu",
    ] {
        assert!(unpacked.join(path).exists(), "{path} is not in the package");
    }
    let version = Command::new(unpacked.join("usr/sbin/mount.fuse.warifu"))
        .args(["-f", "a.toml", "dir"])
        .output()
        .unwrap();
    assert!(version.status.success(), "{}", text(&version.stderr));
}

#[test]
fn metrics_are_written_as_the_timer_does_it_and_old_ones_do_not_stay() {
    let world = World::new();
    world.away("b");
    world.write("weak.bin", noise(5000));
    world.run(["put", "office.toml", "weak.bin", "/"]);
    let unit = fs::read_to_string(project("dist/systemd/warifu-metrics@.service")).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/bin/sh -c '"));
    let script = line
        .and_then(|line| line.strip_suffix('\''))
        .unwrap()
        .replace("%i", "office")
        .replace("${INTO}", world.dir().to_str().unwrap())
        .replace("/usr/bin/warifu", WARIFU)
        .replace(
            "/etc/warifu/office.toml",
            world.path("office.toml").to_str().unwrap(),
        );
    let write = || {
        Command::new("/bin/sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    };
    assert!(write());
    let page = fs::read_to_string(world.path("warifu-office.prom")).unwrap();
    let mut told = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (what, value) = line.rsplit_once(' ').unwrap();
        let _: f64 = value.parse().unwrap();
        let name = what.split('{').next().unwrap();
        for said in ["# HELP", "# TYPE"] {
            assert!(
                page.contains(&format!("{said} {name} ")),
                "{name} has no {said}"
            );
        }
        assert!(
            told.insert(what.to_owned(), value.to_owned()).is_none(),
            "{what} twice"
        );
    }
    let office = |name: &str| told[&format!("warifu_{name}{{vault=\"office\"}}")].clone();
    assert_eq!(
        [
            office("files"),
            office("spare_servers"),
            office("weak_files")
        ],
        ["1", "0", "1"]
    );
    let shisho =
        |name: &str| told[&format!("warifu_{name}{{vault=\"office\",server=\"shisho\"}}")].clone();
    assert_eq!(shisho("server_up"), "0");
    assert!(shisho("server_owed_shares").parse::<f64>().unwrap() > 0.0);
    assert!(!world.path("warifu-office.prom.part").exists());
    // With nothing to tell, there is nothing.
    fs::rename(world.path("office.toml"), world.path("elsewhere.toml")).unwrap();
    assert!(!write());
    assert!(!world.path("warifu-office.prom").exists());
}
