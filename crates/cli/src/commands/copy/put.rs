//! `warifu put`.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use warifu::{AttrChange, FileMeta, Name, NodeKind, VaultError, VaultPath, Warifu};

use super::{AT_ONCE, Tally, settle, timestamp};
use crate::args::Put;
use crate::commands::{Done, vault_path, with_vault_and_grace};
use crate::exit::Exit;
use crate::failure::{About as _, At as _, Failure};
use crate::output::{Progress, note, shown};
use crate::stop::{self, Stoppable};
use crate::words::{say, set_vault};

/// How long a save that is under way may take to end when the user stops the copying.
const GRACE: Duration = Duration::from_secs(10);

/// Something local, and where it goes.
struct Item {
    local: PathBuf,
    to: VaultPath,
    meta: Metadata,
}

/// How many bytes of a file were put, or why it was left out.
type PutFile = Result<u64, (PathBuf, String)>;

/// What goes where. Folders come before what is in them.
#[derive(Default)]
struct Plan {
    items: Vec<Item>,
    bytes: u64,
    skipped: Vec<(PathBuf, String)>,
}

impl Plan {
    fn add(&mut self, local: PathBuf, to: VaultPath) -> Result<(), Failure> {
        let meta = fs::symlink_metadata(&local).at(&local)?;
        self.add_known(local, to, meta);
        Ok(())
    }

    fn add_known(&mut self, local: PathBuf, to: VaultPath, meta: Metadata) {
        if meta.is_file() {
            self.bytes += meta.len();
        } else if !meta.is_dir() && !meta.is_symlink() {
            self.skipped.push((local, say!("skip-special")));
            return;
        }
        let inside = if meta.is_dir() {
            Some(fs::read_dir(&local))
        } else {
            None
        };
        self.items.push(Item {
            local: local.clone(),
            to: to.clone(),
            meta,
        });
        let Some(inside) = inside else { return };
        let listed = inside.and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match listed {
            Ok(entries) => entries,
            Err(error) => {
                self.skipped.push((local, error.to_string()));
                return;
            }
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            match (
                Name::new(entry.file_name().as_bytes()),
                fs::symlink_metadata(&path),
            ) {
                (Ok(name), Ok(meta)) => self.add_known(path, to.join(name), meta),
                (Ok(_), Err(error)) => self.skipped.push((path, error.to_string())),
                (Err(bad), _) => self.skipped.push((path, bad.to_string())),
            }
        }
    }
}

pub async fn put(args: Put) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault_and_grace(&vault, false, GRACE, |warifu| put_all(warifu, args)).await
}

async fn put_all(warifu: Arc<Warifu>, args: Put) -> Done {
    let target = vault_path(&args.target)?;
    let wants_folder = args.target.as_bytes().ends_with(b"/") || args.sources.len() > 1;
    let into = target_folder(&warifu, &target, wants_folder, args.parents).await?;
    if args.sources.iter().any(|source| source == Path::new("-")) {
        return put_stdin(&warifu, &args, target, into).await;
    }
    let mut plan = Plan::default();
    for source in &args.sources {
        let to = match (into, source.file_name()) {
            (true, Some(name)) => target.join(name_of(name)?),
            // `.` and `/` have no name of their own: what is in them goes into the target.
            _ => target.clone(),
        };
        plan.add(source.clone(), to)?;
    }
    let progress = Progress::bytes(plan.bytes, crate::quiet() || args.json);
    let mut tally = Tally::default();
    for (path, why) in std::mem::take(&mut plan.skipped) {
        tally.skip(&progress, path.as_os_str().as_bytes(), why);
    }
    let owed_before = owed(&warifu).await;
    let copied = copy_items(&warifu, &plan, &args, &progress, &mut tally).await;
    progress.done();
    copied?;
    let degraded = owed(&warifu).await > owed_before;
    let care = degraded || !tally.skipped.is_empty();
    tally.report(Some(degraded), args.json)?;
    if degraded && !crate::quiet() {
        note(&say!("put-degraded"));
    }
    Ok(if care { Exit::Care } else { Exit::Ok })
}

