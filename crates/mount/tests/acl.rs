//! POSIX access control lists, set and shown by the system's own programs and enforced by the kernel.

mod rig;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rig::{Rig, context};
use warifu_vault::node::{Name, NodeId};

/// An ordinary user, and her own group.
const HANAKO: u32 = 61_001;
const TARO: u32 = 61_002;
const STAFF: u32 = 61_100;

/// A mounted drive that ordinary users reach; `None` where the programs are missing.
fn rig() -> Option<Rig> {
    let able = ["setfacl", "getfacl"]
        .iter()
        .all(|program| Command::new(program).arg("--version").output().is_ok());
    assert!(
        able || std::env::var_os("CI").is_none(),
        "CI must have Debian's package acl"
    );
    if !able {
        eprintln!("skipped: apt-get install acl");
        return None;
    }
    let rig = Rig::new()?;
    fs::set_permissions(rig.dir.path(), Permissions::from_mode(0o755)).unwrap();
    Some(rig)
}

/// Runs a program as somebody of one group and perhaps a further one.
fn by(uid: u32, more: Option<u32>, program: &str, words: &[&str], at: &Path) -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--regid", &uid.to_string()]);
    match more {
        Some(group) => command.args(["--groups", &group.to_string()]),
        None => command.arg("--clear-groups"),
    };
    let output = command.arg(program).args(words).arg(at).output().unwrap();
    output.status.success()
}

fn setfacl(words: &[&str], at: &Path) {
    let output = Command::new("setfacl")
        .args(words)
        .arg(at)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "setfacl {words:?}: {said}");
}

/// The list in short: entries separated by commas, without the effective rights that `getfacl` adds.
fn getfacl(at: &Path) -> String {
    let output = Command::new("getfacl")
        .args([
            "--absolute-names",
            "--omit-header",
            "--numeric",
            "--no-effective",
        ])
        .arg(at)
        .output()
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let entries: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    entries.join(",")
}

fn mode(at: &Path) -> u32 {
    fs::metadata(at).unwrap().mode() & 0o7777
}

