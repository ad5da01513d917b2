//! `quickstart`: the tour. Three folders stand for three servers; everything said here is a command that runs as it stands.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use warifu::{FileMeta, InitOptions, NewServer, Threshold, VaultPath, Warifu};

use super::mount::ram::Exposure;
use super::mount::{self, Wish};
use super::{Done, open};
use crate::args;
use crate::exit::Exit;
use crate::failure::{About as _, At as _, Failure};
use crate::output::{note, print, shell_word, shown, shown_path};
use crate::samples;
use crate::words::{program, say, set_vault};

/// The tour's places.
struct Tour {
    dir: PathBuf,
    vault: PathBuf,
    drive: PathBuf,
}

pub async fn run(args: args::Quickstart) -> Done {
    let dir = args
        .dir
        .unwrap_or_else(|| PathBuf::from("warifu-quickstart"));
    let tour = Tour {
        vault: dir.join("office.toml"),
        drive: dir.join("drive"),
        dir,
    };
    set_vault(&tour.vault);
    let made = make(&tour).await?;
    let mounted = if args.no_mount {
        None
    } else {
        Some(mount_drive(&tour).await?)
    };
    let mut text = format!(
        "{}\n",
        if made {
            say!("tour-made", dir = shown_path(&tour.dir))
        } else {
            say!("tour-exists", dir = shown_path(&tour.dir))
        }
    );
    let drive = match mounted {
        Some(Drive::Mounted) => {
            text.push_str(&format!(
                "{}\n",
                say!("tour-mounted", dir = shown_path(&tour.drive))
            ));
            true
        }
        Some(Drive::Already) => {
            text.push_str(&format!(
                "{}\n",
                say!("tour-mounted-already", dir = shown_path(&tour.drive))
            ));
            true
        }
        Some(Drive::Impossible(failure)) => {
            note(failure.render().trim_end());
            text.push_str(&format!("{}\n", say!("tour-no-drive")));
            false
        }
        None => false,
    };
    text.push_str(&steps(&tour, drive));
    print(&text)?;
    Ok(Exit::Ok)
}

/// Makes what is missing. Says whether the vault is new.
async fn make(tour: &Tour) -> Result<bool, Failure> {
    let ours =
        tour.vault.exists() || !tour.dir.exists() || is_unfinished(&tour.dir).at(&tour.dir)?;
    if !ours {
        return Err(Failure::new(
            Exit::Exists,
            say!("tour-taken", dir = shown_path(&tour.dir)),
            say!("tour-taken-next"),
        ));
    }
    let servers = tour.dir.join("servers");
    fs::create_dir_all(&servers).at(&servers)?;
    let new = !tour.vault.exists();
    if new {
        let threshold =
            Threshold::new(2, 3).map_err(|bad| Failure::opening(warifu::Error::Threshold(bad)))?;
        let list = (1..=3).map(|number| {
            let folder = servers.join(number.to_string());
            NewServer::new(format!("server-{number}"), folder.to_string_lossy())
        });
        Warifu::init(
            &tour.vault,
            threshold,
            list.collect(),
            InitOptions::new("warifu"),
        )
        .await
        .map_err(Failure::opening)?;
    }
    let warifu = open(&tour.vault, false).await?;
    let filled = fill(&warifu).await;
    let unsaved = warifu.close().await;
    filled?;
    if unsaved.is_empty() {
        Ok(new)
    } else {
        Err(Failure::lost(&unsaved))
    }
}

