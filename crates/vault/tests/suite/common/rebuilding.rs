//! A catalogue from what the servers have.

use std::sync::Arc;

use warifu_testkit::catalogs::MemoryCatalog;
use warifu_testkit::catalogs::contract::Replay;
use warifu_vault::keys::Candidate;
use warifu_vault::rebuild::{RebuildError, RebuildOptions, RebuildReport, gather, rebuild};
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::seam::store::ShareStore;

use super::ctx;
use super::lab::{Lab, server_name};

/// The vault from these servers alone.
pub async fn from_servers(lab: &Lab, places: &[usize]) -> (MemoryCatalog, RebuildReport) {
    try_from(lab, candidates(lab, places)).await.unwrap()
}

/// The same, into an empty catalogue.
pub async fn into_catalog(lab: &Lab, places: &[usize], catalog: &dyn Catalog) -> RebuildReport {
    let candidates = candidates(lab, places);
    try_into(lab, candidates, catalog).await.unwrap()
}

fn candidates(lab: &Lab, places: &[usize]) -> Vec<Candidate> {
    let candidates = places.iter().map(|place| Candidate {
        name: server_name(*place),
        store: Arc::clone(&lab.stores[*place]) as Arc<dyn ShareStore>,
    });
    candidates.collect()
}

pub async fn try_from(
    lab: &Lab,
    candidates: Vec<Candidate>,
) -> Result<(MemoryCatalog, RebuildReport), RebuildError> {
    let catalog = MemoryCatalog::with_clock(lab.clock.clone());
    let report = try_into(lab, candidates, &catalog).await?;
    Ok((catalog, report))
}

async fn try_into(
    lab: &Lab,
    candidates: Vec<Candidate>,
    catalog: &dyn Catalog,
) -> Result<RebuildReport, RebuildError> {
    let mut gathered = gather(&candidates).await.unwrap();
    gathered.go_by(lab.thresholds());
    assert_eq!(gathered.vault, lab.vault);
    rebuild(
        gathered,
        catalog,
        &*lab.clock,
        &ctx(),
        &RebuildOptions::default(),
        &|_| (),
    )
    .await
}

/// A catalogue's rows without what servers that are not there could tell only.
pub async fn rows(catalog: &dyn Catalog) -> Vec<String> {
    let text = Replay::of(catalog).await.text();
    // What has no name was open when the catalogue was lost, and nobody has it open any more.
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.contains(" nlink: 0,"))
        .map(|line| match line.split_once(", owed: ") {
            Some((before, _)) => before.to_owned(),
            None => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}
