//! Making a store in a new or an empty folder of a server.

use std::path::PathBuf;

use bytes::Bytes;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::put;
use super::read;
use super::root::{MarkTrouble, Root, join, read_folder, read_mark, refused, trimmed};
use super::session::{Session, Trouble};
use super::wire::{Attrs, Request, Status};
use crate::error::{CreateError, OpenError};
use crate::layout::{LOST_FOUND, MARKER, Mark, OBJECTS, Place, TMP, is_temp_name};
use crate::shown::shown;
use crate::url::SftpUrl;

/// So many names of foreign files are told.
const NAMES_TOLD: usize = 5;

pub(super) async fn create(session: Session, url: &SftpUrl) -> Result<Root, CreateError> {
    let path = PathBuf::from(url.to_string());
    let folder = trimmed(url);
    let made = make_folder(&session, url).await?;
    refuse_nested(&session, url).await?;
    match read_mark(&session, folder).await {
        Ok((mark, attrs)) => return unused(Root::with(session, url, mark, attrs)).await,
        Err(MarkTrouble::Trouble(trouble)) if trouble.is(Status::NO_SUCH_FILE) => {}
        // Said as opening it says it.
        Err(_) => return Ok(Root::open(session, url).await?),
    }
    let foreign = foreign_entries(&session, folder)
        .await
        .map_err(|trouble| refused(url, "cannot list the folder", &trouble))?;
    if !foreign.is_empty() {
        let more = foreign.len().saturating_sub(NAMES_TOLD);
        let found = foreign.iter().take(NAMES_TOLD).map(shown).collect();
        return Err(CreateError::NotEmpty { path, found, more });
    }

    let write = |source: StoreError| CreateError::Write {
        path: path.clone(),
        source,
    };
    let root = Root::with(
        session,
        url,
        Mark::fresh().map_err(write)?,
        Attrs::default(),
    );
    for folder in [OBJECTS, TMP] {
        let at = root.at(folder);
        let made = root.session.ask(Request::MakeDir(&at)).done().await;
        if let Err(trouble) = made
            && root.session.ask(Request::Lstat(&at)).attrs().await.is_err()
        {
            return Err(write(root.explain(trouble, "cannot make folders", 0).await));
        }
    }
    // The marker comes last: until it is there, a repetition of all this starts anew.
    let place = Place {
        path: MARKER.to_owned(),
        shard: None,
    };
    let line = Bytes::from(root.mark.line());
    match put::write_marker(&root, &place, &line).await {
        Ok(handle) => root.session.tell(Request::Close(&handle)),
        // Somebody else made the store at the same moment.
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            return unused(Root::open(root.session, url).await?).await;
        }
        Err(error) => return Err(write(error)),
    }
    if made && let Some((parent, _)) = trimmed(url).rsplit_once('/') {
        let _ = put::sync_path(&root, &join(parent, ".")).await;
    }
    // As everybody will find it.
    Ok(Root::open(root.session, url).await?)
}

/// Makes the last folder of the path, unless it is there. The ones above are left to people.
async fn make_folder(session: &Session, url: &SftpUrl) -> Result<bool, CreateError> {
    let folder = trimmed(url);
    let here = join(folder, ".");
    let (before, made) = (
        session.ask(Request::Lstat(&here)),
        session.ask(Request::MakeDir(&here)),
    );
    let before = before.attrs().await;
    let made = made.done().await;
    match (before, made) {
        (Ok(attrs), _) if attrs.mode.is_some() && attrs.is_file() => Err(OpenError::NotAFolder {
            path: url.to_string().into(),
        }
        .into()),
        (Ok(_), _) => Ok(false),
        (_, Ok(())) => Ok(true),
        (_, Err(trouble @ Trouble::Lost(_))) => {
            Err(refused(url, "cannot make the folder", &trouble).into())
        }
        (_, Err(trouble)) => {
            let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
            let above = join(parent, ".");
            match session.ask(Request::Lstat(&above)).attrs().await {
                Err(missing) if missing.is(Status::NO_SUCH_FILE) => {
                    let parent = SftpUrl {
                        path: above,
                        ..url.clone()
                    };
                    Err(CreateError::NoParent {
                        path: url.to_string().into(),
                        parent: parent.to_string().into(),
                    })
                }
                _ => Err(refused(url, "cannot make the folder", &trouble).into()),
            }
        }
    }
}

async fn refuse_nested(session: &Session, url: &SftpUrl) -> Result<(), CreateError> {
    let mut above = trimmed(url);
    while let Some((parent, _)) = above.rsplit_once('/') {
        above = parent;
        if read_mark(session, above).await.is_ok() {
            let store = SftpUrl {
                path: join(above, "."),
                ..url.clone()
            };
            return Err(CreateError::Inside {
                path: url.to_string().into(),
                store: store.to_string().into(),
            });
        }
    }
    Ok(())
}

/// A store that was made already is as good as new while nothing was put in it, so that a broken-off `init` can be repeated.
async fn unused(root: Root) -> Result<Root, CreateError> {
    let path = || PathBuf::from(root.shown.clone());
    match read::list(&root, None, 1).await {
        Ok(page) if page.objects.is_empty() && !page.more => Ok(root),
        Ok(_) => Err(CreateError::InUse { path: path() }),
        Err(source) => Err(CreateError::Write {
            path: path(),
            source,
        }),
    }
}

/// What is in the folder that is not the beginning of a store.
async fn foreign_entries(session: &Session, folder: &str) -> Result<Vec<String>, Trouble> {
    let mut foreign = Vec::new();
    for (name, _) in read_folder(session, &join(folder, ".")).await? {
        let ours = match name.as_str() {
            LOST_FOUND => true,
            OBJECTS | TMP => {
                let inside = read_folder(session, &join(folder, &name)).await;
                inside.is_ok_and(|inside| {
                    inside
                        .iter()
                        .all(|(inner, _)| name == TMP && is_temp_name(inner))
                })
            }
            _ => false,
        };
        if !ours {
            foreign.push(name);
        }
    }
    foreign.sort_unstable();
    Ok(foreign)
}
