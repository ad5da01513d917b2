//! Folders that ask for another threshold than their vault's: more servers that are needed, or fewer that have a share.
//!
//! What is saved in such a folder, and below it, is dealt as the folder asks; what is there already is made anew by the next refresh, whoever makes it, or at once by
//! [`Vault::deal_as_folders_ask`]. Of several folders above a file the nearest counts, and of several names of one file the one for which most servers are needed. A file that
//! was removed is kept as the folder asked in which it was last.
//!
//! No folder makes its files weaker than the vault: the vault key is had by the vault's k servers, and names are in the journal, which is dealt by the vault's threshold. So a
//! folder's k is at least the vault's, and its servers are the first n of the vault's.
//!
//! What a folder asks is an attribute of the root under a name that no drive lets through, like a [hold](crate::retain::LegalHold): sealed, in the journal, and rebuilt with everything
//! else. Who has the vault open looks every half second at a position of the catalogue whether that has changed; who deals much anew looks after taking its number, so that it knows what
//! was asked before any greater number was given out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use warifu_core::format::ExtentKind;
use warifu_core::ids::{FileId, Threshold};

use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::node::{Name, NodeId, NodeKind};
use crate::past;
use crate::seam::catalog::{CatalogError, Durability, ExtentRecord, Write, XattrMode};
use crate::seam::clock::Timestamp;
use crate::seam::past::PastName;
use crate::servers::Thresholds;
use crate::vault::{Inner, Vault, lock};

/// The beginning of the names of the root's attributes that say it; the number of the folder follows.
const PREFIX: &[u8] = b"warifu.threshold.n";

/// The [position](crate::seam::past::Past::position) that counts the changes of what folders ask. Where a catalogue was rebuilt it begins anew.
pub const FOLDERS: &str = "thresholds of folders";

/// How often a count is tried to be moved on where others move it too.
const TRIES: usize = 8;

/// What a folder asks for. Silent: it holds a path.
#[derive(Clone, PartialEq, Eq)]
pub struct FolderThreshold {
    /// The folder.
    pub node: NodeId,
    /// Where it is; `None` where it was removed.
    pub path: Option<Vec<Name>>,
    /// What it asks for.
    pub threshold: Threshold,
    /// By what its files are dealt: the vault may have too few servers for what it asks, or need more of them.
    pub effective: Threshold,
}

impl std::fmt::Debug for FolderThreshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "FolderThreshold({}, {:?}, ..)",
            self.node, self.threshold
        )
    }
}

impl FolderThreshold {
    /// By what its files are dealt where the vault's threshold is this.
    #[must_use]
    pub fn under(&self, vault: Threshold) -> Threshold {
        dealt_by(Some(self.threshold), vault)
    }
}

/// What a folder asks for, where the vault's threshold is this: not weaker than the vault, and of no more servers than there are.
pub(crate) fn dealt_by(asked: Option<Threshold>, vault: Threshold) -> Threshold {
    let Some(asked) = asked else { return vault };
    let n = asked.n().min(vault.n());
    let k = asked.k().max(vault.k()).min(n.max(vault.k()));
    Threshold::new(k, n.max(k)).unwrap_or(vault)
}

/// What folders ask for, by their numbers.
type Rules = HashMap<NodeId, Threshold>;

fn attribute(node: NodeId) -> Vec<u8> {
    [PREFIX, node.to_string().as_bytes()].concat()
}

fn rules_of(attributes: &[(Vec<u8>, Vec<u8>)]) -> Rules {
    let rule = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let number = std::str::from_utf8(name.strip_prefix(PREFIX)?).ok()?;
        let [k, n] = value.as_slice().try_into().ok()?;
        Some((NodeId(number.parse().ok()?), Threshold::new(k, n).ok()?))
    };
    attributes.iter().filter_map(rule).collect()
}

/// What this process knows of what folders ask.
#[derive(Debug, Default)]
pub(crate) struct Folders(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    rules: Arc<Rules>,
    /// How many changes of it were known when that was read.
    seen: u64,
    /// What was found out of folders since somebody looked last, for saves.
    near: Near,
    /// How often somebody has looked.
    looks: u64,
    /// How many readings have begun, and which of them this is.
    begun: u64,
    read: u64,
}

impl Known {
    fn look(&mut self) {
        self.near.clear();
        self.looks += 1;
    }
}

impl Folders {
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&lock(&self.0).rules)
    }

    /// Whether some folder asks for something, or did.
    pub(crate) fn ever_asked(&self) -> bool {
        let known = lock(&self.0);
        known.seen > 0 || !known.rules.is_empty()
    }
}

/// What folders ask, or those above them, as far as it was found out.
type Near = HashMap<NodeId, Option<Threshold>>;

