//! [`Writer`]: the one thread that writes, many requests to a transaction.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;
use warifu_core::keys::CatalogKey;
use warifu_vault::seam::catalog::{CatalogError, Durability};

use crate::audit::Tail;
use crate::error::{Fail, Outcome, repeat};
use crate::readers::View;

/// The most requests in one transaction, so that the first of them does not wait for ever.
const BATCH: usize = 256;

/// After how many requests what is in the log goes into the database file.
const CHECKPOINT: usize = 1024;

/// A transaction, as the functions that write see it.
pub(crate) struct Tx<'a> {
    pub(crate) view: View<'a>,
    /// The last line of the audit log, once it has been read in this transaction.
    pub(crate) tail: &'a Cell<Option<Tail>>,
    /// Whether something is committed that no wait for the disk has covered yet.
    unsynced: bool,
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

    /// Writes something, if anything is waiting for the disk: the engine waits for it only after a write.
    pub(crate) fn pulse(&self) -> Outcome<()> {
        if self.unsynced {
            self.run("UPDATE vault SET beat = beat + 1 WHERE id = 1", [])?;
        }
        Ok(())
    }
}

/// A request to write.
trait Job: Send {
    fn durability(&self) -> Durability;
    /// Does the work. What it answers is kept until the transaction is committed.
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), CatalogError>;
    /// Tells whoever asked; nobody may be waiting any more.
    fn answer(self: Box<Self>, committed: &Result<(), CatalogError>);
}

struct Request<T, F> {
    durability: Durability,
    work: Option<F>,
    outcome: Option<Result<T, CatalogError>>,
    reply: oneshot::Sender<Result<T, CatalogError>>,
}

impl<T, F> Job for Request<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Outcome<T> + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

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

