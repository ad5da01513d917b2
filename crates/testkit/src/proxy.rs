//! A network between a client and a server: slower than loopback, and cut, stopped or deaf on command.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What happens to connections on the way. It takes effect on open ones too.
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
    /// Nothing moves, and nothing is lost; connections stay.
    Pause,
    /// There are no connections, and new ones end at once.
    Cut,
}

/// A TCP server on loopback that passes everything on to another one, and back. It needs no runtime, and its delays are of real time.
///
/// It counts **turns**: how often a client spoke after the server had, or for the first time. For a client that sends a
/// request when it has the answer to the one before, this is its number of round trips.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use warifu_testkit::proxy::Proxy;
///
/// let server = TcpListener::bind("127.0.0.1:0").unwrap();
/// let proxy = Proxy::to(server.local_addr().unwrap().port());
/// let mut client = TcpStream::connect(proxy.address()).unwrap();
/// client.write_all(b"hello").unwrap();
/// let mut heard = [0; 5];
/// server.accept().unwrap().0.read_exact(&mut heard).unwrap();
/// assert_eq!((&heard, proxy.turns()), (b"hello", 1));
/// ```
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    /// In microseconds, for each direction.
    delay: AtomicU64,
    /// Bytes a second towards the server, on each connection; zero is as fast as it goes.
    rate: AtomicU64,
    turns: AtomicU64,
    connections: AtomicU64,
    ended: AtomicBool,
    mode: Mutex<Mode>,
    changed: Condvar,
    /// How many bytes may still come back before all connections break, once.
    budget: Mutex<Option<u64>>,
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Begins to pass connections on to a port of 127.0.0.1.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn to(port: u16) -> Self {
        Self::between(Ipv4Addr::LOCALHOST, port)
    }

    /// The same for those who reach this machine by another address of it.
    ///
    /// # Panics
    /// When no port can be had there.
    #[must_use]
    pub fn between(address: Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("the address has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target: (Ipv4Addr::LOCALHOST, port).into(),
            delay: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            mode: Mutex::default(),
            changed: Condvar::new(),
            budget: Mutex::default(),
            open: Mutex::default(),
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if for_thread.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that went away before it was served is none.
                if let Ok(client) = client {
                    let _ = for_thread.serve(client);
                }
            }
        });
        Self { shared, address }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port on 127.0.0.1, to be used instead of the server's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes what happens from now on. [`Mode::Cut`] ends all connections.
    pub fn set(&self, mode: Mode) {
        *lock(&self.shared.mode) = mode;
        self.shared.changed.notify_all();
        if mode == Mode::Cut {
            self.break_off();
        }
    }

    /// Ends all connections; new ones pass.
    pub fn break_off(&self) {
        self.shared.break_off();
    }

    /// Ends all connections when so many more bytes have come back from the server; new ones pass.
    pub fn break_off_after(&self, bytes: u64) {
        *lock(&self.shared.budget) = Some(bytes);
    }

    /// Delays everything by this much in each direction: a round trip takes twice as long. To connect takes no time.
    pub fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.shared.delay.store(micros, Ordering::SeqCst);
    }

    /// Lets so many bytes a second pass towards the server on each connection. As on a real line, the client gets rid of them at once.
    pub fn set_rate(&self, bytes_a_second: u64) {
        self.shared.rate.store(bytes_a_second, Ordering::SeqCst);
    }

    /// How often a client spoke after the server had, or for the first time, over all connections.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.set(Mode::Cut);
        // Wakes the thread that waits for the next client.
        let _ = TcpStream::connect(self.address);
    }
}

/// Bytes on their way, when they came, and whether the connection breaks behind them.
struct Parcel {
    came: Instant,
    bytes: Vec<u8>,
    last: bool,
}

/// How many parcels may be on their way in one direction. With a delay of 20 ms this lets through 3 GiB a second.
const ON_THE_WAY: usize = 1024;
/// At a limited rate, so much goes at once.
const MOUTHFUL: usize = 4 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

/// What both directions of a connection know.
struct Talk {
    number: u64,
    clients_turn: AtomicBool,
    /// How much of the present request, or of the present answer, has gone by.
    passed: AtomicU64,
    /// How many directions are still open.
    directions: AtomicU64,
}

impl Shared {
    fn mode(&self) -> Mode {
        *lock(&self.mode)
    }

    fn break_off(&self) {
        for (_, streams) in lock(&self.open).drain() {
            tear(&streams);
        }
    }

