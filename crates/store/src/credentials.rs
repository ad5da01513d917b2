//! What a server asks of those who use it, by reference: the vault file says where a password or a key is, never what it is.
//!
//! | field | for | value |
//! |---|---|---|
//! | `user` | `sftp:`, `webdav:` | whom to log in as, where the URL does not say |
//! | `password` | `sftp:`, `webdav:` | a reference |
//! | `key` | `sftp:` | a reference to a private key in OpenSSH's format, or `agent` for the keys of a running ssh-agent |
//! | `passphrase` | `sftp:` | a reference to the passphrase of `key` |
//! | `host_key` | `sftp:` | `SHA256:…`, the fingerprint of the server's host key: no other key is accepted |
//! | `known_hosts` | `sftp:` | the path of a file in OpenSSH's format (without it `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`) |
//! | `access_key`, `secret_key` | `s3:` | references |
//! | `ca` | `webdavs:`, `s3:` | the path of a PEM file with the certificates of authorities to trust beside the system's |
//!
//! A reference is `file:PATH` or `env:NAME`. Paths are relative to the folder of the vault file. A file with a secret in it must be
//! readable by its owner alone. The last line break of a password is not part of it.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use warifu_core::secret::SecretBytes;
use zeroize::Zeroize as _;

use crate::url::StoreUrl;

/// A file that holds more is no password and no key.
const LARGEST_SECRET: u64 = 64 << 10;

/// Where a secret is. Shown and compared freely: it is not the secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CredentialRef {
    /// In an environment variable: `env:NAME`.
    Env(String),
    /// In a file: `file:PATH`.
    File(PathBuf),
}

/// Where the private keys for an SSH server are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// In a running ssh-agent (`SSH_AUTH_SOCK`).
    Agent,
    /// Behind a reference.
    Ref(CredentialRef),
}

/// The options of one server. Holds references only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// Whom to log in as.
    pub user: Option<String>,
    /// The password.
    pub password: Option<CredentialRef>,
    /// The private key.
    pub key: Option<KeySource>,
    /// The private key's passphrase.
    pub passphrase: Option<CredentialRef>,
    /// The only host key accepted: `SHA256:` and the digest in base64, as OpenSSH shows it.
    pub host_key: Option<String>,
    /// A file of known host keys.
    pub known_hosts: Option<PathBuf>,
    /// The name of an S3 key.
    pub access_key: Option<CredentialRef>,
    /// The S3 key.
    pub secret_key: Option<CredentialRef>,
    /// Further certificate authorities.
    pub ca: Option<PathBuf>,
}

/// Why an option of a server cannot be what it says. Never repeats the value, which may be a secret in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadOption {
    /// No server has such an option.
    #[error("{field} is no option of a server; known are {}", Credentials::FIELDS.join(", "))]
    Unknown {
        /// The option.
        field: String,
    },
    /// The secret itself stands where a reference belongs.
    #[error("{field} must say where the secret is, not what it is: file:PATH or env:NAME")]
    Literal {
        /// The option.
        field: &'static str,
    },
    /// The value cannot be meant.
    #[error("{field} must be {allowed}")]
    Value {
        /// The option.
        field: &'static str,
        /// What it may say.
        allowed: &'static str,
    },
    /// Servers of this kind have no use for it.
    #[error("{field} means nothing to a server of the kind {scheme}")]
    NotFor {
        /// The option.
        field: &'static str,
        /// The kind of server.
        scheme: &'static str,
    },
    /// The user stands in the URL and among the options, differently.
    #[error("the URL names another user than the option user")]
    TwoUsers,
}

/// Why a secret is not at hand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The environment variable is not set.
    #[error("the environment variable {name} is not set")]
    NotSet {
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Others than its owner may read the file.
    #[error("others can read {}; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing behind the reference.
    #[error("{reference} is empty")]
    Empty {
        /// The reference.
        reference: CredentialRef,
    },
    /// The file cannot be what it should be.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The server wants something that its options do not name.
    #[error("the server's options name no {field}")]
    Missing {
        /// The option.
        field: &'static str,
    },
}

