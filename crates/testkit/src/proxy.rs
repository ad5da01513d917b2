//! A network between a client and a server: slower than loopback, and cut, stopped or deaf on command.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A TCP server on loopback that passes everything on to another one, and back.
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
/// let proxy = Proxy::start(server.local_addr().unwrap()).unwrap();
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
    turns: AtomicU64,
    connections: AtomicU64,
    lose_replies: AtomicBool,
    ended: AtomicBool,
    gate: Mutex<Gate>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// Nothing moves; connections stay.
    Paused,
    /// There are no connections, and new ones end at once.
    Cut,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Begins to pass connections on to `target`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((target.ip(), 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            delay: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            lose_replies: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            gate: Mutex::new(Gate::Open),
            changed: Condvar::new(),
            streams: Mutex::default(),
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
        Ok(Self { shared, address })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delays everything by this much in each direction: a round trip takes twice as long.
    pub fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.shared.delay.store(micros, Ordering::SeqCst);
    }

    /// From now on (or no more) requests reach the server, and the connection ends when it answers.
    pub fn lose_replies(&self, lose: bool) {
        self.shared.lose_replies.store(lose, Ordering::SeqCst);
    }

    /// Stops everything where it is. Connections stay open, and nobody hears anything.
    pub fn pause(&self) {
        self.shared.set_gate(Gate::Paused);
    }

    /// Ends all connections, and every new one at once.
    pub fn cut(&self) {
        self.shared.set_gate(Gate::Cut);
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets everything pass again, after [`pause`](Self::pause) or [`cut`](Self::cut).
    pub fn resume(&self) {
        self.shared.set_gate(Gate::Open);
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
        self.cut();
        // Wakes the thread that waits for the next client.
        let _ = TcpStream::connect(self.address);
    }
}

/// Bytes on their way, and when they came.
type Parcel = (Instant, Vec<u8>);

/// How many parcels may be on their way in one direction. With a delay of 20 ms this lets through 3 GiB a second.
const ON_THE_WAY: usize = 1024;

impl Shared {
    fn set_gate(&self, gate: Gate) {
        *lock(&self.gate) = gate;
        self.changed.notify_all();
    }

    /// Waits while nothing may move, and says whether it may go on.
    fn pass(&self) -> bool {
        let mut gate = lock(&self.gate);
        while *gate == Gate::Paused && !self.ended.load(Ordering::SeqCst) {
            gate = self
                .changed
                .wait(gate)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *gate == Gate::Open
    }

    fn serve(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        if *lock(&self.gate) == Gate::Cut {
            return client.shutdown(Shutdown::Both);
        }
        self.connections.fetch_add(1, Ordering::SeqCst);
        // A server that is gone ends the client's connection.
        let server = TcpStream::connect(self.target)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            lock(&self.streams).push(stream.try_clone()?);
        }
        let clients_turn = Arc::new(AtomicBool::new(true));
        self.carry(
            client.try_clone()?,
            server.try_clone()?,
            true,
            Arc::clone(&clients_turn),
        );
        self.carry(server, client, false, clients_turn);
        Ok(())
    }

    fn carry(
        self: &Arc<Self>,
        from: TcpStream,
        to: TcpStream,
        is_client: bool,
        clients_turn: Arc<AtomicBool>,
    ) {
        let (sender, receiver) = sync_channel(ON_THE_WAY);
        let (reader, writer) = (Arc::clone(self), Arc::clone(self));
        let ends = (from.try_clone(), to.try_clone());
        thread::spawn(move || {
            if reader
                .read(from, &sender, is_client, &clients_turn)
                .is_none()
            {
                for stream in [ends.0, ends.1].into_iter().flatten() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
        });
        thread::spawn(move || writer.write(to, &receiver));
    }

    /// Returns `None` when the connection is to end at once, and not only in this direction.
    fn read(
        &self,
        mut from: TcpStream,
        sender: &SyncSender<Parcel>,
        is_client: bool,
        clients_turn: &AtomicBool,
    ) -> Option<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = from.read(&mut buffer).ok()?;
            if len == 0 {
                return Some(());
            }
            if is_client && clients_turn.swap(false, Ordering::SeqCst) {
                self.turns.fetch_add(1, Ordering::SeqCst);
            }
            if !is_client {
                clients_turn.store(true, Ordering::SeqCst);
                if self.lose_replies.load(Ordering::SeqCst) {
                    return None;
                }
            }
            sender.send((Instant::now(), buffer[..len].to_vec())).ok()?;
        }
    }

    fn write(&self, mut to: TcpStream, receiver: &Receiver<Parcel>) {
        for (came, bytes) in receiver {
            let delay = Duration::from_micros(self.delay.load(Ordering::SeqCst));
            thread::sleep((came + delay).saturating_duration_since(Instant::now()));
            if !self.pass() || to.write_all(&bytes).is_err() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}
