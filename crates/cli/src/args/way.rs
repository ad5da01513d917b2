//! The arguments of `way`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// With what a vault is entered that takes more than its servers.
#[derive(Args, Debug)]
pub struct Entry {
    /// A file with the passphrase of the vault, where it takes one; readable by its owner alone.
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// A file with the words, or the code, of one paper share; as often as shares are needed.
    #[arg(long, global = true, value_name = "FILE")]
    pub share: Vec<PathBuf>,
    /// A file with your private key, as age-keygen writes it; readable by its owner alone.
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Way {
    #[command(subcommand)]
    pub command: WayCommand,
}

#[derive(Subcommand, Debug)]
pub enum WayCommand {
    /// List the ways in, and which servers still lack what counts.
    List(WayList),
    /// Add a way in: from then on enough servers alone do not open the vault.
    Add(WayAdd),
    /// Take ways in out of use.
    Remove(WayRemove),
    /// Make what servers hold anew, so that what was copied of them is of no use; with NAME, give that way new secrets too.
    Rotate(WayRotate),
    /// Get into a vault whose passphrase is lost, by paper shares, and give it a new one.
    Recover(WayRecover),
}

#[derive(Args, Debug)]
pub struct WayList {
    /// The vault file.
    pub vault: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a way takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WayKindArg {
    /// A passphrase.
    Passphrase,
    /// The private key of any one of some people.
    Keys,
    /// Paper shares.
    Custodians,
}

/// In which words paper shares are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WordsArg {
    /// Japanese, in hiragana.
    Ja,
    /// English.
    En,
}

#[derive(Args, Debug)]
pub struct WayAdd {
    /// The vault file.
    pub vault: PathBuf,
    /// What the way takes: passphrase, keys or custodians.
    pub kind: WayKindArg,
    /// What people are to call it [default: the kind].
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub secrets: Secrets,
    /// Apply the plan without asking.
    #[arg(long)]
    pub yes: bool,
    /// Print the result as JSON; paper shares go to --pdf.
    #[arg(long)]
    pub json: bool,
}

/// New secrets for a way.
#[derive(Args, Debug)]
pub struct Secrets {
    /// A file with the new passphrase; readable by its owner alone [default: asked for].
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: Option<PathBuf>,
    /// How many MiB of memory it takes to try a passphrase: 64 at least, and never less than before [default: 256].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..=4096))]
    pub memory: Option<u32>,
    /// A public key of somebody whose private key is to open the vault, as age-keygen prints it (age1…); as often as there are people.
    #[arg(long, value_name = "KEY")]
    pub recipient: Vec<String>,
    /// A file with such public keys, one a line.
    #[arg(long, value_name = "FILE")]
    pub recipients_file: Vec<PathBuf>,
    /// How many paper shares suffice [default: as before, or 3].
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u8).range(1..=31))]
    pub needed: Option<u8>,
    /// How many paper shares there are [default: as before, or 5].
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u8).range(1..=31))]
    pub sheets: Option<u8>,
    /// In which words paper shares are printed: ja or en [default: the language of messages].
    #[arg(long, value_name = "LIST")]
    pub words: Option<WordsArg>,
    /// Write paper shares as PDF files into this folder, one for each custodian [default: to standard output].
    #[arg(long, value_name = "DIR")]
    pub pdf: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct WayRemove {
    /// The vault file.
    pub vault: PathBuf,
    /// The names of the ways, or their numbers.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// All of them: from then on enough servers alone open the vault.
    #[arg(long, conflicts_with = "names", required_unless_present = "names")]
    pub to_none: bool,
    /// Apply the plan without asking.
    #[arg(long)]
    pub yes: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct WayRotate {
    /// The vault file.
    pub vault: PathBuf,
    /// The way that gets new secrets, by its name or number.
    pub name: Option<String>,
    #[command(flatten)]
    pub secrets: Secrets,
    /// Apply the plan without asking.
    #[arg(long)]
    pub yes: bool,
    /// Print the result as JSON; paper shares go to --pdf.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct WayRecover {
    /// The vault file.
    pub vault: PathBuf,
    /// The way whose passphrase is lost [default: the one that takes one].
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub secrets: Secrets,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
