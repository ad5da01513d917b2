//! A stretch of network between a client and a server: counted, slow, or torn.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What happens on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    #[default]
    Pass,
    /// Requests arrive, and the connection breaks before the first byte of an answer.
    LoseReplies,
    /// The connection breaks when so many bytes of a request have gone by.
    CutRequests(u64),
    /// The connection breaks when so many bytes of an answer have gone by.
    CutReplies(u64),
    /// Each request waits so long.
    Delay(Duration),
    /// Nothing arrives, and nothing breaks.
    Swallow,
}

/// A line on loopback. Dropping it ends its connections.
#[derive(Debug)]
pub struct Line {
    shared: Arc<Shared>,
    port: u16,
    listener: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    mode: Mutex<Mode>,
    requests: AtomicU64,
    connections: AtomicU64,
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Listens on a free port for connections that go to `to` on loopback. Needs tokio's runtime.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn to(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback has a free port");
        let port = listener
            .local_addr()
            .expect("a listener has an address")
            .port();
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Ends with the task, and with it every connection.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                ours.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&ours);
                connections.spawn(async move {
                    let _ = carry(client, to, &shared).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            shared,
            port,
            listener: task.abort_handle(),
        }
    }

    /// The port to use instead of the server's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens from now on, on open connections too.
    pub fn set(&self, mode: Mode) {
        *self
            .shared
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// How many requests have begun: how often a client spoke after a server, or first.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn torn() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

async fn carry(client: TcpStream, to: u16, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let server_spoke = AtomicBool::new(true);
    let sent = AtomicU64::new(0);
    let requests = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = from_client.read(&mut buffer).await?;
            if len == 0 {
                return to_server.shutdown().await;
            }
            let begins = server_spoke.swap(false, Ordering::AcqRel);
            if begins {
                shared.requests.fetch_add(1, Ordering::Relaxed);
                sent.store(0, Ordering::Relaxed);
            }
            let mut bytes = &buffer[..len];
            match shared.mode() {
                Mode::Delay(delay) if begins => tokio::time::sleep(delay).await,
                Mode::CutRequests(limit) => {
                    let before = sent.fetch_add(len as u64, Ordering::Relaxed);
                    if before + len as u64 > limit {
                        let rest = usize::try_from(limit - before.min(limit)).unwrap_or(0);
                        bytes = &bytes[..rest];
                        to_server.write_all(bytes).await?;
                        to_server.flush().await?;
                        return Err(torn());
                    }
                }
                Mode::Swallow => continue,
                _ => {}
            }
            to_server.write_all(bytes).await?;
        }
    };
    let replies = async {
        let mut buffer = vec![0; 64 << 10];
        let mut passed = 0_u64;
        loop {
            let len = from_server.read(&mut buffer).await?;
            if len == 0 {
                return to_client.shutdown().await;
            }
            if !server_spoke.swap(true, Ordering::AcqRel) {
                passed = 0;
            }
            match shared.mode() {
                Mode::LoseReplies => return Err(torn()),
                Mode::CutReplies(limit) if passed + len as u64 > limit => {
                    let rest = usize::try_from(limit - passed.min(limit)).unwrap_or(0);
                    to_client.write_all(&buffer[..rest]).await?;
                    return Err(torn());
                }
                Mode::Swallow => continue,
                _ => {}
            }
            passed += len as u64;
            to_client.write_all(&buffer[..len]).await?;
        }
    };
    // An error in one direction ends both.
    tokio::try_join!(requests, replies).map(|_| ())
}
