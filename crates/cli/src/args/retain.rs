//! The arguments of `retention`, `prune`, `trash`, `hold`, `certificate` and `df`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
pub struct Retention {
    /// The vault file.
    pub vault: PathBuf,
    /// Believe this machine's clock, even where it is far ahead of all that the vault knows.
    #[arg(long)]
    pub trust_clock: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Prune {
    /// The vault file.
    pub vault: PathBuf,
    /// Apply the plan: what goes is destroyed for good.
    #[arg(long)]
    pub yes: bool,
    /// Write a certificate of what was destroyed into this file.
    #[arg(long, value_name = "FILE", requires = "yes")]
    pub certificate: Option<PathBuf>,
    /// Believe this machine's clock, even where it is far ahead of all that the vault knows.
    #[arg(long)]
    pub trust_clock: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

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
    /// Destroy removed files for good.
    Empty(TrashEmpty),
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
pub struct TrashEmpty {
    /// The vault file.
    pub vault: PathBuf,
    /// Only what was removed before this time [default: yesterday at this time, since somebody may still be reading what was removed today]
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
    /// Apply the plan: what goes is destroyed for good.
    #[arg(long)]
    pub yes: bool,
    /// Write a certificate of what was destroyed into this file.
    #[arg(long, value_name = "FILE", requires = "yes")]
    pub certificate: Option<PathBuf>,
    /// Believe this machine's clock, even where it is far ahead of all that the vault knows.
    #[arg(long)]
    pub trust_clock: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Hold {
    #[command(subcommand)]
    pub command: HoldCommand,
}

#[derive(Subcommand, Debug)]
pub enum HoldCommand {
    /// Keep a file with all its versions, or all that is and was in a folder, whatever the rules say.
    Add(HoldAdd),
    /// End a hold.
    Remove(HoldRemove),
    /// List what is held.
    List(HoldList),
}

#[derive(Args, Debug)]
pub struct HoldAdd {
    /// The vault file.
    pub vault: PathBuf,
    /// A file or folder in the vault, or one that was removed; / is everything.
    pub path: OsString,
    /// Why, for whoever asks later.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
}

#[derive(Args, Debug)]
pub struct HoldRemove {
    /// The vault file.
    pub vault: PathBuf,
    /// The path for which it was set.
    pub path: OsString,
}

#[derive(Args, Debug)]
pub struct HoldList {
    /// The vault file.
    pub vault: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Certificate {
    #[command(subcommand)]
    pub command: CertificateCommand,
}

#[derive(Subcommand, Debug)]
pub enum CertificateCommand {
    /// Check a certificate of destruction: who signed it, and that nothing in it was altered. Needs no vault.
    Verify(CertificateVerify),
    /// Print the public key under which this vault signs certificates.
    Key(CertificateKey),
}

#[derive(Args, Debug)]
pub struct CertificateVerify {
    /// The certificate.
    pub file: PathBuf,
    /// The public key of the vault that should have signed it, as `certificate key` prints it there.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct CertificateKey {
    /// The vault file.
    pub vault: PathBuf,
}

#[derive(Args, Debug)]
pub struct Df {
    /// The vault file.
    pub vault: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