/// Finds out whether the target is a folder to put things into (and makes what is missing, where that was asked for).
async fn target_folder(
    warifu: &Warifu,
    target: &VaultPath,
    wants_folder: bool,
    parents: bool,
) -> Result<bool, Failure> {
    match warifu.stat(target).await {
        Ok(attr) if attr.kind == NodeKind::Dir => return Ok(true),
        Ok(_) if wants_folder => return Err(VaultError::NotDir).about(target),
        Ok(_) => return Ok(false),
        Err(VaultError::NotFound { .. }) => {}
        Err(error) => return Err(error).about(target),
    }
    if wants_folder {
        if !parents {
            return Err(folder_missing(target));
        }
        warifu.make_dirs(target, 0o755).await.about(target)?;
        return Ok(true);
    }
    let Some((folder, _)) = target.split() else {
        return Ok(true);
    };
    if parents {
        warifu.make_dirs(&folder, 0o755).await.about(&folder)?;
    } else {
        warifu.stat(&folder).await.map_err(|error| match error {
            VaultError::NotFound { .. } => folder_missing(&folder),
            error => Failure::vault(&error, &shown(&folder.to_bytes())),
        })?;
    }
    Ok(false)
}

fn folder_missing(folder: &VaultPath) -> Failure {
    let folder = shown(&folder.to_bytes());
    Failure::new(
        Exit::NotFound,
        say!("not-found", subject = folder.as_str()),
        say!("put-no-folder-next"),
    )
}

fn name_of(name: &OsStr) -> Result<Name, Failure> {
    Name::new(name.as_bytes()).map_err(|bad| Failure::bad_name(&bad, &shown(name.as_bytes())))
}

async fn put_stdin(warifu: &Warifu, args: &Put, target: VaultPath, into: bool) -> Done {
    if args.sources.len() > 1 || into {
        return Err(Failure::new(
            Exit::Usage,
            say!("put-stdin-name"),
            say!("put-stdin-name-next"),
        ));
    }
    if args.no_clobber {
        refuse_taken(warifu, &target).await?;
    }
    let progress = Progress::bytes(0, true);
    let mut tally = Tally {
        files: 1,
        ..Tally::default()
    };
    let owed_before = owed(warifu).await;
    let attr = warifu
        .copy_in(
            &target,
            &mut Stoppable::new(tokio::io::stdin()),
            FileMeta::default(),
            |bytes| progress.add(bytes),
        )
        .await;
    if attr.is_err() && stop::is_requested() {
        return Err(Failure::interrupted());
    }
    let attr = attr.about(&target)?;
    tally.bytes = attr.size;
    let degraded = owed(warifu).await > owed_before;
    tally.report(Some(degraded), args.json)?;
    if degraded && !crate::quiet() {
        note(&say!("put-degraded"));
    }
    Ok(if degraded { Exit::Care } else { Exit::Ok })
}

async fn copy_items(
    warifu: &Arc<Warifu>,
    plan: &Plan,
    args: &Put,
    progress: &Progress,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut tasks: JoinSet<Result<PutFile, Failure>> = JoinSet::new();
    let mut ended = Vec::new();
    for item in &plan.items {
        if stop::is_requested() {
            break;
        }
        if item.meta.is_dir() {
            make_folder(warifu, item).await?;
            tally.folders += 1;
        } else if item.meta.is_symlink() {
            make_link(warifu, item, args.no_clobber).await?;
            tally.links += 1;
        } else {
            settle(&mut tasks, AT_ONCE, |done| ended.push(done)).await?;
            progress.at(item.local.as_os_str().as_bytes());
            let (warifu, progress) = (warifu.clone(), progress.clone());
            let (local, to, meta, no_clobber) = (
                item.local.clone(),
                item.to.clone(),
                file_meta(&item.meta),
                args.no_clobber,
            );
            tasks.spawn(
                async move { put_file(&warifu, local, &to, meta, no_clobber, &progress).await },
            );
        }
    }
    settle(&mut tasks, 1, |done| ended.push(done)).await?;
    if stop::is_requested() {
        return Err(Failure::interrupted());
    }
    for done in ended {
        match done {
            Ok(bytes) => {
                tally.files += 1;
                tally.bytes += bytes;
            }
            Err((path, why)) => tally.skip(progress, path.as_os_str().as_bytes(), why),
        }
    }
    // Last, because putting something into a folder changes its time.
    for item in plan.items.iter().rev().filter(|item| item.meta.is_dir()) {
        let attr = warifu.stat(&item.to).await.about(&item.to)?;
        let meta = file_meta(&item.meta);
        let change = AttrChange {
            mode: meta.mode,
            mtime: meta.mtime,
            ..AttrChange::default()
        };
        warifu
            .vault()
            .set_attr(warifu.context(), attr.node, &change)
            .await
            .about(&item.to)?;
    }
    Ok(())
}

