//! `warifu run`: a program that can write to the drive and to RAM, and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use warifu_tests::disk::Disk;
use warifu_tests::scan::{Scan, zipped};
use warifu_tests::{
    can_mount, is_root, must, noise, run, said, skipped, wait_until, warifu, which,
};

/// A vault and a home folder.
struct Scene {
    top: PathBuf,
}

/// A folder that is not in `/tmp`, where all is writable in there.
fn outside_tmp() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("warifu-run-");
    ["/srv", "/var/lib"]
        .iter()
        .find_map(|folder| builder.tempdir_in(folder).ok())
        .expect("a folder for the test")
}

impl Scene {
    fn new(top: &Path) -> Self {
        let scene = Self::bare(top);
        must(warifu(), scene.init());
        scene
    }

    /// Without a vault.
    fn bare(top: &Path) -> Self {
        let scene = Self {
            top: top.to_owned(),
        };
        for folder in ["home/.config", "elsewhere", "tmp"] {
            fs::create_dir_all(scene.at(folder)).unwrap();
        }
        fs::write(scene.at("home/.config/settings"), "mine").unwrap();
        scene
    }

    fn init(&self) -> Vec<std::ffi::OsString> {
        let servers = ["a", "b", "c"].map(|name| self.at(name).into_os_string());
        let mut words = vec!["init".into(), "-k".into(), "2".into()];
        words.push(self.vault().into_os_string());
        words.extend(servers);
        words
    }

