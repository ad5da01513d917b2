//! A tree as it is after some years: files that were saved again, moved, renamed and removed.

use std::sync::Arc;

use warifu::{Name, NodeId, NodeKind, RenameMode, VaultPath, Warifu};

/// What goes wrong is told, and nothing is done about it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const IN_FOLDER: usize = 1000;
const AT_ONCE: usize = 32;

fn folder(number: usize) -> String {
    format!("/folder {}", number / IN_FOLDER)
}

fn file(number: usize) -> String {
    format!("{}/file {number}.txt", folder(number))
}

/// Makes so many files of so many bytes, and then does to a part of them what is done to files.
pub async fn make(warifu: &Arc<Warifu>, files: usize, bytes: usize) -> Outcome<()> {
    for number in 0..files.div_ceil(IN_FOLDER) {
        let path = VaultPath::parse(folder(number * IN_FOLDER).as_bytes())?;
        warifu.make_dirs(&path, 0o755).await?;
    }
    warifu
        .make_dirs(&VaultPath::parse(b"/archive/empty")?, 0o750)
        .await?;
    for step in [Step::Make, Step::Change] {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..AT_ONCE {
            let warifu = Arc::clone(warifu);
            tasks.spawn(async move {
                for number in (task..files).step_by(AT_ONCE) {
                    match step {
                        Step::Make => {
                            let contents = contents(number, bytes);
                            warifu.write_file(&file(number), &contents).await?;
                        }
                        Step::Change => change(&warifu, number, bytes).await?,
                    }
                }
                Outcome::Ok(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
    }
    rename(warifu, "/folder 0", "/archive/the first folder").await
}

#[derive(Clone, Copy)]
enum Step {
    Make,
    Change,
}

async fn change(warifu: &Warifu, number: usize, bytes: usize) -> Outcome<()> {
    let (old, new) = (file(number), format!("{}/new {number}.txt", folder(number)));
    match number % 100 {
        3 | 13 | 23 | 33 | 43 | 53 => rename(warifu, &old, &new).await?,
        7 | 27 | 47 | 67 => rename(warifu, &old, &format!("/archive/{number}")).await?,
        1 | 51 | 76 => warifu.remove_all(&VaultPath::parse(old)?).await?,
        2 => {
            warifu.write_file(&old, b"saved again").await?;
        }
        // As office programs save.
        4 => {
            warifu
                .write_file(&new, &contents(number + 1, bytes))
                .await?;
            rename(warifu, &new, &old).await?;
        }
        5 => {
            let (node, (parent, name)) = (at(warifu, &old).await?, place(warifu, &new).await?);
            let vault = warifu.vault();
            vault.link(warifu.context(), node, parent, &name).await?;
        }
        6 => {
            let (parent, name) = place(warifu, &new).await?;
            let vault = warifu.vault();
            vault
                .make_symlink(warifu.context(), parent, &name, old.as_bytes())
                .await?;
        }
        _ => {}
    }
    Ok(())
}

fn contents(number: usize, bytes: usize) -> Vec<u8> {
    let mut contents = format!("what file {number} says").into_bytes();
    contents.resize(bytes.max(contents.len()), b'.');
    contents
}

async fn at(warifu: &Warifu, path: &str) -> Outcome<NodeId> {
    Ok(warifu.stat(&VaultPath::parse(path)?).await?.node)
}

/// The folder of a path, and its last name.
async fn place(warifu: &Warifu, path: &str) -> Outcome<(NodeId, Name)> {
    let path = VaultPath::parse(path)?;
    let (folder, name) = path.split().ok_or("the root has no name")?;
    Ok((warifu.stat(&folder).await?.node, name.clone()))
}

async fn rename(warifu: &Warifu, from: &str, to: &str) -> Outcome<()> {
    let (from, to) = (place(warifu, from).await?, place(warifu, to).await?);
    warifu
        .vault()
        .rename(
            warifu.context(),
            (from.0, &from.1),
            (to.0, &to.1),
            RenameMode::Replace,
        )
        .await?;
    Ok(())
}

/// A line for each name of the vault, sorted: what it stands for, with everything that the catalogue says of it and of its versions.
pub async fn picture(warifu: &Warifu) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    let mut walk = warifu.walk(VaultPath::ROOT).await?;
    while let Some((path, attr)) = walk.next().await? {
        let mut line = format!("{} {attr:?}", String::from_utf8_lossy(&path.to_bytes()));
        let (vault, ctx) = (warifu.vault(), warifu.context());
        match attr.kind {
            NodeKind::File => {
                for version in vault.history(ctx, attr.node).await? {
                    line += &format!(" {version:?}");
                }
            }
            NodeKind::Symlink => line += &format!(" {:?}", vault.read_link(ctx, attr.node).await?),
            _ => {}
        }
        lines.push(line);
    }
    lines.sort();
    Ok(lines)
}

/// What two pictures do not have in common: lines that are missing, and lines that are too much.
pub fn differences(before: &[String], after: &[String]) -> (Vec<String>, Vec<String>) {
    let less = |from: &[String], than: &[String]| {
        let than: std::collections::HashSet<&String> = than.iter().collect();
        let left = from.iter().filter(|line| !than.contains(line));
        left.cloned().collect()
    };
    (less(before, after), less(after, before))
}
