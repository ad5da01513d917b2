//! [`VaultFile`]: the small text file that says where a vault's servers and its catalogue are.
//!
//! It holds no secret: the vault key lies as shares on the servers, and a server's password or key is named by a reference. What a
//! `[[server]]` may say of those beside `index`, `id`, `name` and `url` is told by [`Credentials`].

mod problem;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use warifu_catalog::{PostgresUrl, PostgresUrlError};
use warifu_core::format::Scheme;
use warifu_core::ids::{ServerId, ShareIndex, Threshold, VaultId};
use warifu_store::{BadOption, CredentialRef, Credentials};

pub use self::problem::Problem;
use crate::every::Every;
use crate::rebuild::MISSING;
use crate::retention;
pub use crate::rules::{MemoryRule, Retention, SaveDurability};
use crate::syslog::SyslogTarget;
use warifu_vault::Thresholds;
use warifu_vault::retain::Rules;

/// The format of vault files that this warifu writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// A vault file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultFile {
    /// Which vault.
    pub vault: VaultId,
    /// How many of how many servers give a file back.
    pub threshold: Threshold,
    /// What that is to become, while it is being changed. Servers that come or go have their seats until it is over.
    pub becoming: Option<Threshold>,
    /// [Which change](Thresholds::change) that is; 0 where nothing is being changed.
    pub change: u32,
    /// How new files are shared.
    pub scheme: Scheme,
    /// What `close` waits for.
    pub durability: SaveDurability,
    /// Which versions are kept.
    pub retention: Retention,
    /// What a machine must be like for a drive to be mounted there.
    pub memory: MemoryRule,
    /// Where a copy of the audit log is sent, if anywhere.
    pub syslog: Option<SyslogTarget>,
    /// Where a passphrase is that opens the vault, where it takes [one](crate::ways); the path relative to the vault file.
    pub passphrase: Option<CredentialRef>,
    /// How often all shares get a new generation; `None`: only when somebody asks for it.
    pub refresh: Option<Every>,
    /// Where the catalogue is: `sqlite:PATH`, the path relative to the vault file, or `postgres://USER@HOST/DATABASE`.
    pub catalog: String,
    /// How a database is logged in to: `password` and `ca`, paths relative to the vault file.
    pub catalog_credentials: Credentials,
    /// The servers, ascending by index, one for each share.
    pub servers: Vec<ServerEntry>,
}

/// One server of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// Which of the shares it holds.
    pub index: ShareIndex,
    /// Which server, as its own `vault` object says.
    pub id: ServerId,
    /// What people call it.
    pub name: String,
    /// Where it is: a store URL or a folder, relative to the vault file.
    pub url: String,
    /// Where its passwords and keys are, paths relative to the vault file.
    pub credentials: Credentials,
}

/// What is wrong with a vault file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultFileError {
    /// There is no such file.
    #[error("there is no vault file {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is one already.
    #[error("there is a file {} already", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Somebody else has changed it since it was read.
    #[error("{} was changed by somebody else meanwhile", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was written by a newer warifu.
    #[error("{} has format {found}; this warifu knows up to {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// A field is wrong.
    #[error("{}, line {line}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: Problem,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: Spanned<u32>,
    vault: Spanned<String>,
    #[serde(default)]
    scheme: Option<Spanned<String>>,
    #[serde(default)]
    durability: Option<Spanned<String>>,
    #[serde(default)]
    retention: Option<Spanned<toml::Value>>,
    #[serde(default)]
    memory: Option<Spanned<String>>,
    #[serde(default)]
    syslog: Option<Spanned<String>>,
    #[serde(default)]
    passphrase: Option<Spanned<String>>,
    #[serde(default)]
    refresh: Option<Spanned<String>>,
    threshold: Spanned<RawThreshold>,
    catalog: RawCatalog,
    server: Vec<Spanned<RawServer>>,
}

