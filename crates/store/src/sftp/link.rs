//! The way to a server: made when it is needed, shared by all, and made anew when it broke.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::root::Root;
use super::{Options, ssh};
use crate::error::OpenError;
use crate::layout::Mark;
use crate::spec::StoreSpec;
use crate::url::SftpUrl;

/// After a failure the server is left alone for so long, then for twice as long, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Link {
    pub url: SftpUrl,
    spec: StoreSpec,
    options: Options,
    now: Mutex<Now>,
    /// Held by whoever makes the connection; the others wait for the result.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Now {
    root: Option<Arc<Root>>,
    /// The store that was first opened here; another one is not taken in its stead.
    mark: Option<Mark>,
    failed: Option<Failed>,
}

struct Failed {
    times: u32,
    until: Instant,
    kind: StoreErrorKind,
    detail: String,
}

impl Link {
    pub fn new(url: SftpUrl, spec: StoreSpec, options: Options, root: Option<Root>) -> Self {
        let mark = root.as_ref().map(|root| root.mark.clone());
        Self {
            url,
            spec,
            options,
            now: Mutex::new(Now {
                root: root.map(Arc::new),
                mark,
                failed: None,
            }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Option<Result<Arc<Root>, StoreError>> {
        let now = self.now();
        if let Some(root) = now.root.as_ref().filter(|root| !root.session.is_over()) {
            return Some(Ok(Arc::clone(root)));
        }
        let failed = now.failed.as_ref()?;
        // Who asks again at once hears the same again, without waiting.
        (Instant::now() < failed.until)
            .then(|| Err(StoreError::new(failed.kind, failed.detail.clone())))
    }

    /// The store, over the connection that stands or a new one.
    pub async fn root(&self) -> Result<Arc<Root>, StoreError> {
        if let Some(standing) = self.standing() {
            return standing;
        }
        let _turn = self.turn.lock().await;
        if let Some(standing) = self.standing() {
            return standing;
        }
        let opened = async {
            let session = ssh::connect(&self.url, &self.spec, self.options).await?;
            Root::open(session, &self.url).await
        };
        match opened.await {
            Ok(root) => {
                let mut now = self.now();
                if now.mark.as_ref().is_some_and(|mark| *mark != root.mark) {
                    let detail = format!("{} is not the store that was opened", self.url);
                    return Err(self.note(&mut now, StoreErrorKind::NoAnswer, detail));
                }
                let root = Arc::new(root);
                now.mark.get_or_insert_with(|| root.mark.clone());
                now.root = Some(Arc::clone(&root));
                now.failed = None;
                drop(now);
                tracing::info!(store = %self.url, "connected");
                let sweeping = Arc::clone(&root);
                tokio::spawn(async move { sweeping.sweep(super::now_secs()).await });
                Ok(root)
            }
            Err(error) => {
                tracing::debug!(store = %self.url, %error, "not connected");
                let kind = kind_of(&error);
                Err(self.note(&mut self.now(), kind, error.to_string()))
            }
        }
    }

    fn note(&self, now: &mut Now, kind: StoreErrorKind, detail: String) -> StoreError {
        let times = now
            .failed
            .as_ref()
            .map_or(0, |failed| failed.times.saturating_add(1));
        let pause = SHORTEST_PAUSE
            .saturating_mul(2_u32.saturating_pow(times.min(8)))
            .min(LONGEST_PAUSE);
        now.root = None;
        now.failed = Some(Failed {
            times,
            until: Instant::now() + pause,
            kind,
            detail: detail.clone(),
        });
        StoreError::new(kind, detail)
    }
}

/// What it means to a request that the store cannot be reached. A server that we do not take for the right one has not answered.
fn kind_of(error: &OpenError) -> StoreErrorKind {
    match error {
        OpenError::Login { .. } => StoreErrorKind::Denied,
        OpenError::Newer { .. } => StoreErrorKind::Failed,
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            StoreErrorKind::Denied
        }
        _ => StoreErrorKind::NoAnswer,
    }
}
