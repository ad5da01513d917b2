//! [`Wire`]: the line of one connection, driven by whoever waits for an answer on it.
//!
//! The usual way, a task that does nothing else, costs each request two changes of thread. Here the one who asks sends and reads by
//! itself, and nobody does while nobody asks: what comes then, the answers to what nobody waited for, lies in the socket until
//! somebody asks next.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One connection's line, which comes to its end when the connection does. It ends when this is dropped, and with it what was begun on
/// it and not committed.
pub(super) struct Wire<L>(
    /// `None` once it has come to its end: whoever still waits for an answer on it has been told.
    Mutex<Option<L>>,
);

impl<L: Future + Unpin> Wire<L> {
    pub(super) const fn new(line: L) -> Self {
        Self(Mutex::new(Some(line)))
    }

    fn line(&self) -> MutexGuard<'_, Option<L>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is to be sent and reads what has come.
    fn go_on(&self, context: &mut Context<'_>) {
        let mut line = self.line();
        if let Some(driven) = line.as_mut()
            && Pin::new(driven).poll(context).is_ready()
        {
            // What went wrong is told to whoever waits for an answer.
            *line = None;
        }
    }

    /// Whether the other end is still there, as far as can be told without asking it.
    pub(super) fn is_there(&self) -> bool {
        self.go_on(&mut Context::from_waker(Waker::noop()));
        self.line().is_some()
    }

    /// Waits for what was asked on this line, and drives the line meanwhile. For one at a time.
    pub(super) async fn drive<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        std::future::poll_fn(|context| {
            // First, so that what is asked wakes nobody but us.
            self.go_on(context);
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            self.go_on(context);
            Poll::Pending
        })
        .await
    }
}