/// Whether a folder is empty, or what an interrupted tour left.
fn is_unfinished(dir: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !matches!(
            name.as_bytes(),
            b"servers" | b"drive" | b"office.db" | b"office.db-wal" | b"office.db-shm"
        ) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts the sample documents into a vault in which nothing is yet.
async fn fill(warifu: &Warifu) -> Result<(), Failure> {
    let root = warifu
        .stat(&VaultPath::ROOT)
        .await
        .about(&VaultPath::ROOT)?;
    if !warifu
        .entries(&root)
        .await
        .about(&VaultPath::ROOT)?
        .is_empty()
    {
        return Ok(());
    }
    // What is read first is put last: where it is, the samples are complete.
    for sample in samples::all()?.into_iter().rev() {
        let path = VaultPath::parse(sample.path)
            .map_err(|bad| Failure::bad_name(&bad, &shown(sample.path.as_bytes())))?;
        if let Some((folder, _)) = path.split() {
            warifu.make_dirs(&folder, 0o755).await.about(&folder)?;
        }
        let mut contents = sample.contents.as_slice();
        warifu
            .copy_in(&path, &mut contents, FileMeta::default(), |_| ())
            .await
            .about(&path)?;
    }
    Ok(())
}

enum Drive {
    Mounted,
    Already,
    Impossible(Failure),
}

async fn mount_drive(tour: &Tour) -> Result<Drive, Failure> {
    if mount::is_served(&tour.drive) {
        return Ok(Drive::Already);
    }
    match fs::create_dir(&tour.drive) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        // The drive of a process that was killed is there and does not answer; mounting deals with it.
        Err(error) => return Err(Failure::local(&tour.drive, &error)),
    }
    let wish = Wish {
        vault: tour.vault.clone(),
        dir: tour.drive.clone(),
        allow_other: false,
        read_only: false,
        at: None,
        // These documents are samples, and nobody's secret.
        allow_swap: true,
        memory_limit: None,
    };
    if !crate::quiet()
        && let Some(text) = Exposure::look().for_the_tour()
    {
        note(&text);
    }
    match mount::start(wish).await {
        Ok(_) => Ok(Drive::Mounted),
        Err(failure) if failure.exit == Exit::NoMount => Ok(Drive::Impossible(failure)),
        Err(failure) => Err(failure),
    }
}

/// What to try, step by step.
fn steps(tour: &Tour, drive: bool) -> String {
    let word = |path: PathBuf| shell_word(path.as_os_str());
    let warifu = program();
    let vault = word(tour.vault.clone());
    let server = |name: &str| word(tour.dir.join("servers").join(name));
    let inside = |path: &str| word(tour.drive.join(path.trim_start_matches('/')));
    let vault_word = |path: &str| shell_word(std::ffi::OsStr::new(path));
    let read = if drive {
        format!("cat {}", inside(samples::README))
    } else {
        format!("{warifu} cat {vault} {}", vault_word(samples::README))
    };
    let mut open = Vec::new();
    if drive {
        open.push(format!("ls -l {}", inside("見本")));
        if on_path("xdg-open")
            && std::env::var_os("DISPLAY")
                .or(std::env::var_os("WAYLAND_DISPLAY"))
                .is_some()
        {
            open.push(format!("xdg-open {}", inside(samples::LETTER)));
        }
    } else {
        open.push(format!("{warifu} ls {vault} -l -R"));
        open.push(format!(
            "{warifu} get {vault} {} {}",
            vault_word(samples::LETTER),
            word(tour.dir.clone())
        ));
    }
    open.push(read.clone());
    let mut look = vec![format!("ls -lR {}", server("1"))];
    if drive {
        look.push(format!(
            "grep -rl {} {}",
            samples::WORD,
            word(tour.drive.clone())
        ));
    }
    look.push(format!(
        "grep -rl {} {}",
        samples::WORD,
        word(tour.dir.join("servers"))
    ));
    let mut text = String::new();
    let mut step = |title: String, commands: &[String]| {
        text.push_str(&format!("\n{title}\n"));
        for command in commands {
            text.push_str(&format!("    {command}\n"));
        }
    };
    step(say!("tour-open"), &open);
    step(say!("tour-look"), &look);
    step(
        say!("tour-away"),
        &[
            format!("mv {} {}", server("2"), server("2.away")),
            read,
            format!("{warifu} status {vault}"),
        ],
    );
    step(
        say!("tour-back"),
        &[
            format!("mv {} {}", server("2.away"), server("2")),
            format!("{warifu} verify {vault} --deep"),
        ],
    );
    if drive {
        step(
            say!("tour-end"),
            &[format!("{warifu} umount {}", word(tour.drive.clone()))],
        );
    }
    step(
        say!("tour-remove"),
        &[format!("rm -r {}", word(tour.dir.clone()))],
    );
    text
}

fn on_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