/// Where a document is, or was last: the folders of its names, and the one of the name that ended last.
#[derive(Clone, Debug, Default)]
struct Places {
    living: Vec<NodeId>,
    last: Option<(Timestamp, NodeId)>,
}

impl Places {
    fn of(names: &[PastName]) -> Self {
        let living = names.iter().filter(|name| name.until.is_none());
        let ended = names
            .iter()
            .filter_map(|name| Some((name.until?.0, name.parent)));
        Self {
            living: living.map(|name| name.parent).collect(),
            last: ended.max_by_key(|(until, _)| *until),
        }
    }

    fn join(&mut self, other: Self) {
        self.living.extend(other.living);
        self.last = match (self.last, other.last) {
            (Some(one), Some(two)) => Some(if two.0 > one.0 { two } else { one }),
            (one, two) => one.or(two),
        };
    }

    fn folders(&self) -> impl Iterator<Item = NodeId> + '_ {
        let last = self.last.filter(|_| self.living.is_empty());
        let last = last.map(|(_, folder)| folder);
        self.living.iter().copied().chain(last)
    }
}

/// Of how many documents it is remembered where they are: their extents come in no order.
const REMEMBERED: usize = 16_384;

/// What folders ask for, for somebody who goes through many extents. What is found out of a folder is remembered as long as this is.
pub(crate) struct Asked<'a> {
    inner: &'a Inner,
    rules: Arc<Rules>,
    near: Near,
    documents: HashMap<FileId, Places>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            rules: inner.folders.rules(),
            near: Near::new(),
            documents: HashMap::new(),
        }
    }

    pub(crate) fn inner(&self) -> &'a Inner {
        self.inner
    }

    /// Supposes that a folder asks for this, or for nothing of its own.
    pub(crate) fn suppose(&mut self, folder: NodeId, threshold: Option<Threshold>) {
        let rules = Arc::make_mut(&mut self.rules);
        match threshold {
            Some(threshold) => rules.insert(folder, threshold),
            None => rules.remove(&folder),
        };
    }

    /// By which threshold an extent is to be dealt, where the vault's is this.
    pub(crate) async fn of(
        &mut self,
        record: &ExtentRecord,
        vault: Threshold,
    ) -> Result<Threshold> {
        if record.kind == ExtentKind::Journal || self.rules.is_empty() {
            return Ok(vault);
        }
        // Who saves by renaming has it dealt for a document that is soon nobody's, and an earlier version may go on as another file.
        let documents = self.inner.catalog.documents_of(record.extent).await?;
        let asked = self.documents(&documents).await?;
        Ok(dealt_by(asked, vault))
    }

    async fn documents(&mut self, documents: &[FileId]) -> Result<Option<Threshold>> {
        let mut places = Places::default();
        for document in documents {
            places.join(self.places(*document).await?);
        }
        let mut most: Option<Threshold> = None;
        for folder in places.folders() {
            let asked = self.folder(folder).await?;
            most = match (most, asked) {
                (Some(one), Some(other)) => Some(stricter(one, other)),
                (one, other) => one.or(other),
            };
        }
        Ok(most)
    }

    async fn places(&mut self, document: FileId) -> Result<Places> {
        if let Some(known) = self.documents.get(&document) {
            return Ok(known.clone());
        }
        let places = Places::of(&self.inner.catalog.names_of(document).await?);
        if self.documents.len() >= REMEMBERED {
            self.documents.clear();
        }
        self.documents.insert(document, places.clone());
        Ok(places)
    }

    /// What the nearest folder asks that asks for something: this one, or one above.
    async fn folder(&mut self, folder: NodeId) -> Result<Option<Threshold>> {
        let (mut passed, mut seen) = (Vec::new(), HashSet::new());
        let mut at = folder;
        let found = loop {
            if let Some(rule) = self.rules.get(&at) {
                break Some(*rule);
            }
            if let Some(known) = self.near.get(&at) {
                break *known;
            }
            if at == NodeId::ROOT || !seen.insert(at) {
                break None;
            }
            passed.push(at);
            let names = self.inner.catalog.names_of_node(at).await?;
            match Places::of(&names).folders().next() {
                Some(parent) => at = parent,
                None => break None,
            }
        };
        self.near.extend(passed.into_iter().map(|at| (at, found)));
        Ok(found)
    }
}

/// The one for which more servers are needed; where as many are, the one with fewer shares.
fn stricter(one: Threshold, other: Threshold) -> Threshold {
    let rank = |threshold: Threshold| (threshold.k(), std::cmp::Reverse(threshold.n()));
    if rank(one) >= rank(other) { one } else { other }
}