fn file(rig: &Rig, name: &str, mode: u32) -> PathBuf {
    let path = rig.at(name);
    fs::write(&path, "text").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_list_lets_in_whom_it_names_and_keeps_out_whom_it_denies() {
    let Some(mut rig) = rig() else { return };
    let path = file(&rig, "file", 0o640);
    assert!(!by(HANAKO, None, "cat", &[], &path));
    let named = format!("u:{HANAKO}:rw,g:{STAFF}:r");
    setfacl(&["-m", &named], &path);
    let expected =
        format!("user::rw-,user:{HANAKO}:rw-,group::r--,group:{STAFF}:r--,mask::rw-,other::---");
    for remounted in [false, true] {
        assert_eq!((getfacl(&path), mode(&path)), (expected.clone(), 0o660));
        assert!(by(HANAKO, None, "cat", &[], &path));
        assert!(by(HANAKO, None, "truncate", &["-s", "2"], &path));
        assert!(by(TARO, Some(STAFF), "cat", &[], &path));
        assert!(!by(TARO, Some(STAFF), "truncate", &["-s", "1"], &path));
        assert!(!by(TARO, None, "cat", &[], &path));
        if !remounted {
            rig.remount();
        }
    }
    // One who is denied by name stays out of what all others may read.
    setfacl(&["-b"], &path);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    setfacl(&["-m", &format!("u:{TARO}:-")], &path);
    assert!(!by(TARO, None, "cat", &[], &path) && by(HANAKO, None, "cat", &[], &path));
}

#[test]
fn mode_and_list_say_the_same() {
    let Some(rig) = rig() else { return };
    let path = file(&rig, "file", 0o600);
    setfacl(&["-m", &format!("u:{HANAKO}:rw")], &path);
    assert_eq!(mode(&path), 0o660);
    // The bits of the group are the mask: taking them away takes the right away and leaves the entry.
    fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
    assert_eq!(
        getfacl(&path),
        format!("user::rw-,user:{HANAKO}:rw-,group::---,mask::---,other::r--")
    );
    assert!(!by(HANAKO, None, "truncate", &["-s", "2"], &path));
    fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
    assert!(by(HANAKO, None, "truncate", &["-s", "2"], &path));
    // A list that says no more than a mode becomes one, and nothing is left of it.
    setfacl(&["-b"], &path);
    assert_eq!(getfacl(&path), "user::rw-,group::---,other::---");
    assert_eq!(mode(&path), 0o600);
    let left = rig.runtime.block_on(async {
        let name = Name::new(b"file").unwrap();
        let node = rig
            .vault
            .lookup(&context(), NodeId::ROOT, &name)
            .await
            .unwrap()
            .node;
        rig.vault.xattrs(&context(), node).await.unwrap()
    });
    assert_eq!(left, Vec::new());
    setfacl(&["-b"], &path);
    setfacl(&["-k"], &path);
}

#[test]
fn a_folders_default_list_is_what_new_files_and_folders_begin_with() {
    let Some(rig) = rig() else { return };
    let team = rig.at("team");
    fs::create_dir(&team).unwrap();
    chown(&team, None, Some(STAFF)).unwrap();
    fs::set_permissions(&team, Permissions::from_mode(0o2770)).unwrap();
    setfacl(
        &["-m", &format!("u:{HANAKO}:rwx,d:u:{HANAKO}:rwx,d:o:-")],
        &team,
    );
    let run = |program: &str, words: &[&str], name: &str| {
        let mut command = Command::new("sh");
        // What its maker masks does not count where a default list is.
        command.args(["-c", "umask 077; exec \"$@\"", "sh", program]);
        let done = command.args(words).arg(team.join(name)).status().unwrap();
        assert!(done.success(), "{program} {name}");
    };
    run("touch", &[], "file");
    run("mkdir", &[], "folder");
    run("mkfifo", &[], "pipe");
    run("touch", &[], "folder/deeper");
    let list =
        |mask: &str| format!("user::rw-,user:{HANAKO}:rwx,group::rwx,mask::{mask},other::---");
    assert_eq!(getfacl(&team.join("file")), list("rw-"));
    assert_eq!(getfacl(&team.join("pipe")), list("rw-"));
    assert_eq!(getfacl(&team.join("folder/deeper")), list("rw-"));
    assert_eq!(mode(&team.join("file")), 0o660);
    assert_eq!(mode(&team.join("folder")), 0o2770);
    assert!(getfacl(&team.join("folder")).contains(&format!("default:user:{HANAKO}:rwx")));
    assert!(by(
        HANAKO,
        None,
        "truncate",
        &["-s", "9"],
        &team.join("file")
    ));
    assert!(by(HANAKO, None, "touch", &[], &team.join("folder/hers")));
    assert!(!by(TARO, None, "cat", &[], &team.join("file")));
    // Elsewhere it does.
    let outside = rig.at("outside");
    let touched = Command::new("sh")
        .args([
            "-c",
            "umask 027; touch \"$1\"; mkdir \"$1.d\"; mkfifo \"$1.p\"",
            "sh",
        ])
        .arg(&outside)
        .status();
    assert!(touched.unwrap().success());
    assert_eq!(mode(&outside), 0o640);
    assert_eq!(mode(&rig.at("outside.d")), 0o750);
    assert_eq!(mode(&rig.at("outside.p")), 0o640);
    // A default list of three entries gives plain modes.
    setfacl(&["-b"], &team);
    setfacl(&["-m", "d:u::rw,d:g::r,d:o::-"], &team);
    run("touch", &[], "plain");
    assert_eq!(
        getfacl(&team.join("plain")),
        "user::rw-,group::r--,other::---"
    );
}

#[test]
fn only_the_owner_sets_lists_and_set_group_id_goes_to_members_only() {
    let Some(rig) = rig() else { return };
    let path = file(&rig, "file", 0o664);
    let words = ["-m", "u:61002:r"];
    assert!(!by(HANAKO, None, "setfacl", &words, &path));
    chown(&path, Some(HANAKO), Some(STAFF)).unwrap();
    assert!(by(HANAKO, None, "setfacl", &words, &path));
    let team = rig.at("team");
    for (group, kept) in [(Some(STAFF), 0o2000), (None, 0)] {
        let _ = fs::remove_dir(&team);
        fs::create_dir(&team).unwrap();
        chown(&team, Some(HANAKO), Some(STAFF)).unwrap();
        fs::set_permissions(&team, Permissions::from_mode(0o2770)).unwrap();
        assert!(by(HANAKO, group, "setfacl", &["-m", "u:61002:rwx"], &team));
        assert_eq!(mode(&team), kept | 0o770, "{group:?}");
    }
    // A default list belongs to folders.
    let refused = Command::new("setfacl")
        .args(["-m", "d:u:61002:r"])
        .arg(&path)
        .output();
    assert!(!refused.unwrap().status.success());
}

#[test]
fn lists_of_other_systems_are_refused() {
    let Some(rig) = rig() else { return };
    let path = file(&rig, "file", 0o644);
    for name in ["system.nfs4_acl", "system.richacl", "system.posix_acl"] {
        let set = rustix::fs::setxattr(&path, name, b"x", rustix::fs::XattrFlags::empty());
        assert_eq!(set.unwrap_err().raw_os_error(), libc::EOPNOTSUPP, "{name}");
    }
}
