//! [`Fail`]: what goes wrong inside, turned into [`CatalogError`] at one place.

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_FSYNC;
use warifu_core::random::NoRandomness;
use warifu_vault::seam::catalog::CatalogError;

/// The error of this crate's inner functions. It exists so that `?` works on the engine's errors as on our own.
#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) error: CatalogError,
    /// The disk did not confirm a write: what was written before may be lost although the engine thinks it safe.
    pub(crate) unconfirmed: bool,
    /// What is known of a request to another process that failed.
    pub(crate) fate: Fate,
}

/// What is known of a request that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was answered: so it is, also when it is made again.
    #[default]
    Answered,
    /// Nothing of it was done, and it may be made again.
    TakenBack,
    /// The connection broke: whether it was done is not known.
    Broken,
}

/// The result of this crate's inner functions.
pub(crate) type Outcome<T> = Result<T, Fail>;

impl From<CatalogError> for Fail {
    fn from(error: CatalogError) -> Self {
        Self {
            error,
            unconfirmed: false,
            fate: Fate::Answered,
        }
    }
}

impl From<NoRandomness> for Fail {
    fn from(error: NoRandomness) -> Self {
        CatalogError::Failed {
            detail: error.to_string(),
        }
        .into()
    }
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        let detail = error.to_string();
        let unconfirmed = error
            .sqlite_error()
            .is_some_and(|engine| engine.extended_code == SQLITE_IOERR_FSYNC);
        let error = match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => CatalogError::Damaged { detail },
            _ => match error.sqlite_error_code() {
                Some(
                    ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::OperationInterrupted,
                ) => CatalogError::NoAnswer { detail },
                Some(ErrorCode::DiskFull) => CatalogError::Full,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    CatalogError::Damaged { detail }
                }
                _ => CatalogError::Failed { detail },
            },
        };
        Self {
            error,
            unconfirmed,
            fate: Fate::Answered,
        }
    }
}

impl From<Fail> for CatalogError {
    fn from(fail: Fail) -> Self {
        fail.error
    }
}

/// A row that does not make sense.
pub(crate) fn damaged(detail: impl Into<String>) -> Fail {
    CatalogError::Damaged {
        detail: detail.into(),
    }
    .into()
}

/// Something looked for is not there.
pub(crate) fn missing(what: &'static str) -> Fail {
    CatalogError::NotFound { what }.into()
}

/// A request that no caller should make.
pub(crate) fn misuse(detail: impl Into<String>) -> Fail {
    CatalogError::Failed {
        detail: detail.into(),
    }
    .into()
}

/// The same error once more, for the next of several callers who share a failed commit.
pub(crate) fn repeat(error: &CatalogError) -> CatalogError {
    match error {
        CatalogError::NoAnswer { detail } => CatalogError::NoAnswer {
            detail: detail.clone(),
        },
        CatalogError::Full => CatalogError::Full,
        CatalogError::Damaged { detail } => CatalogError::Damaged {
            detail: detail.clone(),
        },
        CatalogError::Failed { detail } => CatalogError::Failed {
            detail: detail.clone(),
        },
        other => CatalogError::Failed {
            detail: other.to_string(),
        },
    }
}
