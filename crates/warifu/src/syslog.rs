//! The audit log for a syslog server (RFC 5424), so that a second section can hold a copy of its own.
//!
//! What is sent is read from the log itself after it was committed and is safe from a power cut. How far it has been sent is remembered in the
//! catalogue, so nothing is left out while the receiver is away, and whoever has the vault open goes on where somebody else
//! stopped. Two processes may send a line at the same moment: a receiver tells by `seq`.
//!
//! Over TCP each batch has a connection of its own, and counts as sent when the receiver has read it to its end: a socket takes
//! more than its receiver will ever see. UDP promises nothing, and a local socket what the local server promises.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio::task::JoinHandle;
use warifu_core::head::Timestamp;
use warifu_vault::seam::catalog::{AuditRow, Catalog, CatalogError};

/// The name of the position in the catalogue.
const POSITION: &str = "syslog";

/// Facility 13 (log audit), severity 6 (information).
const PRIORITY: u8 = 13 * 8 + 6;

/// Under which name the structured data stands: the number is the one that RFC 5612 keeps for uses without one's own.
const DATA: &str = "warifu@32473";

/// How many lines are sent at a time.
const BATCH: usize = 128;

/// The most of one field that is sent, in bytes: a datagram has an end.
const FIELD: usize = 4096;

/// How often the log is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long the next attempt waits after failures, at most.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How long a receiver is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the log is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogTarget {
    /// A datagram socket on this machine, such as `/dev/log`.
    Unix(PathBuf),
    /// A server and port, by UDP (RFC 5426).
    Udp(String),
    /// A server and port, by TCP with counted octets (RFC 6587).
    Tcp(String),
}

impl SyslogTarget {
    /// Reads `unixgram:/dev/log`, `udp://HOST[:514]` or `tcp://HOST[:601]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unixgram:") {
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let address = |rest: &str, port: u16| -> Option<String> {
            let (host, given) = match rest.rsplit_once(':') {
                // The colons of an address in brackets are its own.
                Some((host, port)) if !port.contains(']') => (host, Some(port)),
                _ => (rest, None),
            };
            let plain =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
            if host.is_empty() || !host.chars().all(plain) {
                return None;
            }
            let port = match given {
                None => port,
                Some(given) => given.parse().ok().filter(|port| *port != 0)?,
            };
            Some(format!("{host}:{port}"))
        };
        match text.split_once("://")? {
            ("udp", rest) => address(rest, 514).map(Self::Udp),
            ("tcp", rest) => address(rest, 601).map(Self::Tcp),
            _ => None,
        }
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unixgram:{}", path.display()),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Sends as long as the vault is open.
#[derive(Debug)]
pub(crate) struct Sender {
    task: JoinHandle<()>,
    /// Held while a batch is sent and noted, so that none is cut off between the two.
    sending: Arc<tokio::sync::Mutex<()>>,
    catalog: Arc<dyn Catalog>,
    target: SyslogTarget,
}

impl Sender {
    pub(crate) fn begin(catalog: Arc<dyn Catalog>, target: SyslogTarget) -> Self {
        let (log, to) = (Arc::clone(&catalog), target.clone());
        let sending = Arc::new(tokio::sync::Mutex::new(()));
        let turn = Arc::clone(&sending);
        let task = tokio::spawn(async move {
            let mut failures: u32 = 0;
            loop {
                let sent = {
                    let _turn = turn.lock().await;
                    send_some(&*log, &to).await
                };
                match sent {
                    Ok(true) => failures = 0,
                    Ok(false) => {
                        failures = 0;
                        tokio::time::sleep(EVERY).await;
                    }
                    Err(error) => {
                        if failures == 0 {
                            tracing::warn!(%error, "the audit log cannot be sent; trying again until it can");
                        }
                        failures = failures.saturating_add(1);
                        let pause = EVERY.saturating_mul(1 << failures.min(6));
                        tokio::time::sleep(pause.min(RETRY_MOST)).await;
                    }
                }
            }
        });
        Self {
            task,
            sending,
            catalog,
            target,
        }
    }

    /// Sends what is there yet, for a while, and ends. What is left is sent by whoever opens the vault next.
    pub(crate) async fn finish(&self) {
        let rest = async {
            let _turn = self.sending.lock().await;
            self.task.abort();
            while let Ok(true) = send_some(&*self.catalog, &self.target).await {}
        };
        let _ = tokio::time::timeout(PATIENCE, rest).await;
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("{target}: {source}")]
    Io {
        target: String,
        source: std::io::Error,
    },
}

/// Sends the next lines; says whether there were any.
async fn send_some(catalog: &dyn Catalog, target: &SyslogTarget) -> Result<bool, SendError> {
    let from = catalog.position(POSITION).await?;
    let rows = catalog.audit(from, BATCH).await?;
    let Some(last) = rows.last() else {
        return Ok(false);
    };
    // Nobody's copy may have a line that a power cut takes from the log.
    catalog.sync().await?;
    let lines: Vec<String> = rows.iter().map(message).collect();
    let sent = tokio::time::timeout(PATIENCE, send(target, &lines)).await;
    let sent = sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    sent.map_err(|source| SendError::Io {
        target: target.to_string(),
        source,
    })?;
    // Where somebody else was quicker, it has been sent twice.
    catalog.advance(POSITION, from, last.seq).await?;
    Ok(true)
}

async fn send(target: &SyslogTarget, lines: &[String]) -> std::io::Result<()> {
    match target {
        SyslogTarget::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            for line in lines {
                socket.send(line.as_bytes()).await?;
            }
        }
        SyslogTarget::Udp(address) => {
            let mut refused = None;
            for peer in tokio::net::lookup_host(address).await? {
                let any = if peer.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any).await?;
                let sent = async {
                    socket.connect(peer).await?;
                    for line in lines {
                        socket.send(line.as_bytes()).await?;
                    }
                    Ok(())
                };
                match sent.await {
                    Ok(()) => return Ok(()),
                    Err(error) => refused = Some(error),
                }
            }
            return Err(refused.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()));
        }
        SyslogTarget::Tcp(address) => {
            let mut stream = TcpStream::connect(address).await?;
            for line in lines {
                let framed = format!("{} {line}", line.len());
                stream.write_all(framed.as_bytes()).await?;
            }
            stream.shutdown().await?;
            // The receiver closes when it has read everything. What it says is nothing to us.
            let mut rest = [0; 256];
            while stream.read(&mut rest).await? > 0 {}
        }
    }
    Ok(())
}

