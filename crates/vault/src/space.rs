//! How much room everything takes on the servers: which server, which folder, and how old what is in it is.
//!
//! What counts is what lies there: objects with their seals, rounded up, as many as there are shares. Of extents that several
//! versions share, each is counted once: for a version that is current before one that is not, and for a younger before an older one.

use std::collections::{BTreeMap, HashMap, HashSet};

use warifu_core::format::{ExtentKind, Plan, Scheme};
use warifu_core::ids::{ExtentId, FileId, ShareIndex, VersionNo};

use crate::context::Context;
use crate::error::Result;
use crate::node::{Name, NodeId, NodeKind};
use crate::seam::catalog::ExtentRecord;
use crate::seam::clock::Timestamp;
use crate::vault::Vault;

/// How many extents or names are read at a time.
const PAGE: usize = 2048;

/// Ages are told apart at these numbers of days.
pub const AGES: [u64; 4] = [1, 7, 30, 365];

/// The room that something takes, in bytes on all servers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Of current versions.
    pub current: u64,
    /// Of versions that are not current any more.
    pub older: u64,
    /// Of files that were removed.
    pub removed: u64,
}

impl Room {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.current + self.older + self.removed
    }
}

/// How much room everything takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpaceReport {
    /// What lies on each server, by its index: objects and bytes.
    pub servers: BTreeMap<ShareIndex, (u64, u64)>,
    /// By the folders of the root; what lies in the root itself is under the empty name. Removed files are where they were last.
    pub folders: BTreeMap<Vec<u8>, Room>,
    /// Of versions that are not current, and of removed files: how old they are, in the classes of [`AGES`] and one for what is older than the last.
    pub ages: [u64; AGES.len() + 1],
    /// Of the journal of the catalogue.
    pub journal: u64,
    /// Of what belongs to no file that has or had a name.
    pub other: u64,
    /// What extents of files take that are shared by Shamir's scheme…
    pub shamir: u64,
    /// …and what the same extents would take by the scheme compact.
    pub as_compact: u64,
}

/// What is known of an extent.
struct Extent {
    room: u64,
    journal: bool,
}

/// How the room is told to whom it belongs.
struct Tally {
    extents: HashMap<ExtentId, Extent>,
    report: SpaceReport,
    now: Timestamp,
}

#[derive(Clone, Copy)]
enum Of {
    Current,
    Older,
    Removed,
}

impl Tally {
    /// Counts extents that nobody has counted yet.
    fn count(
        &mut self,
        folder: &[u8],
        of: Of,
        saved_at: Timestamp,
        extents: impl Iterator<Item = ExtentId>,
    ) {
        let mut sum = 0;
        for extent in extents {
            sum += self.extents.remove(&extent).map_or(0, |found| found.room);
        }
        if sum == 0 {
            return;
        }
        let room = self.report.folders.entry(folder.to_vec()).or_default();
        match of {
            Of::Current => {
                room.current += sum;
                return;
            }
            Of::Older => room.older += sum,
            Of::Removed => room.removed += sum,
        }
        let days = self.now.secs.saturating_sub(saved_at.secs) / 86_400;
        let days = u64::try_from(days).unwrap_or(0);
        let class = AGES.iter().position(|limit| days < *limit);
        if let Some(age) = self.report.ages.get_mut(class.unwrap_or(AGES.len())) {
            *age += sum;
        }
    }
}

/// A document, and where it is counted.
struct Owner {
    document: FileId,
    folder: Vec<u8>,
    /// The version that is current; `None` of a removed file.
    current: Option<VersionNo>,
}

