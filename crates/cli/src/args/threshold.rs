//! The arguments of `threshold` and `server add`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct Threshold {
    /// The vault file.
    pub vault: PathBuf,
    /// How many servers shall be needed.
    #[arg(short, long, requires = "n", value_name = "K")]
    pub k: Option<u8>,
    /// How many servers there shall be.
    #[arg(short, long, requires = "k", value_name = "N")]
    pub n: Option<u8>,
    /// The same by name: see the names without any option.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["k", "n"])]
    pub preset: Option<String>,
    /// The new servers, as many as there shall be more: an empty folder or a store URL each; NAME=URL gives one a name.
    #[arg(long, value_name = "URL")]
    pub server: Vec<String>,
    /// Where a new server's password or key is: NAME.FIELD=VALUE, as for init.
    #[arg(short = 'o', long, value_name = "NAME.FIELD=VALUE")]
    pub server_option: Vec<String>,
    /// Of this folder, and all below it, instead of the whole vault. No folder needs fewer servers than the vault, or has more.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["server", "server_option"])]
    pub folder: Option<OsString>,
    /// The folder goes by the one above it again.
    #[arg(long, requires = "folder", conflicts_with_all = ["k", "n", "preset"])]
    pub inherit: bool,
    /// Share anew what is not shared as its folder asks, such as files that were moved.
    #[arg(long, conflicts_with_all = ["k", "n", "preset", "server", "server_option", "folder", "inherit"])]
    pub folders: bool,
    /// Apply the plan, or go on with it.
    #[arg(long)]
    pub yes: bool,
    /// Send at most so many MiB a second to servers.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ServerAdd {
    /// The vault file.
    pub vault: PathBuf,
    /// The new server: an empty folder or a store URL; NAME=URL gives it a name.
    pub url: String,
    /// Where its password or key is: NAME.FIELD=VALUE, as for init.
    #[arg(short = 'o', long, value_name = "NAME.FIELD=VALUE")]
    pub server_option: Vec<String>,
    /// Apply the plan, or go on with it.
    #[arg(long)]
    pub yes: bool,
    /// Send at most so many MiB a second to servers.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
