//! The sessions of a catalogue whose client dies, and whose writes fail, as told.

use std::time::Duration;

use async_trait::async_trait;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::locks::{Lock, LockRequest};
use warifu_vault::seam::sessions::{
    Hold, Locked, Notices, Renewed, Session, SessionId, SessionInfo, Sessions,
};

use super::crashing::CrashingCatalog;

impl CrashingCatalog {
    fn shared(&self) -> Result<&dyn Sessions, CatalogError> {
        self.inner.sessions().ok_or_else(|| CatalogError::Failed {
            detail: "the catalogue below has no sessions".into(),
        })
    }
}

#[async_trait]
impl Sessions for CrashingCatalog {
    fn me(&self) -> SessionId {
        self.inner
            .sessions()
            .map_or(SessionId([0; 16]), Sessions::me)
    }

    async fn begin_session(
        &self,
        info: &SessionInfo,
        lease: Duration,
    ) -> Result<u64, CatalogError> {
        self.write(self.shared()?.begin_session(info, lease)).await
    }

    async fn renew_session(&self, lease: Duration) -> Result<Renewed, CatalogError> {
        self.write(self.shared()?.renew_session(lease)).await
    }

    async fn end_session(&self) -> Result<(), CatalogError> {
        self.write(self.shared()?.end_session()).await
    }

    async fn present(&self) -> Result<Vec<Session>, CatalogError> {
        self.read(self.shared()?.present()).await
    }

    async fn notices(&self, after: u64, limit: usize) -> Result<Notices, CatalogError> {
        self.is_deaf()?;
        self.read(self.shared()?.notices(after, limit)).await
    }

    async fn noticed(&self, after: u64) {
        if let Ok(shared) = self.shared() {
            shared.noticed(after).await;
        }
    }

    async fn lock(&self, node: NodeId, request: &LockRequest) -> Result<Locked, CatalogError> {
        self.write(self.shared()?.lock(node, request)).await
    }

    async fn locks(&self, node: NodeId) -> Result<Vec<Lock>, CatalogError> {
        self.read(self.shared()?.locks(node)).await
    }

    async fn hold(&self, opened: &[Hold], closed: &[u64]) -> Result<(), CatalogError> {
        self.write(self.shared()?.hold(opened, closed)).await
    }

    async fn holders(&self, node: NodeId) -> Result<Vec<(SessionInfo, Hold)>, CatalogError> {
        self.read(self.shared()?.holders(node)).await
    }
}
