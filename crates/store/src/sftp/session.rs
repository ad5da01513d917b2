//! One SFTP conversation: many requests at once over one channel, each answered in its own time.

use std::collections::HashMap;
use std::fmt;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::client::Handle;
use russh::{Channel, ChannelMsg};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::ssh::Client;
use super::wire::{self, Attrs, Limits, Packet, Reply, Request, Status};

/// Servers that do not say how much they take in one request take this much.
const SMALL_BLOCK: u32 = 32 << 10;
/// More at once gains nothing: a few of these fill any line.
const LARGE_BLOCK: u32 = 255 << 10;
/// However little a server says.
const LEAST_BLOCK: u32 = 4 << 10;
/// So many bytes of requests that wait are sent as one.
const GATHERED: usize = 64 << 10;

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server answered, and not with success.
    Status(Status),
    /// The conversation ended, or the answer was not one of SFTP.
    Lost(String),
    /// The server has more to say than is taken in.
    TooMuch(String),
}

impl Trouble {
    pub fn is(&self, code: u32) -> bool {
        matches!(self, Self::Status(status) if status.code == code)
    }

    /// The kind that callers decide on. `NO_SUCH_FILE` is not here as `NotFound`: whether an object is absent or the whole folder is
    /// gone takes a second look, and a plain failure may be a full disk: both are asked after elsewhere.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Lost(_) => StoreErrorKind::NoAnswer,
            Self::TooMuch(_) => StoreErrorKind::Failed,
            Self::Status(status) => match status.code {
                Status::DENIED => StoreErrorKind::Denied,
                Status::NO_CONNECTION | Status::CONNECTION_LOST => StoreErrorKind::NoAnswer,
                _ => StoreErrorKind::Failed,
            },
        }
    }

    /// The error of a request made while `doing` something.
    pub fn during(&self, doing: impl fmt::Display) -> StoreError {
        StoreError::new(self.kind(), format!("{doing}: {self}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(&status.words()),
            Self::Lost(why) | Self::TooMuch(why) => f.write_str(why),
        }
    }
}

/// A reply that is on its way.
pub(super) struct Answer {
    receiver: oneshot::Receiver<Reply>,
    session: Weak<Inner>,
}

impl Answer {
    async fn reply(self) -> Result<Reply, Trouble> {
        self.receiver.await.map_err(|_| {
            let why = self
                .session
                .upgrade()
                .and_then(|inner| inner.lock().over.clone());
            Trouble::Lost(why.unwrap_or_else(|| "the connection was closed".into()))
        })
    }

