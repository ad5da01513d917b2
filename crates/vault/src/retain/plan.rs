//! Which versions and names may go.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use warifu_core::ids::{FileId, VersionNo};

use super::hold::Holds;
use super::rules::{Rule, Rules};
use crate::context::Context;
use crate::error::Result;
use crate::node::{Name, NodeId, NodeKind};
use crate::past::trash::Places;
use crate::seam::catalog::Version;
use crate::seam::clock::Timestamp;
use crate::seam::past::PastName;
use crate::vault::Vault;

/// How many entries or names are read at a time.
const PAGE: usize = 1024;

/// Of how many documents the versions are asked for at a time.
const AT_ONCE: usize = 16;

/// What was current within this time goes by no rule: somebody on another machine may still be reading it, of which only those hear who share a drive.
pub const FLOOR: Duration = Duration::from_secs(86_400);

/// What is to go.
#[derive(Clone, Debug)]
pub enum Which<'a> {
    /// What the rules let go.
    Rules(&'a Rules),
    /// Files that were removed before this time, with all their versions.
    Trash(Timestamp),
}

/// A version that may go. Silent: it holds a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Going {
    /// Its document.
    pub document: FileId,
    /// Its number.
    pub version: VersionNo,
    /// How long its contents are, in bytes.
    pub size: u64,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// Where the file is, or was last.
    pub path: Vec<Name>,
    /// Whether the file was removed.
    pub removed: bool,
}

impl std::fmt::Debug for Going {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Going({}, version {}, ..)", self.document, self.version)
    }
}

/// What would be destroyed.
#[derive(Clone, Debug, Default)]
pub struct PrunePlan {
    /// The versions, those of one document together.
    pub versions: Vec<Going>,
    /// Names that ended, by their numbers, with when: after that the vault can be shown as it was at later times only.
    pub names: Vec<(u64, Timestamp)>,
    /// Documents that the rules would let go of something, and a hold keeps whole.
    pub held: u64,
    /// Documents that are left alone because somebody has them open: here, or for writing on another machine.
    pub in_use: u64,
    /// The holds that it keeps to.
    pub(super) holds: Holds,
}

impl PrunePlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.names.is_empty()
    }

    /// The bytes of the versions' contents. What is freed on servers is less where versions share extents, and n times as much otherwise.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.versions.iter().map(|going| going.size).sum()
    }
}

/// A document, and where it is or was last.
struct Owner {
    path: Vec<Name>,
    /// The version that is current, of a file that is there.
    current: Option<VersionNo>,
    /// When it was removed, or went on as another document's version.
    ended: Option<Timestamp>,
}

impl Owner {
    /// Whether there can be anything to go, as far as can be told without the versions: of a file that is there, only what is not current goes, and
    /// most files have one version.
    fn has_to_go(&self, which: &Which<'_>) -> bool {
        match which {
            Which::Trash(_) => self.ended.is_some(),
            Which::Rules(_) => self.current.is_none_or(|current| current > VersionNo(1)),
        }
    }
}

