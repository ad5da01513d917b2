//! The command line.
//!
//! English help stands here; Japanese help lies in `words/help.ja.ftl` and is laid over it by [`command`].

mod catalog;
mod past;
mod refresh;
mod retain;
mod run;
mod threshold;
mod upkeep;
pub mod way;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{
    Arg, ArgAction, Args, Command as ClapCommand, CommandFactory as _, Parser, Subcommand,
    ValueEnum,
};
use clap_complete::Shell;

pub use self::catalog::{Catalog, CatalogCommand, CatalogMove};
pub use self::past::{Audit, AuditCommand, AuditList, AuditVerify, History, Restore};
pub use self::refresh::Refresh;
pub use self::retain::{
    Certificate, CertificateCommand, CertificateKey, CertificateVerify, Df, Hold, HoldAdd,
    HoldCommand, HoldList, HoldRemove, Prune, Retention, Trash, TrashCommand, TrashEmpty,
    TrashList, TrashRestore,
};
pub use self::run::Run;
pub use self::threshold::{ServerAdd, Threshold};
pub use self::upkeep::{
    Rebuild, Server, ServerCommand, ServerList, ServerReplace, ServerTest, Verify,
};
pub use self::way::{
    Way, WayAdd, WayCommand, WayKindArg, WayList, WayRecover, WayRemove, WayRotate, WordsArg,
};
use crate::exit::Exit;
use crate::words::{Lang, Words, say, words};

/// Keeps files as k-of-n shares on several file servers.
#[derive(Parser, Debug)]
#[command(
    name = "warifu",
    version,
    max_term_width = 110,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Language of messages.
    #[arg(long, global = true, value_name = "LANG", value_parser = ["ja", "en"])]
    pub lang: Option<String>,
    /// No progress and no summary.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(flatten)]
    pub entry: way::Entry,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Set up three local servers, a vault, sample documents and a drive: the tour.
    Quickstart(Quickstart),
    /// Make a new vault on two or more servers.
    Init(Init),
    /// Show the vault as a drive.
    Mount(Mount),
    /// Take the drive away; waits until everything is saved.
    Umount(Umount),
    /// Run a program that can write to the drive and to RAM, and nowhere else.
    Run(Run),
    /// Copy local files and folders into the vault.
    Put(Put),
    /// Copy files and folders out of the vault.
    Get(Get),
    /// List a folder of the vault.
    Ls(Ls),
    /// Write files of the vault to standard output.
    Cat(Cat),
    /// Remove files or folders from the vault.
    Rm(Rm),
    /// Rename or move within the vault.
    Mv(Mv),
    /// Make folders in the vault.
    Mkdir(Mkdir),
    /// List the versions of a file, and the names that it had.
    History(History),
    /// Bring back a file, a folder or everything as it was.
    Restore(Restore),
    /// List removed files, bring them back, or destroy them.
    Trash(Trash),
    /// Show how long what was is kept, and what would go by that.
    Retention(Retention),
    /// Destroy what the rules of the vault file let go: old versions, and files removed long ago.
    Prune(Prune),
    /// Keep something whatever the rules say.
    Hold(Hold),
    /// Certificates of destruction.
    Certificate(Certificate),
    /// Tell how much room everything takes on the servers.
    Df(Df),
    /// The audit log: who did what; and whether it is whole.
    Audit(Audit),
    /// Tell how the servers and the files are.
    Status(Status),
    /// Check the shares on every server and name what is wrong.
    Verify(Verify),
    /// Give all shares a new generation, so that stolen ones are worthless.
    Refresh(Refresh),
    /// Change how many servers are needed, of how many, while the vault is in use.
    Threshold(Threshold),
    /// List the servers, add one, replace a lost one, or take one out of service.
    Server(Server),
    /// Say who can open the vault beside having reached enough servers: passphrases, custodians.
    Way(Way),
    /// Move the catalogue to a PostgreSQL database, or back into a file.
    Catalog(Catalog),
    /// Make the catalogue anew from any K servers: names, folders, versions and the audit log.
    Rebuild(Rebuild),
    /// Split one file into share files, without a vault.
    Split(Split),
    /// Join share files back into the file.
    Combine(Combine),
    /// Look over this machine, and a vault, and say what to see to.
    Doctor(Doctor),
    /// Write the completion script of a shell.
    Completions(Completions),
    /// Write the manual pages.
    #[command(name = "manpages")]
    ManPages(ManPages),
}

