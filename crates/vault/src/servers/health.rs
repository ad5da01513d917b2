//! How a server has answered so far: how quickly, and whether it does at all.
//!
//! A server is **well**, **lagging** or **open** (its circuit breaker is). A lagging one has let somebody wait so long that
//! another server was asked in its place: it is asked last, and no save waits for it. An open one has let requests go
//! unanswered: what can do without it fails at once. Neither gets well by itself: after a back-off that grows with each
//! failure, one small request is let through that nobody waits for, and a quick answer to it, or to any other request, is what
//! it takes. A server that answers and refuses, or answers that it doesn't have a share, answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::seam::store::StoreErrorKind;

/// Requests that move no more than this count as small: their time says nothing of the bandwidth.
const SMALL: u64 = 16 << 10;

/// How long the answer of a server of which nothing is known is waited for before a spare is asked.
pub(crate) const FIRST_HEDGE: Duration = Duration::from_millis(250);

/// A spare is asked no earlier than this: a scheduler's hiccup is no lag.
const LEAST_HEDGE: Duration = Duration::from_millis(20);

/// So many requests in a row without an answer open the breaker; one that took this long without one does at once.
const FAILURES: u32 = 3;
const LONG: Duration = Duration::from_secs(1);

/// The back-off before a probe: the first, and the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// A server that is in trouble again this soon after it got well goes on with the back-off where it was: it flaps.
const FLAPPING: Duration = Duration::from_secs(60);

/// A server that gave this many bad shares in a row is asked after the others for a while.
const BAD_SHARES: u32 = 2;
const SHUNNED: Duration = Duration::from_secs(30);

/// What a request moves, by which its time is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A share, read.
    Read(u64),
    /// A share, written.
    Write(u64),
    /// Anything else.
    Other,
}

/// How a server is for the time being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// It answers in the time that it usually takes.
    Closed,
    /// It answers, and let somebody wait for too long: asked last until a probe is answered quickly.
    Lagging,
    /// It does not answer: what can do without it does not ask it.
    Open,
    /// It did not answer, and a request is under way that finds out whether it does again.
    HalfOpen,
}

/// A quantity by its smoothed mean and mean deviation, as TCP knows its round trips (RFC 6298).
#[derive(Clone, Copy, Debug, Default)]
struct Smoothed {
    mean: f64,
    deviation: f64,
    samples: u32,
}

impl Smoothed {
    fn observe(&mut self, sample: f64) {
        if self.samples == 0 {
            (self.mean, self.deviation, self.samples) = (sample, sample / 2.0, 1);
            return;
        }
        // One answer out of all proportion tells little about the next. If it was no exception, the following ones double
        // the estimate each time until it fits.
        let sample = sample.min(2.0 * (self.mean + 4.0 * self.deviation));
        self.samples = (self.samples + 1).min(16);
        let weight = 1.0 / f64::from(self.samples);
        self.deviation += ((sample - self.mean).abs() - self.deviation) * weight;
        self.mean += (sample - self.mean) * weight;
    }

    fn known(self) -> Option<Self> {
        (self.samples > 0).then_some(self)
    }
}

/// How long requests of one direction take: a part for each request, and a part for each byte of it. In seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    request: Smoothed,
    byte: Smoothed,
}

impl Speed {
    fn observe(&mut self, len: u64, took: Duration) {
        let took = took.as_secs_f64();
        if len <= SMALL {
            self.request.observe(took);
        } else {
            self.byte
                .observe((took - self.request.mean).max(0.0) / len as f64);
        }
    }

    /// The mean and the deviation for so many bytes, once something is known of such requests.
    fn of(&self, len: u64) -> Option<(f64, f64)> {
        if len <= SMALL {
            let request = self.request.known()?;
            return Some((request.mean, request.deviation));
        }
        let byte = self.byte.known()?;
        Some((
            self.request.mean + byte.mean * len as f64,
            self.request.deviation + byte.deviation * len as f64,
        ))
    }
}

/// What is known of how a server answers.
pub(crate) struct Health {
    known: Mutex<Known>,
    /// Spreads the probes of many machines, which would otherwise all come at the moment a server does.
    jitter: std::hash::RandomState,
}