impl Inner {
    /// Reads what folders ask.
    pub(crate) async fn read_folders(&self) -> Result<()> {
        let count = self.catalog.position(FOLDERS).await?;
        self.read_folders_at(count).await
    }

    /// Reads it where it has changed since; `count` is what the catalogue says.
    pub(crate) async fn learn_folders(&self, count: u64) -> Result<()> {
        let is_known = {
            let mut known = lock(&self.folders.0);
            known.look();
            known.seen == count
        };
        match is_known {
            true => Ok(()),
            false => self.read_folders_at(count).await,
        }
    }

    /// The count comes first: what changes meanwhile is read again.
    async fn read_folders_at(&self, count: u64) -> Result<()> {
        let reading = {
            let mut known = lock(&self.folders.0);
            known.begun += 1;
            known.begun
        };
        let rules = rules_of(&self.catalog.xattrs(NodeId::ROOT).await?);
        let mut known = lock(&self.folders.0);
        // Somebody who began later may have read newer ones meanwhile.
        if reading > known.read {
            (known.read, known.seen) = (reading, count);
            known.rules = Arc::new(rules);
        }
        known.look();
        Ok(())
    }

    /// Tells whoever has the vault open that what folders ask may have changed, and reads it.
    pub(crate) async fn tell_folders(&self) -> Result<()> {
        for _ in 0..TRIES {
            let count = self.catalog.position(FOLDERS).await?;
            let next = count.saturating_add(1);
            if self.catalog.advance(FOLDERS, count, next).await? {
                return self.read_folders().await;
            }
        }
        Err(CatalogError::Lapsed.into())
    }

    /// What the folders ask in which a document is: for somebody who saves it.
    pub(crate) async fn asked_for(&self, document: FileId) -> Result<Option<Threshold>> {
        let mut asked = Asked::new(self);
        if asked.rules.is_empty() {
            return Ok(None);
        }
        let looks = {
            let known = lock(&self.folders.0);
            asked.near = known.near.clone();
            known.looks
        };
        let found = asked.documents(&[document]).await?;
        let mut known = lock(&self.folders.0);
        // Not what was found out before somebody looked.
        if known.looks == looks {
            known.near = asked.near;
        }
        Ok(found)
    }
}

