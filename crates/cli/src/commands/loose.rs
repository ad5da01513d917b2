//! `split` and `combine`: one file as share files, without a vault.
//!
//! Memory stays bounded: one extent of each share file that is at work.

mod combine;
mod split;

pub use combine::combine;
pub use split::split;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Done;
use crate::failure::Failure;

/// Whether the user wants the work to stop. Checked once for each extent.
#[derive(Clone, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) {
            Err(Failure::interrupted())
        } else {
            Ok(())
        }
    }
}

/// Runs work on a thread of its own; when the user stops it, it gets to take its temporary files away first.
async fn stoppable(work: impl FnOnce(Stop) -> Done + Send + 'static) -> Done {
    let stop = Stop::default();
    let for_work = stop.clone();
    let mut task = tokio::task::spawn_blocking(move || work(for_work));
    let done = tokio::select! {
        done = &mut task => done,
        () = crate::stop::requested() => {
            stop.0.store(true, Ordering::Relaxed);
            task.await
        }
    };
    done.unwrap_or_else(|lost| Err(std::io::Error::other(lost).into()))
}
