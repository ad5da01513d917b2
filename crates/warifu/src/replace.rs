//! A lost server's seat gets a new, empty place.
//!
//! The seat keeps its share index and its server id, so whoever has the old disk *and* the new one has one share, not two. The steps
//! are in an order in which each can be the last:
//!
//! 1. the new place is tried out, gets the seat's piece of the vault key, made from those of k others, and is the seat's from then on; where the vault has
//!    ways in, it gets the seat's part of them as well, without which the vault would have one server fewer that opens it. While the threshold changes, a
//!    server that is to go, or to come, may have neither: then its place stays empty;
//! 2. every share of the seat is written down as owed;
//! 3. the vault file names the new place.
//!
//! Then a repair fills it. Repeating the command goes on where it was; after step 3, `verify --repair` does as well.
//!
//! Where the old place still answers, a mounted drive may pay debts there between the steps, and put there what is saved: for the catalogue
//! nothing is owed then. Drives see the new vault file within a second or two (`place.rs`), and [`Warifu::owe_missing`] looks at the end for what the
//! new place has not got.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use warifu_core::ids::{Generation, ServerId, ShareIndex};
use warifu_core::vault_object::VaultObject;
use warifu_store::{Credentials, attach_store};
use warifu_vault::VaultError;
use warifu_vault::keys::{FIRST_GENERATION, piece_generations, pieces_of};
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore, StoreErrorKind};
use warifu_vault::verify::Check;

use crate::error::Error;
use crate::fate::share_a_fate;
use crate::open::{NewServer, Warifu, current_folder, spec, stored_url};
use crate::place::LOOK_EVERY;
use crate::rewrite::rewrite_with;
use crate::trial::make_place;
use crate::vault_file::{VaultFileError, folder_of};

/// How long the old place is given to show that it is still there.
const OLD_PLACE: Duration = Duration::from_secs(5);

/// What replacing a server's place would do.
#[derive(Clone, Debug)]
pub struct ReplacePlan {
    /// Which share the seat keeps.
    pub index: ShareIndex,
    /// Its server id, which stays.
    pub id: ServerId,
    /// Its name, which stays.
    pub name: String,
    /// Where it was.
    pub old_url: String,
    /// Where it will be, as the vault file will say.
    pub new_url: String,
    /// Whether the old place still answers as this server. Then a drive on another machine, with a vault file of its own, goes on writing there.
    pub old_answers: bool,
    /// Other servers on the same disk or machine as the new place: they would be lost together.
    pub beside: Vec<String>,
    /// Whether the new place has the seat's piece of the key already: a replacement that was broken off, or the same server under another
    /// name.
    pub begun: bool,
    credentials: Credentials,
}

impl Warifu {
    /// Looks whether a server of this vault can be given a new place. Nothing is written.
    ///
    /// # Errors
    /// [`Error::NoServer`]; [`Error::Taken`] when the place belongs to a vault; [`Error::NoWaysPart`]; errors of the new server.
    pub async fn plan_replace(&self, server: &NewServer) -> Result<ReplacePlan, Error> {
        let entry = self
            .file()
            .servers
            .iter()
            .find(|entry| entry.name == server.name);
        let Some(entry) = entry else {
            return Err(Error::NoServer {
                name: server.name.clone(),
                known: self
                    .file()
                    .servers
                    .iter()
                    .map(|entry| entry.name.clone())
                    .collect(),
            });
        };
        let base = folder_of(self.path());
        let new_url = stored_url(server, self.path())?;
        let credentials = server.credentials.clone().rebased(&current_folder()?, base);
        let old = spec(&entry.name, &entry.url, &entry.credentials, base)?;
        let new = spec(&server.name, &new_url, &credentials, base)?;
        // A place that holds any piece is somebody's; the one that this server is to have shows that the replacement was begun.
        let begun = match pieces_of(attach_store(&new).as_ref()).await {
            Ok(found) => {
                // Of whatever generation: a refresh may have come since.
                let is_ours = |(_, found): &(Generation, Result<VaultObject, _>)| matches!(found, Ok(object) if self.vault().is_key_piece_of(entry.index, object));
                if !found.iter().any(is_ours) {
                    return Err(Error::Taken {
                        server: server.name.clone(),
                    });
                }
                true
            }
            Err(_) => false,
        };
        self.ways_part(entry.index, &entry.name).await?;
        let moved = old.url() != new.url();
        let old_place = attach_store(&old);
        let answer = tokio::time::timeout(OLD_PLACE, piece_generations(old_place.as_ref())).await;
        let old_answers = moved && matches!(answer, Ok(Ok(generations)) if !generations.is_empty());
        let mut beside = Vec::new();
        for other in self
            .file()
            .servers
            .iter()
            .filter(|other| other.index != entry.index)
        {
            let other_spec = spec(&other.name, &other.url, &other.credentials, base)?;
            if share_a_fate(new.url(), other_spec.url()) {
                beside.push(other.name.clone());
            }
        }
        Ok(ReplacePlan {
            index: entry.index,
            id: entry.id,
            name: entry.name.clone(),
            old_url: entry.url.clone(),
            new_url,
            old_answers,
            beside,
            begun,
            credentials,
        })
    }

