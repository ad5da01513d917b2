//! Store URLs: how a vault file names its servers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use warifu_vault::seam::store::ShareStore;

use crate::directory::{CreateError, DirectoryStore, Identity, OpenError, Options};

/// The ways of writing a server that this version knows.
pub const SCHEMES: &str = "a path, dir:PATH or file:///PATH";
/// Protocols that warifu is meant to speak and this version does not.
const LATER: [&str; 6] = ["sftp", "webdav", "webdavs", "http", "https", "s3"];

/// Where a server is.
///
/// It is written as a path (taken relative to the vault file's folder), as `dir:PATH`, or as `file:///PATH` with `%` escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// A folder, local or mounted; an absolute path when the base was one.
    Directory(PathBuf),
}

/// Why a server's URL cannot be read. Says nothing of what follows the scheme, where a password could stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no text.
    #[error("the server is not named; known are {SCHEMES}")]
    Empty,
    /// The protocol is planned.
    #[error("{scheme}: is not built into this version; known are {SCHEMES}")]
    NotBuiltIn {
        /// The scheme asked for.
        scheme: String,
    },
    /// The protocol is unknown.
    #[error(
        "{scheme}: is no kind of server; known are {SCHEMES} (a folder whose name has a colon is written ./NAME)"
    )]
    UnknownScheme {
        /// The scheme asked for.
        scheme: String,
    },
    /// A `file:` URL that names another machine.
    #[error("file: URLs name folders of this machine: write file:///PATH")]
    ForeignHost,
    /// A path that is not absolute where it must be, or holds what no path can.
    #[error("the path of the server cannot be read: {why}")]
    BadPath {
        /// What is wrong with it.
        why: &'static str,
    },
}

