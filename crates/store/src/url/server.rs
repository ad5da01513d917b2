//! URLs of servers that are reached over the network.

use std::fmt;
use std::net::Ipv6Addr;

use url::Url;

use super::UrlError;
use super::escape::{escape, unescape};

/// A folder on an SSH server: `sftp://[USER@]HOST[:PORT]/PATH`, the path from the server's root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SftpUrl {
    /// Whom to log in as; `None` leaves it to the server's options in the vault file, and then to the name of the person who runs warifu.
    pub user: Option<String>,
    /// A name or an address in lower case; one of IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The folder: absolute, without a slash at its end unless it is the root.
    pub path: String,
}

/// A folder on a WebDAV server: `webdav://HOST[:PORT]/PATH`, or `webdavs://` for one over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebdavUrl {
    /// Whether the connection is over TLS.
    pub tls: bool,
    /// Whom to log in as, where the URL says so.
    pub user: Option<String>,
    /// A name or an address in lower case; one of IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The folder: absolute, without a slash at its end unless it is the root.
    pub path: String,
}

/// Room in a bucket: `s3://BUCKET[/PREFIX][?endpoint=https://HOST[:PORT]&region=REGION]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S3Url {
    /// The bucket.
    pub bucket: String,
    /// What the names of all objects begin with: without slashes at either end, and empty for none.
    pub prefix: String,
    /// The server, `https://HOST[:PORT]` or `http://…`; `None` is Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region; `None` where the server has none.
    pub region: Option<String>,
}

impl SftpUrl {
    /// The port of SSH servers.
    pub const PORT: u16 = 22;

    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let place = Place::parse("sftp", text)?;
        Ok(Self {
            user: place.user,
            host: place.host,
            port: place.port.unwrap_or(Self::PORT),
            path: place.path,
        })
    }

    /// `HOST`, or `[HOST]:PORT` where the port is not the usual one: how OpenSSH names a server, in `known_hosts` too.
    #[must_use]
    pub fn ssh_host(&self) -> String {
        if self.port == Self::PORT {
            self.host.clone()
        } else {
            format!("[{}]:{}", self.host, self.port)
        }
    }
}

impl WebdavUrl {
    pub(super) fn parse(tls: bool, text: &str) -> Result<Self, UrlError> {
        let place = Place::parse(if tls { "webdavs" } else { "webdav" }, text)?;
        Ok(Self {
            tls,
            user: place.user,
            host: place.host,
            port: place.port.unwrap_or(Self::usual_port(tls)),
            path: place.path,
        })
    }

    const fn usual_port(tls: bool) -> u16 {
        if tls { 443 } else { 80 }
    }

    /// The server as an HTTP client wants it: `https://HOST[:PORT]`, without a user and without the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let mut text = String::from(if self.tls { "https://" } else { "http://" });
        push_host(&mut text, &self.host, self.port, Self::usual_port(self.tls));
        text
    }
}

impl fmt::Display for SftpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = head(
            "sftp",
            self.user.as_deref(),
            &self.host,
            self.port,
            Self::PORT,
        );
        write!(f, "{head}{}", escape(&self.path, true))
    }
}

impl fmt::Display for WebdavUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "webdavs" } else { "webdav" };
        let usual = Self::usual_port(self.tls);
        let head = head(scheme, self.user.as_deref(), &self.host, self.port, usual);
        write!(f, "{head}{}", escape(&self.path, true))
    }
}

fn head(scheme: &str, user: Option<&str>, host: &str, port: u16, usual: u16) -> String {
    let mut text = format!("{scheme}://");
    if let Some(user) = user {
        text.push_str(&escape(user, false));
        text.push('@');
    }
    push_host(&mut text, host, port, usual);
    text
}

fn push_host(text: &mut String, host: &str, port: u16, usual: u16) {
    if host.contains(':') {
        text.push('[');
        text.push_str(host);
        text.push(']');
    } else {
        text.push_str(host);
    }
    if port != usual {
        text.push_str(&format!(":{port}"));
    }
}

impl S3Url {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        const SCHEME: &str = "s3";
        let bad = |why| UrlError::Server {
            scheme: SCHEME,
            why,
        };
        let url = read(SCHEME, text)?;
        if !url.username().is_empty() {
            return Err(bad(
                "keys do not stand in the URL: name them by access_key and secret_key",
            ));
        }
        if url.port().is_some() {
            return Err(bad("write the server as ?endpoint=https://HOST:PORT"));
        }
        if url.fragment().is_some() {
            return Err(bad("a # has no meaning in it"));
        }
        let bucket = url.host_str().unwrap_or_default().to_owned();
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) {
            return Err(bad(
                "a bucket has 3 to 63 lower-case letters, digits, hyphens and dots",
            ));
        }
        let prefix = path_of(SCHEME, &url)?.trim_matches('/').to_owned();
        let (mut endpoint, mut region) = (None, None);
        for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| bad("after the ? stand endpoint=… and region=…"))?;
            let value = unescape(value)?;
            let slot = match name {
                "endpoint" => {
                    endpoint_of(&value)?;
                    &mut endpoint
                }
                "region" if is_word(&value) => &mut region,
                "region" => return Err(bad("a region is a word of letters, digits and hyphens")),
                _ => return Err(bad("after the ? stand endpoint=… and region=…")),
            };
            if slot
                .replace(value.trim_end_matches('/').to_owned())
                .is_some()
            {
                return Err(bad("endpoint and region stand there once each"));
            }
        }
        Ok(Self {
            bucket,
            prefix,
            endpoint,
            region,
        })
    }
}

