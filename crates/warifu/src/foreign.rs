//! [`ForeignStore`]: stands for a server that turned out to be somebody else.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

/// Answers every request with [`StoreErrorKind::NoAnswer`]: the server that should be there is not, and what is there
/// instead must not be written to or believed.
#[derive(Debug)]
pub(crate) struct ForeignStore {
    /// What was found in its place.
    pub(crate) detail: String,
}

impl ForeignStore {
    fn refuse<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::new(
            StoreErrorKind::NoAnswer,
            self.detail.clone(),
        ))
    }
}

#[async_trait]
impl ShareStore for ForeignStore {
    async fn put_new(&self, _: &ObjectKey, _: Bytes, _: Durability) -> Result<(), StoreError> {
        self.refuse()
    }

    async fn get(&self, _: &ObjectKey, _: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.refuse()
    }

    async fn stat(&self, _: &ObjectKey) -> Result<ObjectStat, StoreError> {
        self.refuse()
    }

    async fn list(&self, _: Option<&ObjectKey>, _: usize) -> Result<Page, StoreError> {
        self.refuse()
    }

    async fn delete(&self, _: &ObjectKey) -> Result<(), StoreError> {
        self.refuse()
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.refuse()
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.refuse()
    }
}
