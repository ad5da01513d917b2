//! The contract of [`Catalog`](warifu_vault::seam::catalog::Catalog), as checks that every implementation passes.

mod forget;
mod generations;
mod journal;
mod lab;
mod listing;
mod log;
mod making;
mod opening;
mod past;
mod reinstate;
mod rename;
mod saves;
mod sessions;
mod succession;
mod tree;
mod versions;

pub use journal::Replay;
use lab::Lab;
pub use lab::{Chain, Subject, picture};
pub use sessions::{Pair, sessions};

/// Runs every check, each on a fresh catalogue that `make` makes.
pub async fn catalog(make: impl Fn() -> Subject) {
    let fresh = || Lab::new(make());
    tree::run(&fresh).await;
    making::run(&fresh).await;
    rename::run(&fresh).await;
    succession::run(&fresh).await;
    saves::run(&fresh).await;
    versions::run(&fresh).await;
    log::run(&fresh).await;
    opening::run(&fresh).await;
    listing::run(&fresh).await;
    journal::run(&fresh).await;
    past::run(&fresh).await;
    forget::run(&fresh).await;
    reinstate::run(&fresh).await;
    generations::run(&fresh).await;
}