/// Only the field that says whether the rest can be understood.
#[derive(Deserialize)]
struct FormatOnly {
    format: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawThreshold {
    k: u8,
    n: u8,
    becoming: Option<Spanned<RawBecoming>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBecoming {
    k: u8,
    n: u8,
    change: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCatalog {
    url: Spanned<String>,
    password: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
}

impl RawCatalog {
    /// Where the catalogue is and how it is logged in to; or what is wrong, and where.
    fn read(&self) -> Result<(String, Credentials), (Range<usize>, Problem)> {
        let url = self.url.get_ref();
        let wrong = |problem| (self.url.span(), problem);
        if PostgresUrl::is_one(url) {
            PostgresUrl::parse(url).map_err(|error| match error {
                PostgresUrlError::Secret => wrong(Problem::Secret {
                    field: "catalog.url",
                }),
                // The URL is not repeated: it may hold a password.
                other => wrong(Problem::Syntax(format!("catalog.url: {other}"))),
            })?;
        } else if url.strip_prefix("sqlite:").is_none_or(str::is_empty) {
            return Err(wrong(Problem::Value {
                field: "catalog.url",
                found: url.clone(),
                allowed: "\"sqlite:\" and a path, or postgres://USER@HOST/DATABASE",
            }));
        }
        let mut credentials = Credentials::default();
        for (field, value) in [("password", &self.password), ("ca", &self.ca)] {
            let Some(value) = value else { continue };
            credentials
                .set(field, value.get_ref())
                .map_err(|error| (value.span(), option_problem(&error)))?;
        }
        Ok((url.clone(), credentials))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    index: Spanned<u8>,
    id: Spanned<String>,
    name: Spanned<String>,
    url: Spanned<String>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    passphrase: Option<Spanned<String>>,
    host_key: Option<Spanned<String>>,
    known_hosts: Option<Spanned<String>>,
    access_key: Option<Spanned<String>>,
    secret_key: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
}

impl RawServer {
    /// What is said of passwords and keys; or which field is wrong, where, and how.
    fn credentials(&self) -> Result<Credentials, (Range<usize>, Problem)> {
        let mut credentials = Credentials::default();
        for (field, value) in [
            ("user", &self.user),
            ("password", &self.password),
            ("key", &self.key),
            ("passphrase", &self.passphrase),
            ("host_key", &self.host_key),
            ("known_hosts", &self.known_hosts),
            ("access_key", &self.access_key),
            ("secret_key", &self.secret_key),
            ("ca", &self.ca),
        ] {
            let Some(value) = value else { continue };
            credentials
                .set(field, value.get_ref())
                .map_err(|error| (value.span(), option_problem(&error)))?;
        }
        Ok(credentials)
    }
}

/// What is wrong with a server's option. The value is not repeated: it may be a secret.
fn option_problem(error: &BadOption) -> Problem {
    match error {
        BadOption::Literal { field } => Problem::Secret { field },
        other => Problem::Syntax(other.to_string()),
    }
}

impl VaultFile {
    /// What the vault file says of what may go; `None` where everything is kept.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        match &self.retention {
            Retention::All => None,
            Retention::Rules(rules) => Some(rules),
        }
    }

    /// Its threshold, and what that is to become.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            now: self.threshold,
            becoming: self.becoming,
            change: self.change,
        }
    }

