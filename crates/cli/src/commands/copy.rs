//! `put`, `get` and `cat`: between the local disk and the vault.

mod get;
mod put;

pub use get::{cat, get};
pub use put::put;

use serde::Serialize;
use tokio::task::JoinSet;
use warifu::Timestamp;

use crate::failure::Failure;
use crate::output::{JsonName, Progress, amount, json, note, shown_text};
use crate::words::say;

/// How many files are copied at once: enough to hide a server's latency.
const AT_ONCE: usize = 8;

/// What was copied.
#[derive(Default)]
struct Tally {
    files: u64,
    folders: u64,
    links: u64,
    bytes: u64,
    skipped: Vec<(Vec<u8>, String)>,
}

#[derive(Serialize)]
struct JsonTally {
    files: u64,
    folders: u64,
    links: u64,
    bytes: u64,
    /// Whether a server has not got its shares yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<bool>,
    skipped: Vec<JsonSkipped>,
}

#[derive(Serialize)]
struct JsonSkipped {
    #[serde(flatten)]
    name: JsonName,
    why: String,
}

impl Tally {
    /// Notes what could not be taken along, and says so.
    fn skip(&mut self, progress: &Progress, path: &[u8], why: String) {
        progress.note(&say!(
            "skipped",
            path = crate::output::shown(path),
            why = why.as_str()
        ));
        self.skipped.push((path.to_vec(), why));
    }

    fn report(self, degraded: Option<bool>, as_json: bool) -> Result<(), Failure> {
        if as_json {
            let skipped = self
                .skipped
                .into_iter()
                .map(|(path, why)| JsonSkipped {
                    name: JsonName::new(&path),
                    why: shown_text(&why),
                })
                .collect();
            json(&JsonTally {
                files: self.files,
                folders: self.folders,
                links: self.links,
                bytes: self.bytes,
                degraded,
                skipped,
            })?;
        } else if !crate::quiet() {
            note(&say!("copied", amount = amount(self.files, self.bytes)));
            if !self.skipped.is_empty() {
                note(&say!("copied-skipped", files = self.skipped.len()));
            }
        }
        Ok(())
    }
}

/// Waits for tasks until fewer than `limit` are at work. When one fails, the others are let finish first: none is cut off
/// in the middle of a file.
async fn settle<T: 'static>(
    tasks: &mut JoinSet<Result<T, Failure>>,
    limit: usize,
    mut ended: impl FnMut(T),
) -> Result<(), Failure> {
    let mut failure = None;
    let mut limit = limit.max(1);
    while tasks.len() >= limit {
        let failed = match tasks.join_next().await {
            Some(Ok(Ok(done))) => {
                ended(done);
                continue;
            }
            Some(Ok(Err(failed))) => failed,
            Some(Err(lost)) => Failure::from(std::io::Error::other(lost)),
            None => break,
        };
        failure.get_or_insert(failed);
        limit = 1;
    }
    failure.map_or(Ok(()), Err)
}

fn timestamp(secs: i64, nanos: i64) -> Timestamp {
    Timestamp {
        secs,
        nanos: u32::try_from(nanos).unwrap_or(0),
    }
}
