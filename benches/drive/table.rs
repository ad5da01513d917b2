//! Times noted, and printed as medians and ratios of medians.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::Outcome;

/// What was measured, by row and place. A row's first word orders the rows and is not printed.
#[derive(Default)]
pub(crate) struct Times(BTreeMap<String, BTreeMap<&'static str, Vec<Duration>>>);

impl Times {
    pub(crate) fn note(&mut self, what: &str, place: &'static str, time: Duration) {
        self.0
            .entry(what.to_owned())
            .or_default()
            .entry(place)
            .or_default()
            .push(time);
    }

    pub(crate) fn measure<T>(
        &mut self,
        what: &str,
        place: &'static str,
        work: impl FnOnce() -> Outcome<T>,
    ) -> Outcome<T> {
        let begin = Instant::now();
        let result = work()?;
        self.note(what, place, begin.elapsed());
        Ok(result)
    }

    pub(crate) fn print(&mut self, order: &[&'static str]) {
        print!("| |");
        order.iter().for_each(|name| print!(" {name} |"));
        println!(" ÷ gocryptfs | ÷ bindfs |");
        println!("|---|{}", "---:|".repeat(order.len() + 2));
        for (what, places) in &mut self.0 {
            let medians: BTreeMap<&str, f64> = places
                .iter_mut()
                .map(|(place, times)| (*place, median(times).as_secs_f64() * 1e3))
                .collect();
            print!("| {} |", shown(what));
            for name in order {
                match medians.get(name) {
                    Some(median) => print!(" {median:.2} ms |"),
                    None => print!(" – |"),
                }
            }
            let ours = medians.get("warifu");
            for peer in ["gocryptfs", "bindfs"] {
                match (ours, medians.get(peer)) {
                    (Some(ours), Some(peer)) => print!(" {:.2} |", ours / peer),
                    _ => print!(" – |"),
                }
            }
            println!();
        }
    }

    /// The median of a row at a place, in milliseconds.
    pub(crate) fn median_of(&mut self, what: &str, place: &'static str) -> Option<f64> {
        let times = self.0.get_mut(what)?.get_mut(place)?;
        Some(median(times).as_secs_f64() * 1e3)
    }
}

/// A row's name as people read it.
pub(crate) fn shown(what: &str) -> &str {
    what.split_once(' ').map_or(what, |(_, what)| what)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
