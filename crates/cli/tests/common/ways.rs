//! What the tests of the ways in have in common.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use super::{World, text};

/// The vault of these tests.
pub const V: &str = "office.toml";

/// A file that its owner alone may read.
pub fn secret(world: &World, name: &str, contents: &str) {
    let path = world.write(name, contents);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// What it said on both streams; the exit code must be this.
#[track_caller]
pub fn ends(out: &Output, code: i32) -> String {
    let said = format!("{}\n{}", text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{said}");
    said
}

/// Has the vault take a passphrase, which is in `pass`.
pub fn with_passphrase(world: &World) {
    secret(world, "pass", "合言葉は四つ辻の角\n");
    world.ok([
        "way",
        "add",
        V,
        "passphrase",
        "--name",
        "soumu",
        "--new-passphrase-file",
        "pass",
        "--memory",
        "64",
        "--yes",
    ]);
}

/// The codes of the sheets that were printed.
pub fn codes(printed: &str) -> Vec<String> {
    let lines = printed.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("WARIFU1:"))
        .map(str::to_owned)
        .collect()
}
