//! Stores on WebDAV and S3 servers. This version has none of them built in.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use crate::error::{CreateError, OpenError};
use crate::probe::Promises;
use crate::spec::{StoreIdentity, StoreSpec};
use crate::url::{StoreUrl, UrlError};

fn missing(spec: &StoreSpec) -> UrlError {
    let scheme = match spec.url() {
        StoreUrl::Webdav(url) if url.tls => "webdavs",
        StoreUrl::Webdav(_) => "webdav",
        _ => "s3",
    };
    UrlError::NotBuiltIn {
        scheme: scheme.into(),
    }
}

pub(crate) async fn open(spec: &StoreSpec) -> Result<Arc<dyn ShareStore>, OpenError> {
    Err(missing(spec).into())
}

pub(crate) fn attach(spec: &StoreSpec) -> Arc<dyn ShareStore> {
    Arc::new(NotBuiltIn(missing(spec)))
}

pub(crate) async fn create(spec: &StoreSpec) -> Result<Arc<dyn ShareStore>, CreateError> {
    Err(OpenError::from(missing(spec)).into())
}

pub(crate) async fn identity(spec: &StoreSpec) -> Result<StoreIdentity, OpenError> {
    Err(missing(spec).into())
}

/// What the way of writing to such a server promises.
pub(crate) fn promises(_: &StoreSpec) -> Promises {
    Promises {
        atomic_put: false,
        durable_sync: false,
    }
}

/// A server that this version cannot speak with.
#[derive(Debug)]
struct NotBuiltIn(UrlError);

impl NotBuiltIn {
    fn refuse<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::new(
            StoreErrorKind::NoAnswer,
            self.0.to_string(),
        ))
    }
}

#[async_trait]
impl ShareStore for NotBuiltIn {
    async fn put_new(&self, _: &ObjectKey, _: Bytes, _: Durability) -> Result<(), StoreError> {
        self.refuse()
    }

    async fn get(
        &self,
        _: &ObjectKey,
        _: Option<std::ops::Range<u64>>,
    ) -> Result<Bytes, StoreError> {
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