impl CredentialRef {
    /// Reads a reference, as the value of `field`.
    ///
    /// # Errors
    /// [`BadOption`], which does not repeat the text: it may be the secret.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, BadOption> {
        match text.split_once(':') {
            Some(("env", name)) => {
                let plain = !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if plain {
                    Ok(Self::Env(name.into()))
                } else {
                    Err(BadOption::Value {
                        field,
                        allowed: "env: and the name of an environment variable",
                    })
                }
            }
            Some(("file", path)) => path_option(field, path).map(Self::File),
            _ => Err(BadOption::Literal { field }),
        }
    }

    /// The secret. Paths are taken from the folder `base`.
    ///
    /// # Errors
    /// When it is not there, or lies open.
    pub fn resolve(&self, base: &Path) -> Result<SecretBytes, CredentialError> {
        let secret = match self {
            Self::Env(name) => {
                let mut bytes = std::env::var_os(name)
                    .ok_or_else(|| CredentialError::NotSet { name: name.clone() })?
                    .into_vec();
                let secret = SecretBytes::from_slice(&bytes);
                bytes.zeroize();
                secret
            }
            Self::File(path) => secret_file(&base.join(path))?,
        };
        if secret.is_empty() {
            return Err(CredentialError::Empty {
                reference: self.clone(),
            });
        }
        Ok(secret)
    }

    /// The secret, without the line break that an editor puts at its end.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_line(&self, base: &Path) -> Result<SecretBytes, CredentialError> {
        let mut secret = self.resolve(base)?;
        let bytes = secret.expose();
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let len = line.len();
        secret.truncate(len);
        if len == 0 {
            return Err(CredentialError::Empty {
                reference: self.clone(),
            });
        }
        Ok(secret)
    }
}

impl fmt::Display for CredentialRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Ref(reference) => reference.fmt(f),
        }
    }
}

/// Reads a file that is nobody else's business.
fn secret_file(path: &Path) -> Result<SecretBytes, CredentialError> {
    let unreadable = |source| CredentialError::Unreadable {
        path: path.into(),
        source,
    };
    let unusable = |why: &str| CredentialError::Unusable {
        path: path.into(),
        why: why.into(),
    };
    // A pipe must not make us wait.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = std::fs::File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(unusable("is not a file"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(CredentialError::Exposed { path: path.into() });
    }
    if about.len() > LARGEST_SECRET {
        return Err(unusable("is too large for a password or a key"));
    }
    let len = usize::try_from(about.len()).map_err(|_| unusable("is too large"))?;
    let mut secret = SecretBytes::with_len(len);
    file.read_exact(secret.expose_mut()).map_err(unreadable)?;
    Ok(secret)
}

fn path_option(field: &'static str, path: &str) -> Result<PathBuf, BadOption> {
    if path.is_empty() || path.starts_with('~') || path.chars().any(char::is_control) {
        return Err(BadOption::Value {
            field,
            allowed: "a path, absolute or relative to the vault file (~ means nothing here)",
        });
    }
    Ok(path.into())
}

impl Credentials {
    /// The names of all options, as they stand in a vault file.
    pub const FIELDS: [&str; 9] = [
        "user",
        "password",
        "key",
        "passphrase",
        "host_key",
        "known_hosts",
        "access_key",
        "secret_key",
        "ca",
    ];