impl Vault {
    /// What folders ask for.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn folder_thresholds(&self) -> Result<Vec<FolderThreshold>> {
        let catalog = &self.inner.catalog;
        let rules = rules_of(&catalog.xattrs(NodeId::ROOT).await?);
        let vault = self.inner.servers.thresholds().target();
        let mut found = Vec::with_capacity(rules.len());
        for (node, threshold) in rules {
            found.push(FolderThreshold {
                node,
                path: catalog.path(node).await?,
                threshold,
                effective: dealt_by(Some(threshold), vault),
            });
        }
        found.sort_by_key(|folder| folder.node);
        Ok(found)
    }

    /// Where a folder is; empty for the root.
    ///
    /// # Errors
    /// [`VaultError::Stale`] where it has no name any more; errors of the catalogue.
    pub async fn folder_path(&self, folder: NodeId) -> Result<Vec<Name>> {
        let path = self.inner.catalog.path(folder).await?;
        path.ok_or(VaultError::Stale)
    }

    /// By which threshold what is saved in a folder is dealt, where the vault's is the one that it is to have.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn threshold_in(&self, folder: NodeId) -> Result<Threshold> {
        self.inner.read_folders().await?;
        let asked = Asked::new(&self.inner).folder(folder).await?;
        Ok(dealt_by(asked, self.inner.servers.thresholds().target()))
    }

    /// The same once this folder asks for this, or for nothing of its own.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn threshold_once(
        &self,
        folder: NodeId,
        asks: Option<Threshold>,
    ) -> Result<Threshold> {
        self.inner.read_folders().await?;
        let mut asked = Asked::new(&self.inner);
        asked.suppose(folder, asks);
        let asked = asked.folder(folder).await?;
        Ok(dealt_by(asked, self.inner.servers.thresholds().target()))
    }

    /// Has a folder ask for a threshold from now on, or, with `None`, for what the folder above it asks. Whoever has the vault open deals by it within a second;
    /// what is there already is not changed by this.
    ///
    /// # Errors
    /// [`VaultError::NotDir`]; [`VaultError::Invalid`] for the root, whose threshold is the vault's, and for a threshold that needs fewer servers than the vault or has more than there
    /// are; [`VaultError::NoXattr`] where a folder that is to ask for nothing does not; errors of the catalogue.
    pub async fn set_folder_threshold(
        &self,
        ctx: &Context,
        folder: NodeId,
        threshold: Option<Threshold>,
    ) -> Result<()> {
        let inner = &self.inner;
        inner.writable()?;
        if folder == NodeId::ROOT {
            return Err(VaultError::Invalid {
                what: "the threshold of the whole drive is the vault's",
            });
        }
        let detail = match threshold {
            Some(threshold) => {
                let attr = inner.catalog.attr(folder).await?.ok_or(VaultError::Stale)?;
                if attr.kind != NodeKind::Dir {
                    return Err(VaultError::NotDir);
                }
                refuse_weaker(threshold, inner.servers.thresholds())?;
                format!("folder {folder}: {} of {}", threshold.k(), threshold.n())
            }
            None => format!("folder {folder}: as the folder above it"),
        };
        let now = inner.clock.now();
        let write = Write {
            audit: ctx.entry(Act::Threshold, Some(folder), detail, now),
            durability: Durability::Now,
        };
        let name = attribute(folder);
        let catalog = &inner.catalog;
        let set = match threshold {
            Some(threshold) => {
                let value = [threshold.k(), threshold.n()];
                let set = catalog.set_xattr(NodeId::ROOT, &name, &value, XattrMode::Set, write);
                set.await
            }
            None => catalog.remove_xattr(NodeId::ROOT, &name, write).await,
        };
        // After the attribute: who sees the new count reads what it counts. Also where there was nothing to remove: who removed it may have been cut off here.
        match &set {
            Ok(()) | Err(CatalogError::NoXattr) => inner.tell_folders().await?,
            Err(_) => {}
        }
        Ok(set?)
    }

    /// Has a folder that was made anew where one was removed ask for what that one asked. Returns whether one had.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn bring_back_threshold(&self, ctx: &Context, path: &[Name]) -> Result<bool> {
        let catalog = &self.inner.catalog;
        let rules = rules_of(&catalog.xattrs(NodeId::ROOT).await?);
        if rules.is_empty() {
            return Ok(false);
        }
        let folder = self.resolve_names(path).await?.node;
        let mut places = past::trash::Places::default();
        for (node, threshold) in rules.iter().filter(|_| !rules.contains_key(&folder)) {
            if catalog.path(*node).await?.is_none()
                && self.last_place(*node, &mut places).await? == path
            {
                self.set_folder_threshold(ctx, folder, Some(*threshold))
                    .await?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Refuses what would not be what was asked for: beside a change of the vault's threshold, both count.
fn refuse_weaker(threshold: Threshold, thresholds: Thresholds) -> Result<()> {
    let weaker = thresholds.all().any(|vault| threshold.k() < vault.k());
    let wider = thresholds.all().any(|vault| threshold.n() > vault.n());
    if weaker {
        return Err(VaultError::Invalid {
            what: "a folder needs at least as many servers as its vault",
        });
    }
    if wider {
        return Err(VaultError::Invalid {
            what: "a folder has at most as many servers as its vault",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(k: u8, n: u8) -> Threshold {
        Threshold::new(k, n).unwrap()
    }

    #[test]
    fn no_folder_is_weaker_than_its_vault_nor_has_more_servers() {
        let all = || (1..=7).flat_map(|n| (1..=n).map(move |k| threshold(k, n)));
        for vault in all() {
            assert_eq!(dealt_by(None, vault), vault);
            for asked in all() {
                let dealt = dealt_by(Some(asked), vault);
                assert!(
                    dealt.k() >= vault.k() && dealt.n() <= vault.n(),
                    "{asked:?} in {vault:?}: {dealt:?}"
                );
                if refuse_weaker(asked, vault.into()).is_ok() {
                    assert_eq!(dealt, asked, "in {vault:?}");
                }
            }
        }
    }

    #[test]
    fn rules_are_read_as_they_were_written_and_others_are_no_rules() {
        let rule = |name: Vec<u8>, value: &[u8]| (name, value.to_vec());
        let attributes = [
            rule(attribute(NodeId(7)), &[3, 5]),
            rule(attribute(NodeId(8)), &[3]),
            rule(attribute(NodeId(9)), &[5, 3]),
            rule(b"warifu.threshold.nx".to_vec(), &[3, 5]),
            rule(b"warifu.hold.n7".to_vec(), &[3, 5]),
        ];
        let rules = rules_of(&attributes);
        assert_eq!(rules, HashMap::from([(NodeId(7), threshold(3, 5))]));
    }

    #[test]
    fn the_stricter_of_two_needs_more_servers_or_has_fewer_shares() {
        assert_eq!(stricter(threshold(2, 3), threshold(3, 5)), threshold(3, 5));
        assert_eq!(stricter(threshold(3, 4), threshold(3, 5)), threshold(3, 4));
    }
}