/// Puts one file. What cannot be read here is left out; what cannot be kept there is a failure.
async fn put_file(
    warifu: &Warifu,
    local: PathBuf,
    to: &VaultPath,
    meta: FileMeta,
    no_clobber: bool,
    progress: &Progress,
) -> Result<PutFile, Failure> {
    if no_clobber {
        refuse_taken(warifu, to).await?;
    }
    let mut file = match tokio::fs::File::open(&local).await {
        Ok(file) => Stoppable::new(file),
        Err(error) => return Ok(Err((local, error.to_string()))),
    };
    let mut bytes = 0;
    let copied = warifu
        .copy_in(to, &mut file, meta, |more| {
            bytes += more;
            progress.add(more);
        })
        .await;
    match copied {
        Ok(_) => Ok(Ok(bytes)),
        Err(_) if stop::is_requested() => Err(Failure::interrupted()),
        Err(warifu::Error::Stream(error)) => Ok(Err((local, error.to_string()))),
        Err(error) => Err(error).about(to),
    }
}

async fn refuse_taken(warifu: &Warifu, to: &VaultPath) -> Result<(), Failure> {
    match warifu.stat(to).await {
        Ok(_) => Err(VaultError::Exists).about(to),
        Err(VaultError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error).about(to),
    }
}

async fn make_folder(warifu: &Warifu, item: &Item) -> Result<(), Failure> {
    let Some((folder, name)) = item.to.split() else {
        return Ok(());
    };
    let parent = warifu.stat(&folder).await.about(&folder)?;
    // Ours to write into until its own mode is set at the end.
    match warifu
        .vault()
        .make_dir(warifu.context(), parent.node, name, 0o700)
        .await
    {
        Ok(_) => Ok(()),
        Err(VaultError::Exists) => match warifu.stat(&item.to).await.about(&item.to)?.kind {
            NodeKind::Dir => Ok(()),
            _ => Err(VaultError::NotDir).about(&item.to),
        },
        Err(error) => Err(error).about(&item.to),
    }
}

async fn make_link(warifu: &Warifu, item: &Item, no_clobber: bool) -> Result<(), Failure> {
    let target = fs::read_link(&item.local).at(&item.local)?;
    let Some((folder, name)) = item.to.split() else {
        return Err(VaultError::IsDir).about(&item.to);
    };
    let parent = warifu.stat(&folder).await.about(&folder)?;
    let make = || {
        warifu.vault().make_symlink(
            warifu.context(),
            parent.node,
            name,
            target.as_os_str().as_bytes(),
        )
    };
    let attr = match make().await {
        Err(VaultError::Exists) if !no_clobber => {
            warifu
                .vault()
                .remove(warifu.context(), parent.node, name)
                .await
                .about(&item.to)?;
            make().await
        }
        other => other,
    }
    .about(&item.to)?;
    let change = AttrChange {
        mtime: file_meta(&item.meta).mtime,
        ..AttrChange::default()
    };
    warifu
        .vault()
        .set_attr(warifu.context(), attr.node, &change)
        .await
        .about(&item.to)?;
    Ok(())
}

fn file_meta(meta: &Metadata) -> FileMeta {
    FileMeta {
        mode: Some(meta.permissions().mode() & 0o7777),
        mtime: Some(timestamp(meta.mtime(), meta.mtime_nsec())),
    }
}

/// How many shares are owed to servers. A save with a server away owes it its shares.
async fn owed(warifu: &Warifu) -> u64 {
    warifu
        .vault()
        .status(warifu.context())
        .await
        .map_or(0, |status| status.usage.owed_shares)
}