    /// Sets an option from its text.
    ///
    /// # Errors
    /// When there is no such option, or it cannot say that.
    pub fn set(&mut self, field: &str, value: &str) -> Result<(), BadOption> {
        match field {
            "user" => {
                if value.is_empty() || value.chars().any(char::is_control) {
                    return Err(BadOption::Value {
                        field: "user",
                        allowed: "a name",
                    });
                }
                self.user = Some(value.into());
            }
            "password" => self.password = Some(CredentialRef::parse("password", value)?),
            "key" if value == "agent" => self.key = Some(KeySource::Agent),
            "key" => self.key = Some(KeySource::Ref(CredentialRef::parse("key", value)?)),
            "passphrase" => self.passphrase = Some(CredentialRef::parse("passphrase", value)?),
            "host_key" => {
                let digest = value.strip_prefix("SHA256:").unwrap_or_default();
                let digest = digest.trim_end_matches('=');
                let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
                if digest.len() != 43 || !digest.bytes().all(plain) {
                    return Err(BadOption::Value {
                        field: "host_key",
                        allowed: "SHA256: and 43 letters, as ssh-keygen -l shows it",
                    });
                }
                self.host_key = Some(format!("SHA256:{digest}"));
            }
            "known_hosts" => self.known_hosts = Some(path_option("known_hosts", value)?),
            "access_key" => self.access_key = Some(CredentialRef::parse("access_key", value)?),
            "secret_key" => self.secret_key = Some(CredentialRef::parse("secret_key", value)?),
            "ca" => self.ca = Some(path_option("ca", value)?),
            _ => {
                return Err(BadOption::Unknown {
                    field: field.into(),
                });
            }
        }
        Ok(())
    }