    /// Gives a server its new place, which is empty when this returns: the vault is then to be opened anew, and
    /// [repaired](warifu_vault::Vault::repair). This one is best opened [without upkeep](crate::OpenOptions::without_upkeep). `progress` is told how many extents have been written down.
    ///
    /// # Errors
    /// As [`plan_replace`](Self::plan_replace); [`VaultFileError`]. Repeated, it goes on where it was.
    pub async fn replace(
        &self,
        plan: &ReplacePlan,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Error> {
        let base = folder_of(self.path());
        let new = spec(&plan.name, &plan.new_url, &plan.credentials, base)?;
        let piece = self.vault().key_piece_for(plan.index).await?;
        let part = self.ways_part(plan.index, &plan.name).await?;
        // Where a refresh has come since it was begun, the piece that is there is of an older generation.
        let store = match plan.begun {
            true => attach_store(&new),
            false => make_place(&plan.name, &new).await?.0,
        };
        if let Some(piece) = piece {
            let generation =
                VaultObject::parse(&piece).map_or(FIRST_GENERATION, |object| object.generation());
            let name = ObjectKey::vault_object(generation);
            give(&plan.name, store.as_ref(), &name, piece, plan.begun).await?;
        }
        if let Some((name, part)) = part {
            // After the piece, which shows that the place is this seat's.
            give(&plan.name, store.as_ref(), &name, part, true).await?;
        }
        self.vault()
            .owe_all(self.context(), plan.index, progress)
            .await?;
        rewrite(self.path(), plan.index, &plan.new_url, &plan.credentials)?;
        if plan.old_answers {
            // Whoever else has the vault open leaves the old place before anybody looks for what is missing at the new one.
            tokio::time::sleep(LOOK_EVERY * 2).await;
        }
        Ok(())
    }

    /// The seat's part of the ways in, where the vault has any.
    async fn ways_part(
        &self,
        index: ShareIndex,
        server: &str,
    ) -> Result<Option<(ObjectKey, Bytes)>, Error> {
        let part = self.vault().ways_part_for(index).await;
        part.map_err(|error| match error {
            VaultError::Damaged { .. } => Error::NoWaysPart {
                server: server.to_owned(),
            },
            other => other.into(),
        })
    }

    /// Looks for shares that are neither on their servers nor owed, and writes them down as owed: what a drive that did not know of a
    /// [replacement](Self::replace) yet has put at the old place. Returns how many there were. To be asked after the repair that fills the new place,
    /// and again after each repair, until there are none.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn owe_missing(&self) -> Result<u64, Error> {
        let check = Check {
            record: true,
            keep: 0,
            ..Check::new(false)
        };
        let report = self.vault().check(self.context(), check, &|_| ()).await?;
        Ok(report.recorded)
    }
}

/// Gives a place what is the seat's. `again`: it may have this very object already.
async fn give(
    name: &str,
    store: &dyn ShareStore,
    key: &ObjectKey,
    object: Bytes,
    again: bool,
) -> Result<(), Error> {
    let server = || name.to_owned();
    match store.put_new(key, object.clone(), Durability::Now).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            let is_it = again
                && store
                    .get(key, None)
                    .await
                    .is_ok_and(|found| found == object);
            if is_it {
                Ok(())
            } else {
                Err(Error::Taken { server: server() })
            }
        }
        Err(error) => Err(Error::Founding {
            detail: format!("{}: {error}", server()),
        }),
    }
}

/// Changes where a server is in a vault file: whole or not at all, with everything else in it, comments too, as it is.
fn rewrite(
    path: &Path,
    index: ShareIndex,
    url: &str,
    credentials: &Credentials,
) -> Result<(), VaultFileError> {
    let problem = format!("there is no server with the index {index}");
    rewrite_with(path, &problem, |text| {
        with_place(text, index, url, credentials)
    })
}

/// The text with another place for the server of this index; `None` where there is none.
fn with_place(
    text: &str,
    index: ShareIndex,
    url: &str,
    credentials: &Credentials,
) -> Option<String> {
    let mut document: toml_edit::DocumentMut = text.parse().ok()?;
    let servers = document.get_mut("server")?.as_array_of_tables_mut()?;
    let wanted = i64::from(index.get());
    let server = servers
        .iter_mut()
        .find(|server| server.get("index").and_then(toml_edit::Item::as_integer) == Some(wanted))?;
    // The ways in belong to the old place.
    server.retain(|key, _| matches!(key, "index" | "id" | "name" | "url"));
    let value = server.get_mut("url")?.as_value_mut()?;
    let decor = value.decor().clone();
    *value = url.into();
    *value.decor_mut() = decor;
    for (field, value) in credentials.entries() {
        server.insert(field, toml_edit::value(value));
    }
    Some(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_place_changes_and_comments_stay() {
        let text = "# ours\nformat = 1\n\n[threshold] # of all\nk = 1\nn = 2\n\n# the old one\n[[server]]\nindex = 1\nid = \"a\"\nname = \"x\"\nurl = \"old\" # cellar\npassword = \"env:P\"\n\n[[server]]\nindex = 2\nid = \"b\"\nname = \"y\"\nurl = \"other\"\n";
        let index = ShareIndex::new(1).unwrap();
        let mut credentials = Credentials::default();
        credentials.set("user", "me").unwrap();
        let changed = with_place(text, index, "sftp://host/new", &credentials).unwrap();
        let expected = text
            .replace("\"old\"", "\"sftp://host/new\"")
            .replace("password = \"env:P\"", "user = \"me\"");
        assert_eq!(changed, expected);
        let none = ShareIndex::new(3).unwrap();
        assert_eq!(with_place(text, none, "x", &credentials), None);
        assert_eq!(with_place("no toml", index, "x", &credentials), None);
    }
}
