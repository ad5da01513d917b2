//! The arguments of `verify`, `server` and `rebuild`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::threshold::ServerAdd;

#[derive(Args, Debug)]
pub struct Verify {
    /// The vault file.
    pub vault: PathBuf,
    /// Read every byte of every share, not only its beginning and length.
    #[arg(long)]
    pub deep: bool,
    /// Make missing and bad shares anew from the good ones, and remove what nobody needs. Shows the plan; --yes applies it.
    #[arg(long)]
    pub repair: bool,
    /// Apply the plan of --repair.
    #[arg(long, requires = "repair")]
    pub yes: bool,
    /// Send at most so many MiB a second to servers.
    #[arg(long, value_name = "MIB", requires = "repair", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Leave what nobody needs alone for so many days [default: 7].
    #[arg(long, value_name = "DAYS", requires = "repair")]
    pub grace: Option<u32>,
    /// Let go of what may be work that the catalogue does not know, as of anything that nobody needs.
    #[arg(long, requires = "repair")]
    pub drop_newer: bool,
    /// Go on where the last check was interrupted.
    #[arg(long)]
    pub resume: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Server {
    #[command(subcommand)]
    pub command: ServerCommand,
}

#[derive(Subcommand, Debug)]
pub enum ServerCommand {
    /// List the vault's servers.
    List(ServerList),
    /// Add a server: as many are needed as before, and one more may be away.
    Add(ServerAdd),
    /// Give a lost server's seat a new, empty place, and fill it.
    Replace(ServerReplace),
    /// Take a server out of service: its seat moves to a new place, and all shares get a new generation, so that what it holds is worthless.
    Retire(ServerReplace),
    /// Try out whether places are fit to be servers, before a vault is trusted to them.
    Test(ServerTest),
}

#[derive(Args, Debug)]
pub struct ServerList {
    /// The vault file.
    pub vault: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ServerTest {
    /// The places: folders or store URLs; NAME=URL gives one a name.
    #[arg(required_unless_present = "vault")]
    pub servers: Vec<String>,
    /// Where a password or key is: NAME.FIELD=VALUE, as for init.
    #[arg(short = 'o', long, value_name = "NAME.FIELD=VALUE")]
    pub server_option: Vec<String>,
    /// Try out the servers of this vault, too.
    #[arg(long, value_name = "VAULT")]
    pub vault: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ServerReplace {
    /// The vault file.
    pub vault: PathBuf,
    /// The server's name in the vault file.
    pub name: String,
    /// Its new place: an empty folder or a store URL.
    pub url: String,
    /// Where its password or key is: NAME.FIELD=VALUE, as for init.
    #[arg(short = 'o', long, value_name = "NAME.FIELD=VALUE")]
    pub server_option: Vec<String>,
    /// Apply the plan.
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
pub struct Rebuild {
    /// The vault file; a new one to write, where servers are named.
    pub vault: PathBuf,
    /// Where the vault file is lost too: the servers that are left, each a folder or store URL; NAME=URL gives it a name.
    #[arg(num_args = 0.., value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Where a server's password or key is: NAME.FIELD=VALUE, as for init.
    #[arg(
        short = 'o',
        long,
        value_name = "NAME.FIELD=VALUE",
        requires = "servers"
    )]
    pub server_option: Vec<String>,
    /// Go on with a catalogue that was rebuilt with something missing: the vault can be changed again, and what only another rebuild could have
    /// used is let go in time.
    #[arg(long, conflicts_with_all = ["servers", "server_option"])]
    pub accept: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