    /// The options that are set, with their text.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        let text = |reference: &CredentialRef| reference.to_string();
        let values = [
            self.user.clone(),
            self.password.as_ref().map(text),
            self.key.as_ref().map(ToString::to_string),
            self.passphrase.as_ref().map(text),
            self.host_key.clone(),
            self.known_hosts.as_ref().map(path),
            self.access_key.as_ref().map(text),
            self.secret_key.as_ref().map(text),
            self.ca.as_ref().map(path),
        ];
        Self::FIELDS
            .into_iter()
            .zip(values)
            .filter_map(|(field, value)| Some((field, value?)))
            .collect()
    }

    /// Checks that every option means something to this kind of server.
    ///
    /// # Errors
    /// [`BadOption::NotFor`] or [`BadOption::TwoUsers`].
    pub fn fit(&self, url: &StoreUrl) -> Result<(), BadOption> {
        let (scheme, known, user): (_, &[&str], _) = match url {
            StoreUrl::Directory(_) => ("folder", &[], None),
            StoreUrl::Sftp(url) => (
                "sftp:",
                &[
                    "user",
                    "password",
                    "key",
                    "passphrase",
                    "host_key",
                    "known_hosts",
                ],
                url.user.as_ref(),
            ),
            StoreUrl::Webdav(url) if url.tls => {
                ("webdavs:", &["user", "password", "ca"], url.user.as_ref())
            }
            StoreUrl::Webdav(url) => ("webdav:", &["user", "password"], url.user.as_ref()),
            StoreUrl::S3(_) => ("s3:", &["access_key", "secret_key", "ca"], None),
        };
        for (field, _) in self.entries() {
            if !known.contains(&field) {
                return Err(BadOption::NotFor { field, scheme });
            }
        }
        match (user, &self.user) {
            (Some(one), Some(other)) if one != other => Err(BadOption::TwoUsers),
            _ => Ok(()),
        }
    }

    /// The same options with paths taken from the folder `from`, and written for a vault file in the folder `to`: relative where they lie in
    /// it, so that both can be moved together, and absolute elsewhere.
    #[must_use]
    pub fn rebased(mut self, from: &Path, to: &Path) -> Self {
        let rebase = |path: &mut PathBuf| {
            let whole = from.join(&path);
            *path = match whole.strip_prefix(to) {
                Ok(inside) if !inside.as_os_str().is_empty() => inside.into(),
                _ => whole,
            };
        };
        let references = [
            self.password.as_mut(),
            match self.key.as_mut() {
                Some(KeySource::Ref(reference)) => Some(reference),
                _ => None,
            },
            self.passphrase.as_mut(),
            self.access_key.as_mut(),
            self.secret_key.as_mut(),
        ];
        for reference in references.into_iter().flatten() {
            if let CredentialRef::File(path) = reference {
                rebase(path);
            }
        }
        self.known_hosts.as_mut().map(rebase);
        self.ca.as_mut().map(rebase);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn all() -> Credentials {
        let mut all = Credentials::default();
        for (field, value) in [
            ("user", "warifu"),
            ("password", "env:WARIFU_TEST_PASSWORD"),
            ("key", "file:keys/honcho"),
            ("passphrase", "file:/etc/warifu/phrase"),
            (
                "host_key",
                "SHA256:OlvKTGlyIBgNMh1WfKLTVyLbiHHUnrJlmYbjtGKzXGI",
            ),
            ("known_hosts", "known_hosts"),
            ("access_key", "env:A"),
            ("secret_key", "file:s3"),
            ("ca", "ca.pem"),
        ] {
            all.set(field, value).unwrap();
        }
        all
    }

    #[test]
    fn options_are_written_as_they_are_read() {
        let mut again = Credentials::default();
        let entries = all().entries();
        assert_eq!(entries.len(), Credentials::FIELDS.len());
        for (field, value) in entries {
            again.set(field, &value).unwrap();
        }
        assert_eq!(again, all());
        let moved = all().rebased(Path::new("/srv/office/here"), Path::new("/srv/office"));
        assert_eq!(moved.key.unwrap().to_string(), "file:here/keys/honcho");
        assert_eq!(
            moved.passphrase.unwrap().to_string(),
            "file:/etc/warifu/phrase"
        );
        assert_eq!(moved.ca.unwrap(), Path::new("here/ca.pem"));
    }

    #[test]
    fn p10_a_secret_in_the_place_of_a_reference_is_refused_and_not_repeated() {
        let mut options = Credentials::default();
        for field in ["password", "key", "passphrase", "access_key", "secret_key"] {
            for value in [
                "hunter2",
                "hunter2:x",
                "command:hunter2",
                "",
                "env:hunter2 x",
                "file:~/hunter2",
            ] {
                let error = options.set(field, value).unwrap_err();
                assert!(!error.to_string().contains("hunter2"), "{error}");
                assert!(error.to_string().contains(field), "{error}");
            }
        }
        assert!(options.set("host_key", "MD5:1:2").is_err());
        assert!(options.set("pass", "env:X").is_err());
        assert_eq!(options, Credentials::default());
    }

    #[test]
    fn p10_a_file_that_others_can_read_is_refused_with_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "hunter2\r\n").unwrap();
        let reference = CredentialRef::File("secret".into());
        for (mode, fine) in [
            (0o644, false),
            (0o640, false),
            (0o620, false),
            (0o600, true),
            (0o400, true),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match reference.resolve_line(dir.path()) {
                Ok(secret) => {
                    assert!(fine, "{mode:o}");
                    assert_eq!(secret.expose(), b"hunter2");
                    assert!(!format!("{secret:?}").contains("hunter2"));
                }
                Err(error) => {
                    assert!(!fine, "{mode:o}: {error}");
                    let advice = format!("chmod 600 {}", path.display());
                    assert!(error.to_string().contains(&advice), "{error}");
                }
            }
        }
        assert_eq!(
            reference.resolve(dir.path()).unwrap().expose(),
            b"hunter2\r\n"
        );
        for missing in ["file:none", "file:.", "env:WARIFU_TEST_UNSET"] {
            let reference = CredentialRef::parse("password", missing).unwrap();
            assert!(reference.resolve(dir.path()).is_err(), "{missing}");
        }
    }

    #[test]
    fn options_fit_their_kind_of_server() {
        let parse = |url: &str| StoreUrl::parse(url, Path::new("/")).unwrap();
        let with = |field: &str, value: &str| {
            let mut options = Credentials::default();
            options.set(field, value).unwrap();
            options
        };
        let key = with("key", "agent");
        assert_eq!(key.fit(&parse("sftp://h/x")), Ok(()));
        for url in ["/x", "webdavs://h/x", "s3://bucket"] {
            assert!(matches!(
                key.fit(&parse(url)),
                Err(BadOption::NotFor { field: "key", .. })
            ));
        }
        let user = with("user", "b");
        assert_eq!(user.fit(&parse("sftp://a@h/x")), Err(BadOption::TwoUsers));
        assert_eq!(user.fit(&parse("sftp://b@h/x")), Ok(()));
        assert!(with("ca", "x").fit(&parse("webdav://h/x")).is_err());
    }
}