#[derive(Args, Debug)]
pub struct Quickstart {
    /// The folder to make [default: warifu-quickstart].
    pub dir: Option<PathBuf>,
    /// Set everything up, but mount no drive.
    #[arg(long)]
    pub no_mount: bool,
}

#[derive(Args, Debug)]
pub struct Init {
    /// The vault file to write, e.g. office.toml.
    pub vault: PathBuf,
    /// A folder or store URL for each server; NAME=URL gives it a name.
    #[arg(required = true, num_args = 1.., value_name = "SERVER")]
    pub servers: Vec<String>,
    /// How many servers it takes to read a file.
    #[arg(short = 'k', long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..))]
    pub threshold: u8,
    /// Where a server's password or key is: NAME.FIELD=VALUE, e.g. honcho.key=file:honcho.key or honcho.host_key=SHA256:…; a password
    /// is file:PATH or env:NAME, never itself. Fields: user, password, key, passphrase, host_key, known_hosts, access_key, secret_key, ca.
    #[arg(short = 'o', long, value_name = "NAME.FIELD=VALUE")]
    pub server_option: Vec<String>,
    /// Keep the catalogue in a PostgreSQL database, for many machines: postgres://USER@HOST/DATABASE [default: a file beside VAULT]
    #[arg(long, value_name = "URL")]
    pub catalog: Option<String>,
    /// How the database is logged in to: password=file:PATH, password=env:NAME, or ca=PATH (further certificate authorities).
    #[arg(long, value_name = "FIELD=VALUE", requires = "catalog")]
    pub catalog_option: Vec<String>,
    /// Let every save wait for the servers' disks.
    #[arg(long)]
    pub strict: bool,
    /// How files are shared: shamir (fewer than K servers tell nothing, whatever is computed; each keeps as much as the
    /// file) or compact (nothing as long as the cipher holds; each keeps the K-th part) [default: shamir]
    #[arg(
        long,
        value_name = "SCHEME",
        value_enum,
        default_value = "shamir",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub scheme: SchemeName,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A scheme as it is written on the command line.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum SchemeName {
    Shamir,
    Compact,
}

impl From<SchemeName> for warifu::Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Shamir => Self::Shamir,
            SchemeName::Compact => Self::Compact,
        }
    }
}

#[derive(Args, Debug)]
pub struct Mount {
    /// The vault file.
    pub vault: PathBuf,
    /// An empty folder: the mount point.
    pub dir: PathBuf,
    /// Let other users of this machine in, as the files' modes say.
    #[arg(long)]
    pub allow_other: bool,
    /// Mount for reading only.
    #[arg(long)]
    pub read_only: bool,
    /// Show everything as it was at this time, for reading only.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Stay in the foreground; Ctrl-C unmounts.
    #[arg(long)]
    pub foreground: bool,
    /// Mount although swap that is not encrypted is on; the audit log says so.
    #[arg(long)]
    pub allow_swap: bool,
    /// Use about so many MiB of RAM at most, 256 or more; what is open and does not fit is on the servers [default: 688].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(256..))]
    pub memory_limit: Option<u32>,
    /// How the background process is started by its parent.
    #[arg(long, hide = true)]
    pub background_child: bool,
}

