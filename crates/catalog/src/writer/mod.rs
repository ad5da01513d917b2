//! [`Writer`]: the one connection that writes, and the order in which requests come to it.

mod checkpoint;
mod disk;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;
use warifu_core::keys::CatalogKey;
use warifu_vault::seam::catalog::{CatalogError, Durability};
use warifu_vault::seam::sessions::SessionId;

use crate::audit::Tail;
use crate::error::{Fail, Outcome, repeat};
use crate::files::{self, BUSY};
use crate::readers::View;
use disk::{Broken, Disk};

/// The most requests in one transaction, so that the first of them does not wait for ever.
const BATCH: usize = 256;

/// After how many requests what is in the log goes into the database file.
const CHECKPOINT: usize = 1024;

/// A transaction, as the functions that write see it.
pub(crate) struct Tx<'a> {
    pub(crate) view: View<'a>,
    /// The last line of the audit log, once it has been read in this transaction.
    pub(crate) tail: &'a Cell<Option<Tail>>,
    /// The session that this catalogue is.
    pub(crate) me: SessionId,
    /// Whether there are other sessions, once somebody has looked in this transaction.
    pub(crate) others: &'a Cell<Option<bool>>,
}

impl<'a> Tx<'a> {
    pub(crate) fn conn(&self) -> &'a Connection {
        self.view.conn
    }

    pub(crate) fn key(&self) -> &'a CatalogKey {
        self.view.key
    }

    /// Runs a statement that gives no rows; says how many rows it changed.
    pub(crate) fn run(&self, sql: &str, params: impl rusqlite::Params) -> Outcome<usize> {
        Ok(self.conn().prepare_cached(sql)?.execute(params)?)
    }
}

/// A request to write.
trait Job: Send {
    /// Does the work. What it answers is kept until the transaction is committed.
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), CatalogError>;
    /// Tells whoever asked; nobody may be waiting any more.
    fn answer(self: Box<Self>, committed: &Result<(), CatalogError>);
}

struct Request<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, CatalogError>>,
    reply: oneshot::Sender<Result<T, CatalogError>>,
}

impl<T, F> Job for Request<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Outcome<T> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), CatalogError> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        let outcome = work(tx).map_err(CatalogError::from);
        let told = outcome.as_ref().map(|_| ()).map_err(repeat);
        self.outcome = Some(outcome);
        told
    }

    fn answer(self: Box<Self>, committed: &Result<(), CatalogError>) {
        let outcome = match (committed, self.outcome) {
            // Even a refusal was decided on what the others of the transaction had written.
            (Err(error), _) => Err(repeat(error)),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(CatalogError::Failed {
                detail: "the request was never run".into(),
            }),
        };
        let _ = reply_to(self.reply, outcome);
    }
}

/// A caller that went away does not mind.
fn reply_to<T>(reply: oneshot::Sender<T>, outcome: T) -> bool {
    reply.send(outcome).is_ok()
}

/// What everybody who writes shares.
struct Shared {
    /// `None` once the writer has stopped.
    state: Mutex<Option<State>>,
    /// How many requests wait for the thread or are in its hands.
    queued: AtomicUsize,
}

