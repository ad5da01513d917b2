//! The arguments of `refresh`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct Refresh {
    /// The vault file.
    pub vault: PathBuf,
    /// Apply the plan.
    #[arg(long)]
    pub yes: bool,
    /// Do nothing unless the vault file's schedule says that a refresh is due, or one has not ended: for a timer.
    #[arg(long)]
    pub if_due: bool,
    /// Begin anew even where a refresh was cut off: all files again, and the time in which a thief must have K servers counts from now.
    #[arg(long)]
    pub anew: bool,
    /// Send at most so many MiB a second to servers.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