    /// Reads a vault file.
    ///
    /// # Errors
    /// [`VaultFileError`]; what is wrong with a field is told with its line.
    pub fn read(path: &Path) -> Result<Self, VaultFileError> {
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => VaultFileError::NotFound { path: path.into() },
            io::ErrorKind::InvalidData => VaultFileError::Invalid {
                path: path.into(),
                line: 1,
                problem: Problem::Syntax("this is not a text file".into()),
            },
            _ => VaultFileError::Io {
                path: path.into(),
                source,
            },
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a vault file; `path` is only for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, VaultFileError> {
        let invalid = |span: Range<usize>, problem| VaultFileError::Invalid {
            path: path.into(),
            line: line_of(text, span.start),
            problem,
        };
        let syntax = |error: toml::de::Error| {
            invalid(
                error.span().unwrap_or(0..0),
                Problem::Syntax(error.message().into()),
            )
        };
        // A newer format may have fields that are unknown here: say so instead of complaining about them.
        if let Ok(FormatOnly {
            format: Some(found),
        }) = toml::from_str(text)
            && found > FORMAT
        {
            return Err(VaultFileError::Newer {
                path: path.into(),
                found,
            });
        }
        let raw: Raw = toml::from_str(text).map_err(syntax)?;
        let bad = |field: &Spanned<String>, name, allowed| {
            invalid(
                field.span(),
                Problem::Value {
                    field: name,
                    found: field.get_ref().clone(),
                    allowed,
                },
            )
        };
        if *raw.format.get_ref() != FORMAT {
            let found = raw.format.get_ref().to_string();
            return Err(invalid(
                raw.format.span(),
                Problem::Value {
                    field: "format",
                    found,
                    allowed: "1",
                },
            ));
        }
        let vault = VaultId::from_hex(raw.vault.get_ref())
            .ok_or_else(|| bad(&raw.vault, "vault", "32 hexadecimal digits"))?;
        let scheme = match &raw.scheme {
            None => Scheme::Shamir,
            Some(word) => Scheme::from_name(word.get_ref())
                .ok_or_else(|| bad(word, "scheme", "\"shamir\" or \"compact\""))?,
        };
        let durability = match &raw.durability {
            None => SaveDurability::Normal,
            Some(word) => match word.get_ref().as_str() {
                "normal" => SaveDurability::Normal,
                "strict" => SaveDurability::Strict,
                _ => return Err(bad(word, "durability", "\"normal\" or \"strict\"")),
            },
        };
        let retention = match &raw.retention {
            None => Retention::All,
            Some(value) => retention::parse(value.get_ref())
                .map_err(|wrong| invalid(value.span(), wrong))?
                .map_or(Retention::All, Retention::Rules),
        };
        let memory = match &raw.memory {
            None => MemoryRule::default(),
            Some(word) => match word.get_ref().as_str() {
                "guarded" => MemoryRule::Guarded,
                "locked" => MemoryRule::Locked,
                "any" => MemoryRule::Any,
                _ => return Err(bad(word, "memory", "\"guarded\", \"locked\" or \"any\"")),
            },
        };
        let syslog = match &raw.syslog {
            None => None,
            Some(word) => Some(SyslogTarget::parse(word.get_ref()).ok_or_else(|| {
                let allowed = "\"unixgram:/dev/log\", \"udp://HOST:PORT\" or \"tcp://HOST:PORT\"";
                bad(word, "syslog", allowed)
            })?),
        };
        let passphrase = raw.passphrase.as_ref().map(|word| {
            let reference = CredentialRef::parse("passphrase", word.get_ref());
            reference.map_err(|error| invalid(word.span(), option_problem(&error)))
        });
        let passphrase = passphrase.transpose()?;
        let refresh =
            match &raw.refresh {
                None => None,
                Some(word) if word.get_ref() == "never" => None,
                Some(word) => Some(Every::parse(word.get_ref()).ok_or_else(|| {
                    bad(word, "refresh", "\"never\", or such as \"every 7 days\"")
                })?),
            };
        let read_threshold = |k: u8, n: u8, span: Range<usize>, field| {
            Threshold::new(k, n).map_err(|_| {
                let allowed = "k and n with 1 ≤ k ≤ n ≤ 255";
                let found = format!("{k} of {n}");
                invalid(
                    span,
                    Problem::Value {
                        field,
                        found,
                        allowed,
                    },
                )
            })
        };
        let RawThreshold { k, n, becoming } = raw.threshold.get_ref();
        let threshold = read_threshold(*k, *n, raw.threshold.span(), "threshold")?;
        let becoming = becoming.as_ref().map(|becoming| {
            let RawBecoming { k, n, change } = *becoming.get_ref();
            let read = read_threshold(k, n, becoming.span(), "threshold.becoming");
            read.map(|becoming| (becoming, change))
        });
        let (becoming, change) = becoming.transpose()?.unzip();
        let change = change.unwrap_or(0);
        let n = becoming.map_or(*n, |becoming| becoming.n().max(*n));
        if raw.server.len() != usize::from(n) {
            let got = raw.server.len();
            return Err(invalid(
                raw.threshold.span(),
                Problem::ServerCount { needed: n, got },
            ));
        }
        let (catalog, catalog_credentials) = raw
            .catalog
            .read()
            .map_err(|(span, problem)| invalid(span, problem))?;
        let mut servers = Vec::with_capacity(raw.server.len());
        let mut seen = (
            BTreeSet::new(),
            BTreeSet::new(),
            BTreeSet::new(),
            BTreeSet::new(),
        );
        for entry in &raw.server {
            let RawServer {
                index,
                id,
                name,
                url,
                ..
            } = entry.get_ref();
            let twice = |field, span, found: &dyn fmt::Display| {
                invalid(
                    span,
                    Problem::Twice {
                        field,
                        found: found.to_string(),
                    },
                )
            };
            let place = ShareIndex::new(*index.get_ref())
                .filter(|place| place.get() <= n)
                .ok_or_else(|| {
                    let found = index.get_ref().to_string();
                    invalid(
                        index.span(),
                        Problem::Value {
                            field: "server.index",
                            found,
                            allowed: "1 to threshold.n",
                        },
                    )
                })?;
            let server = ServerId::from_hex(id.get_ref())
                .ok_or_else(|| bad(id, "server.id", "32 hexadecimal digits"))?;
            if name.get_ref().trim().is_empty() || name.get_ref().chars().any(char::is_control) {
                return Err(bad(
                    name,
                    "server.name",
                    "a word without control characters",
                ));
            }
            if url.get_ref().is_empty() {
                return Err(bad(url, "server.url", "a folder or a store URL"));
            }
            if has_password(url.get_ref()) {
                return Err(invalid(
                    url.span(),
                    Problem::Secret {
                        field: "server.url",
                    },
                ));
            }
            if !seen.0.insert(place) {
                return Err(twice("index", index.span(), &place));
            }
            if !seen.1.insert(server) {
                return Err(twice("id", id.span(), &server));
            }
            if !seen.2.insert(name.get_ref().clone()) {
                return Err(twice("name", name.span(), name.get_ref()));
            }
            // Several may be lost.
            if url.get_ref() != MISSING && !seen.3.insert(url.get_ref().clone()) {
                return Err(twice("url", url.span(), url.get_ref()));
            }
            let credentials = entry
                .get_ref()
                .credentials()
                .map_err(|(span, problem)| invalid(span, problem))?;
            servers.push(ServerEntry {
                index: place,
                id: server,
                name: name.get_ref().clone(),
                url: url.get_ref().clone(),
                credentials,
            });
        }
        servers.sort_by_key(|server| server.index);
        Ok(Self {
            vault,
            threshold,
            becoming,
            change,
            scheme,
            durability,
            retention,
            memory,
            syslog,
            passphrase,
            refresh,
            catalog,
            catalog_credentials,
            servers,
        })
    }

    /// The file's text, with comments for the person who opens it.
    #[must_use]
    pub fn render(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.into()).to_string();
        let mut text = format!(
            "# A warifu vault. This file says where things are; it holds no secret and no file name.\n\
             # Keep a copy of it: with it and any {k} of the servers everything can be read.\n\
             # warifu の保管庫の設定です。秘密もファイル名も含みません。控えを取っておいてください。\n\
             \n\
             format = {FORMAT}\n\
             vault = {vault}\n\
             # How new files are shared: \"shamir\" (fewer than k servers learn nothing, whatever they can compute; each\n\
             # keeps as much as the file) or \"compact\" (fewer than k learn nothing unless they break the cipher; each keeps\n\
             # the k-th part). May be changed: files that are there stay as they are and readable. 分散の方式。\n\
             scheme = {scheme}\n\
             # What close waits for: \"normal\" (enough servers have the file; it is on their disks within a second)\n\
             # or \"strict\" (it is on their disks). 保存の完了をどこまで待つか。\n\
             durability = {durability}\n\
             # Which versions are kept: \"all\", or as a [retention] table says, such as keep = \"90 days\" and versions = 50; and for folders\n\
             # [[retention.folder]] with path, keep and versions. 残す版。\n\
             {retention}\
             # Where a drive may be mounted: \"guarded\" (where no swap is on that is not encrypted), \"locked\" (where memory can be\n\
             # locked, too) or \"any\" (anywhere; what is wrong is written into the audit log). メモリの内容がディスクに出ない計算機だけで使うか。\n\
             memory = {memory}\n\
             # A copy of the audit log for a syslog server, names of files included: \"unixgram:/dev/log\", \"udp://HOST:514\" or\n\
             # \"tcp://HOST:601\". 監査記録の写しを送る syslog サーバ（ファイル名も含みます）。\n\
             {syslog}\n\
             # Where the passphrase is, if the vault takes one (`warifu way`), for drives that are mounted while nobody is there to be\n\
             # asked: \"file:PATH\" or \"env:NAME\", never the passphrase itself. 無人でマウントするときのパスフレーズの在りか。\n\
             {passphrase}\n\
             # How often all shares are made anew, so that stolen ones are worthless: \"never\" (only by `warifu refresh`) or such as\n\
             # \"every 7 days\" (by a mounted drive, or a timer with `warifu refresh --if-due`). 割符を新しい世代に作り替える間隔。\n\
             refresh = {refresh}\n\
             \n\
             {rules}\
             # Any k of the n servers give a file back; fewer say nothing about it.\n\
             # n 台のうち k 台があれば復元でき、k 台未満では何もわかりません。\n\
             [threshold]\n\
             k = {k}\n\
             n = {n}\n\
             {becoming}\
             \n\
             # Names, versions and places, sealed under the vault key: a file (sqlite:PATH, relative to this file) for one machine, or a\n\
             # PostgreSQL database (postgres://USER@HOST/DATABASE) for many. 名前・版・置き場所の目録（暗号化済み）。\n\
             [catalog]\n\
             url = {catalog}\n",
            k = self.threshold.k(),
            n = self.threshold.n(),
            becoming = self.becoming.map_or_else(String::new, |becoming| {
                let (k, n, change) = (becoming.k(), becoming.n(), self.change);
                format!("becoming = {{ k = {k}, n = {n}, change = {change} }}\n")
            }),
            vault = quoted(&self.vault.to_string()),
            scheme = quoted(self.scheme.name()),
            durability = quoted(self.durability.as_str()),
            retention = retention::field(&self.retention),
            rules = retention::table(&self.retention),
            memory = quoted(self.memory.as_str()),
            syslog = match &self.syslog {
                Some(target) => format!("syslog = {}", quoted(&target.to_string())),
                None => "# syslog = \"unixgram:/dev/log\"".to_owned(),
            },
            passphrase = match &self.passphrase {
                Some(reference) => format!("passphrase = {}", quoted(&reference.to_string())),
                None => "# passphrase = \"file:office.passphrase\"".to_owned(),
            },
            refresh = quoted(
                &self
                    .refresh
                    .map_or_else(|| "never".to_owned(), |every| every.to_string())
            ),
            catalog = quoted(&self.catalog),
        );
        for (field, value) in self.catalog_credentials.entries() {
            text.push_str(&format!("{field} = {}\n", quoted(&value)));
        }
        for server in &self.servers {
            text.push_str(&format!(
                "\n[[server]]\nindex = {}\nid = {}\nname = {}\nurl = {}\n",
                server.index,
                quoted(&server.id.to_string()),
                quoted(&server.name),
                quoted(&server.url),
            ));
            for (field, value) in server.credentials.entries() {
                text.push_str(&format!("{field} = {}\n", quoted(&value)));
            }
        }
        text
    }