/// The way to the one connection that writes. Dropping it finishes what was asked for and closes the connection.
///
/// A request that finds the connection free is done by whoever asks: to wake a thread and be woken by it takes longer than
/// most transactions. All others go through the thread's queue, many to a transaction. The engine itself waits for the disk only
/// when its log begins anew, once in a thousand requests: who must, waits for the log as a whole (`disk`), while others go on
/// writing to it.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: Mutex<Option<Sender<Box<dyn Job>>>>,
    disk: Disk,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the threads.
    pub(crate) fn start(conn: Connection, key: Arc<CatalogKey>, me: SessionId) -> Outcome<Self> {
        let (queue, waiting) = channel();
        let (checkpoints, due) = sync_channel(1);
        let path = conn
            .path()
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        // From here on waiting for the disk is `disk`'s work; after a kill everything committed is there all the same.
        conn.execute_batch("PRAGMA synchronous = NORMAL")?;
        let log = path.as_deref().map(files::log_of).transpose()?;
        let broken = Arc::new(Broken::default());
        let shared = Arc::new(Shared {
            state: Mutex::new(Some(State {
                conn,
                key,
                me,
                since_checkpoint: 0,
                broken: Arc::clone(&broken),
                checkpoints,
            })),
            queued: AtomicUsize::new(0),
        });
        let (disk, syncing) = Disk::start(log, Arc::clone(&broken))?;
        let mut threads: Vec<_> = syncing.into_iter().collect();
        let writing = Arc::clone(&shared);
        threads.push(thread("warifu-catalog", move || writing.run(&waiting))?);
        if let Some(path) = path {
            let state = Arc::downgrade(&shared);
            threads.push(thread("warifu-checkpoint", move || {
                checkpoint::run(&path, &due, &state, &broken);
            })?);
        }
        Ok(Self {
            shared,
            queue: Mutex::new(Some(queue)),
            disk,
            threads: Mutex::new(threads),
        })
    }

    /// Runs `work` in a transaction and answers once that is committed, and with [`Durability::Now`] on disk.
    pub(crate) async fn write<T, F>(
        &self,
        durability: Durability,
        work: F,
    ) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Request {
            work: Some(work),
            outcome: None,
            reply,
        });
        if let Some(job) = self.shared.at_once(job) {
            let queued = match &*lock(&self.queue) {
                Some(queue) => {
                    self.shared.queued.fetch_add(1, Ordering::AcqRel);
                    queue.send(job).is_ok()
                }
                None => false,
            };
            if !queued {
                return Err(stopped());
            }
        }
        let done = answer.await.unwrap_or_else(|_| Err(stopped()))?;
        if durability == Durability::Now {
            self.disk.sync().await?;
        }
        Ok(done)
    }

    /// Everything committed so far, by whatever process, is on disk when this returns.
    pub(crate) async fn sync(&self) -> Result<(), CatalogError> {
        self.disk.sync().await
    }

    /// Lends the connection to `read`, or gives `read` back where somebody else has it: what this process wrote last it knows
    /// without asking the disk, where every other connection has to read it again.
    pub(crate) fn lend<T, F>(&self, read: F) -> Result<Outcome<T>, F>
    where
        F: FnOnce(View<'_>) -> Outcome<T>,
    {
        let guard = match self.shared.state.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => return Err(read),
        };
        match guard.as_ref() {
            Some(state) if state.conn.is_autocommit() => Ok(read(View {
                conn: &state.conn,
                key: &state.key,
            })),
            _ => Err(read),
        }
    }

    /// Finishes what was asked for, closes the connection and waits for that.
    pub(crate) fn stop(&self) {
        drop(lock(&self.queue).take());
        self.disk.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the catalogue stopped in a panic");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Outcome<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|error| {
            Fail::from(CatalogError::Failed {
                detail: format!("no thread for the catalogue: {error}"),
            })
        })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic may have left in a transaction is undone by the next one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rolled_back() -> CatalogError {
    CatalogError::Failed {
        detail: "the engine rolled back".into(),
    }
}

fn stopped() -> CatalogError {
    CatalogError::Failed {
        detail: "the catalogue's writer has stopped".into(),
    }
}

/// How a transaction is begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// Only if nobody else is writing.
    AtOnce,
    /// After whoever else is writing, in another process perhaps.
    InTurn,
}

impl Shared {
    /// Does a request here and now and answers it, or gives it back where it would have to wait.
    fn at_once(&self, job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        if self.queued.load(Ordering::Acquire) > 0 {
            return Some(job);
        }
        let mut guard = match self.state.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(job),
        };
        let Some(state) = guard.as_mut() else {
            return Some(job);
        };
        let mut batch = [job];
        let committed = state.transact(&mut batch, Begin::AtOnce);
        drop(guard);
        let [job] = batch;
        let Some(committed) = committed else {
            return Some(job);
        };
        job.answer(&committed);
        None
    }

    /// The thread: all that waits, many requests to a transaction.
    fn run(&self, waiting: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = waiting.recv() {
            let mut guard = lock(&self.state);
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            // A panic is the affair of those who shared the transaction: the thread goes on, for all who come after.
            let committed = catch_unwind(AssertUnwindSafe(|| {
                let state = guard.as_mut()?;
                state.transact(&mut batch, Begin::InTurn)
            }));
            let committed = match committed {
                Ok(committed) => committed.unwrap_or_else(|| Err(stopped())),
                Err(_) => Err(CatalogError::Failed {
                    detail: "a request ended in a panic".into(),
                }),
            };
            drop(guard);
            let done = batch.len();
            for job in batch {
                job.answer(&committed);
            }
            self.queued.fetch_sub(done, Ordering::AcqRel);
        }
        drop(lock(&self.state).take());
    }
}