    /// Waits while nothing may move, and says whether it may go on.
    fn pass(&self) -> bool {
        let mut mode = lock(&self.mode);
        while *mode == Mode::Pause && !self.ended.load(Ordering::SeqCst) {
            mode = self
                .changed
                .wait(mode)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *mode != Mode::Cut
    }

    fn serve(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        if self.mode() == Mode::Cut {
            return client.shutdown(Shutdown::Both);
        }
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        // A server that is gone ends the client's connection.
        let server = TcpStream::connect(self.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        lock(&self.open).insert(number, [client.try_clone()?, server.try_clone()?]);
        let talk = Arc::new(Talk {
            number,
            clients_turn: AtomicBool::new(true),
            passed: AtomicU64::new(0),
            directions: AtomicU64::new(2),
        });
        for (from, to, who) in [
            (client.try_clone()?, server.try_clone()?, From::Client),
            (server, client, From::Server),
        ] {
            let (sender, receiver) = sync_channel(ON_THE_WAY);
            let (reading, writing) = (Arc::clone(self), Arc::clone(self));
            let (talked, talk) = (Arc::clone(&talk), Arc::clone(&talk));
            thread::spawn(move || {
                if reading.read(from, &sender, who, &talked).is_err() {
                    reading.end(&talked);
                }
            });
            thread::spawn(move || {
                let done = writing.write(to, &receiver, who);
                let was_last = talk.directions.fetch_sub(1, Ordering::SeqCst) == 1;
                if done.is_err() || was_last {
                    writing.end(&talk);
                }
            });
        }
        Ok(())
    }

    /// Ends one connection in both directions.
    fn end(&self, talk: &Talk) {
        if let Some(streams) = lock(&self.open).remove(&talk.number) {
            tear(&streams);
        }
    }

    /// An error ends the connection at once, and not only in this direction.
    fn read(
        &self,
        mut from: TcpStream,
        sender: &SyncSender<Parcel>,
        who: From,
        talk: &Talk,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = from.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            let clients = who == From::Client;
            if talk.clients_turn.swap(!clients, Ordering::SeqCst) == clients {
                talk.passed.store(0, Ordering::SeqCst);
                self.turns.fetch_add(u64::from(clients), Ordering::SeqCst);
            }
            let before = talk.passed.fetch_add(len as u64, Ordering::SeqCst);
            let limit = match (self.mode(), who) {
                (Mode::LoseReplies, From::Server) => return Err(torn()),
                (Mode::CutRequests(limit), From::Client)
                | (Mode::CutReplies(limit), From::Server) => limit,
                _ => u64::MAX,
            };
            let left = usize::try_from(limit.saturating_sub(before)).unwrap_or(usize::MAX);
            let parcel = Parcel {
                came: Instant::now(),
                bytes: buffer[..len.min(left)].to_vec(),
                last: left < len,
            };
            let last = parcel.last;
            if sender.send(parcel).is_err() || last {
                // The writer ends it, behind what is on its way.
                return Ok(());
            }
        }
    }

    fn write(&self, mut to: TcpStream, receiver: &Receiver<Parcel>, who: From) -> io::Result<()> {
        for parcel in receiver {
            let delay = Duration::from_micros(self.delay.load(Ordering::SeqCst));
            thread::sleep((parcel.came + delay).saturating_duration_since(Instant::now()));
            let rate = match who {
                From::Client => self.rate.load(Ordering::SeqCst),
                From::Server => 0,
            };
            let at_once = if rate == 0 { usize::MAX } else { MOUTHFUL };
            for bytes in parcel.bytes.chunks(at_once) {
                if rate > 0 {
                    thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
                }
                if !self.pass() {
                    return Err(torn());
                }
                to.write_all(bytes)?;
            }
            if parcel.last {
                return Err(torn());
            }
            if who == From::Server {
                self.spend(parcel.bytes.len() as u64);
            }
        }
        to.shutdown(Shutdown::Write)
    }

    fn spend(&self, bytes: u64) {
        let spent = {
            let mut budget = lock(&self.budget);
            let left = budget.map(|left| left.saturating_sub(bytes));
            *budget = left.filter(|left| *left > 0);
            left == Some(0)
        };
        if spent {
            self.break_off();
        }
    }
}

fn torn() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

fn tear(streams: &[TcpStream]) {
    for stream in streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
