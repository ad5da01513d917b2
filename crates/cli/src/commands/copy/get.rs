//! `warifu get` and `warifu cat`.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use warifu::{Attr, NodeKind, Timestamp, VaultError, VaultPath, VersionNo, Warifu};

use super::{AT_ONCE, Tally, settle};
use crate::args::{Cat, Get};
use crate::commands::{Done, reading, vault_path, with_vault_opened};
use crate::exit::Exit;
use crate::failure::{About as _, At as _, Failure};
use crate::output::Progress;
use crate::words::{say, set_vault};

/// Something in the vault, and where it goes.
struct Item {
    from: VaultPath,
    attr: Attr,
    local: PathBuf,
}

pub async fn get(args: Get) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let options = reading(args.at.as_ref())?;
    with_vault_opened(&vault, options, |warifu| get_all(warifu, args)).await
}

async fn get_all(warifu: Arc<Warifu>, args: Get) -> Done {
    let version = args.number.map(VersionNo);
    let into = args.target.is_dir();
    if !into && (args.sources.len() > 1 || args.target.as_os_str().as_bytes().ends_with(b"/")) {
        let path = crate::output::shown_path(&args.target);
        return Err(Failure::new(
            Exit::NotFound,
            say!("get-no-folder", path = path.as_str()),
            say!("get-no-folder-next"),
        ));
    }
    let mut items = Vec::new();
    for source in &args.sources {
        let from = vault_path(source)?;
        let local = match (into, from.split()) {
            (true, Some((_, name))) => args.target.join(OsStr::from_bytes(name.as_bytes())),
            // The root has no name: what is in it goes into the target.
            _ => args.target.clone(),
        };
        let mut walk = warifu.walk(from.clone()).await.about(&from)?;
        while let Some((path, attr)) = walk.next().await.about(&from)? {
            if version.is_some() && attr.kind != NodeKind::File {
                return Err(VaultError::IsDir).about(&path);
            }
            let mut place = local.clone();
            for name in path.names().iter().skip(from.names().len()) {
                place.push(OsStr::from_bytes(name.as_bytes()));
            }
            items.push(Item {
                from: path,
                attr,
                local: place,
            });
        }
    }
    let total = items
        .iter()
        .filter(|item| item.attr.kind == NodeKind::File)
        .map(|item| item.attr.size)
        .sum();
    let progress = Progress::bytes(total, crate::quiet() || args.json);
    let mut tally = Tally::default();
    let copied = copy_items(&warifu, &items, version, args.force, &progress, &mut tally).await;
    progress.done();
    copied?;
    let care = !tally.skipped.is_empty();
    tally.report(None, args.json)?;
    Ok(if care { Exit::Care } else { Exit::Ok })
}

async fn copy_items(
    warifu: &Arc<Warifu>,
    items: &[Item],
    version: Option<VersionNo>,
    force: bool,
    progress: &Progress,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut tasks: JoinSet<Result<u64, Failure>> = JoinSet::new();
    let mut ended = Vec::new();
    for item in items {
        match item.attr.kind {
            NodeKind::Dir => {
                make_folder(&item.local)?;
                tally.folders += 1;
            }
            NodeKind::Symlink => {
                let target = warifu
                    .vault()
                    .read_link(warifu.context(), item.attr.node)
                    .await
                    .about(&item.from)?;
                make_link(
                    &PathBuf::from(std::ffi::OsString::from_vec(target)),
                    &item.local,
                    force,
                )?;
                tally.links += 1;
            }
            NodeKind::File => {
                settle(&mut tasks, AT_ONCE, |bytes| ended.push(bytes)).await?;
                progress.at(&item.from.to_bytes());
                let (warifu, progress) = (warifu.clone(), progress.clone());
                let (from, attr, local) =
                    (item.from.clone(), item.attr.clone(), item.local.clone());
                tasks.spawn(async move {
                    get_file(&warifu, &from, &attr, version, &local, force, &progress).await
                });
            }
            NodeKind::Fifo | NodeKind::Socket | NodeKind::CharDevice | NodeKind::BlockDevice => {
                tally.skip(progress, &item.from.to_bytes(), say!("skip-special"));
            }
        }
    }
    settle(&mut tasks, 1, |bytes| ended.push(bytes)).await?;
    tally.files += ended.len() as u64;
    tally.bytes += ended.iter().sum::<u64>();
    // Last, because putting something into a folder changes its time; the inner ones first, because a mode may lock us out.
    for item in items
        .iter()
        .rev()
        .filter(|item| item.attr.kind == NodeKind::Dir && !item.from.names().is_empty())
    {
        let folder = File::open(&item.local).at(&item.local)?;
        folder.set_times(times(item.attr.mtime)).at(&item.local)?;
        folder
            .set_permissions(Permissions::from_mode(item.attr.mode & 0o777))
            .at(&item.local)?;
    }
    Ok(())
}