/// The thread's handle. Dropping it finishes what was asked for and closes the connection.
pub(crate) struct Writer {
    queue: Mutex<Option<Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(conn: Connection, key: Arc<CatalogKey>) -> Outcome<Self> {
        let (queue, waiting) = channel();
        let thread = std::thread::Builder::new()
            .name("warifu-catalog".into())
            .spawn(move || {
                Loop {
                    conn,
                    key,
                    waiting,
                    full: None,
                    unsynced: true,
                    seen: 0,
                    since_checkpoint: 0,
                    broken: None,
                }
                .run()
            })
            .map_err(|error| {
                Fail::from(CatalogError::Failed {
                    detail: format!("no thread for the catalogue: {error}"),
                })
            })?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs `work` in a transaction and answers once that is committed.
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
            durability,
            work: Some(work),
            outcome: None,
            reply,
        });
        let queued = match &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(queue) => queue.send(job).is_ok(),
            None => false,
        };
        if !queued {
            return Err(stopped());
        }
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Finishes what was asked for, closes the connection and waits for that.
    pub(crate) fn stop(&self) {
        drop(
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if let Some(thread) = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            && thread.join().is_err()
        {
            tracing::error!("the catalogue's writer stopped in a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn stopped() -> CatalogError {
    CatalogError::Failed {
        detail: "the catalogue's writer has stopped".into(),
    }
}

struct Loop {
    conn: Connection,
    key: Arc<CatalogKey>,
    waiting: Receiver<Box<dyn Job>>,
    /// Whether the engine now waits for the disk at each commit; `None`: not known.
    full: Option<bool>,
    /// Whether something is committed that no wait for the disk has covered. What an earlier process left may be.
    unsynced: bool,
    /// The engine's number for what other processes have written.
    seen: i64,
    since_checkpoint: usize,
    /// Why nothing is written any more.
    broken: Option<String>,
}

impl Loop {
    fn run(mut self) {
        while let Ok(first) = self.waiting.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = self.waiting.try_recv()
            {
                batch.push(next);
            }
            self.since_checkpoint += batch.len();
            let committed = self.transact(&mut batch);
            for job in batch {
                job.answer(&committed);
            }
            if self.since_checkpoint >= CHECKPOINT {
                self.checkpoint();
            }
        }
    }

    /// Runs all requests in one transaction. An error is everybody's.
    fn transact(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), CatalogError> {
        if let Some(detail) = &self.broken {
            return Err(CatalogError::Failed {
                detail: detail.clone(),
            });
        }
        let full = batch.iter().any(|job| job.durability() == Durability::Now);
        match self.attempt(batch, full) {
            Ok(()) => {
                self.unsynced = !full;
                Ok(())
            }
            Err(fail) => {
                if !self.conn.is_autocommit()
                    && let Err(error) = self.conn.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "the catalogue could not roll back");
                    self.broken = Some(format!(
                        "a transaction could be neither committed nor rolled back: {error}"
                    ));
                }
                self.note(&fail);
                Err(fail.into())
            }
        }
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Job>], full: bool) -> Outcome<()> {
        self.set_full(full)?;
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let seen: i64 = self
            .conn
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if seen != self.seen {
            (self.seen, self.unsynced) = (seen, true);
        }
        let tail = Cell::new(None);
        // Requests of this very transaction wait for the disk by its own commit, but a lone `sync` has written nothing.
        let tx = Tx {
            view: View {
                conn: &self.conn,
                key: &self.key,
            },
            tail: &tail,
            unsynced: self.unsynced,
        };
        for job in batch {
            self.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
            let outcome = job.run(&tx);
            if self.conn.is_autocommit() {
                // Some failures make the engine roll everything back. Going on would commit each statement by itself.
                return Err(outcome
                    .err()
                    .unwrap_or_else(|| CatalogError::Failed {
                        detail: "the engine rolled back".into(),
                    })
                    .into());
            }
            if outcome.is_err() {
                self.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
                tail.set(None);
            }
            self.conn.prepare_cached("RELEASE job")?.execute([])?;
        }
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// With FULL the engine waits for the disk at each commit, with NORMAL only at checkpoints; after a kill both are whole.
    fn set_full(&mut self, full: bool) -> Outcome<()> {
        if self.full != Some(full) {
            self.full = None;
            self.conn.execute_batch(if full {
                "PRAGMA synchronous = FULL"
            } else {
                "PRAGMA synchronous = NORMAL"
            })?;
            self.full = Some(full);
        }
        Ok(())
    }

    /// Moves what is in the log into the database file, as far as readers allow.
    fn checkpoint(&mut self) {
        self.since_checkpoint = 0;
        let outcome = self
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = outcome {
            tracing::warn!(%error, "the catalogue's log could not be moved into its file");
            self.note(&error.into());
        }
    }

    /// After a failed wait for the disk the kernel forgets what it could not write, and the next wait would say that all is
    /// well. So nothing more is promised.
    fn note(&mut self, fail: &Fail) {
        if fail.unconfirmed && self.broken.is_none() {
            tracing::error!(error = %fail.error, "the disk did not confirm what the catalogue wrote; it takes no more writes");
            self.broken = Some(format!(
                "the disk did not confirm an earlier write ({}); the catalogue must be opened again",
                fail.error
            ));
        }
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
        Writer::start(conn, Arc::new(key)).unwrap()
    }

    async fn count(writer: &Writer) -> i64 {
        let count = |tx: &Tx<'_>| {
            Ok(tx
                .conn()
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
        };
        writer.write(Durability::Soon, count).await.unwrap()
    }

    /// Requests that are there before the thread takes them up share a transaction; only the refused one is undone.
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
        let (first, second, third) = tokio::join!(insert(true), insert(false), insert(true));
        first.unwrap();
        third.unwrap();
        assert!(matches!(second, Err(CatalogError::Exists)));
        assert_eq!(count(&writer).await, 2);
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
        let (small, large) = tokio::join!(insert(10), insert(1_000_000));
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
