//! How long single requests to the catalogue take, one after another and many at once.
//!
//! `cargo run --release -p warifu-catalog --example catalog_latency [FOLDER]`; the folder decides the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use warifu_catalog::SqliteCatalog;
use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, Threshold, VaultId, VersionNo};
use warifu_core::keys::VaultKey;
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, Commit, Durability, ExtentRecord, IndexSet, Intent, NewNode, RenameMode, Write,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn write(durability: Durability) -> Write {
    let context = Context {
        actor: "hanako.sato".into(),
        uid: 1000,
        gid: 1000,
        host: "madoguchi-pc-12".into(),
        program: "soffice.bin".into(),
        purpose: String::new(),
    };
    let at = Timestamp {
        secs: 1_790_000_000,
        nanos: 0,
    };
    Write {
        audit: AuditEntry {
            at,
            context,
            act: Act::Save,
            node: Some(NodeId(4)),
            detail: "福祉部/申請書.docx".into(),
        },
        durability,
    }
}

fn file() -> Outcome<NewNode> {
    let document = FileId::fresh()?;
    Ok(NewNode {
        kind: NodeKind::File,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        rdev: 0,
        target: Vec::new(),
        document,
        inherits: false,
        unless: None,
    })
}

fn name(text: &str) -> Outcome<Name> {
    Ok(Name::new(text.as_bytes())?)
}

async fn save(catalog: &dyn Catalog, attr: &Attr, durability: Durability) -> Outcome<Attr> {
    let (save, head) = (ExtentId::fresh()?, ExtentId::fresh()?);
    let at = Timestamp {
        secs: 1_790_000_000,
        nanos: 0,
    };
    catalog
        .begin_save(
            &Intent {
                save,
                extents: vec![(head, Generation(1))],
            },
            Duration::from_secs(600),
        )
        .await?;
    let dealt = ExtentRecord {
        extent: head,
        kind: ExtentKind::Head,
        number: 0,
        len: 81_920,
        threshold: Threshold::new(2, 3)?,
        scheme: Scheme::Shamir,
        generation: Generation(1),
        document: attr.document,
        version: VersionNo(attr.version.0 + 1),
        owed: IndexSet::EMPTY,
    };
    let commit = Commit {
        save,
        size: 80_000,
        mtime: at,
        saved_at: at,
        author: "hanako.sato".into(),
        host: "madoguchi-pc-12".into(),
        head: Some(head),
        layout: Vec::new(),
        dealt: vec![dealt],
        settled: false,
    };
    Ok(catalog
        .commit_save(attr.node, attr.head, commit, write(durability))
        .await?)
}

/// Runs `act` `times` times, one after another, and prints what one took.
async fn measure<F: Future<Output = Outcome<()>>>(
    what: &str,
    times: usize,
    act: impl Fn(usize) -> F,
) -> Outcome<()> {
    let mut each = Vec::with_capacity(times);
    for number in 0..times {
        let started = Instant::now();
        act(number).await?;
        each.push(started.elapsed().as_secs_f64() * 1e6);
    }
    each.sort_by(f64::total_cmp);
    let at = |part: f64| {
        each.get((each.len() as f64 * part) as usize)
            .copied()
            .unwrap_or(0.0)
    };
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    println!(
        "{what:<34} mean {mean:8.1} µs   median {:8.1}   99 % {:8.1}",
        at(0.5),
        at(0.99)
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(folder)?;
    let key = VaultKey::generate()?.catalog_key(VaultId::fresh()?);
    let catalog = Arc::new(SqliteCatalog::create(&dir.path().join("catalog.db"), key)?);
    let catalog = &catalog;
    let root = NodeId::ROOT;
    // On a thread of the runtime, as every caller is.
    for number in 0..20_000 {
        catalog
            .create(
                root,
                &name(&format!("before {number}"))?,
                file()?,
                write(Durability::Soon),
            )
            .await?;
    }
    println!("a folder of 20000 files; requests one after another:");
    for (durability, label, times) in [
        (Durability::Soon, "soon", 3000),
        (Durability::Now, "now", 500),
    ] {
        let text = |number: usize| format!("{label} {number}");
        measure(&format!("create ({label})"), times, |number| async move {
            catalog
                .create(root, &name(&text(number))?, file()?, write(durability))
                .await?;
            Ok(())
        })
        .await?;
        measure(&format!("rename ({label})"), times, |number| async move {
            let (from, to) = (
                name(&text(number))?,
                name(&format!("renamed {}", text(number)))?,
            );
            catalog
                .rename(
                    (root, &from),
                    (root, &to),
                    RenameMode::Replace,
                    &[],
                    write(durability),
                )
                .await?;
            Ok(())
        })
        .await?;
        measure(
            &format!("begin_save + commit_save ({label})"),
            times,
            |number| async move {
                let found = catalog
                    .lookup(root, &name(&format!("renamed {}", text(number)))?)
                    .await?
                    .ok_or("it is there")?;
                save(&**catalog, &found, durability).await?;
                Ok(())
            },
        )
        .await?;
    }
    measure("sync after a change (with it)", 300, |number| async move {
        catalog
            .create(
                root,
                &name(&format!("sync {number}"))?,
                file()?,
                write(Durability::Soon),
            )
            .await?;
        Ok(catalog.sync().await?)
    })
    .await?;
    measure("lookup", 20_000, |number| async move {
        catalog
            .lookup(root, &name(&format!("before {number}"))?)
            .await?
            .ok_or("it is there")?;
        Ok(())
    })
    .await?;
    measure("attr", 20_000, |number| async move {
        catalog.attr(NodeId(2 + number as u64)).await?;
        Ok(())
    })
    .await?;
    let found = catalog
        .lookup(root, &name("renamed soon 1")?)
        .await?
        .ok_or("it is there")?
        .node;
    measure("current", 20_000, |_| async move {
        catalog.current(found).await?;
        Ok(())
    })
    .await?;
    measure("list 1000", 100, |_| async move {
        catalog.list(root, None, 1000).await?;
        Ok(())
    })
    .await?;
    measure("usage", 20, |_| async move {
        catalog.usage().await?;
        Ok(())
    })
    .await?;

    for (durability, label, each) in [
        (Durability::Soon, "soon", 1000),
        (Durability::Now, "now", 200),
    ] {
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16 {
            let catalog = Arc::clone(catalog);
            tasks.spawn(async move {
                for number in 0..each {
                    catalog
                        .create(
                            root,
                            &name(&format!("{label} many {task} {number}"))?,
                            file()?,
                            write(durability),
                        )
                        .await?;
                }
                Outcome::Ok(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "16 tasks at once, create ({label}): {:.0} a second",
            f64::from(16 * each) / seconds
        );
    }
    Ok(())
}