/// The connection that writes, and what is known of it.
pub(crate) struct State {
    conn: Connection,
    key: Arc<CatalogKey>,
    me: SessionId,
    since_checkpoint: usize,
    broken: Arc<Broken>,
    /// Tells the thread of that sort that a checkpoint is due; without it, at the end, that thread ends too.
    checkpoints: SyncSender<()>,
}

impl State {
    /// Runs all requests in one transaction. An error is everybody's. `None`: somebody else is writing, and nothing was run.
    fn transact(
        &mut self,
        batch: &mut [Box<dyn Job>],
        begin: Begin,
    ) -> Option<Result<(), CatalogError>> {
        if let Some(error) = self.broken.why() {
            return Some(Err(error));
        }
        let done = match self.begin(begin) {
            Ok(false) => return None,
            Ok(true) => self.attempt(batch),
            Err(fail) => Err(fail),
        };
        Some(match done {
            Ok(()) => {
                self.since_checkpoint += batch.len();
                if self.since_checkpoint >= CHECKPOINT {
                    self.since_checkpoint = 0;
                    // Full means that one is due already.
                    let _ = self.checkpoints.try_send(());
                }
                Ok(())
            }
            Err(fail) => {
                self.roll_back();
                self.broken.note(&fail);
                Err(fail.into())
            }
        })
    }