    /// A reply that says nothing but success.
    pub async fn done(self) -> Result<(), Trouble> {
        match self.reply().await? {
            Reply::Status(status) if status.code == Status::OK => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub async fn handle(self) -> Result<Bytes, Trouble> {
        match self.reply().await? {
            Reply::Handle(handle) => Ok(handle),
            other => Err(unexpected(other)),
        }
    }

    pub async fn data(self) -> Result<Bytes, Trouble> {
        match self.reply().await? {
            Reply::Data(data) => Ok(data),
            other => Err(unexpected(other)),
        }
    }

    pub async fn attrs(self) -> Result<Attrs, Trouble> {
        match self.reply().await? {
            Reply::Attrs(attrs) => Ok(attrs),
            other => Err(unexpected(other)),
        }
    }

    /// Some names of a folder; `None` after the last.
    pub async fn names(self) -> Result<Option<Vec<(String, Attrs)>>, Trouble> {
        match self.reply().await? {
            Reply::Names(names) => Ok(Some(names)),
            Reply::Status(status) if status.code == Status::END => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    pub async fn extended(self) -> Result<Bytes, Trouble> {
        match self.reply().await? {
            Reply::Extended(body) => Ok(body),
            other => Err(unexpected(other)),
        }
    }
}

fn unexpected(reply: Reply) -> Trouble {
    match reply {
        Reply::Status(status) if status.code != Status::OK => Trouble::Status(status),
        _ => Trouble::Lost("the server gave an answer to something else".into()),
    }
}

struct Inner {
    state: Mutex<State>,
    next: AtomicU32,
    cut: std::net::TcpStream,
}

struct State {
    waiting: HashMap<u32, oneshot::Sender<Reply>>,
    /// When something last came, or the first of those that wait was asked.
    alive: Instant,
    /// Why the conversation is over.
    over: Option<String>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the conversation: whoever waits learns it, and the connection is closed whether the other side listens or not.
    fn end(&self, why: &str) {
        let waiting = {
            let mut state = self.lock();
            state.over.get_or_insert_with(|| why.to_owned());
            std::mem::take(&mut state.waiting)
        };
        let _ = self.cut.shutdown(Shutdown::Both);
        drop(waiting);
    }
}

/// A conversation. Dropping it ends it.
pub(super) struct Session {
    inner: Arc<Inner>,
    out: mpsc::UnboundedSender<Packet>,
    extensions: Vec<String>,
    limits: Limits,
    tasks: Vec<tokio::task::AbortHandle>,
    /// Keeps the connection open.
    _client: Handle<Client>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inner.end("the connection was closed");
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Session {
    /// Begins a conversation over a channel on which the server runs its SFTP. A server that has requests and says nothing for
    /// `patience` is given up; `cut` is the connection itself.
    pub async fn begin(
        client: Handle<Client>,
        channel: Channel<russh::client::Msg>,
        cut: std::net::TcpStream,
        patience: Duration,
    ) -> Result<Self, Trouble> {
        let (mut incoming, outgoing) = channel.split();
        let (out, mut packets) = mpsc::unbounded_channel::<Packet>();
        let (greeted, greeting) = oneshot::channel();
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                waiting: HashMap::from([(0, greeted)]),
                alive: Instant::now(),
                over: None,
            }),
            next: AtomicU32::new(1),
            cut,
        });

        let reader = tokio::spawn({
            let inner = Arc::clone(&inner);
            async move {
                let mut arrived = BytesMut::new();
                let why = loop {
                    match incoming.wait().await {
                        Some(ChannelMsg::Data { data }) => {
                            arrived.extend_from_slice(&data);
                            if let Err(why) = deliver(&inner, &mut arrived) {
                                break why;
                            }
                        }
                        Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                            break "the server closed the connection";
                        }
                        Some(_) => {}
                    }
                };
                inner.end(why);
            }
        });
        let writer = tokio::spawn({
            let inner = Arc::clone(&inner);
            async move {
                while let Some(packet) = packets.recv().await {
                    let mut gathered = BytesMut::from(&packet.head[..]);
                    let mut data = packet.data;
                    // What waits behind goes with it, so that a batch of small requests is one packet on the line.
                    while gathered.len() + data.len() < GATHERED {
                        gathered.extend_from_slice(&data);
                        data = Bytes::new();
                        let Ok(next) = packets.try_recv() else { break };
                        gathered.extend_from_slice(&next.head);
                        data = next.data;
                    }
                    let mut sent = outgoing.data_bytes(gathered.freeze()).await;
                    if sent.is_ok() && !data.is_empty() {
                        sent = outgoing.data_bytes(data).await;
                    }
                    if sent.is_err() {
                        inner.end("the connection broke");
                        return;
                    }
                }
            }
        });
        let watch = tokio::spawn(watch(Arc::downgrade(&inner), patience));
        let mut session = Self {
            inner: Arc::clone(&inner),
            out,
            extensions: Vec::new(),
            limits: Limits::default(),
            tasks: vec![
                reader.abort_handle(),
                writer.abort_handle(),
                watch.abort_handle(),
            ],
            _client: client,
        };
        let hello = Packet {
            head: wire::init(),
            data: Bytes::new(),
        };
        session.post(hello);
        let greeting = Answer {
            receiver: greeting,
            session: Arc::downgrade(&inner),
        };
        match greeting.reply().await? {
            Reply::Version(extensions) => session.extensions = extensions,
            other => return Err(unexpected(other)),
        }
        if session.has(wire::LIMITS)
            && let Ok(body) = session.ask(Request::Limits).extended().await
        {
            session.limits = Limits::parse(body).unwrap_or_default();
        }
        Ok(session)
    }