impl Vault {
    /// Adds up how much room everything takes. Asks no server: what is owed is not there.
    ///
    /// Holds some 60 bytes for each extent in memory, and reads each version's row once.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn space_used(&self, ctx: &Context) -> Result<SpaceReport> {
        let mut tally = Tally {
            extents: HashMap::new(),
            report: SpaceReport::default(),
            now: self.inner.clock.now(),
        };
        self.gather_extents(&mut tally).await?;
        let mut owners = self.space_owners_there().await?;
        let there: HashSet<FileId> = owners.iter().map(|owner| owner.document).collect();
        self.space_owners_removed(ctx, there, &mut owners).await?;
        // What is current of all files first.
        for owner in &owners {
            if let Some(current) = owner.current {
                self.count_version(&mut tally, owner, current, Of::Current)
                    .await?;
            }
        }
        for owner in &owners {
            let of = match owner.current {
                Some(_) => Of::Older,
                None => Of::Removed,
            };
            let versions = self.inner.catalog.history(owner.document).await?;
            for version in versions.iter().rev() {
                if Some(version.number) != owner.current {
                    self.count_version(&mut tally, owner, version.number, of)
                        .await?;
                }
            }
        }
        let Tally {
            extents,
            mut report,
            ..
        } = tally;
        for extent in extents.into_values() {
            if extent.journal {
                report.journal += extent.room;
            } else {
                report.other += extent.room;
            }
        }
        Ok(report)
    }

    async fn gather_extents(&self, tally: &mut Tally) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.inner.catalog.extents(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.extent);
            for record in &page {
                let room = count_servers(record, &mut tally.report);
                let journal = record.kind == ExtentKind::Journal;
                if record.scheme == Scheme::Shamir && !journal {
                    let shares = room / record.plan().object_len().max(1);
                    let compact = Plan::new(Scheme::Compact, record.threshold, record.len);
                    tally.report.shamir += room;
                    tally.report.as_compact += shares * compact.object_len();
                }
                tally
                    .extents
                    .insert(record.extent, Extent { room, journal });
            }
        }
    }

    async fn space_owners_there(&self) -> Result<Vec<Owner>> {
        let mut owners = Vec::new();
        let mut waiting: Vec<(NodeId, Option<Name>)> = vec![(NodeId::ROOT, None)];
        while let Some((dir, top)) = waiting.pop() {
            let mut after = None;
            loop {
                let page = self.inner.catalog.list(dir, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.cursor);
                for entry in page {
                    match entry.attr.kind {
                        NodeKind::Dir => {
                            let top = top.clone().unwrap_or(entry.name);
                            waiting.push((entry.attr.node, Some(top)));
                        }
                        NodeKind::File => owners.push(Owner {
                            document: entry.attr.document,
                            folder: bytes_of(top.as_ref()),
                            current: Some(entry.attr.version),
                        }),
                        _ => {}
                    }
                }
            }
        }
        Ok(owners)
    }

    /// The documents that no file has any more, where each was last.
    async fn space_owners_removed(
        &self,
        ctx: &Context,
        mut known: HashSet<FileId>,
        owners: &mut Vec<Owner>,
    ) -> Result<()> {
        let mut removed: BTreeMap<FileId, NodeId> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.ended_names(ctx, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for name in page {
                if name.kind == NodeKind::File && !known.contains(&name.document) {
                    removed.insert(name.document, name.parent);
                }
            }
        }
        let mut tops: HashMap<NodeId, Vec<u8>> = HashMap::new();
        for (document, parent) in removed {
            if !known.insert(document) {
                continue;
            }
            let folder = match tops.get(&parent) {
                Some(folder) => folder.clone(),
                None => {
                    let folder = self.top_of(parent).await?;
                    tops.insert(parent, folder.clone());
                    folder
                }
            };
            owners.push(Owner {
                document,
                folder,
                current: None,
            });
        }
        Ok(())
    }

    /// The folder of the root in which a folder lies, or lay last.
    async fn top_of(&self, folder: NodeId) -> Result<Vec<u8>> {
        let (mut at, mut top) = (folder, Vec::new());
        // Folders of the past can go round in a circle: each is where it was last.
        for _ in 0..4096 {
            if at == NodeId::ROOT {
                break;
            }
            let names = self.inner.catalog.names_of_node(at).await?;
            let Some(name) = names.last() else { break };
            top = name.name.as_bytes().to_vec();
            at = name.parent;
        }
        Ok(top)
    }

    async fn count_version(
        &self,
        tally: &mut Tally,
        owner: &Owner,
        number: VersionNo,
        of: Of,
    ) -> Result<()> {
        let version = self.inner.catalog.version(owner.document, number).await?;
        if let Some(version) = version {
            let extents = version.head.into_iter();
            let extents = extents.chain(version.layout.iter().flatten().copied());
            tally.count(&owner.folder, of, version.saved_at, extents);
        }
        Ok(())
    }
}

fn bytes_of(name: Option<&Name>) -> Vec<u8> {
    name.map(|name| name.as_bytes().to_vec())
        .unwrap_or_default()
}

/// Notes an extent's objects, and gives the bytes that they take together.
fn count_servers(record: &ExtentRecord, report: &mut SpaceReport) -> u64 {
    let len = record.plan().object_len();
    let mut room = 0;
    for index in record.threshold.indices() {
        if !record.owed.contains(index) {
            let (objects, bytes) = report.servers.entry(index).or_default();
            *objects += 1;
            *bytes += len;
            room += len;
        }
    }
    room
}
