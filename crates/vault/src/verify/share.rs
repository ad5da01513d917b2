//! One share, looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use warifu_core::format::OpenShare;
use warifu_core::ids::VaultId;

use crate::error::Fault;
use crate::joining::{check_dealing, open_share};
use crate::seam::catalog::ExtentRecord;
use crate::servers::Server;
use crate::vault::Inner;

/// What is wrong with a share, and how it shows.
pub(crate) type Found = std::result::Result<(), (Fault, String)>;

/// What work that nobody waits for calls slow.
pub(crate) const LAGS_AFTER: Duration = Duration::from_secs(1);

/// Checking less than this is quicker than handing it to another thread.
const INLINE: usize = 128 * 1024;

/// Checks that an object is the whole share of this extent that the server must have, and the seal of every chunk of it.
pub(crate) fn check_object(
    server: &Server,
    vault: VaultId,
    record: &ExtentRecord,
    object: &[u8],
) -> Found {
    let share = open_share(server, vault, record.extent, record.generation, object)?;
    check_dealing(&share, record)?;
    let (begin, expected) = (share.header().prefix_len(), share.header().object_len());
    if object.len() as u64 != expected {
        return Err((
            Fault::Corrupt,
            format!("{} bytes long instead of {expected}", object.len()),
        ));
    }
    share
        .verify_chunks(0, object.get(begin..).unwrap_or_default())
        .map_err(|error| (Fault::Corrupt, error.to_string()))
}

/// The same where it may take its time.
pub(crate) async fn check_object_off_task(
    server: &Arc<Server>,
    vault: VaultId,
    record: &ExtentRecord,
    object: Bytes,
) -> Found {
    if object.len() <= INLINE {
        return check_object(server, vault, record, &object);
    }
    let (server, record) = (Arc::clone(server), record.clone());
    tokio::task::spawn_blocking(move || check_object(&server, vault, &record, &object))
        .await
        .unwrap_or_else(|_| {
            Err((
                Fault::Failed,
                "the check ended without an answer".to_owned(),
            ))
        })
}

/// Whether an object was made by a newer warifu, as far as this one can tell: then it is neither good nor rubbish.
pub(crate) fn is_newer(server: &Server, object: &[u8]) -> bool {
    OpenShare::is_newer(object, &server.seal_key)
}

impl Inner {
    /// Reads one share and checks every chunk of it.
    pub(crate) async fn check_share(&self, server: &Arc<Server>, record: &ExtentRecord) -> Found {
        let name = self
            .servers
            .object_key(server, record.extent, record.generation);
        let object = server
            .try_get(&name, LAGS_AFTER)
            .await
            .map_err(|error| (Fault::from(error.kind), error.detail))?;
        check_object_off_task(server, self.vault, record, object).await
    }
}
