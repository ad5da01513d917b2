//! [`Disk`]: waiting for the disk, on behalf of all who have to.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use warifu_vault::seam::catalog::CatalogError;

use super::{lock, stopped, thread};
use crate::error::{Fail, Outcome, repeat};

/// Why nothing is written or promised any more, once it is so.
///
/// After a failed wait for the disk the kernel forgets what it could not write, and the next wait would say that all is well.
#[derive(Default)]
pub(super) struct Broken(Mutex<Option<String>>);

impl Broken {
    pub(super) fn why(&self) -> Option<CatalogError> {
        let detail = lock(&self.0).clone()?;
        Some(CatalogError::Failed { detail })
    }

    pub(super) fn set(&self, detail: String) {
        lock(&self.0).get_or_insert(detail);
    }

    /// Takes note of a failure after which nothing can be promised; others are left to whoever asked.
    pub(super) fn note(&self, fail: &Fail) {
        if fail.unconfirmed {
            self.unconfirmed(&fail.error.to_string());
        }
    }

    fn unconfirmed(&self, error: &str) {
        tracing::error!(
            error,
            "the disk did not confirm what the catalogue wrote; it takes no more writes"
        );
        self.set(format!(
            "the disk did not confirm an earlier write ({error}); the catalogue must be opened again"
        ));
    }
}

type Reply = oneshot::Sender<Result<(), CatalogError>>;

/// The thread that waits for the disk. While it does, others go on writing, and one turn serves all who came before it began.
///
/// A checkpoint does not take away what a wait has to cover: before the log begins anew, what was in it is on disk in the
/// database file.
pub(super) struct Disk {
    /// `None` once the writer has stopped.
    queue: Mutex<Option<Sender<Reply>>>,
    has_log: bool,
}

impl Disk {
    /// A database in memory has no log, and nothing to wait for.
    pub(super) fn start(
        log: Option<File>,
        broken: Arc<Broken>,
    ) -> Outcome<(Self, Option<JoinHandle<()>>)> {
        let has_log = log.is_some();
        let (queue, waiting) = channel();
        let thread = log
            .map(|log| thread("warifu-disk", move || run(&log, &waiting, &broken)))
            .transpose()?;
        let queue = Mutex::new(has_log.then_some(queue));
        Ok((Self { queue, has_log }, thread))
    }

    /// Everything committed before this is on disk when it returns.
    pub(super) async fn sync(&self) -> Result<(), CatalogError> {
        if !self.has_log {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let asked = lock(&self.queue)
            .as_ref()
            .is_some_and(|queue| queue.send(reply).is_ok());
        if !asked {
            return Err(stopped());
        }
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    pub(super) fn stop(&self) {
        drop(lock(&self.queue).take());
    }
}

fn run(log: &File, waiting: &Receiver<Reply>, broken: &Broken) {
    while let Ok(first) = waiting.recv() {
        let mut all = vec![first];
        all.extend(waiting.try_iter());
        let outcome = match broken.why() {
            Some(error) => Err(error),
            None => log.sync_data().map_err(|error| {
                broken.unconfirmed(&error.to_string());
                CatalogError::Failed {
                    detail: format!("the disk did not confirm the catalogue's log: {error}"),
                }
            }),
        };
        for reply in all {
            // Nobody may be waiting any more.
            let _ = reply.send(outcome.as_ref().copied().map_err(repeat));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(log: File) -> (Disk, Arc<Broken>, JoinHandle<()>) {
        let broken = Arc::new(Broken::default());
        let (disk, thread) = Disk::start(Some(log), Arc::clone(&broken)).unwrap();
        (disk, broken, thread.unwrap())
    }

    #[tokio::test]
    async fn p5_a_disk_that_failed_once_is_never_believed_again() {
        // A pipe cannot be put on disk.
        let (_reader, writer) = std::io::pipe().unwrap();
        let (disk, broken, thread) = start(std::os::fd::OwnedFd::from(writer).into());
        assert!(broken.why().is_none());
        assert!(disk.sync().await.is_err());
        assert!(broken.why().is_some());
        disk.stop();
        thread.join().unwrap();

        let (disk, broken, thread) = start(tempfile::tempfile().unwrap());
        disk.sync().await.unwrap();
        broken.set("a checkpoint failed".to_owned());
        assert!(disk.sync().await.is_err());
        disk.stop();
        assert!(
            disk.sync().await.is_err(),
            "nobody waits for the disk any more"
        );
        thread.join().unwrap();
    }
}
