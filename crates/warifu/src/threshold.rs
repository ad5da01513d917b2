//! Another threshold, further servers: how many servers are needed, of how many, changed while the vault is in use.
//!
//! The steps are in an order in which each can be the last:
//!
//! 1. the places of new servers are made and tried out; they are empty;
//! 2. the vault file says what the threshold is to become, and names the new servers. Whoever has the vault open on this machine takes
//!    them up within two seconds (`place.rs`);
//! 3. a refresh deals everything anew by the new threshold ([`warifu_vault::refresh`]): first the pieces of the vault key, then what is saved from
//!    now on, then all extents;
//! 4. when nothing of before is left on any server, the vault file says that the threshold has become this, and names no server that has gone.
//!
//! The command repeated goes on where it was: what the vault file says is what is done.

use std::collections::BTreeSet;
use std::time::Duration;

use warifu_core::ids::{ServerId, ShareIndex, Threshold};
use warifu_store::{Credentials, StoreIdentity, attach_store, identity};
use warifu_vault::keys::piece_generations;
use warifu_vault::refresh::{
    GenerationStatus, RefreshOptions, RefreshPlan, RefreshProgress, RefreshReport,
};
use warifu_vault::{FolderThreshold, ServerSeat, Thresholds};

use crate::error::Error;
use crate::fate::share_a_fate;
use crate::open::{NewServer, Warifu, candidates_of, current_folder, spec, stored_url};
use crate::place::LOOK_EVERY;
use crate::rebuild::MISSING;
use crate::rewrite::{begin_change, end_change};
use crate::trial::make_place;
use crate::vault_file::{ServerEntry, VaultFile, folder_of};

/// A threshold by name, for those who think of what may happen to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// How many servers are needed.
    pub k: u8,
    /// Of how many.
    pub n: u8,
}

impl Preset {
    /// All of them, with the fewest servers first.
    pub const ALL: [Self; 5] = [
        Self::new("standard", 2, 3),
        Self::new("available", 2, 4),
        Self::new("guarded", 3, 4),
        Self::new("strong", 3, 5),
        Self::new("large", 4, 7),
    ];

    const fn new(name: &'static str, k: u8, n: u8) -> Self {
        Self { name, k, n }
    }

    /// The one of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name == name)
    }

    /// As a threshold.
    ///
    /// # Errors
    /// None of those that there are.
    pub fn threshold(self) -> Result<Threshold, Error> {
        Ok(Threshold::new(self.k, self.n)?)
    }
}

/// What a threshold means: what follows from k and n alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consequences {
    /// So many servers can be stolen or read by somebody, all at one time, and nothing leaks.
    pub stolen: u8,
    /// So many can be away or lost, and work goes on.
    pub away: u8,
}

impl From<Threshold> for Consequences {
    fn from(threshold: Threshold) -> Self {
        Self {
            stolen: threshold.k().saturating_sub(1),
            away: threshold.n().saturating_sub(threshold.k()),
        }
    }
}

/// What a change of the threshold would do.
#[derive(Clone, Debug)]
pub struct ThresholdPlan {
    /// What it is.
    pub from: Threshold,
    /// What it is to be.
    pub to: Threshold,
    /// Whether it was begun and has not ended: it is gone on with.
    pub resumes: bool,
    /// Servers that come.
    pub added: Vec<AddedServer>,
    /// Servers that go, by name: those with the last indices.
    pub removed: Vec<String>,
    /// Folders that ask for a threshold of their own, and by what they will be dealt.
    pub folders: Vec<FolderThreshold>,
    /// How many files there are.
    pub files: u64,
    /// What is to be dealt anew, which servers don't answer, and whether enough do.
    pub refresh: RefreshPlan,
    /// About how long it will take; `None` where that cannot be told.
    pub estimate: Option<Duration>,
}

/// A server that comes.
#[derive(Clone, Debug)]
pub struct AddedServer {
    /// Which share it will keep.
    pub index: ShareIndex,
    /// What people call it.
    pub name: String,
    /// Where it is, as the vault file will say.
    pub url: String,
    /// Other servers on the same disk or machine: they would be lost together.
    pub beside: Vec<String>,
    credentials: Credentials,
}

