//! A file vault to embed: every file is kept as n shares on n servers, any k of which give it back.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use warifu::{InitOptions, NewServer, OpenOptions, Threshold, Warifu};
//!
//! let dir = tempfile::tempdir()?;
//! let servers =
//!     ["a", "b", "c"].map(|name| NewServer::new(name, dir.path().join(name).display().to_string()));
//! let path = dir.path().join("office.toml");
//! Warifu::init(&path, Threshold::new(2, 3)?, servers.into(), InitOptions::new("example")).await?;
//!
//! let warifu = Warifu::open(&path, OpenOptions::new("example")).await?;
//! warifu.write_file("/minutes.txt", b"text").await?;
//! assert_eq!(warifu.read_file("/minutes.txt").await?.expose(), b"text");
//! assert!(warifu.close().await.is_empty(), "nothing is lost");
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Warifu`] wires the rooms together from one [vault file](VaultFile): the servers, the catalogue, the vault. What a
//! vault can do is told by [`Vault`]; [`Warifu`] adds the short ways for files by their paths. Everything runs on the
//! caller's tokio runtime (multi-threaded, with its time driver).

mod audit_log;
mod catalog;
mod checkpoint;
mod context;
mod error;
mod every;
mod fate;
mod files;
mod folders;
mod foreign;
mod open;
pub mod paper;
mod part;
mod path;
pub mod people;
mod place;
mod rebuild;
mod relocate;
mod replace;
mod retention;
mod rewrite;
mod rules;
mod syslog;
mod threshold;
mod trial;
mod vault_file;
pub mod ways;

pub use audit_log::{CopyCheck, CopyDifference, LogCheck, LogFault, LogFilter, OfFile};
pub use context::{group_name, process_context, user_name};
pub use error::Error;
pub use every::Every;
pub use fate::Shared;
pub use files::{BLOCK, FileMeta, Walk};
pub use folders::FolderPlan;
pub use open::{InitOptions, NewServer, OpenOptions, Warifu};
pub use path::VaultPath;
pub use rebuild::Rebuilt;
pub use relocate::{Relocated, RelocationPlan, RelocationProgress};
pub use replace::ReplacePlan;
pub use retention::length_text;
pub use syslog::SyslogTarget;
pub use threshold::{AddedServer, Consequences, Preset, ThresholdChanged, ThresholdPlan};
pub use trial::{Trial, try_place, try_server};
pub use vault_file::{
    FORMAT, MemoryRule, Problem, Retention, SaveDurability, ServerEntry, VaultFile, VaultFileError,
};

pub use warifu_catalog::PostgresUrlError;
pub use warifu_core as core;
pub use warifu_core::format::Scheme;
pub use warifu_core::head::Timestamp;
pub use warifu_core::ids::{
    BadThreshold, FileId, ServerId, ShareIndex, Threshold, VaultId, VersionNo,
};
pub use warifu_core::secret::SecretBytes;
pub use warifu_core::signing::{CertificateKey, is_signed};
pub use warifu_vault::context::{Act, AuditEntry, Context};
pub use warifu_vault::error::{Fault, ServerFault, VaultError};
pub use warifu_vault::node::{Attr, AttrChange, BadName, Name, NodeId, NodeKind};
pub use warifu_vault::past::{
    Doubt, LeftOut, RestoreFailure, RestorePlan, RestoreReport, RestoreStep, RestoreWish,
    Restoring, Trashed,
};
pub use warifu_vault::rebuild::{
    Adopted, AdoptedAs, JournalFound, LogCompared, LogDifference, LostVersion, OtherTimeline,
    RebuildError, RebuildProgress, RebuildReport, ServerFound, Stage, UnreadObjects,
};
pub use warifu_vault::refresh::{
    GenerationStatus, Holding, RefreshOptions, RefreshPlan, RefreshProgress, RefreshReport,
    ThresholdChange,
};
pub use warifu_vault::repair::{
    Orphans, RepairOptions, RepairPlan, RepairProgress, RepairReport, Upkeep, Work,
};
pub use warifu_vault::retain::{
    AHEAD, Destroyed, FLOOR, FolderRule, Going, HoldId, LegalHold, PrunePlan, Rule, Rules,
    ServerOutcome, Which,
};
pub use warifu_vault::seam::catalog::{AuditRow, CatalogError, RenameMode, Version};
pub use warifu_vault::seam::generations::Generations;
pub use warifu_vault::seam::locks::{Lock, LockKind, LockMode};
pub use warifu_vault::seam::past::{End, PastName};
pub use warifu_vault::seam::sessions::{Hold, Session, SessionId, SessionInfo};
pub use warifu_vault::space::{AGES, Room, SpaceReport};
pub use warifu_vault::status::{
    Breaker, Condition, FolderStatus, ServerState, ServerStatus, Status, Weak, WeakFile,
};
pub use warifu_vault::verify::{
    Check, CheckProgress, Checkpoint, Finding, ServerCount, Subject, Unreadable, VerifyOptions,
    VerifyProgress, VerifyReport,
};
pub use warifu_vault::{Access, FileHandle, FolderThreshold, Thresholds, Unsaved, Vault};

/// File servers: their URLs and what can be wrong with them.
pub mod store {
    pub use warifu_store::{
        BadOption, CreateError, CredentialError, CredentialRef, Credentials, KeySource, OpenError,
        ProbeError, Promises, S3Url, SCHEMES, SftpUrl, ShownKey, StoreProfile, StoreSpec, StoreUrl,
        Unfit, UrlError, WebdavUrl, probe,
    };
    pub use warifu_vault::seam::store::{ShareStore, StoreError, StoreErrorKind};
}