/// A line of the log as a syslog message.
fn message(row: &AuditRow) -> String {
    let (entry, context) = (&row.entry, &row.entry.context);
    let mut text = format!(
        "<{PRIORITY}>1 {} {} warifu - {} [{DATA} seq=\"{}\" chain=\"",
        time(entry.at),
        word(&context.host),
        entry.act.as_str(),
        row.seq,
    );
    for byte in row.chain {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    let node = entry
        .node
        .map(|node| node.0.to_string())
        .unwrap_or_default();
    for (name, value) in [
        ("act", entry.act.as_str()),
        ("person", &context.actor),
        ("host", &context.host),
        ("program", &context.program),
        ("purpose", &context.purpose),
        ("node", &node),
        ("detail", &entry.detail),
    ] {
        let _ = write!(text, " {name}=\"");
        field(&mut text, value);
        text.push('"');
    }
    text.push_str("] ");
    let _ = write!(text, "{} {} ", context.actor, entry.act.as_str());
    text.push_str(cut(&entry.detail));
    text.replace(char::is_control, " ")
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(FIELD);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or_default()
}

/// A value of structured data: three characters are escaped.
fn field(text: &mut String, value: &str) {
    for c in cut(value).chars() {
        if matches!(c, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(c);
    }
}

/// A word of the header: printable ASCII, or `-` where there is nothing.
fn word(value: &str) -> String {
    let word: String = value
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .take(255)
        .collect();
    if word.is_empty() { "-".into() } else { word }
}

/// A time as RFC 5424 has it: at most six digits of a second.
fn time(at: Timestamp) -> String {
    let nanos = i32::try_from(at.nanos).unwrap_or(0);
    jiff::Timestamp::new(at.secs, nanos).map_or_else(
        |_| "-".to_owned(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use warifu_vault::context::{Act, AuditEntry, Context};
    use warifu_vault::node::NodeId;

    use super::*;

    #[test]
    fn targets_are_read() {
        let udp = |text: &str| Some(SyslogTarget::Udp(text.into()));
        let tcp = |text: &str| Some(SyslogTarget::Tcp(text.into()));
        for (text, expected) in [
            (
                "unixgram:/dev/log",
                Some(SyslogTarget::Unix("/dev/log".into())),
            ),
            ("udp://log.example.jp", udp("log.example.jp:514")),
            ("tcp://log.example.jp", tcp("log.example.jp:601")),
            ("tcp://192.0.2.7:6514", tcp("192.0.2.7:6514")),
            ("udp://[2001:db8::1]", udp("[2001:db8::1]:514")),
            ("udp://[2001:db8::1]:99", udp("[2001:db8::1]:99")),
            ("unixgram:dev/log", None),
            ("udp://", None),
            ("udp://a:0", None),
            ("udp://a:x", None),
            ("tls://a", None),
            ("udp://user@a", None),
            ("", None),
        ] {
            assert_eq!(SyslogTarget::parse(text), expected, "{text}");
            if let Some(target) = expected {
                assert_eq!(SyslogTarget::parse(&target.to_string()), Some(target));
            }
        }
    }

    #[test]
    fn a_line_is_a_message_of_rfc_5424() {
        let context = Context {
            actor: "山田".into(),
            uid: 1,
            gid: 2,
            host: "pc 1".into(),
            program: "a\"b]\\".into(),
            purpose: String::new(),
        };
        let entry = AuditEntry {
            at: Timestamp {
                secs: 1_790_000_000,
                nanos: 123_456_789,
            },
            context,
            act: Act::OpenWrite,
            node: Some(NodeId(7)),
            detail: "version 1\nseq=\"9\"".into(),
        };
        let row = AuditRow {
            seq: 12,
            entry,
            chain: [0xab; 32],
        };
        let chain = "ab".repeat(32);
        assert_eq!(
            message(&row),
            format!(
                "<110>1 2026-09-21T14:13:20.123456Z pc?1 warifu - open-write [warifu@32473 seq=\"12\" chain=\"{chain}\" \
                 act=\"open-write\" person=\"山田\" host=\"pc 1\" program=\"a\\\"b\\]\\\\\" purpose=\"\" node=\"7\" \
                 detail=\"version 1 seq=\\\"9\\\"\"] 山田 open-write version 1 seq=\"9\""
            )
        );
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        assert_eq!(cut(&"長".repeat(5000)).len(), FIELD / 3 * 3);
        assert_eq!(cut("short"), "short");
    }
}
