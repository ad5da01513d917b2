//! Stores on SSH servers, over SFTP.

use std::sync::Arc;

use warifu_vault::seam::store::ShareStore;

use crate::error::{CreateError, OpenError};
use crate::remote;
use crate::spec::{StoreIdentity, StoreSpec};
use crate::url::{SftpUrl, UrlError};

fn missing() -> UrlError {
    UrlError::NotBuiltIn {
        scheme: "sftp".into(),
    }
}

pub(crate) async fn open(_: &SftpUrl, _: &StoreSpec) -> Result<Arc<dyn ShareStore>, OpenError> {
    Err(missing().into())
}

pub(crate) fn attach(_: &SftpUrl, spec: &StoreSpec) -> Arc<dyn ShareStore> {
    remote::attach(spec)
}

pub(crate) async fn create(_: &SftpUrl, _: &StoreSpec) -> Result<Arc<dyn ShareStore>, CreateError> {
    Err(OpenError::from(missing()).into())
}

pub(crate) async fn identity(_: &SftpUrl, _: &StoreSpec) -> Result<StoreIdentity, OpenError> {
    Err(missing().into())
}
