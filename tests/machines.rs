//! P8: three drives of one vault, each with a process of its own, and two LibreOffice that want the same document.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use warifu_testkit::servers::{Postgres, PostgresOptions};
use warifu_tests::drives::{Drive, can_lock, holder, rig_on};
use warifu_tests::{Rig, can_mount, must, noise, said, skipped, wait_until, which};

/// By when the locks of a dead drive must have ended: its lease, and what a slow machine takes to notice.
const LEASE: Duration = Duration::from_secs(30);
const EVER: Duration = Duration::from_secs(120);

fn open_files(rig: &Rig) -> serde_json::Value {
    let output = rig.warifu(
        "status",
        &[OsStr::new("--open-files"), OsStr::new("--json")],
    );
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn p8_three_drives_share_a_vault_and_one_of_them_dies() {
    if can_mount() {
        share_and_die(&Rig::new(2, 3));
    }
}

#[test]
fn p8_three_drives_share_a_vault_in_postgresql_and_one_of_them_dies() {
    if !can_mount() {
        return;
    }
    if let Some(server) = Postgres::start(PostgresOptions::default()) {
        share_and_die(&rig_on(server.url("warifu")));
    }
}

fn share_and_die(rig: &Rig) {
    let drives = ["one", "two", "three"].map(|name| Drive::mount(rig, name));
    // Each reads what the last one saved, without waiting.
    for turn in 0..30_usize {
        let bytes = noise(10 + turn * 977, turn as u64);
        fs::write(drives[turn % 3].at("shared.ods"), &bytes).unwrap();
        for drive in &drives {
            assert!(
                fs::read(drive.at("shared.ods")).unwrap() == bytes,
                "turn {turn}: {} has another version",
                drive.dir.display()
            );
        }
    }
    how_soon_it_shows(&drives);
    let mut holds = holder(&drives[0].at("shared.ods"));
    // What this test read last is let go a moment after its close, so one open file alone could still be that one.
    assert!(wait_until(EVER, || open_files(rig)["open"]
        .as_array()
        .is_some_and(
            |open| open.len() == 1 && open[0]["program"] == "sh"
        )));
    let told = open_files(rig);
    assert_eq!(told["drives"].as_array().unwrap().len(), 3);
    assert_eq!(told["open"][0]["path"], "/shared.ods");
    assert_eq!(told["open"][0]["program"], "sh");
    assert_eq!(told["locks"][0]["call"], "flock");
    assert!(!can_lock(&drives[1].at("shared.ods")));

    drives[0].kill();
    let died = Instant::now();
    assert!(
        !can_lock(&drives[1].at("shared.ods")),
        "nobody knows yet that it is dead"
    );
    assert!(wait_until(EVER, || can_lock(&drives[2].at("shared.ods"))));
    let took = died.elapsed();
    eprintln!("the lock of a dead drive ended after {took:.1?}");
    assert!(took < LEASE * 2, "{took:?}");
    let told = open_files(rig);
    assert_eq!(told["drives"].as_array().unwrap().len(), 2);
    assert!(told["open"].as_array().unwrap().is_empty());
    // The others go on.
    fs::write(drives[1].at("shared.ods"), "after").unwrap();
    assert_eq!(
        fs::read_to_string(drives[2].at("shared.ods")).unwrap(),
        "after"
    );
    let _ = holds.kill();
    let _ = holds.wait();
}

/// What a drive has just told its kernel is changed on another one. When does it show, without anybody opening the file?
fn how_soon_it_shows(drives: &[Drive; 3]) {
    let mut took = Vec::new();
    for turn in 1..=20_usize {
        let seen = drives[1].at("shown");
        fs::write(drives[0].at("shown"), vec![7; turn * 10]).unwrap();
        wait_until(EVER, || {
            fs::metadata(&seen).is_ok_and(|it| it.len() == turn as u64 * 10)
        });
        fs::write(drives[0].at("shown"), vec![7; turn * 10 + 1]).unwrap();
        let changed = Instant::now();
        while fs::metadata(&seen).unwrap().len() != turn as u64 * 10 + 1 {
            assert!(changed.elapsed() < EVER, "it never shows");
            std::thread::sleep(Duration::from_millis(1));
        }
        took.push(changed.elapsed());
    }
    took.sort();
    eprintln!(
        "a change shows on another drive after {:.1?} (median), {:.1?} (slowest)",
        took[10], took[19]
    );
}

/// Macros in LibreOffice's own Basic: one opens a document and holds it until a file appears, the other tries to open it and says what came
/// of it.
const MACROS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Module1" script:language="StarBasic">
Function Load(url As String)
  Dim hidden(0) As New com.sun.star.beans.PropertyValue
  hidden(0).Name = "Hidden"
  hidden(0).Value = True
  Load = StarDesktop.loadComponentFromURL(url, "_blank", 0, hidden())
End Function

Sub Say(path As String, what As String)
  Open path For Output As #1
  Print #1, what
  Close #1
End Sub

Sub Hold(url As String, told As String, leave As String)
  document = Load(url)
  Say(told, "open")
  Do While Not FileExists(leave)
    Wait 100
  Loop
  document.close(True)
End Sub

Sub Attempt(url As String, told As String)
  On Error Goto Refused
  document = Load(url)
  If IsNull(document) Then
    Say(told, "refused")
    Exit Sub
  End If
  If document.isReadonly() Then
    Say(told, "read-only")
  Else
    Say(told, "writable")
  End If
  document.close(True)
  Exit Sub
Refused:
  Say(told, "refused")
End Sub
</script:module>
"#;

struct Office {
    profile: PathBuf,
}

impl Office {
    fn new(scratch: &Path, name: &str) -> Self {
        let office = Self {
            profile: scratch.join(name),
        };
        assert!(
            office
                .start("--terminate_after_init")
                .wait()
                .unwrap()
                .success()
        );
        let library = office.profile.join("user/basic/Standard");
        fs::write(library.join("Module1.xba"), MACROS).unwrap();
        fs::write(
            library.join("script.xlb"),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE library:library PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "library.dtd">
<library:library xmlns:library="http://openoffice.org/2000/library" library:name="Standard" library:readonly="false" library:passwordprotected="false">
 <library:element library:name="Module1"/>
</library:library>
"#,
        )
        .unwrap();
        office
    }

    fn start(&self, argument: &str) -> Child {
        Command::new("soffice")
            .arg(format!(
                "-env:UserInstallation=file://{}",
                self.profile.display()
            ))
            .args(["--headless", "--norestore", "--nologo", argument])
            .env("HOME", &self.profile)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// Whether two LibreOffice can be tried.
fn can_write() -> bool {
    let can = which("soffice").is_some();
    if !can {
        skipped("no LibreOffice: apt-get install libreoffice-writer-nogui libreoffice-calc-nogui");
    }
    can && can_mount()
}

#[test]
fn p8_a_second_libreoffice_is_told_who_has_the_document_open() {
    if can_write() {
        two_offices(&Rig::new(2, 3));
    }
}

#[test]
fn p8_a_second_libreoffice_is_told_through_postgresql_who_has_the_document_open() {
    if !can_write() {
        return;
    }
    if let Some(server) = Postgres::start(PostgresOptions::default()) {
        two_offices(&rig_on(server.url("warifu")));
    }
}

fn two_offices(rig: &Rig) {
    let (here, there) = (Drive::mount(rig, "one"), Drive::mount(rig, "two"));
    let offices = ["office-1", "office-2"].map(|name| Office::new(rig.scratch(), name));
    let mut page = fs::File::create(here.at("list.fodt")).unwrap();
    page.write_all(
        br#"<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.3" office:mimetype="application/vnd.oasis.opendocument.text"><office:body><office:text><text:p>hello</text:p></office:text></office:body></office:document>"#,
    )
    .unwrap();
    drop(page);
    let (told, leave) = (rig.scratch().join("told"), rig.scratch().join("leave"));
    let mut first = offices[0].start(&format!(
        "macro:///Standard.Module1.Hold(\"file://{}\",\"{}\",\"{}\")",
        here.at("list.fodt").display(),
        told.display(),
        leave.display()
    ));
    assert!(
        wait_until(EVER, || told.exists()),
        "it never opened the document"
    );
    // What the second one shows its user: the first line of the lock file says who and on which machine.
    let lock = there.at(".~lock.list.fodt#");
    assert!(wait_until(EVER, || lock.exists()), "there is no lock file");
    let text = fs::read_to_string(&lock).unwrap();
    let host = must("uname", ["-n"]);
    assert!(text.contains(host.trim()), "{text}");
    let attempt = |name: &str| {
        let answer = rig.scratch().join(name);
        let mut second = offices[1].start(&format!(
            "macro:///Standard.Module1.Attempt(\"file://{}\",\"{}\")",
            there.at("list.fodt").display(),
            answer.display()
        ));
        wait_until(EVER, || {
            second.try_wait().is_ok_and(|status| status.is_some())
        });
        let _ = second.kill();
        let _ = second.wait();
        fs::read_to_string(&answer)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let second = attempt("while-open");
    assert!(
        second == "read-only" || second == "refused",
        "two have the document open for writing: {second:?}"
    );
    fs::write(&leave, "").unwrap();
    wait_until(EVER, || {
        first.try_wait().is_ok_and(|status| status.is_some())
    });
    let _ = first.kill();
    let _ = first.wait();
    assert!(wait_until(EVER, || !lock.exists()));
    assert_eq!(attempt("after"), "writable");
}
