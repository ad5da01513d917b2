//! Listing while names come and go.

use std::collections::BTreeMap;

use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Durability, Write};

use super::lab::{Lab, dir, entry, file, name, time};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    pages_join_up(fresh()).await;
    what_stays_is_listed_once(fresh()).await;
    large_folders_are_listed(fresh()).await;
}

async fn pages_join_up(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    lab.make(ROOT, "beside", file()).await;
    for number in 0..50 {
        lab.make(folder, &format!("{number}"), file()).await;
    }
    let all = lab.catalog.list(folder, None, 1000).await.unwrap();
    assert_eq!(all.len(), 50);
    assert!(all.is_sorted_by(|a, b| a.cursor < b.cursor));
    for size in [1, 7, 49, 50, 51] {
        let mut paged = Vec::new();
        loop {
            let after = paged
                .last()
                .map(|last: &warifu_vault::seam::catalog::Listed| last.cursor);
            let page = lab.catalog.list(folder, after, size).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= size);
            paged.extend(page);
        }
        let key = |entries: &[warifu_vault::seam::catalog::Listed]| -> Vec<_> {
            entries
                .iter()
                .map(|entry| (entry.name.clone(), entry.attr.clone(), entry.cursor))
                .collect()
        };
        assert_eq!(key(&paged), key(&all));
    }
    assert!(lab.catalog.list(folder, None, 0).await.unwrap().is_empty());
}

async fn what_stays_is_listed_once(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    for number in 0..60 {
        lab.make(folder, &format!("stays {number}"), file()).await;
        lab.make(folder, &format!("goes {number}"), file()).await;
    }
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut after = None;
    let mut round = 0;
    loop {
        let page = lab.catalog.list(folder, after, 5).await.unwrap();
        for entry in &page {
            *seen.entry(entry.name.as_bytes().to_vec()).or_default() += 1;
        }
        match page.last() {
            Some(last) => after = Some(last.cursor),
            None => break,
        }
        for number in round * 4..round * 4 + 4 {
            if number < 60 {
                lab.done(lab.catalog.unlink(
                    folder,
                    &name(&format!("goes {number}")),
                    &[],
                    lab.write(),
                ))
                .await;
            }
            lab.make(folder, &format!("comes {number}"), file()).await;
        }
        round += 1;
        assert!(round < 1000, "a listing ends");
    }
    for number in 0..60 {
        assert_eq!(
            seen.get(format!("stays {number}").as_bytes()),
            Some(&1),
            "{number}"
        );
    }
    assert!(seen.values().all(|times| *times == 1));
}

async fn large_folders_are_listed(lab: Lab) {
    const FILES: usize = 100_000;
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50 {
        let catalog = lab.catalog.clone();
        tasks.spawn(async move {
            for number in 0..FILES / 50 {
                let write = Write {
                    audit: entry(time(1), ""),
                    durability: Durability::Soon,
                };
                catalog
                    .create(folder, &name(&format!("{task}-{number}")), file(), write)
                    .await
                    .unwrap();
            }
        });
    }
    tasks.join_all().await;
    let (mut after, mut count) = (None, 0);
    loop {
        let page = lab.catalog.list(folder, after, 1000).await.unwrap();
        match page.last() {
            Some(last) => (after, count) = (Some(last.cursor), count + page.len()),
            None => break,
        }
    }
    assert_eq!(count, FILES);
    assert_eq!(lab.catalog.usage().await.unwrap().files, FILES as u64);
    assert!(lab.at(folder, "49-1999").await.is_some());
}