    /// Writes the file where none is yet: whole or not at all, safe from a power cut, readable by its owner only.
    ///
    /// # Errors
    /// [`VaultFileError::Exists`] or [`VaultFileError::Io`].
    pub fn write_new(&self, path: &Path) -> Result<(), VaultFileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => VaultFileError::Exists { path: path.into() },
            _ => VaultFileError::Io {
                path: path.into(),
                source,
            },
        };
        let folder = folder_of(path);
        let mut temporary = tempfile::Builder::new()
            .prefix(".warifu-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(folder)
            .map_err(failed)?;
        temporary
            .write_all(self.render().as_bytes())
            .map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        temporary
            .persist_noclobber(path)
            .map_err(|error| failed(error.error))?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }

    /// The path of the catalogue of the vault file at `path`.
    #[must_use]
    pub fn catalog_path(&self, path: &Path) -> PathBuf {
        folder_of(path).join(
            self.catalog
                .strip_prefix("sqlite:")
                .unwrap_or(&self.catalog),
        )
    }
}

/// The folder in which a file lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Whether a URL has a password before its host (`scheme://user:password@host`).
fn has_password(url: &str) -> bool {
    url.split_once("://")
        .and_then(|(_, rest)| rest.split('/').next())
        .and_then(|authority| authority.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'))
}
