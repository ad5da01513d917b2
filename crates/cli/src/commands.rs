//! What each command does.

pub mod audit;
pub mod catalog;
pub mod certificate;
pub mod copy;
pub mod doctor;
pub mod files;
mod folder;
pub mod history;
pub mod hold;
pub mod init;
pub mod loose;
pub mod manpages;
mod metrics;
pub mod mount;
pub mod open_files;
pub mod quickstart;
pub mod rebuild;
pub mod refresh;
pub mod repair;
pub mod restore;
pub mod retain;
pub mod run;
pub mod server;
mod server_test;
pub mod space;
pub mod status;
pub mod threshold;
pub mod trash;
pub mod verify;
pub mod way;

use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use warifu::{OpenOptions, Timestamp, VaultPath, Warifu};

use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{local_time, note, shown};
use crate::stop;
use crate::unlocking::opening;
use crate::words::say;

/// How a command ended.
pub type Done = Result<Exit, Failure>;

/// Opens a vault, does something, and closes it again: everything saved is on the servers' disks when this returns.
/// When the user stops it, the work is dropped where it is: it must be of steps that are whole each by itself.
pub async fn with_vault<F, Fut>(path: &Path, read_only: bool, work: F) -> Done
where
    F: FnOnce(Arc<Warifu>) -> Fut,
    Fut: Future<Output = Done>,
{
    with_vault_and_grace(path, read_only, Duration::ZERO, work).await
}

/// As [`with_vault`], opened in another way than usual.
pub async fn with_vault_opened<F, Fut>(path: &Path, options: OpenOptions, work: F) -> Done
where
    F: FnOnce(Arc<Warifu>) -> Fut,
    Fut: Future<Output = Done>,
{
    let warifu = open_with(path, options).await?;
    with_open_vault(warifu, Duration::ZERO, work).await
}

/// As [`with_vault`], for work that sees by itself when the user stops it, and takes back what it has begun: it gets some time for that.
pub async fn with_vault_and_grace<F, Fut>(
    path: &Path,
    read_only: bool,
    grace: Duration,
    work: F,
) -> Done
where
    F: FnOnce(Arc<Warifu>) -> Fut,
    Fut: Future<Output = Done>,
{
    let warifu = open(path, read_only).await?;
    with_open_vault(warifu, grace, work).await
}

async fn with_open_vault<F, Fut>(warifu: Arc<Warifu>, grace: Duration, work: F) -> Done
where
    F: FnOnce(Arc<Warifu>) -> Fut,
    Fut: Future<Output = Done>,
{
    let done = {
        let mut work = pin!(work(warifu.clone()));
        tokio::select! {
            done = &mut work => done,
            () = stop::requested() => {
                let left = tokio::time::timeout(grace, work).await;
                left.unwrap_or_else(|_| Err(Failure::interrupted()))
            }
        }
    };
    let unsaved = warifu.close().await;
    if !unsaved.is_empty() {
        return Err(Failure::lost(&unsaved));
    }
    done
}

/// Opened for reading, as it is or as it was.
pub fn reading(at: Option<&String>) -> Result<OpenOptions, Failure> {
    let at = crate::when::past(at)?;
    Ok(opening().read_only(true).at(at))
}

/// Says so where the vault is looked at as of a time of which not everything was kept.
pub async fn warn_unknown(warifu: &Warifu, at: Timestamp) -> Result<(), Failure> {
    let since = warifu.vault().past_since(warifu.context()).await;
    let since = since.map_err(|error| Failure::vault(&error, &say!("the-vault")))?;
    if let Some(since) = since.filter(|since| at < *since)
        && !crate::quiet()
    {
        let (since, time) = (local_time(since), local_time(at));
        note(&say!("past-unknown", since = since, time = time));
    }
    Ok(())
}

/// Opens a vault, and tells of servers that are away.
pub async fn open(path: &Path, read_only: bool) -> Result<Arc<Warifu>, Failure> {
    open_with(path, opening().read_only(read_only)).await
}

/// As [`open`].
pub async fn open_with(path: &Path, options: OpenOptions) -> Result<Arc<Warifu>, Failure> {
    let (read_only, at) = (options.is_read_only(), options.as_of());
    let warifu = Warifu::open(path, options)
        .await
        .map_err(Failure::opening)?;
    if !crate::quiet() {
        for fault in warifu.faults() {
            note(&say!("server-away", fault = server_fault(fault)));
        }
        // Whoever wants to change something should not find out one file at a time.
        if warifu.vault().is_undecided() && !read_only {
            note(&say!("undecided"));
            let next = say!("undecided-next", catalog = say!("the-catalogue"));
            note(&say!("next", next = next));
        }
    }
    if let Some(at) = at {
        warn_unknown(&warifu, at).await?;
    }
    Ok(Arc::new(warifu))
}

/// A path of the vault from the command line.
pub fn vault_path(word: &OsStr) -> Result<VaultPath, Failure> {
    VaultPath::parse(word.as_bytes())
        .map_err(|bad| Failure::bad_name(&bad, &shown(word.as_bytes())))
}
