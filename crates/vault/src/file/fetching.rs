//! A whole extent, fetched: by what is likely of it where nobody has said more, since who reads must not have to wait for the catalogue.
//!
//! What has to be known of an extent is its generation, by which its shares are named; a refresh gives it another one. In a vault that was
//! never refreshed there is only one, and nobody is asked. In one that was, the catalogue is asked *while* shares of the generation that was
//! read last are already on their way. Where it says something else, those are given up; where it says nothing, they may do all the same.
//! And whatever was known, what cannot be read is looked for in the catalogue once more: it may have been moved meanwhile.

use std::pin::pin;

use futures_util::future::{Either, select};
use warifu_core::format::{Plan, bucket};
use warifu_core::ids::{ExtentId, Generation, Threshold};
use warifu_core::secret::SecretBytes;

use super::state::OpenFile;
use crate::error::{Fault, Result};
use crate::joining::{self, Unreadable, Whole};
use crate::seam::catalog::ExtentRecord;
use crate::seam::generations::Generations;
use crate::vault::Inner;

impl Inner {
    /// `len` is about how long the extent is.
    pub(super) async fn fetch(
        &self,
        file: &OpenFile,
        extent: ExtentId,
        len: usize,
    ) -> Result<SecretBytes> {
        let fresh = file.state.read().await.fresh.get(&extent).map(whole_of);
        let mut whole = fresh.unwrap_or_else(|| self.likely(extent, len));
        let never_refreshed = self.servers.generation() == Generations::FIRST.current;
        let all_alike = never_refreshed && !self.folders.ever_asked();
        let mut fetched = if fresh.is_some() || all_alike {
            joining::fetch(&self.servers, self.vault, whole).await
        } else {
            self.fetch_and_ask(&mut whole).await
        };
        loop {
            let unreadable = match fetched {
                Ok(secret) => {
                    self.servers.note_read(whole.generation, whole.threshold);
                    return Ok(secret);
                }
                Err(unreadable) => unreadable,
            };
            whole = match self
                .refreshed(extent, (whole.generation, whole.threshold))
                .await
            {
                Ok(Some(record)) => whole_of(&record),
                Ok(None) => {
                    return Err(self
                        .too_few(file, extent, whole.threshold.k(), unreadable)
                        .await);
                }
                // What is missing may be elsewhere, which the catalogue alone could tell; what says nothing or is damaged is here.
                Err(error) if unreadable.may_be_elsewhere() => return Err(error),
                Err(_) => {
                    return Err(self
                        .too_few(file, extent, whole.threshold.k(), unreadable)
                        .await);
                }
            };
            fetched = joining::fetch(&self.servers, self.vault, whole).await;
        }
    }

    /// Fetches what is likely while the catalogue is asked; `whole` becomes what it says.
    async fn fetch_and_ask(
        &self,
        whole: &mut Whole,
    ) -> std::result::Result<SecretBytes, Unreadable> {
        let fetching = pin!(joining::fetch(&self.servers, self.vault, *whole));
        let asking = self.catalog.extent(whole.extent);
        match select(asking, fetching).await {
            Either::Left((Ok(Some(record)), fetching)) => {
                let said = whole_of(&record);
                if (said.generation, said.threshold) == (whole.generation, whole.threshold) {
                    return fetching.await;
                }
                *whole = said;
            }
            // Not committed, or taken back: it may be there all the same. Or no answer.
            Either::Left((_, fetching)) => return fetching.await,
            Either::Right((fetched, _)) => return fetched,
        }
        joining::fetch(&self.servers, self.vault, *whole).await
    }

    /// What an extent is like as far as can be told without asking anybody.
    fn likely(&self, extent: ExtentId, len: usize) -> Whole {
        let (generation, threshold) = self.servers.likely();
        let plan = Plan::new(self.options.scheme, threshold, bucket(len as u64));
        Whole {
            extent,
            generation,
            threshold,
            share_len: plan.object_len(),
        }
    }

    /// What is known of an extent that could not be read, where its shares are of another generation or threshold by now: a refresh puts
    /// others in their place and removes them.
    pub(super) async fn refreshed(
        &self,
        extent: ExtentId,
        before: (Generation, Threshold),
    ) -> Result<Option<ExtentRecord>> {
        let record = self.catalog.extent(extent).await?;
        Ok(record.filter(|record| (record.generation, record.threshold) != before))
    }
}

impl Unreadable {
    /// Whether any server said that it has no such share.
    fn may_be_elsewhere(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.fault == Fault::Missing)
    }
}

fn whole_of(record: &ExtentRecord) -> Whole {
    Whole {
        extent: record.extent,
        generation: record.generation,
        threshold: record.threshold,
        share_len: record.plan().object_len(),
    }
}
