//! The user's wish to stop: Ctrl-C, or a signal to end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Ends when the user wants the program to stop. The first call begins to listen; from then on the signals no longer kill.
pub async fn requested() {
    let mut wish = listen();
    // The teller lives as long as the program.
    let _ = wish.wait_for(|stop| *stop).await;
}

/// Whether the user wants the program to stop, as far as somebody has listened.
pub fn is_requested() -> bool {
    *listen().borrow()
}

fn listen() -> watch::Receiver<bool> {
    static WISH: std::sync::OnceLock<watch::Sender<bool>> = std::sync::OnceLock::new();
    let wish = WISH.get_or_init(|| {
        let (tell, _) = watch::channel(false);
        let told = tell.clone();
        tokio::spawn(async move {
            any_signal().await;
            told.send_replace(true);
        });
        tell
    });
    wish.subscribe()
}

async fn any_signal() {
    let (Ok(mut terminate), Ok(mut hang_up)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// A stream that fails as soon as the user wants to stop, so that whoever reads it takes back what it has begun.
pub struct Stoppable<R> {
    inner: R,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<R> Stoppable<R> {
    /// Of this stream.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            stop: Some(Box::pin(requested())),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Stoppable<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stopped = self
            .stop
            .as_mut()
            .is_none_or(|stop| stop.as_mut().poll(cx).is_ready());
        if stopped {
            self.stop = None;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::Interrupted, "stopped")));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}