impl StoreUrl {
    /// Reads a server's URL; a relative path is taken from `base`.
    ///
    /// # Errors
    /// When the text is no URL that this version knows.
    pub fn parse(text: &str, base: &Path) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        let Some((scheme, rest)) = scheme_of(text) else {
            return directory(text, base);
        };
        match scheme.as_str() {
            "dir" => directory(rest, base),
            "file" => file(rest),
            _ if LATER.contains(&scheme.as_str()) => Err(UrlError::NotBuiltIn { scheme }),
            _ => Err(UrlError::UnknownScheme { scheme }),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

/// What stands before the first colon, unless a slash shows that the text is a path.
fn scheme_of(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let plain = !scheme.is_empty() && !scheme.contains('/');
    plain.then(|| (printable(scheme), rest))
}

/// The scheme as it may be shown: without the `user:password` that could stand before a missing one.
fn printable(scheme: &str) -> String {
    let known_form = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if known_form {
        scheme.to_ascii_lowercase()
    } else {
        "what stands before the colon".to_owned()
    }
}

fn directory(path: &str, base: &Path) -> Result<StoreUrl, UrlError> {
    if path.is_empty() {
        return Err(UrlError::Empty);
    }
    if path.contains('\0') {
        return Err(UrlError::BadPath {
            why: "it holds a zero byte",
        });
    }
    if path == "~" || path.starts_with("~/") {
        return Err(UrlError::BadPath {
            why: "~ means nothing here, write the whole path",
        });
    }
    Ok(StoreUrl::Directory(base.join(path)))
}

fn file(rest: &str) -> Result<StoreUrl, UrlError> {
    let path = match rest.strip_prefix("//") {
        Some(after) => {
            let slash = after.find('/').ok_or(UrlError::ForeignHost)?;
            let (host, path) = after.split_at(slash);
            if !matches!(host, "" | "localhost") {
                return Err(UrlError::ForeignHost);
            }
            path
        }
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(UrlError::BadPath {
            why: "a file: URL needs an absolute path",
        });
    }
    let path = unescape(path)?;
    directory(&path, Path::new("/"))
}

fn unescape(text: &str) -> Result<String, UrlError> {
    let bad = UrlError::BadPath {
        why: "a % must be followed by two hexadecimal digits",
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let digits = piece
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| bad.clone())?;
        bytes.push(byte);
        bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| UrlError::BadPath {
        why: "it is not UTF-8",
    })
}

/// Opens a server's store, and checks at once that it is one.
///
/// # Errors
/// When the store is not there or is none; see [`OpenError`].
pub async fn open_store(url: &StoreUrl) -> Result<Arc<dyn ShareStore>, OpenError> {
    match url {
        StoreUrl::Directory(path) => Ok(Arc::new(
            DirectoryStore::open(path.clone(), Options::default()).await?,
        )),
    }
}

/// Takes a server for granted: the store answers [`NoAnswer`](warifu_vault::seam::store::StoreErrorKind::NoAnswer), and why, for as
/// long as it cannot be reached. A vault that is opened while a server is away uses this.
#[must_use]
pub fn attach_store(url: &StoreUrl) -> Arc<dyn ShareStore> {
    match url {
        StoreUrl::Directory(path) => {
            Arc::new(DirectoryStore::attach(path.clone(), Options::default()))
        }
    }
}

/// Makes a new, empty store.
///
/// # Errors
/// When there is something else already; see [`CreateError`].
pub async fn create_store(url: &StoreUrl) -> Result<Arc<dyn ShareStore>, CreateError> {
    match url {
        StoreUrl::Directory(path) => Ok(Arc::new(
            DirectoryStore::create(path.clone(), Options::default()).await?,
        )),
    }
}

/// Which directory a server's URL leads to. Two servers with one identity are one server; two with one
/// [`device`](Identity::device) are lost together.
///
/// # Errors
/// What the operating system said, for example that there is nothing.
pub async fn identity(url: &StoreUrl) -> Result<Identity, OpenError> {
    match url {
        StoreUrl::Directory(path) => {
            DirectoryStore::identity_of(path.clone(), Options::default()).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StoreUrl, UrlError> {
        StoreUrl::parse(text, Path::new("/srv/office"))
    }

    fn folder(path: &str) -> Result<StoreUrl, UrlError> {
        Ok(StoreUrl::Directory(path.into()))
    }

    #[test]
    fn folders_are_written_in_three_ways() {
        assert_eq!(parse("server-1"), folder("/srv/office/server-1"));
        assert_eq!(parse("/mnt/nas"), folder("/mnt/nas"));
        assert_eq!(parse("dir:/mnt/nas"), folder("/mnt/nas"));
        assert_eq!(parse("dir:nas"), folder("/srv/office/nas"));
        assert_eq!(parse("DIR:nas"), folder("/srv/office/nas"));
        assert_eq!(
            parse("file:///mnt/%E5%89%B2%20%E7%AC%A6"),
            folder("/mnt/割 符")
        );
        assert_eq!(parse("file:/mnt/nas"), folder("/mnt/nas"));
        assert_eq!(parse("file://localhost/mnt/nas"), folder("/mnt/nas"));
        assert_eq!(parse("./a:b"), folder("/srv/office/./a:b"));
        assert_eq!(parse("  /mnt/nas\n"), folder("/mnt/nas"));
    }

    #[test]
    fn p10_what_is_not_known_is_named_without_what_may_be_a_password() {
        for url in [
            "sftp://me:hunter2@host/x",
            "webdavs://me:hunter2@host",
            "s3://key:hunter2@bucket",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, UrlError::NotBuiltIn { .. }), "{url}");
            assert!(
                error.to_string().contains("not built into this version"),
                "{error}"
            );
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for url in ["gopher://x", "host:/srv", "me@host:/srv", "hunter2 x:y"] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, UrlError::UnknownScheme { .. }), "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn p10_bad_paths_are_refused() {
        assert_eq!(parse(" "), Err(UrlError::Empty));
        assert_eq!(parse("dir:"), Err(UrlError::Empty));
        assert_eq!(parse("file://nas/share"), Err(UrlError::ForeignHost));
        assert_eq!(parse("file://nas"), Err(UrlError::ForeignHost));
        for url in [
            "~/x",
            "file:relative",
            "file:///a%2",
            "file:///a%zz",
            "file:///%ff",
            "file:///%00",
            "file:///%+1",
        ] {
            assert!(
                matches!(parse(url), Err(UrlError::BadPath { .. })),
                "{url}: {:?}",
                parse(url)
            );
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let url = parse("nas").unwrap();
        assert_eq!(parse(&url.to_string()), Ok(url));
    }
}