    /// Begins a transaction; false where that would have to wait.
    fn begin(&mut self, begin: Begin) -> Outcome<bool> {
        if !self.conn.is_autocommit() {
            self.roll_back();
        }
        let patience = match begin {
            Begin::AtOnce => Duration::ZERO,
            Begin::InTurn => BUSY,
        };
        self.conn.busy_timeout(patience)?;
        let begun = self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]);
        // Whoever reads by this connection has the usual patience.
        self.conn.busy_timeout(BUSY)?;
        match begun {
            Ok(_) => Ok(true),
            Err(error)
                if begin == Begin::AtOnce
                    && error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn roll_back(&mut self) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the catalogue could not roll back");
            self.broken.set(format!(
                "a transaction could be neither committed nor rolled back: {error}"
            ));
        }
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> Outcome<()> {
        let (tail, others) = (Cell::new(None), Cell::new(None));
        let tx = Tx {
            view: View {
                conn: &self.conn,
                key: &self.key,
            },
            tail: &tail,
            me: self.me,
            others: &others,
        };
        if let [job] = batch {
            // A refusal undoes all there is, without a savepoint, for which the engine would keep copies of pages.
            return match job.run(&tx) {
                Ok(()) if !self.conn.is_autocommit() => {
                    self.conn.prepare_cached("COMMIT")?.execute([])?;
                    Ok(())
                }
                Ok(()) => Err(rolled_back().into()),
                Err(refusal) if self.conn.is_autocommit() => Err(refusal.into()),
                Err(_) => {
                    self.conn.prepare_cached("ROLLBACK")?.execute([])?;
                    Ok(())
                }
            };
        }
        for job in batch {
            self.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
            let outcome = job.run(&tx);
            if self.conn.is_autocommit() {
                // Some failures make the engine roll everything back. Going on would commit each statement by itself.
                return Err(outcome.err().unwrap_or_else(rolled_back).into());
            }
            if outcome.is_err() {
                self.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
                tail.set(None);
                others.set(None);
            }
            self.conn.prepare_cached("RELEASE job")?.execute([])?;
        }
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use warifu_core::ids::VaultId;
    use warifu_core::keys::VaultKey;

    use super::*;

    fn writer(setup: &str) -> Writer {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(setup).unwrap();
        conn.execute_batch("CREATE TABLE vault (id BIGINT, beat BIGINT); CREATE TABLE t (x BLOB)")
            .unwrap();
        let key = VaultKey::generate().unwrap().catalog_key(VaultId::NIL);
        Writer::start(conn, Arc::new(key), SessionId([0; 16])).unwrap()
    }

    async fn count(writer: &Writer) -> i64 {
        let count = |tx: &Tx<'_>| {
            Ok(tx
                .conn()
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
        };
        writer.write(Durability::Soon, count).await.unwrap()
    }

    /// Requests that wait for the connection share a transaction; only the refused one is undone.
    #[tokio::test]
    async fn a_refused_request_does_not_undo_its_neighbours() {
        let writer = writer("");
        let insert = |good: bool| {
            writer.write(Durability::Soon, move |tx| {
                tx.run("INSERT INTO t (x) VALUES (1)", [])?;
                if good {
                    Ok(())
                } else {
                    Err(CatalogError::Exists.into())
                }
            })
        };
        for busy in [true, false] {
            // The thread may not have noted yet that it is done with the ones before.
            while writer.shared.queued.load(Ordering::Acquire) > 0 {
                std::thread::yield_now();
            }
            let shared = Arc::clone(&writer.shared);
            let held = busy.then(|| lock(&shared.state));
            let mut all =
                Box::pin(async { tokio::join!(insert(true), insert(false), insert(true)) });
            let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
            let at_once = all.as_mut().poll(&mut nobody);
            assert_eq!(
                at_once.is_pending(),
                busy,
                "whoever finds it free does it at once"
            );
            drop(held);
            let (first, second, third) = match at_once {
                std::task::Poll::Ready(done) => done,
                std::task::Poll::Pending => all.await,
            };
            first.unwrap();
            third.unwrap();
            assert!(matches!(second, Err(CatalogError::Exists)));
        }
        assert_eq!(count(&writer).await, 4);
    }

    /// What a panic leaves behind is undone, and the next request finds everything as it should be, whoever ran it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_in_a_request_is_its_own_affair() {
        for busy in [false, true] {
            let writer = Arc::new(writer(""));
            let shared = Arc::clone(&writer.shared);
            let held = busy.then(|| lock(&shared.state));
            let panicking = Arc::clone(&writer);
            let panicked = tokio::spawn(async move {
                panicking
                    .write(Durability::Soon, |tx| -> Outcome<()> {
                        tx.run("INSERT INTO t (x) VALUES (1)", [])?;
                        panic!("on purpose")
                    })
                    .await
            });
            while busy && writer.shared.queued.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            drop(held);
            match panicked.await {
                Ok(told) => assert!(busy && told.is_err()),
                Err(error) => assert!(!busy && error.is_panic()),
            }
            assert_eq!(count(&writer).await, 0);
            writer.stop();
        }
    }

    /// When there is no room, whoever shared the transaction hears so, nothing of it is kept, and later requests work.
    #[tokio::test]
    async fn no_room_is_everybodys_error() {
        let writer = writer("PRAGMA max_page_count = 20");
        let insert = |bytes: usize| {
            writer.write(Durability::Now, move |tx| {
                tx.run("INSERT INTO t (x) VALUES (zeroblob(?1))", [bytes as i64])
            })
        };
        insert(10).await.unwrap();
        // With the connection taken both wait in the queue, and share what the thread makes of it.
        let shared = Arc::clone(&writer.shared);
        let held = lock(&shared.state);
        let mut both = Box::pin(async { tokio::join!(insert(10), insert(1_000_000)) });
        let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(both.as_mut().poll(&mut nobody).is_pending());
        drop(held);
        let (small, large) = both.await;
        assert!(matches!(large, Err(CatalogError::Full)), "{large:?}");
        let kept = count(&writer).await;
        assert_eq!(kept, 1 + i64::from(small.is_ok()), "acknowledged or undone");
        insert(10).await.unwrap();
        assert_eq!(count(&writer).await, kept + 1);
    }

    #[tokio::test]
    async fn a_stopped_writer_says_so() {
        let writer = writer("");
        writer.stop();
        let outcome = writer.write(Durability::Soon, |_| Ok(())).await;
        assert!(matches!(outcome, Err(CatalogError::Failed { .. })));
    }
}