impl Vault {
    /// Finds out what may go. What is current, held, or known to be open never is among it, and by rules nothing that was current within [`FLOOR`].
    ///
    /// # Errors
    /// [`VaultError::ClockAhead`](crate::VaultError::ClockAhead) when this machine's clock is too far ahead of all that is known, and nobody says that it
    /// is right (`trust_clock`); errors of the catalogue.
    pub async fn plan_prune(
        &self,
        ctx: &Context,
        which: &Which<'_>,
        trust_clock: bool,
    ) -> Result<PrunePlan> {
        let holds = self.read_holds().await?;
        let mut plan = PrunePlan {
            holds: holds.clone(),
            ..PrunePlan::default()
        };
        if matches!(which, Which::Rules(rules) if rules.keep_all()) {
            return Ok(plan);
        }
        let now = self.judging_time(trust_clock).await?;
        let (mut places, mut judged) = (Places::default(), HashMap::new());
        let mut owners = self.owners_there().await?;
        let mut names = Vec::new();
        self.owners_ended(ctx, now, &mut owners, &mut names, &mut places)
            .await?;
        let open = self.open_documents().await?;
        let mut whole = HashSet::new();
        let looked_at = owners.iter().filter(|(_, owner)| owner.has_to_go(which));
        let looked_at: Vec<FileId> = looked_at.map(|(document, _)| *document).collect();
        let mut histories = stream::iter(looked_at)
            .map(|document| async move { (document, self.inner.catalog.history(document).await) })
            .buffered(AT_ONCE);
        while let Some((document, versions)) = histories.next().await {
            let (Some(owner), versions) = (owners.get(&document), versions?) else {
                continue;
            };
            let going = going(which, owner, &versions, now);
            if going.is_empty() {
                continue;
            }
            if self.is_held(document, &holds, &mut judged).await? {
                plan.held += 1;
                continue;
            }
            if open.contains(&document) {
                plan.in_use += 1;
                continue;
            }
            if going.len() == versions.len() {
                whole.insert(document);
            }
            plan.versions.extend(going.into_iter().map(|version| Going {
                document,
                version: version.number,
                size: version.size,
                saved_at: version.saved_at,
                path: owner.path.clone(),
                removed: owner.current.is_none(),
            }));
        }
        for name in names {
            let Some((until, _)) = name.until else {
                continue;
            };
            let removed = owners
                .get(&name.document)
                .is_some_and(|owner| owner.current.is_none());
            let goes = match which {
                _ if name.kind == NodeKind::File && whole.contains(&name.document) => true,
                Which::Trash(_) => false,
                // Of a removed file that stays (held, or open), the names stay too.
                Which::Rules(_) if name.kind == NodeKind::File && removed => false,
                Which::Rules(rules) => {
                    let mut path = self.last_place(name.parent, &mut places).await?;
                    path.push(name.name.clone());
                    rules
                        .of(&path)
                        .keep
                        .is_some_and(|keep| before(until, keep.max(FLOOR), now))
                }
            };
            if !goes {
                continue;
            }
            let held = match name.kind {
                NodeKind::File => self.is_held(name.document, &holds, &mut judged).await?,
                _ => self.is_below_held(name.node, &holds, &mut judged).await?,
            };
            if !held {
                plan.names.push((name.id, until));
            }
        }
        Ok(plan)
    }

