//! What each command does.

pub mod copy;
pub mod files;
pub mod init;
pub mod loose;
pub mod mount;
pub mod quickstart;
pub mod status;

use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use warifu::{OpenOptions, VaultPath, Warifu};

use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{note, shown};
use crate::words::say;

/// How a command ended.
pub type Done = Result<Exit, Failure>;

/// Opens a vault, does something, and closes it again: everything saved is on the servers' disks when this returns.
pub async fn with_vault<F, Fut>(path: &Path, read_only: bool, work: F) -> Done
where
    F: FnOnce(std::sync::Arc<Warifu>) -> Fut,
    Fut: Future<Output = Done>,
{
    let warifu = open(path, read_only).await?;
    let done = tokio::select! {
        done = work(warifu.clone()) => done,
        () = crate::stopped() => Err(Failure::interrupted()),
    };
    let unsaved = warifu.close().await;
    if !unsaved.is_empty() {
        return Err(Failure::lost(&unsaved));
    }
    done
}

/// Opens a vault, and tells of servers that are away.
pub async fn open(path: &Path, read_only: bool) -> Result<std::sync::Arc<Warifu>, Failure> {
    let options = OpenOptions::new("warifu").read_only(read_only);
    let warifu = Warifu::open(path, options)
        .await
        .map_err(Failure::opening)?;
    if !crate::quiet() {
        for fault in warifu.faults() {
            note(&say!("server-away", fault = server_fault(fault)));
        }
    }
    Ok(std::sync::Arc::new(warifu))
}

/// A path of the vault from the command line.
pub fn vault_path(word: &OsStr) -> Result<VaultPath, Failure> {
    VaultPath::parse(word.as_bytes())
        .map_err(|bad| Failure::bad_name(&bad, &shown(word.as_bytes())))
}
