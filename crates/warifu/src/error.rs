//! What can go wrong before a vault is at work, and in the short ways of this crate.

use std::io;
use std::path::PathBuf;

use warifu_catalog::PostgresUrlError;
use warifu_core::ids::{BadThreshold, Threshold};
use warifu_store::{BadOption, CreateError, CredentialError, ProbeError, UrlError};
use warifu_vault::error::{ServerFault, VaultError};
use warifu_vault::node::BadName;
use warifu_vault::seam::catalog::CatalogError;

use crate::vault_file::VaultFileError;
use crate::ways::{Way, WayRefusal};

/// Why a vault could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The vault file cannot be used.
    #[error(transparent)]
    VaultFile(#[from] VaultFileError),
    /// The threshold is impossible for so many servers.
    #[error(transparent)]
    Threshold(#[from] BadThreshold),
    /// A server's URL cannot be read.
    #[error("{server}: {source}")]
    Url {
        /// The server's name.
        server: String,
        /// What is wrong.
        source: UrlError,
    },
    /// An option of a server is wrong.
    #[error("{server}: {source}")]
    Option {
        /// The server's name.
        server: String,
        /// What is wrong.
        source: BadOption,
    },
    /// A server's store cannot be made.
    #[error("{server}: {source}")]
    Create {
        /// The server's name.
        server: String,
        /// What is wrong.
        source: CreateError,
    },
    /// A server was tried out and cannot keep shares.
    #[error("{server}: {source}")]
    Unfit {
        /// The server's name.
        server: String,
        /// What is wrong.
        source: ProbeError,
    },
    /// Two servers have one name.
    #[error("two servers are called {name}")]
    SameName {
        /// The name.
        name: String,
    },
    /// The vault has no server of this name.
    #[error("the vault has no server {name}")]
    NoServer {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The place for a server already belongs to a vault.
    #[error("the place for {server} already belongs to a vault")]
    Taken {
        /// The server's name.
        server: String,
    },
    /// Two names lead to one place: they would be lost together, and each would destroy what the other keeps.
    #[error("{server} and {other} are the same place")]
    SamePlace {
        /// The new server's name.
        server: String,
        /// The other one's.
        other: String,
    },
    /// Not as many new servers as a change of the threshold takes.
    #[error("{needed} new servers are needed and {got} were given")]
    NewServers {
        /// How many are needed.
        needed: usize,
        /// How many were given.
        got: usize,
    },
    /// The vault has this threshold already, everywhere.
    #[error("the vault has the threshold {} of {} already", .0.k(), .0.n())]
    SameThreshold(Threshold),
    /// A folder asks for more servers than there would be.
    #[error("{folder} asks for {needed} servers, of {n}")]
    FolderNeedsMore {
        /// The folder's path.
        folder: String,
        /// How many it asks for.
        needed: u8,
        /// How many there would be.
        n: u8,
    },
    /// The threshold is being changed to another one already.
    #[error("the threshold is being changed to {} of {} already", .becoming.k(), .becoming.n())]
    ThresholdUnderWay {
        /// What it is to become.
        becoming: Threshold,
    },
    /// The vault key could not be dealt to the servers.
    #[error("the vault could not be founded: {detail}")]
    Founding {
        /// What went wrong.
        detail: String,
    },
    /// Too few servers gave their piece of the vault key.
    #[error("{needed} servers are needed to open the vault, and {got} answered as they should")]
    TooFewServers {
        /// How many are needed.
        needed: u8,
        /// How many gave a good piece.
        got: usize,
        /// What is wrong with the others.
        faults: Vec<ServerFault>,
    },
    /// The servers belong to another vault than the vault file says, or lie.
    #[error("the servers do not hold the key of this vault")]
    WrongVault {
        /// What is wrong with each server.
        faults: Vec<ServerFault>,
    },
    /// The servers are of different vaults, and nothing tells which of them is meant.
    #[error("the servers are of different vaults")]
    MixedVaults {
        /// Which each of them says.
        faults: Vec<ServerFault>,
    },
    /// The vault takes one of its ways in beside its servers, and nobody gave one.
    #[error("the servers alone do not open the vault: one of its ways in is needed")]
    WayNeeded {
        /// The ways there are.
        ways: Vec<Way>,
    },
    /// The ways in were made by a newer warifu.
    #[error("the ways in: {detail}")]
    NewerWays {
        /// What this one does not know.
        detail: String,
    },
    /// What was given opens none of the ways.
    #[error("{refusal}")]
    WayRefused {
        /// Why.
        refusal: WayRefusal,
        /// The ways there are.
        ways: Vec<Way>,
    },
    /// The passphrase that the vault file refers to opens none of the ways, and nobody gave another one.
    #[error("the passphrase that the vault file refers to: {refusal}")]
    ReferenceRefused {
        /// Why.
        refusal: WayRefusal,
        /// The ways there are.
        ways: Vec<Way>,
    },
    /// The passphrase that the vault file refers to is not at hand.
    #[error("the passphrase that the vault file refers to: {source}")]
    WayReference {
        /// Why.
        source: CredentialError,
    },
    /// A new place for a server would have no part of the ways in: too few other servers have theirs, and the old place does not show its own.
    #[error("the new place of {server} would have no part of the ways in")]
    NoWaysPart {
        /// The server.
        server: String,
    },
    /// A server stopped answering in the middle of a rebuild.
    #[error("a server stopped answering: {fault}")]
    ServerLost {
        /// Which one, and what it said last.
        fault: ServerFault,
    },
    /// The catalogue is not where the vault file says.
    #[error("there is no catalogue {}", path.display())]
    CatalogMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is a catalogue already where a new one should be made.
    #[error("there is a catalogue {} already", path.display())]
    CatalogExists {
        /// Where it is.
        path: PathBuf,
    },
    /// The catalogue cannot be used.
    #[error("{}: {source}", path.display())]
    Catalog {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: CatalogError,
    },
    /// Somebody is saving, so the catalogue cannot be moved.
    #[error("{saves} saves have begun and not ended")]
    CatalogBusy {
        /// How many.
        saves: u64,
    },
    /// What was copied of a catalogue is not what is in it. Nothing was moved.
    #[error("the copy of the catalogue differs: {what}")]
    CatalogDiffers {
        /// What is the first thing that differs.
        what: String,
    },
    /// The URL of the catalogue's database cannot be used.
    #[error(transparent)]
    CatalogUrl {
        /// What is wrong with it.
        source: PostgresUrlError,
    },
    /// The password of the catalogue's database is not at hand.
    #[error("the password of the catalogue's database: {source}")]
    CatalogPassword {
        /// Why.
        source: CredentialError,
    },
    /// The vault refused or failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A path that no file can have.
    #[error(transparent)]
    Path(BadName),
    /// The stream that was copied from or to failed.
    #[error("the stream failed: {0}")]
    Stream(#[source] io::Error),
}