#[derive(Args, Debug)]
pub struct Umount {
    /// The mount point.
    pub dir: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Put {
    /// The vault file.
    pub vault: PathBuf,
    /// Local files or folders; - is standard input.
    #[arg(required = true, num_args = 1.., value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Where to, in the vault: a folder, or the new name.
    #[arg(value_name = "DST")]
    pub target: OsString,
    /// Make missing folders of the target.
    #[arg(short, long)]
    pub parents: bool,
    /// Refuse to replace files that are in the vault already.
    #[arg(short, long)]
    pub no_clobber: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Get {
    /// The vault file.
    pub vault: PathBuf,
    /// Files or folders in the vault.
    #[arg(required = true, num_args = 1.., value_name = "SRC")]
    pub sources: Vec<OsString>,
    /// Where to: a local folder, or the new name.
    #[arg(value_name = "DST")]
    pub target: PathBuf,
    /// Replace local files.
    #[arg(short, long)]
    pub force: bool,
    /// An older version of the file; `history` lists them.
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub number: Option<u64>,
    /// As it was at this time.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Ls {
    /// The vault file.
    pub vault: PathBuf,
    /// Files or folders in the vault [default: /].
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// With mode, owner, size, time and version.
    #[arg(short, long)]
    pub long: bool,
    /// Folders within folders too.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// As it was at this time.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Cat {
    /// The vault file.
    pub vault: PathBuf,
    /// Files in the vault.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// An older version of the file; `history` lists them.
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub number: Option<u64>,
    /// As it was at this time.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

#[derive(Args, Debug)]
pub struct Rm {
    /// The vault file.
    pub vault: PathBuf,
    /// Files or folders in the vault.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Folders with all that is in them.
    #[arg(short, long)]
    pub recursive: bool,
    /// What does not exist is no error.
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct Mv {
    /// The vault file.
    pub vault: PathBuf,
    /// Files or folders in the vault.
    #[arg(required = true, num_args = 1.., value_name = "SRC")]
    pub sources: Vec<OsString>,
    /// A folder of the vault, or the new name.
    #[arg(value_name = "DST")]
    pub target: OsString,
    /// Refuse to replace what is there.
    #[arg(short, long)]
    pub no_clobber: bool,
}

#[derive(Args, Debug)]
pub struct Mkdir {
    /// The vault file.
    pub vault: PathBuf,
    /// Folders to make.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Missing parents too; what exists is no error.
    #[arg(short, long)]
    pub parents: bool,
}

#[derive(Args, Debug)]
pub struct Status {
    /// The vault file.
    pub vault: PathBuf,
    /// Instead of the servers, show which drives are mounted, and who has which files open for writing or locked.
    #[arg(long)]
    pub open_files: bool,
    /// Print numbers in the text format of Prometheus, for node_exporter's textfile collector.
    #[arg(long, conflicts_with_all = ["open_files", "json"])]
    pub metrics: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Split {
    /// The file to split.
    pub file: PathBuf,
    /// How many shares give the file back.
    #[arg(short, value_name = "K", value_parser = clap::value_parser!(u8).range(1..))]
    pub k: u8,
    /// How many shares to make.
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub n: u8,
    /// The folder for the share files [default: here].
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Combine {
    /// Share files, at least k of them.
    #[arg(required = true, value_name = "SHARE")]
    pub shares: Vec<PathBuf>,
    /// The file to write [default: the original name, here].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// Which shell.
    pub shell: Shell,
}

#[derive(Args, Debug)]
pub struct Doctor {
    /// The vault file; without it, only this machine is looked over.
    pub vault: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ManPages {
    /// The folder to write them into.
    pub dir: PathBuf,
}

/// The examples shown below a command's help.
fn examples(command: &str) -> &'static [&'static str] {
    match command {
        "quickstart" => &[
            "warifu quickstart",
            "warifu quickstart /srv/tour --no-mount",
        ],
        "init" => &[
            "warifu init office.toml --threshold 2 /mnt/server-a /mnt/server-b /mnt/server-c",
            "warifu init office.toml -k 2 --scheme compact /mnt/server-a /mnt/server-b /mnt/server-c",
            "warifu init office.toml -k 3 honcho=/mnt/a shisho=/mnt/b bunko=/mnt/c kencho=/mnt/d",
            "warifu init office.toml -k 2 /mnt/a shisho=sftp://warifu@shisho.example.jp/srv/warifu /mnt/c -o shisho.key=file:shisho.key",
        ],
        "mount" => &[
            "warifu mount office.toml ~/office",
            "warifu mount office.toml /srv/office --allow-other --foreground",
            "warifu mount office.toml ~/office --memory-limit 256",
            "warifu mount office.toml ~/yesterday --at yesterday",
        ],
        "umount" => &["warifu umount ~/office"],
        "run" => &[
            "warifu run office.toml -- libreoffice reports/report.docx",
            "warifu run office.toml --no-network -- bash",
        ],
        "put" => &[
            "warifu put office.toml report.docx /reports/",
            "warifu put office.toml -p ~/Documents/2026 /archive",
            "pg_dump db | warifu put office.toml - /backup/db.sql",
        ],
        "get" => &[
            "warifu get office.toml /reports/report.docx .",
            "warifu get office.toml --version 3 /reports/report.docx old.docx",
            "warifu get office.toml / /tmp/everything",
        ],
        "ls" => &[
            "warifu ls office.toml",
            "warifu ls office.toml -l -R /reports",
            "warifu ls office.toml --json",
            "warifu ls office.toml -R --at 2026-11-27",
        ],
        "cat" => &[
            "warifu cat office.toml /reports/notes.txt",
            "warifu cat office.toml --version 2 /a.csv | head",
        ],
        "rm" => &[
            "warifu rm office.toml /old.docx",
            "warifu rm office.toml -r /archive/2019",
        ],
        "mv" => &[
            "warifu mv office.toml /draft.docx /final.docx",
            "warifu mv office.toml /a.docx /b.docx /archive/",
        ],
        "mkdir" => &["warifu mkdir office.toml -p /reports/2026/11"],
        "history" => &["warifu history office.toml /reports/report.docx"],
        "restore" => &[
            "warifu restore office.toml /reports/report.docx --version 3",
            "warifu restore office.toml /reports --at yesterday --to /reports-of-yesterday",
            "warifu restore office.toml / --at 2026-11-27T14:00 --exact --yes",
        ],
        "trash" => &[
            "warifu trash list office.toml",
            "warifu trash restore office.toml /reports/report.docx",
            "warifu trash empty office.toml --before 2026-01-01 --yes --certificate destroyed.json",
        ],
        "retention" => &["warifu retention office.toml"],
        "prune" => &[
            "warifu prune office.toml",
            "warifu prune office.toml --yes --certificate destroyed.json",
        ],
        "hold" => &[
            "warifu hold add office.toml /taxes/2019 --reason lawsuit-12",
            "warifu hold list office.toml",
            "warifu hold remove office.toml /taxes/2019",
        ],
        "certificate" => &[
            "warifu certificate key office.toml",
            "warifu certificate verify destroyed.json --key 3b6a27bc…",
        ],
        "df" => &["warifu df office.toml", "warifu df office.toml --json"],
        "audit" => &[
            "warifu audit list office.toml --person suzuki --since yesterday",
            "warifu audit list office.toml --file /reports/report.docx --json",
            "warifu audit verify office.toml",
            "warifu audit verify office.toml --against audit.log",
        ],
        "status" => &[
            "warifu status office.toml",
            "warifu status office.toml --json",
            "warifu status office.toml --open-files",
        ],
        "verify" => &[
            "warifu verify office.toml",
            "warifu verify office.toml --deep --json",
            "warifu verify office.toml --repair --yes --limit 20",
        ],
        "refresh" => &[
            "warifu refresh office.toml",
            "warifu refresh office.toml --yes --limit 20",
            "warifu refresh office.toml --if-due --yes --json",
        ],
        "threshold" => &[
            "warifu threshold office.toml",
            "warifu threshold office.toml -k 3 -n 5 --server /mnt/server-d --server kencho=sftp://warifu@kencho.example.jp/srv/shares -o kencho.key=file:kencho.key",
            "warifu threshold office.toml --preset strong --server /mnt/server-d --server /mnt/server-e --yes --limit 20",
            "warifu threshold office.toml --folder /人事 -k 3 -n 3 --yes",
        ],
        "server" => &[
            "warifu server list office.toml",
            "warifu server add office.toml /mnt/server-d --yes",
            "warifu server replace office.toml bunko /mnt/new-disk/bunko --yes",
            "warifu server test /mnt/server-d nas=webdavs://nas.example.jp/warifu -o nas.password=file:nas.password",
            "warifu server retire office.toml bunko sftp://warifu@new.example/srv/shares --yes",
        ],
        "way" => &[
            "warifu way list office.toml",
            "warifu way add office.toml passphrase --name soumu",
            "warifu way add office.toml keys --recipient age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
            "warifu way add office.toml custodians --needed 3 --sheets 5 --pdf /media/printer",
            "warifu way remove office.toml soumu --yes",
            "warifu way rotate office.toml soumu",
            "warifu way recover office.toml --share 1.txt --share 3.txt --share 4.txt",
        ],
        "catalog" => &[
            "warifu catalog move office.toml --to postgres://warifu@db.example.jp/office --catalog-option password=file:db.password",
            "warifu catalog move office.toml --to sqlite:office.db --yes",
        ],
        "rebuild" => &[
            "warifu rebuild office.toml",
            "warifu rebuild office.toml /mnt/server-a kencho=/mnt/server-c",
            "warifu rebuild office.toml --json > rebuilt.json",
            "warifu rebuild office.toml --accept",
        ],
        "split" => &["warifu split contract.pdf -k 2 -n 3 -o /media/usb"],
        "combine" => {
            &["warifu combine contract.pdf.1.warifu contract.pdf.3.warifu -o contract.pdf"]
        }
        "doctor" => &["warifu doctor", "warifu doctor office.toml --json"],
        "completions" => &["warifu completions bash > /etc/bash_completion.d/warifu"],
        "manpages" => &[
            "warifu manpages /usr/local/share/man/man1",
            "warifu --lang ja manpages /usr/local/share/man/ja/man1",
        ],
        _ => &[],
    }
}

/// The command line's definition, in the language chosen.
pub fn command() -> ClapCommand {
    let mut top = Cli::command().disable_help_subcommand(true);
    let exits: Vec<String> = Exit::ALL
        .iter()
        .map(|(exit, id)| format!("  {:>3}  {}", exit.code(), crate::words::render(id, &[])))
        .collect();
    top = top.after_help(format!("{}\n{}", say!("help-exit-codes"), exits.join("\n")));
    let names: Vec<String> = top
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        let lines: Vec<String> = examples(&name)
            .iter()
            .map(|line| format!("  {line}"))
            .collect();
        let after = format!("{}\n{}", say!("help-examples"), lines.join("\n"));
        top = top.mut_subcommand(name, |command| command.after_help(after));
    }
    if words().lang() == Lang::Ja {
        in_japanese(top, words())
    } else {
        top
    }
}

/// Lays the Japanese help over the English one.
fn in_japanese(top: ClapCommand, words: &Words) -> ClapCommand {
    // Usage lines name the whole command only once everything is built.
    let mut built = top.clone();
    built.build();
    let names: Vec<String> = top
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let top = translated(top, "help-top", &mut built, words)
        .help_template("{about-with-newline}\n使い方: {usage}\n\nコマンド:\n{subcommands}\n\nオプション:\n{options}{after-help}")
        .disable_version_flag(true)
        .arg(Arg::new("version").short('V').long("version").action(ArgAction::Version).help("版を表示します"));
    names.into_iter().fold(top, |top, name| {
        let id = format!("help-{name}");
        match built.find_subcommand_mut(&name) {
            Some(built) => top.mut_subcommand(name, |command| {
                let command = translated(command, &id, built, words);
                with_subcommands(command, &id, built, words)
            }),
            None => top,
        }
    })
}

/// The commands below a command, translated: their ids are its own with their names behind it.
fn with_subcommands(
    command: ClapCommand,
    id: &str,
    built: &mut ClapCommand,
    words: &Words,
) -> ClapCommand {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    if names.is_empty() {
        return command;
    }
    let command = command
        .disable_help_subcommand(true)
        .help_template("{about-with-newline}\n使い方: {usage}\n\nコマンド:\n{subcommands}\n\nオプション:\n{options}{after-help}");
    names.into_iter().fold(command, |command, name| {
        let id = format!("{id}-{name}");
        match built.find_subcommand_mut(&name) {
            Some(built) => {
                command.mut_subcommand(name, |command| translated(command, &id, built, words))
            }
            None => command,
        }
    })
}

fn translated(
    command: ClapCommand,
    id: &str,
    built: &mut ClapCommand,
    words: &Words,
) -> ClapCommand {
    let about = words.find(id, &[]).unwrap_or_default();
    let usage = built
        .render_usage()
        .to_string()
        .trim_start_matches("Usage: ")
        .replace("[OPTIONS]", "[オプション]")
        .replace("<COMMAND>", "<コマンド>");
    let args: Vec<String> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    let command = command
        .about(about)
        .override_usage(usage)
        .help_template("{about-with-newline}\n使い方: {usage}\n\n引数:\n{positionals}\n\nオプション:\n{options}{after-help}")
        .disable_help_flag(true)
        .arg(Arg::new("help").short('h').long("help").action(ArgAction::Help).help("この説明を表示します"));
    args.into_iter().fold(command, |command, arg| {
        // Arguments of every command have one translation.
        let own = words
            .find(&format!("{id}.{arg}"), &[])
            .or_else(|| words.find(&format!("help-common.{arg}"), &[]));
        match own {
            Some(help) => command.mut_arg(arg, |arg| {
                let takes_value = arg.get_action().takes_values();
                let arg = arg.help(help);
                if takes_value {
                    arg.hide_possible_values(true)
                } else {
                    arg
                }
            }),
            None => command,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        in_japanese(Cli::command(), &Words::new(Lang::Ja)).debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_japanese_help() {
        let words = Words::new(Lang::Ja);
        let top = Cli::command();
        let below = |command: &ClapCommand| -> Vec<(String, ClapCommand)> {
            let id = format!("help-{}", command.get_name());
            let nested = command.get_subcommands();
            let nested =
                nested.map(|nested| (format!("{id}-{}", nested.get_name()), nested.clone()));
            nested.chain([(id.clone(), command.clone())]).collect()
        };
        for (id, command) in top.get_subcommands().flat_map(below) {
            assert!(words.find(&id, &[]).is_some(), "{id}");
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let (own, common) = (
                    format!("{id}.{}", arg.get_id()),
                    format!("help-common.{}", arg.get_id()),
                );
                assert!(
                    words.find(&own, &[]).or(words.find(&common, &[])).is_some(),
                    "{own}"
                );
            }
        }
    }

    #[test]
    fn every_example_parses() {
        for command in Cli::command().get_subcommands() {
            let lines = examples(command.get_name());
            assert!(!lines.is_empty(), "{} has no example", command.get_name());
            for line in lines {
                let call = line
                    .split('|')
                    .find(|part| part.trim_start().starts_with("warifu"))
                    .unwrap();
                let words = call.split('>').next().unwrap().split_whitespace();
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}