#[derive(Debug, Default)]
struct Known {
    read: Speed,
    write: Speed,
    other: Smoothed,
    standing: Standing,
    /// Requests without an answer, in a row.
    failures: u32,
    /// The exponent of the back-off.
    level: u32,
    probe_at: Option<Instant>,
    probing: bool,
    /// When it last got well.
    well_since: Option<Instant>,
    last_success: Option<Instant>,
    last_failure: Option<(Instant, String)>,
    bad_shares: u32,
    shunned_until: Option<Instant>,
    /// Why the last thing that was to be stored was refused.
    refused_write: Option<(StoreErrorKind, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Standing {
    #[default]
    Well,
    /// An answer within this time ends it.
    Lagging {
        limit: Duration,
    },
    Open,
}

/// What people are told of a server's answers.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) breaker: Breaker,
    pub(crate) latency: Option<Duration>,
    pub(crate) last_success: Option<Instant>,
    pub(crate) last_failure: Option<(Instant, String)>,
}

/// Where a server stands in the order of asking: those that are well first, and among them the quickest.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Rank(u8, f64);

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::default(),
            jitter: std::hash::RandomState::new(),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has answered.
    pub(crate) fn answered(&self, kind: Kind, took: Duration) {
        let now = Instant::now();
        let mut known = self.known();
        known.last_success = Some(now);
        let usual = match kind {
            Kind::Read(len) => {
                known.read.observe(len, took);
                known.read.of(len)
            }
            Kind::Write(len) => {
                known.refused_write = None;
                known.write.observe(len, took);
                known.write.of(len)
            }
            Kind::Other => {
                known.other.observe(took.as_secs_f64());
                None
            }
        };
        known.heard(now, took, usual);
    }

    /// The server has answered that it cannot or may not store what it was sent.
    pub(crate) fn refused_write(&self, kind: StoreErrorKind, why: &str) {
        self.known().refused_write = Some((kind, why.to_owned()));
    }

    /// Why the server stores nothing, as far as the last attempt told.
    pub(crate) fn refuses_writes(&self) -> Option<(StoreErrorKind, String)> {
        self.known().refused_write.clone()
    }

    /// The server has answered that it cannot or may not. It answers, then; but how quickly it does what it does says nothing.
    pub(crate) fn refused(&self, took: Duration, why: &str) {
        let now = Instant::now();
        let mut known = self.known();
        known.last_failure = Some((now, why.to_owned()));
        known.heard(now, took, None);
    }

    /// A request got no answer.
    pub(crate) fn unanswered(&self, took: Duration, why: &str) {
        let now = Instant::now();
        let mut known = self.known();
        known.last_failure = Some((now, why.to_owned()));
        known.failures = known.failures.saturating_add(1);
        if known.standing != Standing::Open && (known.failures >= FAILURES || took >= LONG) {
            let was_well = known.standing == Standing::Well;
            known.standing = Standing::Open;
            self.back_off(&mut known, now, was_well);
        }
    }

    /// Somebody gave up waiting for this server after `waited`, because others were quicker. It may still answer.
    pub(crate) fn overtaken(&self, limit: Duration) {
        let now = Instant::now();
        let mut known = self.known();
        if known.standing == Standing::Well {
            let limit = limit.max(FIRST_HEDGE);
            known.standing = Standing::Lagging { limit };
            self.back_off(&mut known, now, true);
        }
    }

    fn back_off(&self, known: &mut Known, now: Instant, was_well: bool) {
        if was_well {
            let flaps = known.well_since.is_some_and(|since| now - since < FLAPPING);
            known.level = if flaps { known.level + 1 } else { 0 };
        }
        let pause = FIRST_BACKOFF
            .saturating_mul(1 << known.level.min(8))
            .min(LONGEST_BACKOFF);
        let draw = std::hash::BuildHasher::hash_one(&self.jitter, (known.level, known.failures));
        // From 80 to 120 per cent.
        let percent = 80 + u32::try_from(draw % 41).unwrap_or(20);
        known.probe_at = Some(now + pause * percent / 100);
    }

    /// Whether it is time for the one request that finds out whether the server is well again. Whoever is told so makes it, and
    /// says when it has ended.
    pub(crate) fn probe_is_due(&self) -> bool {
        let mut known = self.known();
        let due = known.standing != Standing::Well
            && !known.probing
            && known.probe_at.is_none_or(|at| at <= Instant::now());
        known.probing |= due;
        due
    }

    /// The probe has ended, and what came of it has been noted.
    pub(crate) fn probed(&self) {
        let now = Instant::now();
        let mut known = self.known();
        known.probing = false;
        if known.standing != Standing::Well {
            known.level = known.level.saturating_add(1);
            self.back_off(&mut known, now, false);
        }
    }

    /// A share from this server was bad.
    pub(crate) fn bad_share(&self) {
        let mut known = self.known();
        known.bad_shares = known.bad_shares.saturating_add(1);
        if known.bad_shares >= BAD_SHARES {
            known.shunned_until = Some(Instant::now() + SHUNNED);
        }
    }

