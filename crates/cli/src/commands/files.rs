//! `ls`, `rm`, `mv`, `mkdir`: names in the vault.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use serde::Serialize;
use warifu::{Attr, NodeKind, RenameMode, VaultError, VaultPath, Warifu};

use super::{Done, vault_path, with_vault, with_vault_opened};
use crate::args::{Ls, Mkdir, Mv, Rm};
use crate::exit::Exit;
use crate::failure::{About as _, Failure};
use crate::output::{JsonName, json, local_time, print, shown, shown_text, size, utc_time};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct JsonEntry {
    #[serde(flatten)]
    name: JsonName,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    nlink: u32,
    size: u64,
    mtime: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<JsonName>,
}

/// A file or folder to list.
struct Entry {
    path: VaultPath,
    attr: Attr,
    target: Option<Vec<u8>>,
}

pub async fn ls(args: Ls) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let options = super::reading(args.at.as_ref())?;
    with_vault_opened(&vault, options, |warifu| async move {
        let paths = if args.paths.is_empty() {
            vec![VaultPath::ROOT]
        } else {
            args.paths
                .iter()
                .map(|path| vault_path(path))
                .collect::<Result<_, _>>()?
        };
        let mut all = Vec::new();
        let headings = args.recursive || paths.len() > 1;
        let mut first = true;
        for path in paths {
            let attr = warifu.stat(&path).await.about(&path)?;
            let mut folders = Vec::new();
            if attr.kind == NodeKind::Dir {
                folders.push((path, attr));
            } else {
                let entries = vec![entry(&warifu, path, attr).await?];
                show(&args, &entries, None, headings, &mut first)?;
                all.extend(entries);
            }
            while let Some((path, attr)) = folders.pop() {
                let mut entries = Vec::new();
                for (name, attr) in warifu.entries(&attr).await.about(&path)? {
                    entries.push(entry(&warifu, path.join(name), attr).await?);
                }
                if args.recursive {
                    let inner = entries
                        .iter()
                        .filter(|entry| entry.attr.kind == NodeKind::Dir);
                    folders.extend(
                        inner
                            .rev()
                            .map(|entry| (entry.path.clone(), entry.attr.clone())),
                    );
                }
                show(&args, &entries, Some(&path), headings, &mut first)?;
                if args.json {
                    all.extend(entries);
                }
            }
        }
        if args.json {
            json(&all.iter().map(json_entry).collect::<Vec<_>>())?;
        }
        Ok(Exit::Ok)
    })
    .await
}

async fn entry(warifu: &Warifu, path: VaultPath, attr: Attr) -> Result<Entry, Failure> {
    let target = match attr.kind {
        NodeKind::Symlink => Some(
            warifu
                .vault()
                .read_link(warifu.context(), attr.node)
                .await
                .about(&path)?,
        ),
        _ => None,
    };
    Ok(Entry { path, attr, target })
}

fn json_entry(entry: &Entry) -> JsonEntry {
    let kind = match entry.attr.kind {
        NodeKind::File => "file",
        NodeKind::Dir => "dir",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::CharDevice => "char-device",
        NodeKind::BlockDevice => "block-device",
    };
    JsonEntry {
        name: JsonName::new(&entry.path.to_bytes()),
        kind,
        mode: format!("{:04o}", entry.attr.mode & 0o7777),
        uid: entry.attr.uid,
        gid: entry.attr.gid,
        nlink: entry.attr.nlink,
        size: entry.attr.size,
        mtime: utc_time(entry.attr.mtime),
        version: entry.attr.version.0,
        target: entry.target.as_deref().map(JsonName::new),
    }
}

