//! Whether a server shows parts of objects: found out by sending one by half.
//!
//! That nothing shows is worth something only when the half has arrived. No answer says so, and on a slow line it may lie in our own kernel
//! for seconds. So the same bytes are sent as a whole file first, which is answered when they have arrived; then the half has three times as long.
//! Whatever else happens is no result: the trial is repeated another time, and until then the server counts as one that shows parts.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Instant;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::super::http::{HttpError, object_limit};
use super::super::names::TMP;
use super::super::service::Service as _;
use super::listing::TRIED;
use super::{Placing, Webdav};
use crate::layout::random_hex;

/// So much is sent: more than servers keep in memory before they write.
const HALF: usize = 256 << 10;
/// The half of a file is given at least so long to show.
const LEAST: Duration = Duration::from_millis(250);
/// A line on which it would take longer than this is too slow for a trial.
const MOST: Duration = Duration::from_secs(6);

impl Webdav {
    /// Whether others see an object before it is whole, or what is left when its writer dies.
    pub(super) async fn try_a_half(&self) -> Result<bool, StoreError> {
        let half = Bytes::from(vec![0; HALF]);
        let path = format!("{TMP}/{TRIED}{}", random_hex()?);
        let put = Placing::Put {
            object: &half,
            only_new: false,
        };
        let begin = Instant::now();
        self.place_at(&path, put).await?;
        let took = begin.elapsed();
        let _ = self.remove(&path).await;
        let patience = (took * 3).max(LEAST);
        if patience > MOST {
            return Err(self.no_result("the line is too slow"));
        }

        let path = format!("{TMP}/{TRIED}{}", random_hex()?);
        let (body, taken, end) = HalfABody::new(half);
        let request = self
            .request("PUT", &self.url(&path))
            .body(body.boxed())
            .map_err(|error| self.told(HttpError::Unsendable(error.to_string())))?;
        let looking = async {
            // From when the last byte of the half was handed over.
            taken
                .await
                .map_err(|_| self.no_result("the request was not sent"))?;
            let until = Instant::now() + patience;
            let mut pause = LEAST / 4;
            loop {
                tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now())))
                    .await;
                if self.shows(&path).await? {
                    return Ok(true);
                }
                if Instant::now() >= until {
                    return Ok(false);
                }
                pause *= 2;
            }
        };
        let writing = self.http.send(request, object_limit());
        tokio::pin!(writing);
        let during = tokio::select! {
            biased;
            answer = &mut writing => match answer {
                // It takes half of an object for the whole.
                Ok(reply) if reply.status.is_success() => Ok(true),
                Ok(reply) => Err(self.refused(&reply)),
                Err(error) => Err(self.told(error)),
            },
            shows = looking => shows,
        };
        // Breaks the connection off, as the death of the writer does.
        drop(end);
        let _ = tokio::time::timeout(LEAST, writing).await;
        tokio::time::sleep(took.max(LEAST / 2)).await;
        let after = self.shows(&path).await;
        let found = during? || after?;
        if found {
            let _ = self.remove(&path).await;
        }
        Ok(found)
    }

    async fn shows(&self, path: &str) -> Result<bool, StoreError> {
        match self.head(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn no_result(&self, why: &str) -> StoreError {
        StoreError::new(
            StoreErrorKind::NoAnswer,
            format!(
                "{}: whether it shows parts of objects could not be tried out: {why}",
                self.place
            ),
        )
    }
}

/// Half of what it promises, and then an error.
struct HalfABody {
    data: Option<Bytes>,
    len: u64,
    taken: Option<oneshot::Sender<()>>,
    end: oneshot::Receiver<()>,
}

impl HalfABody {
    /// The second is told when the half was handed over; the body breaks off when the third is dropped.
    fn new(half: Bytes) -> (Self, oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (taken, when_taken) = oneshot::channel();
        let (end, when_over) = oneshot::channel();
        let body = Self {
            len: 2 * half.len() as u64,
            data: Some(half),
            taken: Some(taken),
            end: when_over,
        };
        (body, when_taken, end)
    }
}

impl hyper::body::Body for HalfABody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(taken) = self.taken.take() {
            // Nobody may be waiting any more.
            let _ = taken.send(());
        }
        Pin::new(&mut self.end)
            .poll(context)
            .map(|_| Some(Err(std::io::ErrorKind::BrokenPipe.into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}
