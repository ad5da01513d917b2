//! The arguments of `trash` and `df`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
pub struct Trash {
    #[command(subcommand)]
    pub command: TrashCommand,
}

#[derive(Subcommand, Debug)]
pub enum TrashCommand {
    /// List the files that were removed and can be brought back.
    List(TrashList),
    /// Bring removed files back: one, or all that were in a folder.
    Restore(TrashRestore),
}

#[derive(Args, Debug)]
pub struct TrashList {
    /// The vault file.
    pub vault: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct TrashRestore {
    /// The vault file.
    pub vault: PathBuf,
    /// A removed file, or a folder in which removed files were.
    pub path: OsString,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Df {
    /// The vault file.
    pub vault: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