/// Prints the entries of one folder, or one file that was named itself.
fn show(
    args: &Ls,
    entries: &[Entry],
    folder: Option<&VaultPath>,
    headings: bool,
    first: &mut bool,
) -> Result<(), Failure> {
    if args.json {
        return Ok(());
    }
    let mut text = String::new();
    if let Some(folder) = folder.filter(|_| headings) {
        let gap = if *first { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{}:", shown(&folder.to_bytes()));
    }
    *first = false;
    let name = |entry: &Entry| match (folder, entry.path.split()) {
        (Some(_), Some((_, name))) => shown(name.as_bytes()),
        _ => shown(&entry.path.to_bytes()),
    };
    if !args.long {
        for entry in entries {
            let mark = if entry.attr.kind == NodeKind::Dir {
                "/"
            } else {
                ""
            };
            let _ = writeln!(text, "{}{mark}", name(entry));
        }
        return Ok(print(&text)?);
    }
    let rows: Vec<[String; 6]> = entries
        .iter()
        .map(|entry| {
            let attr = &entry.attr;
            let version = if attr.kind == NodeKind::File {
                format!("v{}", attr.version)
            } else {
                String::from("-")
            };
            let (user, group) = (warifu::user_name(attr.uid), warifu::group_name(attr.gid));
            [
                mode_text(attr),
                shown_text(&user),
                shown_text(&group),
                size(attr.size),
                local_time(attr.mtime),
                version,
            ]
        })
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for (entry, [mode, user, group, size, time, version]) in entries.iter().zip(&rows) {
        let target = entry
            .target
            .as_ref()
            .map_or(String::new(), |target| format!(" -> {}", shown(target)));
        let _ = writeln!(
            text,
            "{mode}  {user:<u$}  {group:<g$}  {size:>s$}  {time}  {version:>v$}  {}{target}",
            name(entry),
            u = widths[1],
            g = widths[2],
            s = widths[3],
            v = widths[5],
        );
    }
    Ok(print(&text)?)
}

/// `drwxr-xr-x`, as `ls -l` has it.
fn mode_text(attr: &Attr) -> String {
    let kind = match attr.kind {
        NodeKind::File => '-',
        NodeKind::Dir => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::CharDevice => 'c',
        NodeKind::BlockDevice => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, letters) in [
        (6, 0o4000, ('s', 'S')),
        (3, 0o2000, ('s', 'S')),
        (0, 0o1000, ('t', 'T')),
    ] {
        let bits = attr.mode >> shift & 7;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 == 1, attr.mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letters.0,
            (false, true) => letters.1,
        });
    }
    text
}

pub async fn rm(args: Rm) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, false, |warifu| async move {
        for path in &args.paths {
            let path = vault_path(path)?;
            let removed = async {
                let attr = warifu.stat(&path).await?;
                if attr.kind == NodeKind::Dir && !args.recursive {
                    return Err(VaultError::IsDir);
                }
                warifu.remove_all(&path).await
            };
            match removed.await {
                Err(VaultError::NotFound { .. }) if args.force => {}
                Err(VaultError::IsDir) => {
                    let subject = shown(&path.to_bytes());
                    return Err(Failure::new(
                        Exit::Failed,
                        say!("is-a-folder", subject = subject),
                        say!("rm-folder-next"),
                    ));
                }
                other => other.about(&path)?,
            }
        }
        Ok(Exit::Ok)
    })
    .await
}

pub async fn mv(args: Mv) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, false, |warifu| async move {
        let target = vault_path(&args.target)?;
        let into = match warifu.stat(&target).await {
            Ok(attr) => attr.kind == NodeKind::Dir,
            Err(VaultError::NotFound { .. }) => false,
            Err(error) => return Err(error).about(&target),
        };
        if !into && (args.sources.len() > 1 || args.target.as_bytes().ends_with(b"/")) {
            let subject = shown(&target.to_bytes());
            return Err(Failure::new(
                Exit::NotFound,
                say!("no-such-folder", subject = subject),
                say!("put-no-folder-next"),
            ));
        }
        let mode = if args.no_clobber {
            RenameMode::NoReplace
        } else {
            RenameMode::Replace
        };
        for source in &args.sources {
            let from = vault_path(source)?;
            let Some((from_folder, from_name)) = from.split() else {
                return Err(VaultError::Loop).about(&from);
            };
            let to = if into {
                target.join(from_name.clone())
            } else {
                target.clone()
            };
            let Some((to_folder, to_name)) = to.split() else {
                return Err(VaultError::IsDir).about(&to);
            };
            warifu.stat(&from).await.about(&from)?;
            let from_node = warifu.stat(&from_folder).await.about(&from_folder)?.node;
            let to_node = warifu.stat(&to_folder).await.about(&to_folder)?.node;
            warifu
                .vault()
                .rename(
                    warifu.context(),
                    (from_node, from_name),
                    (to_node, to_name),
                    mode,
                )
                .await
                .about(&to)?;
        }
        Ok(Exit::Ok)
    })
    .await
}

pub async fn mkdir(args: Mkdir) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, false, |warifu| async move {
        for path in &args.paths {
            let path = vault_path(path)?;
            if args.parents {
                warifu.make_dirs(&path, 0o755).await.about(&path)?;
                continue;
            }
            let Some((folder, name)) = path.split() else {
                return Err(VaultError::Exists).about(&path);
            };
            let parent = warifu.stat(&folder).await.map_err(|error| match error {
                VaultError::NotFound { .. } => {
                    let subject = shown(&folder.to_bytes());
                    Failure::new(
                        Exit::NotFound,
                        say!("no-such-folder", subject = subject),
                        say!("mkdir-parents-next"),
                    )
                }
                error => Failure::vault(&error, &shown(&folder.to_bytes())),
            })?;
            warifu
                .vault()
                .make_dir(warifu.context(), parent.node, name, 0o755)
                .await
                .about(&path)?;
        }
        Ok(Exit::Ok)
    })
    .await
}