impl fmt::Display for S3Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", escape(&self.prefix, true))?;
        }
        let mut mark = '?';
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                write!(f, "{mark}{name}={value}")?;
                mark = '&';
            }
        }
        Ok(())
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Checks the endpoint of an S3 server: a scheme, a host, perhaps a port, and nothing else.
fn endpoint_of(text: &str) -> Result<(), UrlError> {
    let bad = |why| UrlError::Server { scheme: "s3", why };
    let url = read("s3", text)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("the endpoint is written https://HOST[:PORT]"));
    }
    if !url.username().is_empty() {
        return Err(bad(
            "keys do not stand in the URL: name them by access_key and secret_key",
        ));
    }
    let whole = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !whole || url.host_str().is_none_or(str::is_empty) {
        return Err(bad("the endpoint is written https://HOST[:PORT]"));
    }
    Ok(())
}

/// What SSH and WebDAV servers have in common.
struct Place {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Place {
    fn parse(scheme: &'static str, text: &str) -> Result<Self, UrlError> {
        let bad = |why| UrlError::Server { scheme, why };
        let url = read(scheme, text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("? and # in a path are written %3F and %23"));
        }
        let user = match url.username() {
            "" => None,
            user => Some(unescape(user)?),
        };
        if user.as_deref().is_some_and(has_control) {
            return Err(bad("the user's name has a control character in it"));
        }
        if url.port() == Some(0) {
            return Err(bad("there is no port 0"));
        }
        Ok(Self {
            user,
            host: host_of(scheme, &url)?,
            port: url.port(),
            path: path_of(scheme, &url)?,
        })
    }
}

/// Reads a URL, and refuses what a parser would mend in silence.
fn read(scheme: &'static str, text: &str) -> Result<Url, UrlError> {
    let bad = |why| UrlError::Server { scheme, why };
    if has_control(text) || text.contains(char::is_whitespace) {
        return Err(bad(
            "it has a space or a control character in it; a space in a path is written %20",
        ));
    }
    if text.contains('\\') {
        return Err(bad("folders are divided by / and not by \\"));
    }
    let (_, after) = text
        .split_once("://")
        .ok_or_else(|| bad("after the colon stand // and the server"))?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    if let Some((user, _)) = authority.rsplit_once('@')
        && user.contains(':')
    {
        return Err(UrlError::Password);
    }
    // The parser takes such steps, in all their spellings.
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let step = |piece: &str| {
        let plain = piece.to_ascii_lowercase().replace("%2e", ".");
        matches!(plain.as_str(), "." | "..")
    };
    if path.split('/').any(step) {
        return Err(bad("the path must not have . or .. in it"));
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => bad("a port is a number from 1 to 65535"),
        url::ParseError::InvalidIpv6Address => {
            bad("the address between the brackets is none of IPv6")
        }
        _ => bad("it cannot be read"),
    })?;
    if url.password().is_some() {
        return Err(UrlError::Password);
    }
    Ok(url)
}

fn host_of(scheme: &'static str, url: &Url) -> Result<String, UrlError> {
    let bad = |why| UrlError::Server { scheme, why };
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() {
        return Err(bad("it names no server"));
    }
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return address
            .parse::<Ipv6Addr>()
            .map(|address| address.to_string())
            .map_err(|_| bad("the address between the brackets is none of IPv6"));
    }
    let host = host.to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !host.bytes().all(plain) || host.starts_with(['-', '.']) {
        return Err(bad(
            "the server's name has other characters than letters, digits, hyphens and dots",
        ));
    }
    Ok(host)
}

/// The path, its escapes resolved.
fn path_of(scheme: &'static str, url: &Url) -> Result<String, UrlError> {
    let bad = |why| UrlError::Server { scheme, why };
    let raw = url.path();
    if raw.to_ascii_lowercase().contains("%2f") {
        return Err(bad("a folder's name cannot have a / in it (%2F)"));
    }
    let path = unescape(raw)?;
    let path = path.strip_suffix('/').unwrap_or(&path);
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if has_control(path) {
        return Err(bad("the path has a control character in it"));
    }
    let mut pieces = path.split('/').skip(1);
    if pieces.clone().next() == Some("~") {
        return Err(bad("~ means nothing here, write the whole path"));
    }
    if pieces.any(str::is_empty) {
        return Err(bad("the path has // in it"));
    }
    Ok(path.to_owned())
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}