    async fn owners_there(&self) -> Result<BTreeMap<FileId, Owner>> {
        let mut owners = BTreeMap::new();
        let mut waiting: Vec<(NodeId, Vec<Name>)> = vec![(NodeId::ROOT, Vec::new())];
        while let Some((dir, path)) = waiting.pop() {
            let mut after = None;
            loop {
                let page = self.inner.catalog.list(dir, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.cursor);
                for entry in page {
                    let mut below = path.clone();
                    below.push(entry.name);
                    match entry.attr.kind {
                        NodeKind::Dir => waiting.push((entry.attr.node, below)),
                        NodeKind::File => {
                            let owner = Owner {
                                path: below,
                                current: Some(entry.attr.version),
                                ended: None,
                            };
                            owners.insert(entry.attr.document, owner);
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(owners)
    }

    /// The documents that no file has any more; and all names that ended.
    async fn owners_ended(
        &self,
        ctx: &Context,
        now: Timestamp,
        owners: &mut BTreeMap<FileId, Owner>,
        names: &mut Vec<PastName>,
        places: &mut Places,
    ) -> Result<()> {
        let mut last: BTreeMap<FileId, (NodeId, Name, Timestamp)> = BTreeMap::new();
        let (mut after, mut seen) = (0, Timestamp::default());
        loop {
            let page = self.ended_names(ctx, after, PAGE).await?;
            let Some(end) = page.last() else { break };
            after = end.id;
            for mut name in page {
                // What ended after something else ended no earlier, whatever the clock of whoever ended it said.
                if let Some((until, _)) = &mut name.until {
                    *until = seen.max(*until);
                    if *until <= now {
                        seen = *until;
                    }
                }
                let there = owners.contains_key(&name.document);
                if let (NodeKind::File, Some((until, _)), false) = (name.kind, name.until, there) {
                    let ended = (name.parent, name.name.clone(), until);
                    last.insert(name.document, ended);
                }
                names.push(name);
            }
        }
        for (document, (parent, name, ended)) in last {
            let mut path = self.last_place(parent, places).await?;
            path.push(name);
            let owner = Owner {
                path,
                current: None,
                ended: Some(ended),
            };
            owners.insert(document, owner);
        }
        Ok(())
    }

    /// Documents that somebody has open: here, or in another session for writing.
    async fn open_documents(&self) -> Result<HashSet<FileId>> {
        let mut open = HashSet::new();
        for file in self.inner.files_in_ram() {
            open.insert(file.state.read().await.document);
        }
        let Some(sessions) = self.inner.catalog.sessions() else {
            return Ok(open);
        };
        let sessions = sessions.present().await?;
        let nodes: HashSet<NodeId> = sessions
            .iter()
            .flat_map(|session| session.holds.iter().map(|hold| hold.node))
            .collect();
        for node in nodes {
            if let Some(attr) = self.inner.catalog.attr(node).await? {
                open.insert(attr.document);
            }
        }
        Ok(open)
    }

    /// Whether a document is held: itself, or with a folder in which it is or was.
    pub(super) async fn is_held(
        &self,
        document: FileId,
        holds: &Holds,
        judged: &mut HashMap<NodeId, bool>,
    ) -> Result<bool> {
        if holds.documents.contains(&document) {
            return Ok(true);
        }
        if holds.folders.is_empty() {
            return Ok(false);
        }
        for name in self.inner.catalog.names_of(document).await? {
            if self.is_below_held(name.parent, holds, judged).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a folder is held, or lies or ever lay in one that is.
    async fn is_below_held(
        &self,
        folder: NodeId,
        holds: &Holds,
        judged: &mut HashMap<NodeId, bool>,
    ) -> Result<bool> {
        if holds.folders.is_empty() {
            return Ok(false);
        }
        let (mut waiting, mut seen) = (vec![folder], HashSet::new());
        let mut held = false;
        while let Some(at) = waiting.pop() {
            if !seen.insert(at) {
                continue;
            }
            match judged.get(&at) {
                _ if holds.folders.contains(&at) => held = true,
                Some(known) => held |= known,
                None if at != NodeId::ROOT => {
                    let names = self.inner.catalog.names_of_node(at).await?;
                    waiting.extend(names.into_iter().map(|name| name.parent));
                }
                None => {}
            }
            if held {
                break;
            }
        }
        judged.insert(folder, held);
        Ok(held)
    }
}

/// Whether something that ended at a time may go by now.
fn before(ended: Timestamp, keep: Duration, now: Timestamp) -> bool {
    let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
    ended.secs.saturating_add(keep) < now.secs
}

/// The versions of a document that may go.
fn going<'a>(
    which: &Which<'_>,
    owner: &Owner,
    versions: &'a [Version],
    now: Timestamp,
) -> Vec<&'a Version> {
    let rule = match which {
        Which::Rules(rules) => rules.of(&owner.path),
        Which::Trash(limit) => {
            let gone = owner.ended.is_some_and(|ended| ended < *limit);
            return if gone {
                versions.iter().collect()
            } else {
                Vec::new()
            };
        }
    };
    let Rule {
        keep,
        versions: most,
    } = rule;
    let old = |ended: Timestamp| keep.is_some_and(|keep| before(ended, keep.max(FLOOR), now));
    if owner.ended.is_some_and(old) {
        return versions.iter().collect();
    }
    let mut going = Vec::new();
    // As long as the newest is not known to be on disk, the one before it may be needed again.
    let settled = versions.iter().rposition(|version| version.settled);
    for (place, version) in versions.iter().enumerate().take(settled.unwrap_or(0)) {
        if Some(version.number) == owner.current || !version.settled {
            continue;
        }
        // It was current at least until something was saved that says it is no older. Where no clock says so, nobody knows until when.
        let mut later = versions.iter().skip(place + 1);
        let Some(next) = later.find(|next| next.saved_at >= version.saved_at) else {
            continue;
        };
        let superseded = next.saved_at;
        let newer = (versions.len() - 1 - place) as u64;
        if !before(superseded, FLOOR, now) {
            continue;
        }
        if old(superseded) || most.is_some_and(|most| newer >= most.max(1)) {
            going.push(version);
        }
    }
    going
}
