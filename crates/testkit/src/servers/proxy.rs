//! A line to a server that can be slow, hang, or be cut.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A port that leads to another one, with a delay in each direction. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Shared {
    delay: Mutex<Duration>,
    /// How many bytes a connection may still carry towards us before it is cut; `None` is without end.
    budget: Mutex<Option<usize>>,
    /// Counts the cuts: a connection ends when the number changes.
    cuts: watch::Sender<u64>,
    hung: watch::Sender<bool>,
}

impl Proxy {
    /// Leads to `target`, a port of 127.0.0.1. Needs a runtime with its network driver.
    ///
    /// # Panics
    /// When the machine has no loopback interface.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("there is a loopback interface");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            delay: Mutex::default(),
            budget: Mutex::default(),
            cuts: watch::channel(0).0,
            hung: watch::channel(false).0,
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await {
                    let _ = near.set_nodelay(true);
                    let _ = far.set_nodelay(true);
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::spawn(carry(near_in, far_out, Arc::clone(&serving), false));
                    tokio::spawn(carry(far_in, near_out, Arc::clone(&serving), true));
                }
            }
        });
        Self {
            port,
            shared,
            accepting: accepting.abort_handle(),
        }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a round trip costs from now on.
    pub fn set_round_trip(&self, time: Duration) {
        *lock(&self.shared.delay) = time / 2;
    }

    /// Ends every connection now.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every connection when so many more bytes have come back from the server.
    pub fn cut_after(&self, bytes: usize) {
        *lock(&self.shared.budget) = Some(bytes);
    }

    /// Carries nothing, in either direction, while `hung`.
    pub fn hang(&self, hung: bool) {
        self.shared.hung.send_replace(hung);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries one direction of a connection until either side or the line ends.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>, back: bool) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    let delaying = Arc::clone(&shared);
    let reading = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len) = from.read(&mut buffer).await {
            let due = Instant::now() + *lock(&delaying.delay);
            let piece = buffer.get(..len).unwrap_or_default().to_vec();
            if len == 0 || queue.send((due, piece)).await.is_err() {
                break;
            }
        }
    };
    let mut hung = shared.hung.subscribe();
    let writing = async {
        while let Some((due, piece)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if hung.wait_for(|hung| !hung).await.is_err() || to.write_all(&piece).await.is_err() {
                return;
            }
            if back {
                let spent = {
                    let mut budget = lock(&shared.budget);
                    let left = budget.map(|left| left.saturating_sub(piece.len()));
                    *budget = left.filter(|left| *left > 0);
                    left == Some(0)
                };
                if spent {
                    shared.cuts.send_modify(|cuts| *cuts += 1);
                }
            }
        }
    };
    tokio::select! {
        () = async { tokio::join!(reading, writing); } => {}
        _ = cuts.changed() => {}
    }
}
