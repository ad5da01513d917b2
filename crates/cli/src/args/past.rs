//! The arguments of `audit`, `history` and `restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Print lines of the audit log: who did what, when, and from where.
    List(AuditList),
    /// Check the audit log from its first line to its last, and compare it with what the servers have.
    Verify(AuditVerify),
}

#[derive(Args, Debug)]
pub struct AuditList {
    /// The vault file.
    pub vault: PathBuf,
    /// Lines of this person.
    #[arg(long, value_name = "NAME")]
    pub person: Option<String>,
    /// Lines of this file or folder, under all names that it ever had.
    #[arg(long, value_name = "PATH")]
    pub file: Option<OsString>,
    /// Lines of this act: open, open-write, save, create, remove, rename, restore, …
    #[arg(long, value_name = "ACT")]
    pub act: Option<String>,
    /// Lines from this time on.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Lines before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Lines from this machine.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Print each line as JSON, one to a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct AuditVerify {
    /// The vault file.
    pub vault: PathBuf,
    /// Compare a copy too: lines of `audit list --json`, or what a syslog server has received.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Do not compare with the lines that the servers have: quick, and blind to a catalogue that was cut off or replaced as a whole.
    #[arg(long)]
    pub local: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct History {
    /// The vault file.
    pub vault: PathBuf,
    /// A file in the vault, or one that was renamed or removed, by the name that it had.
    pub path: OsString,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("when").required(true).args(["at", "number"])))]
pub struct Restore {
    /// The vault file.
    pub vault: PathBuf,
    /// A file or folder in the vault, by the name that it had then; / is everything.
    pub path: OsString,
    /// As it was at this time.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// This version of a file; `history` lists them.
    #[arg(long = "version", visible_alias = "number", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub number: Option<u64>,
    /// Where to, in the vault [default: where it was]
    #[arg(long, value_name = "PATH")]
    pub to: Option<OsString>,
    /// Remove what was not there then, and give files back the names that they had: the folder is exactly as it was.
    #[arg(long, requires = "at")]
    pub exact: bool,
    /// Deal also with names of which it is not certain what they were, because the clock of a machine that changed them was ahead, or
    /// because they would be empty.
    #[arg(long, requires = "at")]
    pub doubtful: bool,
    /// Apply the plan.
    #[arg(long)]
    pub yes: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
