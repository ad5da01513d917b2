//! What was: the vault as it was at a time ([`AsOf`]), and how it comes back ([`RestorePlan`]).
//!
//! Nothing here reads or writes contents. A version that comes back is a new row that names the old one's extents, so a
//! restored tree costs time for each of its files and no room.

mod as_of;
mod plan;
mod restore;
pub(crate) mod trash;

pub use as_of::AsOf;
pub use plan::{Doubt, LeftOut, RestorePlan, RestoreStep, RestoreWish, Restoring};
pub use restore::{RestoreFailure, RestoreReport};
pub use trash::Trashed;

use warifu_core::ids::{FileId, VersionNo};

use crate::context::Context;
use crate::error::{Result, VaultError};
use crate::node::{Name, NodeId};
use crate::seam::catalog::Version;
use crate::seam::clock::Timestamp;
use crate::seam::past::{KNOWN_SINCE, PastName, is_gone, version_at};
use crate::vault::Vault;

const NOTHING: VaultError = VaultError::NotFound {
    what: "file or folder",
};

impl Vault {
    /// All names under which a document was ever found: those that ended, then those that are there.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn names_of(&self, _ctx: &Context, document: FileId) -> Result<Vec<PastName>> {
        Ok(self.inner.catalog.names_of(document).await?)
    }

    /// All names that a node ever had: those that ended, then those that are there.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn names_of_node(&self, _ctx: &Context, node: NodeId) -> Result<Vec<PastName>> {
        Ok(self.inner.catalog.names_of_node(node).await?)
    }

    /// From when on the names that ended were kept; `None` where they were from the beginning. A tree of before may have been another one than is
    /// shown.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn past_since(&self, _ctx: &Context) -> Result<Option<Timestamp>> {
        let since = self.inner.catalog.position(KNOWN_SINCE).await?;
        Ok((since > 0).then(|| Timestamp {
            secs: i64::try_from(since).unwrap_or(i64::MAX),
            nanos: 0,
        }))
    }

    /// What a path stood for at a time.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when it stood for nothing then; errors of the catalogue.
    pub async fn name_at(&self, _ctx: &Context, path: &[Name], at: Timestamp) -> Result<PastName> {
        let (mut dir, mut found) = (NodeId::ROOT, None);
        for name in path {
            let here = self.inner.catalog.lookup_at(dir, name, at).await?;
            let here = here.ok_or(NOTHING)?;
            dir = here.node;
            found = Some(here);
        }
        found.ok_or(NOTHING)
    }

    /// What a path stands for, or stood for last.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when it never stood for anything; errors of the catalogue.
    pub async fn last_name(&self, _ctx: &Context, path: &[Name]) -> Result<PastName> {
        let (mut dir, mut found) = (NodeId::ROOT, None);
        for name in path {
            let here = self.inner.catalog.last(dir, name).await?;
            let here = here.ok_or(NOTHING)?;
            dir = here.node;
            found = Some(here);
        }
        found.ok_or(NOTHING)
    }

    /// Up to `limit` names that ended, after a number, ascending by their numbers.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn ended_names(
        &self,
        _ctx: &Context,
        after: u64,
        limit: usize,
    ) -> Result<Vec<PastName>> {
        Ok(self.inner.catalog.ended(after, limit).await?)
    }

    /// The versions of a document that are kept, ascending, whether a file has it now or not.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn versions(&self, _ctx: &Context, document: FileId) -> Result<Vec<Version>> {
        Ok(self.inner.catalog.history(document).await?)
    }

    /// Which version a name showed at a time; 0 for a file in which nothing had been saved by then.
    pub(crate) async fn version_then(&self, name: &PastName, at: Timestamp) -> Result<VersionThen> {
        let versions = self.inner.catalog.history(name.document).await?;
        let gone = is_gone(&versions, name, at);
        let shown = version_at(&versions, name, at);
        let number = shown.map_or(VersionNo(0), |version| version.number);
        let hidden = versions
            .iter()
            .filter(|version| version.number > number && version.number <= name.version)
            .map(|version| version.saved_at)
            .max();
        Ok(match shown {
            Some(version) => VersionThen {
                hidden,
                gone,
                number: version.number,
                size: version.size,
                head: version.head,
            },
            None => VersionThen {
                hidden,
                gone,
                number: VersionNo(0),
                size: 0,
                head: None,
            },
        })
    }
}

/// A version that a name showed.
pub(crate) struct VersionThen {
    /// When the last of the versions says that it was saved that came after this one under the same name.
    pub(crate) hidden: Option<Timestamp>,
    /// Whether it may have been another one, which is not kept any more.
    pub(crate) gone: bool,
    pub(crate) number: VersionNo,
    pub(crate) size: u64,
    pub(crate) head: Option<warifu_core::ids::ExtentId>,
}
