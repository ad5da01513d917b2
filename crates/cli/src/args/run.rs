//! `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct Run {
    /// The vault file.
    pub vault: PathBuf,
    /// The program and its arguments, behind --. It starts in the vault's top folder, so names of documents are as in the vault.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
    /// Take the network away from the program.
    #[arg(long)]
    pub no_network: bool,
    /// Let the program read only.
    #[arg(long)]
    pub read_only: bool,
    /// Run although swap that is not encrypted is on; the audit log says so.
    #[arg(long)]
    pub allow_swap: bool,
    /// Use about so many MiB of RAM at most, 256 or more; what is open and does not fit is on the servers [default: 688].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(256..))]
    pub memory_limit: Option<u32>,
    /// Where the drive is, for the process that becomes the program.
    #[arg(long, hide = true, value_name = "DIR")]
    pub inside: Option<PathBuf>,
}