    /// A share from this server was good.
    pub(crate) fn good_share(&self) {
        let mut known = self.known();
        (known.bad_shares, known.shunned_until) = (0, None);
    }

    /// Where the server stands among those to be asked for so many bytes. One of which nothing is known goes before the
    /// others, so that it becomes known: the spare covers it.
    pub(crate) fn rank(&self, len: u64) -> Rank {
        let known = self.known();
        let shunned = known
            .shunned_until
            .is_some_and(|until| until > Instant::now());
        let group = match known.standing {
            Standing::Well => u8::from(shunned),
            Standing::Lagging { .. } => 2,
            Standing::Open => 3,
        };
        Rank(group, known.read.of(len).map_or(0.0, |(mean, _)| mean))
    }

    /// When a spare is to be asked beside this server, which was asked for so many bytes: later than nearly all its answers
    /// come.
    pub(crate) fn hedge_after(&self, len: u64) -> Duration {
        match self.known().read.of(len) {
            None => FIRST_HEDGE,
            Some((mean, deviation)) => {
                let most = mean * 3.0 + FIRST_HEDGE.as_secs_f64();
                Duration::from_secs_f64((mean + 4.0 * deviation).min(most)).max(LEAST_HEDGE)
            }
        }
    }

    /// How long writing so many bytes usually takes, and within what time nearly all such writes end.
    pub(crate) fn usual_write(&self, len: u64) -> Option<(Duration, Duration)> {
        let (mean, deviation) = self.known().write.of(len)?;
        let second = Duration::from_secs_f64;
        Some((second(mean), second(mean + 4.0 * deviation)))
    }

    pub(crate) fn is_well(&self) -> bool {
        self.known().standing == Standing::Well
    }

    pub(crate) fn is_open(&self) -> bool {
        self.known().standing == Standing::Open
    }

    pub(crate) fn record(&self) -> Record {
        let known = self.known();
        let latency = known.read.request.known().or(known.other.known());
        Record {
            breaker: match known.standing {
                Standing::Well => Breaker::Closed,
                Standing::Lagging { .. } => Breaker::Lagging,
                Standing::Open if known.probing => Breaker::HalfOpen,
                Standing::Open => Breaker::Open,
            },
            latency: latency.map(|known| Duration::from_secs_f64(known.mean)),
            last_success: known.last_success,
            last_failure: known.last_failure.clone(),
        }
    }
}