    fn post(&self, packet: Packet) {
        if self.out.send(packet).is_err() {
            self.inner.end("the connection broke");
        }
    }

    /// Sends a request. Requests leave in the order of these calls, whenever their answers are waited for.
    pub fn ask(&self, request: Request<'_>) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let id = loop {
            let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
            if id != 0 {
                break id;
            }
        };
        let open = {
            let mut state = self.inner.lock();
            if state.waiting.is_empty() {
                state.alive = Instant::now();
            }
            let open = state.over.is_none();
            if open {
                state.waiting.insert(id, sender);
            }
            open
        };
        if open {
            self.post(request.encode(id));
        }
        Answer {
            receiver,
            session: Arc::downgrade(&self.inner),
        }
    }

    /// Sends a request whose answer is of no interest.
    pub fn tell(&self, request: Request<'_>) {
        drop(self.ask(request));
    }

    pub fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|known| known == extension)
    }

    pub fn is_over(&self) -> bool {
        self.inner.lock().over.is_some()
    }

    pub fn read_block(&self) -> u32 {
        block(self.limits.read, self.limits.packet)
    }

    pub fn write_block(&self) -> u32 {
        block(self.limits.write, self.limits.packet)
    }

    /// How many handles may be kept open, with room left for requests under way.
    pub fn spare_handles(&self) -> usize {
        match usize::try_from(self.limits.handles).unwrap_or(usize::MAX) {
            // Nothing said: servers have a hundred or so.
            0 => 32,
            handles => handles.saturating_sub(160).min(256),
        }
    }
}

fn block(limit: u64, packet: u64) -> u32 {
    let said = if limit == 0 {
        SMALL_BLOCK
    } else {
        u32::try_from(limit).unwrap_or(u32::MAX)
    };
    let framed = match u32::try_from(packet).unwrap_or(u32::MAX) {
        0 => u32::MAX,
        packet => packet.saturating_sub(1024).max(LEAST_BLOCK),
    };
    // A server that says it takes only a few bytes at a time would make millions of requests of one object.
    said.min(framed).clamp(LEAST_BLOCK, LARGE_BLOCK)
}

/// Hands replies to those who wait for them.
fn deliver(inner: &Inner, arrived: &mut BytesMut) -> Result<(), &'static str> {
    loop {
        match wire::take_reply(arrived) {
            Ok(None) => return Ok(()),
            Ok(Some((id, reply))) => {
                let waiting = {
                    let mut state = inner.lock();
                    state.alive = Instant::now();
                    state.waiting.remove(&id)
                };
                match waiting {
                    // Nobody may be waiting any more.
                    Some(waiting) => drop(waiting.send(reply)),
                    None => return Err("the server answered what was not asked"),
                }
            }
            Err(wire::Malformed) => return Err("what the server says is not SFTP"),
        }
    }
}

/// Gives a server up that has something to answer and says nothing.
async fn watch(inner: Weak<Inner>, patience: Duration) {
    loop {
        tokio::time::sleep(patience / 8).await;
        let Some(inner) = inner.upgrade() else { return };
        let silent = {
            let state = inner.lock();
            if state.over.is_some() {
                return;
            }
            !state.waiting.is_empty() && state.alive.elapsed() >= patience
        };
        if silent {
            inner.end(&format!(
                "the server said nothing for {} s",
                patience.as_secs()
            ));
            return;
        }
    }
}
