//! Store URLs: how a vault file names its servers.

mod escape;
mod server;

use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use escape::escape;
use escape::unescape;
pub use server::{S3Url, SftpUrl, WebdavUrl};

/// The ways of writing a server that this version knows.
pub const SCHEMES: &str =
    "a path, dir:PATH, file:///PATH, sftp://, webdav://, webdavs:// and s3://";

/// Where a server is.
///
/// A folder is written as a path (taken relative to the vault file's folder), as `dir:PATH`, or as `file:///PATH` with `%` escapes;
/// a server on the network as `sftp://`, `webdav://`, `webdavs://` or `s3://`, as [`SftpUrl`], [`WebdavUrl`] and [`S3Url`] say.
/// Passwords and keys never stand in a URL: see [`Credentials`](crate::Credentials).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// A folder, local or mounted; an absolute path when the base was one.
    Directory(PathBuf),
    /// A folder on an SSH server.
    Sftp(SftpUrl),
    /// A folder on a WebDAV server.
    Webdav(WebdavUrl),
    /// Room in a bucket of an S3 server.
    S3(S3Url),
}

/// Why a server's URL cannot be read. Says nothing of what follows the scheme, where a password could stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no text.
    #[error("the server is not named; known are {SCHEMES}")]
    Empty,
    /// This warifu was built without the protocol.
    #[error("{scheme}: is not built into this version")]
    NotBuiltIn {
        /// The scheme asked for.
        scheme: String,
    },
    /// An address of the web, which does not say what is spoken there.
    #[error(
        "{scheme}: says too little; write webdav:// or webdavs:// for a WebDAV server and s3://BUCKET?endpoint=… for S3"
    )]
    Web {
        /// The scheme, `http` or `https`.
        scheme: String,
    },
    /// A protocol that the operating system speaks.
    #[error("{scheme}: servers are mounted first; then name the folder where they are mounted")]
    MountFirst {
        /// The scheme asked for.
        scheme: String,
    },
    /// A password stands in the URL.
    #[error(
        "the URL holds a password; write password = \"file:PATH\" or \"env:NAME\" among the server's options instead"
    )]
    Password,
    /// The URL of a server on the network is wrong.
    #[error("the {scheme}: URL cannot be read: {why}")]
    Server {
        /// The scheme.
        scheme: &'static str,
        /// What is wrong with it.
        why: &'static str,
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
            "sftp" => SftpUrl::parse(text).map(Self::Sftp),
            "webdav" => WebdavUrl::parse(false, text).map(Self::Webdav),
            "webdavs" => WebdavUrl::parse(true, text).map(Self::Webdav),
            "s3" => S3Url::parse(text).map(Self::S3),
            "http" | "https" => Err(UrlError::Web { scheme }),
            "smb" | "cifs" | "nfs" => Err(UrlError::MountFirst { scheme }),
            _ => Err(UrlError::UnknownScheme { scheme }),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Sftp(url) => url.fmt(f),
            Self::Webdav(url) => url.fmt(f),
            Self::S3(url) => url.fmt(f),
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
    fn p10_a_password_is_refused_and_not_repeated() {
        for url in [
            "sftp://me:hunter2@host/x",
            "webdavs://me:hunter2@host",
            "s3://key:hunter2@bucket",
            "s3://bucket?endpoint=https://key:hunter2@host",
            "sftp://:hunter2@host/x",
            "sftp://me%3Ax:hunter2@host/x",
            "sftp://a@me:hunter2@host/x",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error, UrlError::Password, "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for url in ["gopher://x", "host:/srv", "me@host:/srv", "hunter2 x:y"] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, UrlError::UnknownScheme { .. }), "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(matches!(parse("https://x/y"), Err(UrlError::Web { .. })));
        assert!(matches!(
            parse("smb://nas/share"),
            Err(UrlError::MountFirst { .. })
        ));
    }

    #[test]
    fn servers_are_read_and_shown_without_loss() {
        let sftp = |user: Option<&str>, host: &str, port, path: &str| {
            StoreUrl::Sftp(SftpUrl {
                user: user.map(Into::into),
                host: host.into(),
                port,
                path: path.into(),
            })
        };
        let webdav = |tls, host: &str, port, path: &str| {
            StoreUrl::Webdav(WebdavUrl {
                tls,
                user: None,
                host: host.into(),
                port,
                path: path.into(),
            })
        };
        let s3 = |bucket: &str, prefix: &str, endpoint: Option<&str>, region: Option<&str>| {
            StoreUrl::S3(S3Url {
                bucket: bucket.into(),
                prefix: prefix.into(),
                endpoint: endpoint.map(Into::into),
                region: region.map(Into::into),
            })
        };
        for (text, expected, shown) in [
            (
                "sftp://Honcho.example.jp/srv/warifu/",
                sftp(None, "honcho.example.jp", 22, "/srv/warifu"),
                "sftp://honcho.example.jp/srv/warifu",
            ),
            (
                "SFTP://warifu@10.1.2.3:2022/",
                sftp(Some("warifu"), "10.1.2.3", 2022, "/"),
                "sftp://warifu@10.1.2.3:2022/",
            ),
            (
                "sftp://a%40b@[FE80::0:1]:2022/x%20y/%E5%89%B2%25",
                sftp(Some("a@b"), "fe80::1", 2022, "/x y/割%"),
                "sftp://a%40b@[fe80::1]:2022/x%20y/%E5%89%B2%25",
            ),
            ("sftp://h", sftp(None, "h", 22, "/"), "sftp://h/"),
            ("sftp://h:22/a", sftp(None, "h", 22, "/a"), "sftp://h/a"),
            (
                "webdavs://nas:443/dav",
                webdav(true, "nas", 443, "/dav"),
                "webdavs://nas/dav",
            ),
            (
                "webdav://[::1]:8080/dav%23",
                webdav(false, "::1", 8080, "/dav#"),
                "webdav://[::1]:8080/dav%23",
            ),
            ("s3://shares", s3("shares", "", None, None), "s3://shares"),
            (
                "s3://shares/city/a%20b/?endpoint=https://s3.example:3900/&region=garage",
                s3(
                    "shares",
                    "city/a b",
                    Some("https://s3.example:3900"),
                    Some("garage"),
                ),
                "s3://shares/city/a%20b?endpoint=https://s3.example:3900&region=garage",
            ),
            (
                "s3://shares?endpoint=http%3A%2F%2F127.0.0.1%3A9000",
                s3("shares", "", Some("http://127.0.0.1:9000"), None),
                "s3://shares?endpoint=http://127.0.0.1:9000",
            ),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url, expected, "{text}");
            assert_eq!(url.to_string(), shown);
            assert_eq!(parse(shown), Ok(url));
        }
    }

    #[test]
    fn p10_odd_server_urls_are_refused() {
        for url in [
            "sftp:host/x",
            "sftp:/x",
            "sftp:///x",
            "sftp://@/x",
            "sftp://host:0/x",
            "sftp://host:66666/x",
            "sftp://host:x/x",
            "sftp://host/a/../b",
            "sftp://host/a/%2e%2E/b",
            "sftp://host/./b",
            "sftp://host/a//b",
            "sftp://host/~/b",
            "sftp://host/a%2Fb",
            "sftp://host/a%00b",
            "sftp://host/a b",
            "sftp://host/a\tb",
            "sftp://host/a\\b",
            "sftp://host/a?b",
            "sftp://host/a#b",
            "sftp://ho%73t/a",
            "sftp://-oProxyCommand/a",
            "sftp://[::g]/a",
            "sftp://[::1%25eth0]/a",
            "sftp://割符/a",
            "webdav://",
            "webdav://host/a?b=c",
            "s3://",
            "s3://ab",
            "s3://Bucket",
            "s3://key@bucket",
            "s3://bucket:9000",
            "s3://bucket#x",
            "s3://bucket?endpoint",
            "s3://bucket?endpoint=host:9000",
            "s3://bucket?endpoint=ftp://host",
            "s3://bucket?endpoint=https://host/path",
            "s3://bucket?region=a&region=b",
            "s3://bucket?region=a%26b",
            "s3://bucket?secret=hunter2",
        ] {
            let error = parse(url).unwrap_err();
            assert!(
                matches!(error, UrlError::Server { .. } | UrlError::BadPath { .. }),
                "{url}: {error:?}"
            );
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
