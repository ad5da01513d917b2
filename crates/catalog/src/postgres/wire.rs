//! [`Wire`]: the line of one connection, driven by whoever waits for an answer on it.
//!
//! The usual way, a task that does nothing else, costs each request a change of thread before it is sent. Here the one who asks sends
//! and reads by itself, and the task is there for the rest: what comes late, what nobody waits for, and the end of the
//! connection while nobody asks.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::task::JoinHandle;

/// One connection's line, which comes to its end when the connection does. It ends when this is dropped, and with it what was begun on
/// it and not committed.
pub(super) struct Wire<L> {
    shared: Arc<Shared<L>>,
    task: JoinHandle<()>,
}

struct Shared<L> {
    state: Mutex<State<L>>,
    /// The task, which goes on when `asked` ends.
    task: AtomicWaker,
}

struct State<L> {
    /// `None` once it has come to its end: whoever still waits for an answer on it has been told.
    line: Option<L>,
    /// Whether somebody who waits for an answer drives it. The line wakes only whoever looked at it last, so meanwhile the task must not
    /// look. Under the same lock as the line: a task that had seen nobody and looked after somebody came would be woken in their place.
    asked: bool,
}

impl<L: Future + Unpin> Shared<L> {
    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Future + Unpin> State<L> {
    /// Sends what is to be sent and reads what has come; whether the line goes on.
    fn go_on(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(line) = self.line.as_mut()
            && Pin::new(line).poll(context).is_ready()
        {
            // What went wrong is told to whoever waits for an answer.
            self.line = None;
        }
        self.line.is_some()
    }
}

impl<L: Future + Unpin + Send + 'static> Wire<L> {
    pub(super) fn new(line: L) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                line: Some(line),
                asked: false,
            }),
            task: AtomicWaker::new(),
        });
        let driven = Arc::clone(&shared);
        let task = tokio::spawn(std::future::poll_fn(move |context| {
            // Before the flag is looked at, so that its end is not missed.
            driven.task.register(context.waker());
            let mut state = driven.state();
            match state.asked || state.go_on(context) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        }));
        Self { shared, task }
    }

    /// Waits for what was asked on this line, and drives the line meanwhile. For one at a time.
    pub(super) async fn drive<T>(&self, answer: impl Future<Output = T>) -> T {
        self.shared.state().asked = true;
        let _back = HandBack(&self.shared);
        let mut answer = pin!(answer);
        std::future::poll_fn(|context| {
            // First, so that what is asked wakes nobody but us.
            self.shared.state().go_on(context);
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            self.shared.state().go_on(context);
            Poll::Pending
        })
        .await
    }
}

/// Gives the line back to its task, also where whoever waited went away.
struct HandBack<'a, L: Future + Unpin>(&'a Shared<L>);

impl<L: Future + Unpin> Drop for HandBack<'_, L> {
    fn drop(&mut self) {
        self.0.state().asked = false;
        self.0.task.wake();
    }
}

impl<L> Drop for Wire<L> {
    fn drop(&mut self) {
        self.task.abort();
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.line = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Waker;
    use std::time::{Duration, Instant};

    use super::*;

    /// A line as a socket is one: it wakes only whoever looked at it last.
    #[derive(Default)]
    struct Socket {
        asked: VecDeque<Sender<()>>,
        looked: Option<Waker>,
    }

    struct Line(Arc<Mutex<Socket>>, Sender<Sender<()>>);

    impl Future for Line {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let mut socket = self.0.lock().unwrap();
            socket.looked = Some(context.waker().clone());
            for asked in socket.asked.drain(..) {
                self.1.send(asked).unwrap();
            }
            Poll::Pending
        }
    }

    /// Answers what is sent, and wakes whoever looked last.
    fn serve(socket: Arc<Mutex<Socket>>, sent: Receiver<Sender<()>>) {
        for asked in sent {
            // Whoever gave up does not wait.
            let _ = asked.send(());
            if let Some(waker) = socket.lock().unwrap().looked.take() {
                waker.wake();
            }
        }
    }

    // As when one statement follows another: the task is told that nobody asks any more just when the next one does.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn whoever_asks_is_woken_whenever_the_task_looks() {
        let begun = Instant::now();
        let lines = (0..4).map(|_| {
            tokio::spawn(async move {
                let socket = Arc::new(Mutex::new(Socket::default()));
                let (send, sent) = channel();
                let wire = Wire::new(Line(Arc::clone(&socket), send));
                let served = Arc::clone(&socket);
                let server = std::thread::spawn(move || serve(served, sent));
                let mut count = 0;
                while begun.elapsed() < Duration::from_secs(3) {
                    let (send, answer) = channel();
                    socket.lock().unwrap().asked.push_back(send);
                    let answered = std::future::poll_fn(move |_| match answer.try_recv() {
                        Ok(()) => Poll::Ready(()),
                        Err(_) => Poll::Pending,
                    });
                    let driven =
                        tokio::time::timeout(Duration::from_secs(10), wire.drive(answered));
                    assert!(driven.await.is_ok(), "not woken after {count} answers");
                    count += 1;
                }
                drop(wire);
                server.join().unwrap();
                count
            })
        });
        for line in lines.collect::<Vec<_>>() {
            assert!(line.await.unwrap() > 100);
        }
    }
}