/// Writes one file under a temporary name beside its place and gives it its name when it is whole. It is the user's wish
/// to have it on a disk in the clear; where, is the user's choice too.
async fn get_file(
    warifu: &Warifu,
    from: &VaultPath,
    attr: &Attr,
    version: Option<VersionNo>,
    local: &Path,
    force: bool,
    progress: &Progress,
) -> Result<u64, Failure> {
    if !force && fs::symlink_metadata(local).is_ok() {
        return Err(Failure::local(local, &io::ErrorKind::AlreadyExists.into()));
    }
    let temporary = tempfile::Builder::new()
        .prefix(".warifu-")
        .tempfile_in(folder_of(local))
        .at(local)?;
    let mut to = tokio::fs::File::from_std(temporary.as_file().try_clone().at(local)?);
    let copied = warifu
        .copy_out(attr, version, &mut to, |more| progress.add(more))
        .await;
    let bytes = match copied {
        Ok(bytes) => bytes,
        Err(warifu::Error::Stream(error)) => return Err(Failure::local(local, &error)),
        Err(error) => return Err(error).about(from),
    };
    // The right to act as another user is not handed on with a copy.
    temporary
        .as_file()
        .set_permissions(Permissions::from_mode(attr.mode & 0o777))
        .at(local)?;
    if version.is_none() {
        temporary.as_file().set_times(times(attr.mtime)).at(local)?;
    }
    let kept = if force {
        temporary.persist(local)
    } else {
        temporary.persist_noclobber(local)
    };
    kept.map_err(|error| Failure::local(local, &error.error))?;
    Ok(bytes)
}

fn make_folder(local: &Path) -> Result<(), Failure> {
    match fs::DirBuilder::new().mode(0o700).create(local) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Never through a link: the copy would land somewhere else.
            if fs::symlink_metadata(local).at(local)?.is_dir() {
                Ok(())
            } else {
                Err(Failure::local(local, &error))
            }
        }
        other => other.at(local),
    }
}

fn make_link(target: &Path, local: &Path, force: bool) -> Result<(), Failure> {
    match symlink(target, local) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && force => {
            fs::remove_file(local).at(local)?;
            symlink(target, local).at(local)
        }
        other => other.at(local),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."))
}

fn times(time: Timestamp) -> FileTimes {
    let nanos = Duration::from_nanos(time.nanos.into());
    let seconds = Duration::from_secs(time.secs.unsigned_abs());
    let at: Option<SystemTime> = if time.secs >= 0 {
        UNIX_EPOCH.checked_add(seconds)
    } else {
        UNIX_EPOCH.checked_sub(seconds)
    };
    match at.and_then(|at| at.checked_add(nanos)) {
        Some(at) => FileTimes::new().set_modified(at),
        None => FileTimes::new(),
    }
}

pub async fn cat(args: Cat) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let options = reading(args.at.as_ref())?;
    with_vault_opened(&vault, options, |warifu| async move {
        let mut out = tokio::io::stdout();
        for path in &args.paths {
            let path = vault_path(path)?;
            let attr = warifu.stat(&path).await.about(&path)?;
            match warifu
                .copy_out(&attr, args.number.map(VersionNo), &mut out, |_| ())
                .await
            {
                // A reader that has seen enough (`| head`) is no error.
                Err(warifu::Error::Stream(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Exit::Ok);
                }
                other => other.about(&path)?,
            };
        }
        Ok(Exit::Ok)
    })
    .await
}
