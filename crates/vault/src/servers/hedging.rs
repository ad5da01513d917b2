//! Asking several servers for the same thing: the quickest first, and a spare for each that fails or lags.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Server;

/// Requests under way to several servers, of which some must be answered.
///
/// When a server takes longer than nearly all its answers do, every spare that is well is asked at once: nobody knows which of
/// the others hang too, and so several that do cost no more than one of them. Among servers that are as they usually are, that
/// is rare. What is still under way when the race is dropped ends, and those overdue count as lagging.
pub(crate) struct Race<F, Request>
where
    Request: Future,
{
    ask: F,
    /// Not asked yet, the one to ask next in front.
    candidates: VecDeque<Arc<Server>>,
    requests: FuturesUnordered<Request>,
    /// When a spare is to be asked beside a request under way.
    due: Vec<(Arc<Server>, Instant)>,
    len: u64,
}

impl<F, Request, T> Race<F, Request>
where
    F: FnMut(Arc<Server>, Duration) -> Request,
    Request: Future<Output = (Arc<Server>, T)>,
{
    /// Asks the first `k` of `candidates` for so many bytes. `ask` is told after how long its server counts as lagging.
    pub(crate) fn begin(candidates: Vec<Arc<Server>>, k: usize, len: u64, ask: F) -> Self {
        let mut race = Self {
            ask,
            candidates: candidates.into(),
            requests: FuturesUnordered::new(),
            due: Vec::new(),
            len,
        };
        (0..k).for_each(|_| race.ask_another());
        race
    }

    /// Asks a further server, if there is one.
    pub(crate) fn ask_another(&mut self) {
        let Some(server) = self.candidates.pop_front() else {
            return;
        };
        let patience = server.health.hedge_after(self.len);
        self.due
            .push((Arc::clone(&server), Instant::now() + patience));
        self.requests.push((self.ask)(server, patience));
    }

    /// Asks all spares that are well, and others where those are fewer than the servers that are overdue.
    fn ask_spares(&mut self, overdue: usize) {
        let well = self
            .candidates
            .iter()
            .take_while(|server| server.health.is_well())
            .count();
        (0..overdue.max(well)).for_each(|_| self.ask_another());
    }

    /// The next answer; `None` when every server has answered.
    pub(crate) async fn next(&mut self) -> Option<(Arc<Server>, T)> {
        loop {
            let first_due = self.due.iter().map(|(_, at)| *at).min();
            let answer = match first_due.filter(|_| !self.candidates.is_empty()) {
                None => self.requests.next().await,
                Some(at) => match tokio::time::timeout_at(at, self.requests.next()).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let overdue = self.due.iter().filter(|(_, due)| *due <= at).count();
                        self.due.retain(|(_, due)| *due > at);
                        self.ask_spares(overdue);
                        continue;
                    }
                },
            };
            let (server, answer) = answer?;
            self.due.retain(|(due, _)| due.index() != server.index());
            return Some((server, answer));
        }
    }
}
