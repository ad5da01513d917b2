//! Taking part: what a mounted drive tells the others of itself, and hears of them.
//!
//! A drive [joins](Vault::join) for as long as it is mounted. Its lease is renewed in the background, and counted from the moment at which
//! the renewal was *sent*, by a clock that goes on while the machine sleeps: so it never takes its locks to be good for longer than
//! the catalogue does.

mod feed;
mod holds;
mod locks;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;

pub use feed::{Feed, Heard};
pub(crate) use holds::Held;

use self::holds::Holds;
use self::locks::Locks;
use crate::context::Context;
use crate::error::Result;
use crate::node::NodeId;
use crate::seam::sessions::{Hold, Session, SessionInfo, Sessions};
use crate::vault::{Inner, Vault, lock};

/// How soon a renewal that got no answer is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a vault that has joined knows of its session.
#[derive(Debug)]
pub(crate) struct Joined {
    info: SessionInfo,
    lease: Duration,
    /// When the renewal was sent that was granted last, as the clock's uptime.
    renewed: Mutex<Duration>,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
    others: AtomicBool,
    /// Whether it does what one of all has to do.
    first: AtomicBool,
    locks: Locks,
    holds: Holds,
    /// Where the notices begin.
    position: AtomicU64,
    /// Whether the session was begun anew, so that notices were missed.
    begun_anew: AtomicBool,
    /// Whether a session that was to be begun anew has not been yet, with all that belongs to it.
    unfinished: AtomicBool,
    /// Tells that a lock of this session was taken away.
    unlocked: Notify,
}

impl Vault {
    /// Takes part in what all drives of the vault share: their changes, their locks and what they hold open. Returns whether there
    /// is anything to take part in: not where only one process can have the catalogue, and not while the vault may not be changed
    /// because somebody has to decide about a rebuild. Joining twice does nothing.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn join(&self, ctx: &Context, place: &str) -> Result<bool> {
        let inner = &self.inner;
        let Some(sessions) = inner.catalog.sessions().filter(|_| !inner.undecided) else {
            return Ok(false);
        };
        if inner.joined().is_some() {
            return Ok(true);
        }
        let info = SessionInfo {
            actor: ctx.actor.clone(),
            host: ctx.host.clone(),
            place: place.to_owned(),
            pid: std::process::id(),
            since: inner.clock.now(),
        };
        let lease = inner.options.session_lease;
        let sent = inner.clock.uptime();
        let position = sessions.begin_session(&info, lease).await?;
        let renewed = sessions.renew_session(lease).await?;
        let joined = Arc::new(Joined {
            info,
            lease,
            renewed: Mutex::new(sent),
            renewing: tokio::sync::Mutex::default(),
            others: AtomicBool::new(renewed.others),
            first: AtomicBool::new(renewed.first),
            locks: Locks::default(),
            holds: Holds::default(),
            position: AtomicU64::new(position),
            begun_anew: AtomicBool::new(false),
            unfinished: AtomicBool::new(false),
            unlocked: Notify::new(),
        });
        if inner.session.set(Arc::clone(&joined)).is_ok() {
            tokio::spawn(keep_alive(Arc::downgrade(inner), Arc::clone(&joined)));
            tokio::spawn(holds::publish(Arc::downgrade(inner), joined));
        }
        Ok(true)
    }

    /// Whether the vault has [joined](Self::join).
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.inner.joined().is_some()
    }

    /// Ends the session, with its locks. [`shutdown`](Self::shutdown) does it too.
    ///
    /// # Errors
    /// Errors of the catalogue: then it ends with its lease.
    pub async fn leave(&self) -> Result<()> {
        self.inner.leave().await
    }

    /// The drives that are mounted, what they hold open and what they have locked. Empty where nothing is shared.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn present(&self) -> Result<Vec<Session>> {
        Ok(match self.inner.catalog.sessions() {
            Some(sessions) => sessions.present().await?,
            None => Vec::new(),
        })
    }

    /// Who has a file open for writing, on whatever machine, the oldest first. What was opened or closed in the last tenth of a second may
    /// not show.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn holders(&self, node: NodeId) -> Result<Vec<(SessionInfo, Hold)>> {
        Ok(match self.inner.catalog.sessions() {
            Some(sessions) => sessions.holders(node).await?,
            None => Vec::new(),
        })
    }
}

impl Inner {
    /// The session, and the part of the catalogue that it is in.
    pub(crate) fn joined(&self) -> Option<(&Arc<Joined>, &dyn Sessions)> {
        let sessions = self.catalog.sessions()?;
        Some((self.session.get()?, sessions))
    }

    /// Whether it is this process that does for all what one of them has to do: while it is not mounted, everybody is.
    pub(crate) fn is_first(&self) -> bool {
        let joined = self.joined();
        joined.is_none_or(|(joined, _)| joined.first.load(Ordering::Acquire))
    }

    pub(crate) async fn leave(&self) -> Result<()> {
        match self.joined() {
            Some((_, sessions)) => Ok(sessions.end_session().await?),
            None => Ok(()),
        }
    }

    /// Renews the lease now. What was lost with it is known when this returns.
    async fn renew(&self, joined: &Joined, sessions: &dyn Sessions) -> Result<()> {
        let _one = joined.renewing.lock().await;
        let sent = self.clock.uptime();
        let renewed = sessions.renew_session(joined.lease).await?;
        joined.others.store(renewed.others, Ordering::Release);
        joined.first.store(renewed.first, Ordering::Release);
        if renewed.kept && !joined.unfinished.load(Ordering::Acquire) {
            *lock(&joined.renewed) = sent;
            return self.take_away(joined, sessions).await;
        }
        tracing::warn!(
            "this machine did not show itself for so long that its locks ended: what others have taken meanwhile is lost"
        );
        self.begin_anew(joined, sessions).await
    }

    /// The lease had ended: begins a session once more, with what nobody has taken meanwhile.
    async fn begin_anew(&self, joined: &Joined, sessions: &dyn Sessions) -> Result<()> {
        // Before anything else: from here on nobody trusts a lock that is not had again. A beginning that was made and got no answer is
        // made once more.
        joined.unfinished.store(true, Ordering::Release);
        let before = joined.locks.lose_all();
        let sent = self.clock.uptime();
        let position = sessions.begin_session(&joined.info, joined.lease).await?;
        joined.position.store(position, Ordering::Release);
        joined.begun_anew.store(true, Ordering::Release);
        *lock(&joined.renewed) = sent;
        joined.holds.publish_anew();
        for (node, locks) in before {
            self.have_again(joined, sessions, node, locks).await?;
        }
        joined.locks.begun();
        joined.unfinished.store(false, Ordering::Release);
        Ok(())
    }
}

/// Renews the lease as long as the vault lives.
async fn keep_alive(vault: Weak<Inner>, joined: Arc<Joined>) {
    let mut pause = joined.lease / 3;
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = vault.upgrade().filter(|inner| !inner.has_left()) else {
            return;
        };
        let Some((_, sessions)) = inner.joined() else {
            return;
        };
        pause = match inner.renew(&joined, sessions).await {
            Ok(()) => joined.lease / 3,
            Err(error) => {
                tracing::warn!(error = %error.facts(), "this drive could not show itself to the others; trying again");
                AGAIN.min(joined.lease / 3)
            }
        };
    }
}
