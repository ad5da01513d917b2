//! What the database says, as [`CatalogError`].

use tokio_postgres::error::{DbError, SqlState};
use warifu_core::ids::VersionNo;
use warifu_vault::seam::catalog::CatalogError;

use super::schema::SCHEMA;
use crate::error::{Fail, Fate};

/// What the functions look for, in the words of [`CatalogError::NotFound`].
const SOUGHT: [&str; 10] = [
    "node",
    "name",
    "folder",
    "file",
    "extent",
    "version",
    "unsettled version",
    "part of the checkpoint",
    "symbolic link",
    "catalogue",
];

impl From<tokio_postgres::Error> for Fail {
    fn from(error: tokio_postgres::Error) -> Self {
        let (error, fate) = match error.as_db_error() {
            Some(said) => (of_database(said), fate_of(said)),
            // A value that is not of its column's type is in the row; all else is the connection's.
            None if is_conversion(&error) => (
                CatalogError::Damaged {
                    detail: error.to_string(),
                },
                Fate::Answered,
            ),
            None => (no_answer(chain_of(&error)), Fate::Broken),
        };
        Self {
            error,
            unconfirmed: false,
            fate,
        }
    }
}

/// There was no answer, or none that can be used.
pub(super) fn no_answer(detail: impl Into<String>) -> CatalogError {
    CatalogError::NoAnswer {
        detail: detail.into(),
    }
}

fn fate_of(said: &DbError) -> Fate {
    let code = said.code();
    let taken_back = [
        &SqlState::T_R_SERIALIZATION_FAILURE,
        &SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .contains(&code)
        // Two saves of one document at the same moment: the second one will see the first and be told so.
        || (code == &SqlState::UNIQUE_VIOLATION && matches!(said.constraint(), Some("version_pkey" | "layout_pkey")));
    match code.code() {
        _ if taken_back => Fate::TakenBack,
        text if text.starts_with("57P") || text.starts_with("08") => Fate::Broken,
        _ => Fate::Answered,
    }
}

fn is_conversion(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("error deserializing column") || text.starts_with("invalid column")
}

/// An error with what caused it: by itself it often says no more than that something went wrong.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Only the message: its detail may repeat a row.
fn said(error: &DbError) -> String {
    format!("{} (SQLSTATE {})", error.message(), error.code().code())
}

fn of_database(error: &DbError) -> CatalogError {
    let code = error.code();
    match code.code() {
        "WF001" => match SOUGHT.iter().find(|what| **what == error.message()) {
            Some(what) => CatalogError::NotFound { what },
            None => CatalogError::Failed {
                detail: said(error),
            },
        },
        "WF002" => CatalogError::Exists,
        "WF003" => CatalogError::NotEmpty,
        "WF004" => CatalogError::NotDir,
        "WF005" => CatalogError::IsDir,
        "WF006" => CatalogError::Loop,
        "WF007" => CatalogError::TooManyLinks,
        "WF008" => match error.message().parse() {
            Ok(current) => CatalogError::Conflict {
                current: VersionNo(current),
            },
            Err(_) => CatalogError::Failed {
                detail: said(error),
            },
        },
        "WF009" => CatalogError::Lapsed,
        "WF010" => CatalogError::NoXattr,
        "WF011" => CatalogError::Damaged {
            detail: error.message().to_owned(),
        },
        "WF013" => CatalogError::SessionEnded,
        "WF015" => CatalogError::Refused,
        "WF014" => match error.message().parse() {
            Ok(found) => CatalogError::Newer {
                found,
                known: SCHEMA as u32,
            },
            Err(_) => CatalogError::Failed {
                detail: said(error),
            },
        },
        // A function, a table, a column or the schema itself.
        "42883" | "42P01" | "42703" | "3F000" => CatalogError::Failed {
            detail: format!(
                "what this warifu needs is not in the database, which another version of warifu may have changed, or somebody by hand: {}",
                said(error)
            ),
        },
        "23505" if matches!(error.constraint(), Some("entry_pkey" | "intent_pkey")) => {
            CatalogError::Exists
        }
        "53100" => CatalogError::Full,
        "XX001" | "XX002" => CatalogError::Damaged {
            detail: said(error),
        },
        // 08 the connection; 40 taken back; 53 too many connections or too little memory; 55P03 and 57014 waited too long; 57P the server
        // is going down or coming up; 25006 a standby, which will be the one to write to, or another one is.
        text if ["08", "40", "53", "57P"]
            .iter()
            .any(|class| text.starts_with(class))
            || ["55P03", "57014", "25006"].contains(&text) =>
        {
            no_answer(said(error))
        }
        _ => CatalogError::Failed {
            detail: said(error),
        },
    }
}
