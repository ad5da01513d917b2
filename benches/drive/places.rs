//! The file systems under test: mounted side by side on one disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// A file system under test: its name and where it is mounted.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) dir: PathBuf,
    unmount: Vec<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((program, arguments)) = self.unmount.split_first() {
            let _ = Command::new(program)
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Runs a program to its end; what it says counts only where it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Outcome<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!(
        "{program} {}: {}\n{said}",
        arguments.join(" "),
        output.status
    )
    .into())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn folder(path: PathBuf) -> Outcome<PathBuf> {
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// The release binary, built if need be; `WARIFU` names another.
fn warifu() -> Outcome<PathBuf> {
    if let Some(given) = std::env::var_os("WARIFU") {
        return Ok(given.into());
    }
    run(
        env!("CARGO"),
        &["build", "--release", "--quiet", "-p", "warifu-cli"],
    )?;
    let mut target = std::env::current_exe()?;
    while target.file_name().is_some_and(|name| name != "release") {
        target.pop();
    }
    Ok(target.join("warifu"))
}

/// All of them, or those that `PLACES` names.
pub(crate) fn places(scratch: &Path) -> Outcome<Vec<Place>> {
    let wanted = std::env::var("PLACES").ok();
    let makers: [(&'static str, Maker); 4] = [
        ("the disk itself", plain),
        ("bindfs", bindfs),
        ("gocryptfs", gocryptfs),
        ("warifu", vault),
    ];
    makers
        .into_iter()
        .filter(|(name, _)| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted.split(',').any(|wanted| wanted == *name))
        })
        .map(|(name, make)| make(name, scratch))
        .collect()
}

type Maker = fn(&'static str, &Path) -> Outcome<Place>;

fn plain(name: &'static str, scratch: &Path) -> Outcome<Place> {
    Ok(Place {
        name,
        dir: folder(scratch.join("plain"))?,
        unmount: Vec::new(),
    })
}

fn bindfs(name: &'static str, scratch: &Path) -> Outcome<Place> {
    let source = folder(scratch.join("bindfs-source"))?;
    let dir = folder(scratch.join("bindfs"))?;
    run("bindfs", &["--multithreaded", text(&source), text(&dir)])?;
    Ok(Place {
        name,
        unmount: vec!["umount".into(), text(&dir).into()],
        dir,
    })
}

fn gocryptfs(name: &'static str, scratch: &Path) -> Outcome<Place> {
    let cipher = folder(scratch.join("gocryptfs-cipher"))?;
    let dir = folder(scratch.join("gocryptfs"))?;
    let password = scratch.join("password");
    fs::write(&password, "bench\n")?;
    let pass = ["-q", "-passfile", text(&password)];
    let init = ["-init", "-scryptn", "10", text(&cipher)];
    run("gocryptfs", &[&pass[..], &init[..]].concat())?;
    run(
        "gocryptfs",
        &[&pass[..], &[text(&cipher), text(&dir)]].concat(),
    )?;
    Ok(Place {
        name,
        unmount: vec!["umount".into(), text(&dir).into()],
        dir,
    })
}

fn vault(name: &'static str, scratch: &Path) -> Outcome<Place> {
    let (warifu, dir) = (warifu()?, folder(scratch.join("warifu"))?);
    let vault = scratch.join("bench.toml");
    let servers: Vec<PathBuf> = (1..=3)
        .map(|n| scratch.join(format!("server-{n}")))
        .collect();
    let scheme = std::env::var("SCHEME").unwrap_or_else(|_| "shamir".to_owned());
    let mut arguments = vec![
        "init",
        text(&vault),
        "--threshold",
        "2",
        "--scheme",
        &scheme,
    ];
    arguments.extend(servers.iter().map(|server| text(server)));
    run(text(&warifu), &arguments)?;
    run(text(&warifu), &["mount", text(&vault), text(&dir)])?;
    Ok(Place {
        name,
        unmount: vec![text(&warifu).into(), "umount".into(), text(&dir).into()],
        dir,
    })
}
