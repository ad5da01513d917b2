//! [`Past`] of the catalogues of this crate.

use async_trait::async_trait;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_vault::node::{Attr, Name, NodeId};
use warifu_vault::seam::catalog::{CatalogError, Durability, Write};
use warifu_vault::seam::clock::later;
use warifu_vault::seam::past::{Forget, Forgotten, Past, PastName, Reinstate};

use super::state::State;
use super::{CrashingCatalog, MemoryCatalog};

#[async_trait]
impl Past for MemoryCatalog {
    async fn list_at(&self, dir: NodeId, at: Timestamp) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read(|state| state.list_at(dir, at)))
    }

    async fn lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Result<Option<PastName>, CatalogError> {
        Ok(self.read(|state| state.lookup_at(dir, name, at)))
    }

    async fn last(&self, dir: NodeId, name: &Name) -> Result<Option<PastName>, CatalogError> {
        Ok(self.read(|state| state.last_name(dir, name)))
    }

    async fn names_of_node(&self, node: NodeId) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read(|state| state.names_of_node(node)))
    }

    async fn names_of(&self, document: FileId) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read(|state| state.names_of(document)))
    }

    async fn ended(&self, after: u64, limit: usize) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read(|state| state.ended(after, limit)))
    }

    async fn reinstate(
        &self,
        to: Reinstate,
        from: (FileId, VersionNo),
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| state.reinstate(&to, from, &write))
    }

    async fn unlink_if(
        &self,
        parent: NodeId,
        name: &Name,
        what: (NodeId, Option<ExtentId>),
        keep: bool,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| {
            state.unlink_if((parent, name), what, keep, &write)
        })
    }

    async fn forget_versions(&self, what: Forget, write: Write) -> Result<Forgotten, CatalogError> {
        let until = later(self.now(), what.lease);
        self.write(write.durability, |state| {
            state.forget_versions(&what, until, &write)
        })
    }

    async fn position(&self, what: &str) -> Result<u64, CatalogError> {
        Ok(self.read(|state| state.position(what)))
    }

    async fn positions(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        Ok(self.read(State::positions))
    }

    async fn advance(&self, what: &str, from: u64, to: u64) -> Result<bool, CatalogError> {
        self.write(Durability::Soon, |state| Ok(state.advance(what, from, to)))
    }
}

#[async_trait]
impl Past for CrashingCatalog {
    async fn list_at(&self, dir: NodeId, at: Timestamp) -> Result<Vec<PastName>, CatalogError> {
        self.read(self.inner().list_at(dir, at)).await
    }

    async fn lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Result<Option<PastName>, CatalogError> {
        self.read(self.inner().lookup_at(dir, name, at)).await
    }

    async fn last(&self, dir: NodeId, name: &Name) -> Result<Option<PastName>, CatalogError> {
        self.read(self.inner().last(dir, name)).await
    }

    async fn names_of_node(&self, node: NodeId) -> Result<Vec<PastName>, CatalogError> {
        self.read(self.inner().names_of_node(node)).await
    }

    async fn names_of(&self, document: FileId) -> Result<Vec<PastName>, CatalogError> {
        self.read(self.inner().names_of(document)).await
    }

    async fn ended(&self, after: u64, limit: usize) -> Result<Vec<PastName>, CatalogError> {
        self.read(self.inner().ended(after, limit)).await
    }

    async fn reinstate(
        &self,
        to: Reinstate,
        from: (FileId, VersionNo),
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(self.inner().reinstate(to, from, write)).await
    }

    async fn unlink_if(
        &self,
        parent: NodeId,
        name: &Name,
        what: (NodeId, Option<ExtentId>),
        keep: bool,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        let done = self.inner().unlink_if(parent, name, what, keep, write);
        self.write(done).await
    }

    async fn forget_versions(&self, what: Forget, write: Write) -> Result<Forgotten, CatalogError> {
        self.write(self.inner().forget_versions(what, write)).await
    }

    async fn position(&self, what: &str) -> Result<u64, CatalogError> {
        self.read(self.inner().position(what)).await
    }

    async fn positions(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        self.read(self.inner().positions()).await
    }

    async fn advance(&self, what: &str, from: u64, to: u64) -> Result<bool, CatalogError> {
        self.write(self.inner().advance(what, from, to)).await
    }
}