impl ThresholdPlan {
    /// Whether more servers are needed than before. Then the change is true only when nothing of before is left anywhere; otherwise from the
    /// first file on.
    #[must_use]
    pub fn needs_more(&self) -> bool {
        self.to.k() > self.from.k()
    }
}

/// What came of a change of the threshold.
#[derive(Clone, Debug)]
pub struct ThresholdChanged {
    /// What was dealt anew, and where the vault stands.
    pub report: RefreshReport,
    /// Whether it has ended: the new threshold is true everywhere, and the vault file says so.
    pub ended: bool,
}

impl Warifu {
    /// Where a change of the threshold stands that was begun and has not ended; `None` where there is none.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn threshold_status(&self) -> Result<Option<GenerationStatus>, Error> {
        let status = self.vault().generation_status().await?;
        Ok(status.change.is_some().then_some(status))
    }

    /// What a change to this threshold, with these new servers, would do. Nothing is written. `limit` as in [`RefreshOptions`], for the
    /// estimate. Where such a change was begun, no servers have to be given.
    ///
    /// # Errors
    /// [`Error::SameThreshold`], [`Error::ThresholdUnderWay`], [`Error::FolderNeedsMore`], [`Error::NewServers`], [`Error::SameName`], [`Error::SamePlace`];
    /// [`Error::Taken`] where a place belongs to a vault; errors of new servers' URLs and of the catalogue.
    pub async fn plan_threshold(
        &self,
        to: Threshold,
        servers: &[NewServer],
        limit: Option<u64>,
    ) -> Result<ThresholdPlan, Error> {
        let file = self.file();
        let from = file.threshold;
        let resumes = file.becoming.is_some();
        if let Some(becoming) = file.becoming.filter(|becoming| *becoming != to) {
            return Err(Error::ThresholdUnderWay { becoming });
        }
        if to == from && !resumes && self.is_everywhere(to).await? {
            return Err(Error::SameThreshold(to));
        }
        let needed = match resumes {
            true => 0,
            false => usize::from(to.n().saturating_sub(from.n())),
        };
        // Those of a change that was begun may be given again.
        let servers: &[NewServer] = match resumes && self.are_added(servers)? {
            true => &[],
            false => servers,
        };
        if servers.len() != needed {
            return Err(Error::NewServers {
                needed,
                got: servers.len(),
            });
        }
        let folders = self.folders_under(to).await?;
        let added = match resumes {
            true => self.added_before()?,
            false => self.to_be_added(servers).await?,
        };
        let gone = |entry: &&ServerEntry| entry.index.get() > to.n();
        let removed = file.servers.iter().filter(gone);
        let mut refresh = self.vault().plan_threshold(to).await?;
        if self.is_made().await? {
            // What is left to do is to remove what is of before, where servers let it.
            (refresh.extents, refresh.joined) = (0, 0);
            (refresh.bytes, refresh.reads) = (0, 0);
        }
        Ok(ThresholdPlan {
            from,
            to,
            resumes,
            added,
            removed: removed.map(|entry| entry.name.clone()).collect(),
            folders,
            files: self.vault().usage().await?.files,
            estimate: self.vault().estimate(&refresh, limit).await?,
            refresh,
        })
    }

    /// Does what was planned, or goes on with it. `stop` is asked between batches whether it is time to end; killed at any point it can be gone
    /// on with, too. This vault is best opened [without upkeep](crate::OpenOptions::without_upkeep).
    ///
    /// # Errors
    /// As [`plan_threshold`](Self::plan_threshold); [`VaultFileError::Changed`](crate::VaultFileError::Changed) where somebody else has begun or ended a
    /// change meanwhile; errors of new servers' places; those of [`Vault::refresh`](crate::Vault::refresh).
    pub async fn change_threshold(
        &self,
        plan: &ThresholdPlan,
        options: &RefreshOptions,
        progress: &(dyn Fn(RefreshProgress) + Send + Sync),
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<ThresholdChanged, Error> {
        if !plan.resumes {
            self.begin_threshold(plan).await?;
        }
        let status = self.vault().generation_status().await?;
        if status.change.is_some_and(|change| !change.in_force) {
            self.let_others_look().await;
        }
        let mut report = RefreshReport::default();
        if !options.anew && self.is_made().await? {
            report.status = self.vault().finish_refresh(self.context()).await?;
        } else {
            let vault = self.vault();
            report = vault
                .refresh(self.context(), options, progress, stop)
                .await?;
        }
        // Somebody else may have ended this one, or even begun another, since it was planned.
        let is_it = match report.status.change {
            Some(change) => change.to == plan.to,
            None => self.vault().thresholds().now == plan.to,
        };
        let ended = is_it && report.status.is_complete();
        if ended {
            end_change(self.path(), plan.to)?;
            self.seat_as_the_file_says()?;
        }
        Ok(ThresholdChanged { report, ended })
    }

    /// Makes the places of new servers, and has the vault file say what is to be.
    async fn begin_threshold(&self, plan: &ThresholdPlan) -> Result<(), Error> {
        let base = folder_of(self.path());
        let mut known = self.identities(&self.file().servers).await?;
        let mut entries = Vec::with_capacity(plan.added.len());
        for server in &plan.added {
            let place = spec(&server.name, &server.url, &server.credentials, base)?;
            refuse_known(&server.name, &place, &known).await?;
            make_place(&server.name, &place).await?;
            // Where there was nothing before, it has an identity only now.
            refuse_known(&server.name, &place, &known).await?;
            known.extend(identity_of(&server.name, &place).await);
            entries.push(ServerEntry {
                index: server.index,
                id: ServerId::fresh().map_err(warifu_vault::VaultError::from)?,
                name: server.name.clone(),
                url: server.url.clone(),
                credentials: server.credentials.clone(),
            });
        }
        let change = self.vault().next_change().await?;
        begin_change(self.path(), plan.from, (plan.to, change), &entries)?;
        self.seat_as_the_file_says()
    }

    /// Whoever else has the vault open on this machine is to know of new servers before anything is put there.
    async fn let_others_look(&self) {
        let written = std::fs::metadata(self.path()).and_then(|file| file.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok());
        // Where a clock was set back, as if it was written now.
        let wait = (LOOK_EVERY * 2).saturating_sub(age.unwrap_or_default());
        tokio::time::sleep(wait).await;
    }

    /// Goes on with the servers and thresholds that the vault file has now.
    fn seat_as_the_file_says(&self) -> Result<(), Error> {
        let file = VaultFile::read(self.path())?;
        let (candidates, expected) = candidates_of(&file, self.path())?;
        let seats = file.servers.iter().zip(candidates);
        let seats = seats.map(|(entry, candidate)| ServerSeat {
            id: entry.id,
            index: entry.index,
            name: candidate.name,
            store: candidate.store,
        });
        let thresholds: Thresholds = expected.thresholds;
        // Whoever watches the file says the same; a vault that is being closed needs it no more.
        let _open = self.vault().seating().change(seats.collect(), thresholds);
        Ok(())
    }

    /// Whether a change that was begun has made everything anew already.
    async fn is_made(&self) -> Result<bool, Error> {
        let status = self.vault().generation_status().await?;
        Ok(status.change.is_some_and(|change| change.in_force) && status.left == 0)
    }

    /// Whether nothing has another threshold than this, as the catalogue says.
    async fn is_everywhere(&self, threshold: Threshold) -> Result<bool, Error> {
        let said = self.vault().threshold_said().await?;
        if said.is_some_and(|said| said != threshold) {
            return Ok(false);
        }
        Ok(!self.vault().has_other_threshold(threshold).await?)
    }

    /// Whether these are the servers that the vault file names already for the change.
    fn are_added(&self, servers: &[NewServer]) -> Result<bool, Error> {
        for server in servers {
            let url = stored_url(server, self.path())?;
            if !self.file().servers.iter().any(|entry| entry.url == url) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn added_before(&self) -> Result<Vec<AddedServer>, Error> {
        let file = self.file();
        let new = file
            .servers
            .iter()
            .filter(|entry| entry.index.get() > file.threshold.n());
        let added = new.map(|entry| {
            Ok(AddedServer {
                index: entry.index,
                name: entry.name.clone(),
                url: entry.url.clone(),
                beside: self.beside(&entry.name, &entry.url, &entry.credentials, &[])?,
                credentials: entry.credentials.clone(),
            })
        });
        added.collect()
    }

    async fn to_be_added(&self, servers: &[NewServer]) -> Result<Vec<AddedServer>, Error> {
        let file = self.file();
        let base = folder_of(self.path());
        let mut names: BTreeSet<&str> = file
            .servers
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        let known = self.identities(&file.servers).await?;
        let mut added: Vec<AddedServer> = Vec::with_capacity(servers.len());
        for server in servers {
            if !names.insert(&server.name) {
                return Err(Error::SameName {
                    name: server.name.clone(),
                });
            }
            let index = file.threshold.n().saturating_add(1);
            let index = index.saturating_add(u8::try_from(added.len()).unwrap_or(u8::MAX));
            let Some(index) = ShareIndex::new(index) else {
                continue;
            };
            let url = stored_url(server, self.path())?;
            let credentials = server.credentials.clone().rebased(&current_folder()?, base);
            let place = spec(&server.name, &url, &credentials, base)?;
            let old = file.servers.iter().map(|entry| (&entry.name, &entry.url));
            let new = added.iter().map(|other| (&other.name, &other.url));
            if let Some((other, _)) = old.chain(new).find(|(_, known)| **known == url) {
                return Err(Error::SamePlace {
                    server: server.name.clone(),
                    other: other.clone(),
                });
            }
            refuse_known(&server.name, &place, &known).await?;
            // Whatever vault it is of: this one's servers are known.
            let store = attach_store(&place);
            if piece_generations(store.as_ref())
                .await
                .is_ok_and(|found| !found.is_empty())
            {
                return Err(Error::Taken {
                    server: server.name.clone(),
                });
            }
            let beside = self.beside(&server.name, &url, &credentials, &added)?;
            added.push(AddedServer {
                index,
                name: server.name.clone(),
                url,
                beside,
                credentials,
            });
        }
        Ok(added)
    }

    /// The servers, of those that there are and of these, on the same disk or machine as this place.
    fn beside(
        &self,
        name: &str,
        url: &str,
        credentials: &Credentials,
        others: &[AddedServer],
    ) -> Result<Vec<String>, Error> {
        let base = folder_of(self.path());
        let here = spec(name, url, credentials, base)?;
        let old = self.file().servers.iter();
        let old = old.map(|entry| (&entry.name, &entry.url, &entry.credentials));
        let new = others.iter();
        let new = new.map(|other| (&other.name, &other.url, &other.credentials));
        let mut beside = Vec::new();
        for (other, url, credentials) in old.chain(new) {
            if other == name || url == MISSING {
                continue;
            }
            let there = spec(other, url, credentials, base)?;
            if share_a_fate(here.url(), there.url()) {
                beside.push(other.clone());
            }
        }
        Ok(beside)
    }

    /// Which places servers are, as far as they tell.
    async fn identities(
        &self,
        servers: &[ServerEntry],
    ) -> Result<Vec<(String, StoreIdentity)>, Error> {
        let mut known = Vec::new();
        for entry in servers.iter().filter(|entry| entry.url != MISSING) {
            let base = folder_of(self.path());
            let place = spec(&entry.name, &entry.url, &entry.credentials, base)?;
            known.extend(identity_of(&entry.name, &place).await);
        }
        Ok(known)
    }
}

/// How long a place is given to tell which it is.
const PATIENCE: Duration = Duration::from_secs(5);

async fn identity_of(
    name: &str,
    place: &warifu_store::StoreSpec,
) -> Option<(String, StoreIdentity)> {
    let found = tokio::time::timeout(PATIENCE, identity(place)).await;
    Some((name.to_owned(), found.ok()?.ok()?))
}

/// Refuses a place that is one of those known, whatever it is called here.
async fn refuse_known(
    name: &str,
    place: &warifu_store::StoreSpec,
    known: &[(String, StoreIdentity)],
) -> Result<(), Error> {
    let Some((_, found)) = identity_of(name, place).await else {
        return Ok(());
    };
    match known.iter().find(|(_, known)| *known == found) {
        Some((other, _)) => Err(Error::SamePlace {
            server: name.to_owned(),
            other: other.clone(),
        }),
        None => Ok(()),
    }
}