impl Known {
    /// `usual` is what such an answer usually takes, as far as this one did not change it for good.
    fn heard(&mut self, now: Instant, took: Duration, usual: Option<(f64, f64)>) {
        self.failures = 0;
        let limit = match self.standing {
            Standing::Well => return,
            Standing::Lagging { limit } => limit,
            Standing::Open => FIRST_HEDGE,
        };
        // A laggard that is quick at other things in between, such as writes, stays one until its back-off is over.
        let waits = self.standing != Standing::Open && self.probe_at.is_some_and(|at| at > now);
        let quick =
            !waits && (took <= limit || usual.is_some_and(|(mean, _)| took.as_secs_f64() <= mean));
        if quick {
            self.standing = Standing::Well;
            self.well_since = Some(now);
        } else if self.standing == Standing::Open {
            self.standing = Standing::Lagging { limit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn told(health: &Health) -> Breaker {
        health.record().breaker
    }

    #[test]
    fn one_wild_sample_moves_an_estimate_little_and_several_move_it_all_the_way() {
        let mut speed = Speed::default();
        (0..50).for_each(|_| speed.observe(100, 10 * MS));
        speed.observe(100, Duration::from_secs(10));
        let (mean, deviation) = speed.of(100).unwrap();
        assert!(mean + 4.0 * deviation < 0.1, "{mean} {deviation}");
        (0..60).for_each(|_| speed.observe(100, Duration::from_secs(1)));
        let (mean, _) = speed.of(100).unwrap();
        assert!(mean > 0.9, "{mean}");
    }

    #[test]
    fn the_time_for_a_request_is_told_from_the_time_for_its_bytes() {
        let mut speed = Speed::default();
        assert!(speed.of(100).is_none() && speed.of(1 << 20).is_none());
        for _ in 0..40 {
            speed.observe(200, 20 * MS);
            speed.observe(1 << 20, 120 * MS);
        }
        assert!((speed.of(4 << 20).unwrap().0 - 0.42).abs() < 0.01);
        assert!((speed.of(4096).unwrap().0 - 0.02).abs() < 0.001);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spare_is_asked_neither_too_early_nor_too_late() {
        let health = Health::new();
        assert_eq!(health.hedge_after(100), FIRST_HEDGE);
        health.answered(Kind::Read(100), MS);
        assert_eq!(health.hedge_after(100), LEAST_HEDGE);
        assert_eq!(
            health.hedge_after(1 << 20),
            FIRST_HEDGE,
            "of large ones nothing is known yet"
        );
        (0..40).for_each(|turn| health.answered(Kind::Read(100), (40 + turn % 5) * MS));
        let after = health.hedge_after(100);
        assert!(after > 44 * MS && after < 100 * MS, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_opens_after_three_failures_or_a_long_one_and_lets_one_probe_through() {
        let health = Health::new();
        health.unanswered(MS, "gone");
        health.unanswered(MS, "gone");
        health.answered(Kind::Other, MS);
        health.unanswered(MS, "gone");
        health.unanswered(MS, "gone");
        assert_eq!(told(&health), Breaker::Closed, "an answer between counts");
        health.unanswered(MS, "gone");
        assert_eq!(told(&health), Breaker::Open);
        assert!(!health.probe_is_due(), "not before the back-off");
        tokio::time::advance(FIRST_BACKOFF * 2).await;
        assert!(health.probe_is_due());
        assert!(!health.probe_is_due(), "one only");
        assert_eq!(told(&health), Breaker::HalfOpen);
        health.answered(Kind::Other, MS);
        health.probed();
        assert_eq!(told(&health), Breaker::Closed);
        health.unanswered(LONG, "timed out");
        assert_eq!(told(&health), Breaker::Open);
        assert_eq!(health.record().last_failure.unwrap().1, "timed out");
    }

    #[tokio::test(start_paused = true)]
    async fn back_offs_grow_to_a_limit_also_for_one_that_flaps_and_start_anew_for_one_that_stayed_well()
     {
        let health = Health::new();
        let wait = async |health: &Health| {
            let begin = Instant::now();
            while !health.probe_is_due() {
                tokio::time::sleep(10 * MS).await;
            }
            begin.elapsed()
        };
        health.unanswered(LONG, "");
        let mut last = Duration::ZERO;
        for turn in 0..8 {
            let waited = wait(&health).await;
            assert!(waited <= LONGEST_BACKOFF * 12 / 10 + 20 * MS, "{waited:?}");
            assert!(turn > 4 || waited > last, "{waited:?} after {last:?}");
            last = waited;
            health.unanswered(MS, "");
            health.probed();
        }
        // It flaps.
        health.answered(Kind::Other, MS);
        health.unanswered(LONG, "");
        assert!(wait(&health).await > Duration::from_secs(20));
        health.answered(Kind::Other, MS);
        health.probed();
        tokio::time::advance(FLAPPING).await;
        health.unanswered(LONG, "");
        assert!(wait(&health).await < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_laggard_is_asked_last_until_it_answers_quickly() {
        let (one, other) = (Health::new(), Health::new());
        one.answered(Kind::Read(100), MS);
        other.answered(Kind::Read(100), 50 * MS);
        assert!(one.rank(100) < other.rank(100));
        one.overtaken(20 * MS);
        assert!(one.rank(100) > other.rank(100));
        one.answered(Kind::Read(100), Duration::from_secs(10));
        assert_eq!(told(&one), Breaker::Lagging, "ten seconds are not quick");
        one.answered(Kind::Other, 30 * MS);
        assert_eq!(
            told(&one),
            Breaker::Lagging,
            "not before its back-off is over"
        );
        tokio::time::advance(FIRST_BACKOFF * 2).await;
        one.answered(Kind::Other, 30 * MS);
        assert_eq!(told(&one), Breaker::Closed);
        // An open one that answers slowly is only lagging then.
        one.unanswered(LONG, "");
        one.answered(Kind::Other, Duration::from_secs(2));
        assert_eq!(told(&one), Breaker::Lagging);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_of_bad_shares_goes_behind_for_a_while() {
        let (liar, slow) = (Health::new(), Health::new());
        liar.answered(Kind::Read(100), MS);
        slow.answered(Kind::Read(100), 50 * MS);
        (0..BAD_SHARES).for_each(|_| liar.bad_share());
        assert!(liar.rank(100) > slow.rank(100));
        tokio::time::advance(SHUNNED + MS).await;
        assert!(liar.rank(100) < slow.rank(100));
        (0..BAD_SHARES).for_each(|_| liar.bad_share());
        liar.good_share();
        assert!(liar.rank(100) < slow.rank(100));
    }
}
