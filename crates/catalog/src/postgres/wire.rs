//! [`Wire`]: the line of one connection, driven by whoever waits for an answer on it.
//!
//! The usual way, a task that does nothing else, costs each request a change of thread before it is sent. Here the one who asks sends
//! and reads by itself, and the task is there for the rest: what comes late, what nobody waits for, and the end of the
//! connection while nobody asks.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::task::JoinHandle;
use tokio_postgres::Socket;

use super::tls::Encrypted;

type Line = tokio_postgres::Connection<Socket, Encrypted<Socket>>;

/// One connection's line. It ends when this is dropped, and with it what was begun on it and not committed.
pub(super) struct Wire {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    /// `None` once it has come to its end: whoever still waits for an answer on it has been told.
    line: Mutex<Option<Line>>,
    /// Whether somebody who waits for an answer drives it. The line wakes whoever looked at it last, so meanwhile the task must not.
    asked: AtomicBool,
    /// The task, which goes on when `asked` ends.
    task: AtomicWaker,
}

impl Shared {
    /// Sends what is to be sent and reads what has come; whether the line goes on.
    fn go_on(&self, context: &mut Context<'_>) -> bool {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driven) = line.as_mut()
            && Pin::new(driven).poll(context).is_ready()
        {
            // What went wrong is told to whoever waits for an answer.
            *line = None;
        }
        line.is_some()
    }
}

impl Wire {
    pub(super) fn new(line: Line) -> Self {
        let shared = Arc::new(Shared {
            line: Mutex::new(Some(line)),
            asked: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        let driven = Arc::clone(&shared);
        let task = tokio::spawn(std::future::poll_fn(move |context| {
            // Before the flag is looked at, so that its end is not missed.
            driven.task.register(context.waker());
            match driven.asked.load(Ordering::SeqCst) || driven.go_on(context) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        }));
        Self { shared, task }
    }

    /// Waits for what was asked on this line, and drives the line meanwhile. For one at a time.
    pub(super) async fn drive<T>(&self, answer: impl Future<Output = T>) -> T {
        self.shared.asked.store(true, Ordering::SeqCst);
        let _back = HandBack(&self.shared);
        let mut answer = pin!(answer);
        std::future::poll_fn(|context| {
            // First, so that what is asked wakes nobody but us.
            self.shared.go_on(context);
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            self.shared.go_on(context);
            Poll::Pending
        })
        .await
    }
}

/// Gives the line back to its task, also where whoever waited went away.
struct HandBack<'a>(&'a Shared);

impl Drop for HandBack<'_> {
    fn drop(&mut self) {
        self.0.asked.store(false, Ordering::SeqCst);
        self.0.task.wake();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
        *self
            .shared
            .line
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}
