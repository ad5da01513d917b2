//! A request that breaks off in the middle, to see what a server makes of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// Half of what it promises, and then nothing more.
pub(super) struct HalfABody {
    data: Option<Bytes>,
    len: u64,
}

impl HalfABody {
    pub(super) fn new(half: Bytes) -> Self {
        Self {
            len: 2 * half.len() as u64,
            data: Some(half),
        }
    }
}

impl hyper::body::Body for HalfABody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.data.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            // Whoever waits for this has a time limit.
            None => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}