    fn at(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    fn vault(&self) -> PathBuf {
        self.at("office.toml")
    }

    /// `warifu run` with these options, then a program.
    fn command(&self, options: &[&str], program: &[&str]) -> Command {
        let mut command = Command::new(warifu());
        command
            .arg("run")
            .arg(self.vault())
            .args(options)
            .arg("--")
            .args(program)
            .current_dir(&self.top)
            .env("HOME", self.at("home"))
            .env("TMPDIR", self.at("tmp"))
            .env("ELSEWHERE", self.at("elsewhere"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        for name in [
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
            "XDG_DATA_HOME",
            "XDG_STATE_HOME",
            "XDG_RUNTIME_DIR",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, options: &[&str], program: &[&str]) -> Output {
        self.command(options, program).output().unwrap()
    }

    fn cat(&self, path: &str) -> String {
        must(
            warifu(),
            ["cat".as_ref(), self.vault().as_os_str(), path.as_ref()],
        )
    }
}

/// Where namespaces and the drive can be had; in CI they must.
fn can_run() -> bool {
    if can_mount() && is_root() {
        return true;
    }
    skipped("programs are shut in by root here");
    false
}

/// Tries to write in many places, and says which of them took it.
const TRY: &str = r#"
for place in / /etc /usr /var/lib /opt /run "$ELSEWHERE" "$HOME" "$HOME/.config" "$HOME/.cache" /tmp /var/tmp "$WARIFU_DRIVE" .; do
    if (echo secret > "$place/left-by-the-program") 2>/dev/null; then echo "took $place"; fi
done
(echo more >> "$ELSEWHERE/there") 2>/dev/null && echo "changed elsewhere"
rm "$ELSEWHERE/there" 2>/dev/null && echo "removed elsewhere"
mkdir "$ELSEWHERE/folder" 2>/dev/null && echo "folder elsewhere"
ln -s x "$ELSEWHERE/link" 2>/dev/null && echo "link elsewhere"
mount -t tmpfs x /mnt 2>/dev/null && echo "mounted"
umount /tmp 2>/dev/null && echo "unmounted"
cat "$HOME/.config/settings"; echo
echo new > "$HOME/.config/settings"
cat /tmp/left-by-the-program
echo kept > kept.txt
echo dev > /dev/null && echo "null"
ulimit -c
exit 7
"#;

fn check(scene: &Scene, out: &Output) {
    let told = said(out);
    assert_eq!(out.status.code(), Some(7), "{told}");
    let home = scene.at("home");
    let home = home.to_str().unwrap();
    let took: BTreeSet<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("took "))
        .collect();
    let config = format!("{home}/.config");
    let cache = format!("{home}/.cache");
    let drive = format!("{home}/office");
    assert_eq!(
        took,
        BTreeSet::from([&config, &cache, "/tmp", "/var/tmp", &drive, "."]),
        "{told}"
    );
    for line in ["elsewhere", "mounted"] {
        assert!(!told.contains(line), "{told}");
    }
    assert!(told.contains("mine\nsecret\nnull\n0\n"), "{told}");
    // In RAM it was, and with the program it is gone.
    assert_eq!(
        fs::read_to_string(scene.at("home/.config/settings")).unwrap(),
        "mine"
    );
    for place in ["/tmp", "/var/tmp", &config, &cache, home] {
        assert!(
            !Path::new(place).join("left-by-the-program").exists(),
            "{place}"
        );
    }
    assert!(!Path::new(&drive).exists());
    assert_eq!(
        fs::read_to_string(scene.at("elsewhere/there")).unwrap(),
        "here\n"
    );
    assert_eq!(fs::read_dir(scene.at("elsewhere")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(scene.at("tmp")).unwrap().count(), 0);
}

#[test]
fn p6_a_program_writes_to_the_drive_and_to_ram_and_nowhere_else() {
    if !can_run() {
        return;
    }
    let top = outside_tmp();
    let scene = Scene::new(top.path());
    fs::write(scene.at("elsewhere/there"), "here\n").unwrap();
    let out = scene.run(&[], &["bash", "-c", TRY]);
    check(&scene, &out);
    assert_eq!(scene.cat("/kept.txt"), "kept\n");
    assert_eq!(scene.cat("/left-by-the-program"), "secret\n");

    // For reading only, the drive takes nothing either.
    let out = scene.run(
        &["--read-only"],
        &["bash", "-c", "cat kept.txt; echo x > kept.txt"],
    );
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("kept\n"), "{}", said(&out));
    assert_eq!(scene.cat("/kept.txt"), "kept\n");

    let out = scene.run(&["--no-network"], &["cat", "/proc/net/dev"]);
    assert!(out.status.success(), "{}", said(&out));
    let devices = said(&out).lines().filter(|line| line.contains(':')).count();
    assert_eq!(devices, 1, "the loop alone: {}", said(&out));

    let out = scene.run(&[], &["no-such-program"]);
    assert_eq!(out.status.code(), Some(4));
    assert!(said(&out).contains("no-such-program") && said(&out).contains("Next: "));
}

#[test]
fn p6_an_ordinary_user_shuts_programs_in_without_any_helper() {
    if !can_run() || which("setpriv").is_none() {
        return;
    }
    let allowed = fs::read_to_string("/proc/sys/user/max_user_namespaces");
    if allowed.is_ok_and(|number| number.trim() == "0") {
        skipped("no user namespaces");
        return;
    }
    let top = outside_tmp();
    let scene = Scene::bare(top.path());
    fs::write(scene.at("elsewhere/there"), "here\n").unwrap();
    fs::copy(warifu(), scene.at("warifu")).unwrap();
    fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
    must("chown", ["-R", "65534:65534", top.path().to_str().unwrap()]);
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut made = user.map(std::ffi::OsString::from).to_vec();
    made.push(scene.at("warifu").into_os_string());
    made.extend(scene.init());
    must("setpriv", made);
    // Many machines let everybody use the device; this one may not, so it does in here.
    let script = r#"set -e
mount -t tmpfs -o mode=755 x /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse
exec setpriv --reuid=65534 --regid=65534 --clear-groups env PATH=/usr/bin:/bin "$@""#;
    let out = Command::new("unshare")
        .args(["--mount", "bash", "-c", script, "bash"])
        .arg(scene.at("warifu"))
        .arg("run")
        .arg(scene.vault())
        .args(["--", "bash", "-c", TRY])
        .current_dir(top.path())
        .env("HOME", scene.at("home"))
        .env("TMPDIR", scene.at("tmp"))
        .env("ELSEWHERE", scene.at("elsewhere"))
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    check(&scene, &out);
    assert_eq!(scene.cat("/kept.txt"), "kept\n");
}

#[test]
fn signals_go_through_and_what_ends_the_program_is_told() {
    if !can_run() {
        return;
    }
    let top = outside_tmp();
    let scene = Scene::new(top.path());
    let program =
        "trap 'echo last > last.txt; exit 9' TERM; echo up > up; while :; do sleep 0.05; done";
    let mut child = scene
        .command(&[], &["bash", "-c", program])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = wait_until(Duration::from_secs(30), || {
        run(
            warifu(),
            ["cat".as_ref(), scene.vault().as_os_str(), "/up".as_ref()],
        )
        .status
        .success()
    });
    assert!(begun);
    run("kill", ["-TERM", &child.id().to_string()]);
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(scene.cat("/last.txt"), "last\n");
    let out = scene.run(&[], &["bash", "-c", "kill -KILL $$"]);
    assert_eq!(out.status.code(), Some(128 + 9), "{}", said(&out));
    // What a program leaves running is waited for: it may still be saving.
    let out = scene.run(
        &["--quiet"],
        &["bash", "-c", "(sleep 1; echo late > late.txt) & exit 3"],
    );
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
    assert_eq!(scene.cat("/late.txt"), "late\n");
}

#[test]
fn p6_libreoffice_leaves_nothing_of_a_document_on_the_disk() {
    if !can_run() {
        return;
    }
    if which("soffice").is_none() {
        skipped("no LibreOffice: apt-get install libreoffice-writer-nogui libreoffice-calc-nogui");
        return;
    }
    if !Disk::can() {
        skipped("only root can mount a disk image");
        return;
    }
    let outer = outside_tmp();
    let disk = Disk::new(outer.path(), 128);
    let scene = Scene::new(&disk.at);
    let tail: String = noise(8, u64::from(std::process::id()))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // LibreOffice parts Japanese from other letters, so the word is of one kind.
    let (word, name) = (tail.clone(), format!("機密文書-{tail}"));
    // As plain as a text document can be; LibreOffice knows it by its contents.
    let flat = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.3" office:mimetype="application/vnd.oasis.opendocument.text"><office:body><office:text>{}</office:text></office:body></office:document>"#,
        format!("<text:p>{word}</text:p>").repeat(300)
    );
    let script = format!(
        "cat > {name}.fodt && soffice --headless --norestore --nologo --convert-to docx {name}.fodt \
         && soffice --headless --norestore --nologo --convert-to pdf {name}.docx && ls"
    );
    let mut child = scene
        .command(&[], &["bash", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), flat.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    for extension in ["fodt", "docx", "pdf"] {
        assert!(
            said(&out).contains(&format!("{name}.{extension}\n")),
            "{}",
            said(&out)
        );
    }
    let words = BTreeSet::from([word.clone(), name]);
    let scan = Scan::new(&words, &[]);
    let docx = run(
        warifu(),
        [
            "cat".into(),
            scene.vault().into_os_string(),
            format!("/機密文書-{tail}.docx").into(),
        ],
    );
    assert!(
        !scan.bytes(&docx.stdout).is_empty(),
        "the document holds the word"
    );
    let found = scan.bytes(&disk.take_off());
    assert!(found.is_empty(), "on the disk: {found:?}");
    // Without the walls it is otherwise: the same scan finds what is written beside the drive.
    disk.put_on();
    fs::write(
        scene.at("tmp/lu1.tmp"),
        zipped("content.xml", word.as_bytes()),
    )
    .unwrap();
    assert!(!scan.bytes(&disk.take_off()).is_empty());
}
