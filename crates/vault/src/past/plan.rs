//! What has to be done so that a tree is again as it was.

use std::collections::{HashMap, HashSet};
use std::fmt;

use warifu_core::ids::{ExtentId, FileId, VersionNo};

use crate::context::Context;
use crate::error::{Result, VaultError};
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::seam::clock::Timestamp;
use crate::seam::past::PastName;
use crate::vault::Vault;

/// How many entries of a folder are read at a time.
const PAGE: usize = 1024;

/// What a restore may do beside bringing back what was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreWish {
    /// What was not there then is removed, and a file that has another name by now gets its old one back.
    pub exact: bool,
    /// Names are dealt with also where the times that were written down do not tell what was ([`Doubt`]).
    pub doubtful: bool,
}

/// Why it is not certain what a name stood for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was changed by a machine whose clock was ahead: by what is written down, the change is still to come.
    Ahead,
    /// By what is written down nothing was saved in the file yet, but it has versions: an empty file would take their place.
    Empty,
    /// What it held then was destroyed since, by the rules of retention or by a person. It stays left out whatever one wishes.
    Destroyed,
}

/// A name that a plan leaves as it is, because it is not certain what it stood for. Silent: paths are secret.
#[derive(Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where, from the root.
    pub path: Vec<Name>,
    /// Why.
    pub doubt: Doubt,
    document: FileId,
}

impl fmt::Debug for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeftOut({:?}, ..)", self.doubt)
    }
}

/// What is done at a path.
#[derive(Clone, PartialEq, Eq)]
pub enum Restoring {
    /// What is in the way, and was not there then, gets this name beside it.
    Aside(Name),
    /// A folder is made.
    Folder {
        /// Its permission bits.
        mode: u32,
        /// Its owner and group.
        owner: (u32, u32),
    },
    /// The file is found under another name now, and gets this one back.
    Back {
        /// Where it is.
        from: Vec<Name>,
        /// The file, which must still be there.
        node: NodeId,
    },
    /// A file is made of an earlier version.
    File {
        /// Which.
        version: (FileId, VersionNo),
        /// How long it is, in bytes.
        size: u64,
        /// The file's permission bits.
        mode: u32,
        /// Its owner and group.
        owner: (u32, u32),
    },
    /// An earlier version becomes the file's next one.
    Version {
        /// Which.
        version: (FileId, VersionNo),
        /// How long it is, in bytes.
        size: u64,
        /// The file.
        node: NodeId,
        /// What it must still hold, so that nobody's work is put behind unseen.
        base: Option<ExtentId>,
    },
    /// A symbolic link, a named pipe, a socket or a device is made.
    Special {
        /// Which of these.
        kind: NodeKind,
        /// Its permission bits.
        mode: u32,
        /// Its owner and group.
        owner: (u32, u32),
        /// Its device number.
        rdev: u32,
        /// Where a link points.
        target: Vec<u8>,
    },
    /// It was not there then, and is removed (and kept, as anything that is removed).
    Remove {
        /// Whether it is a folder.
        folder: bool,
        /// What the name must still stand for.
        node: NodeId,
        /// What a file must still hold, so that nothing goes that somebody has saved since the plan was made.
        head: Option<ExtentId>,
    },
}

/// A step of a restore.
#[derive(Clone, PartialEq, Eq)]
pub struct RestoreStep {
    /// Where, from the root.
    pub path: Vec<Name>,
    /// What.
    pub what: Restoring,
}

/// Silent: paths are secret.
impl fmt::Debug for RestoreStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RestoreStep(..)")
    }
}

/// What a restore will do, in order.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    /// To which time.
    pub at: Timestamp,
    /// The steps.
    pub steps: Vec<RestoreStep>,
    /// Files that are now as they were then.
    pub same: u64,
    /// Names that were not there then and stay, because nobody asked for their removal.
    pub newer: u64,
    /// Names that are left as they are, because it is not certain what they stood for.
    pub left_out: Vec<LeftOut>,
}

impl RestorePlan {
    /// How many steps there are of a sort.
    #[must_use]
    pub fn count(&self, which: impl Fn(&Restoring) -> bool) -> u64 {
        self.steps.iter().filter(|step| which(&step.what)).count() as u64
    }
}

/// A name that is there and was not then.
struct Extra {
    path: Vec<Name>,
    attr: Attr,
}

struct Draft {
    at: Timestamp,
    /// What this machine's clock says.
    now: Timestamp,
    wish: RestoreWish,
    left_out: Vec<LeftOut>,
    asides: Vec<RestoreStep>,
    folders: Vec<RestoreStep>,
    files: Vec<RestoreStep>,
    extras: Vec<Extra>,
    same: u64,
}

impl Draft {
    /// Nothing is done yet.
    fn new(at: Timestamp, now: Timestamp, wish: RestoreWish) -> Self {
        Self {
            at,
            now,
            wish,
            left_out: Vec::new(),
            asides: Vec::new(),
            folders: Vec::new(),
            files: Vec::new(),
            extras: Vec::new(),
            same: 0,
        }
    }

    fn leave(&mut self, path: Vec<Name>, doubt: Doubt, document: FileId) {
        self.left_out.push(LeftOut {
            path,
            doubt,
            document,
        });
    }
}

impl Vault {
    /// Finds out what it takes to bring back what a path stood for at a time: a file, or a folder with all that was in it.
    /// It comes to `to` where that is given, and to its own path otherwise.
    ///
    /// Unless `wish` says otherwise, what was not there then stays, and so does what the times that were written down do not tell for
    /// certain, since a machine's clock may have been ahead.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when there was nothing of this path at that time, [`VaultError::PastUnknown`] when all is to be exactly as it was at
    /// a time of which that was not kept; errors of the catalogue.
    pub async fn plan_restore(
        &self,
        ctx: &Context,
        path: &[Name],
        to: Option<&[Name]>,
        at: Timestamp,
        wish: RestoreWish,
    ) -> Result<RestorePlan> {
        if wish.exact
            && let Some(since) = self.past_since(ctx).await?
            && at < since
        {
            return Err(VaultError::PastUnknown { since });
        }
        let to = to.unwrap_or(path);
        let mut draft = Draft::new(at, self.inner.clock.now(), wish);
        let now = match self.resolve_names(to).await {
            Ok(attr) => Some(attr),
            Err(VaultError::NotFound { .. } | VaultError::NotDir) => None,
            Err(error) => return Err(error),
        };
        let mut waiting = Vec::new();
        if path.is_empty() {
            let dir = now.filter(|attr| attr.kind == NodeKind::Dir);
            if dir.is_none() {
                self.draft_parents(ctx, (path, to), &mut draft).await?;
                draft
                    .folders
                    .push(folder(to.to_vec(), 0o755, (ctx.uid, ctx.gid)));
            }
            waiting.push((NodeId::ROOT, dir.map(|attr| attr.node), to.to_vec()));
        } else {
            let then = self.name_at(ctx, path, at).await?;
            self.draft_parents(ctx, (path, to), &mut draft).await?;
            waiting.extend(self.draft_one(&then, now, to.to_vec(), &mut draft).await?);
        }
        while let Some((then, now, path)) = waiting.pop() {
            let mut there = HashMap::new();
            if let Some(now) = now {
                for (name, attr) in self.all_entries(now).await? {
                    there.insert(name, attr);
                }
            }
            for name in self.inner.catalog.list_at(then, at).await? {
                let now = there.remove(&name.name);
                let mut below = path.clone();
                below.push(name.name.clone());
                waiting.extend(self.draft_one(&name, now, below, &mut draft).await?);
            }
            for (name, attr) in there {
                let mut below = path.clone();
                below.push(name);
                draft.extras.push(Extra { path: below, attr });
            }
        }
        self.finish(draft).await
    }

    /// The folders on the way to a path that are missing: as they were then, or where that is not known the caller's alone.
    async fn draft_parents(
        &self,
        ctx: &Context,
        (from, to): (&[Name], &[Name]),
        draft: &mut Draft,
    ) -> Result<()> {
        let (mut dir, mut missing) = (NodeId::ROOT, false);
        let parents = to.len().saturating_sub(1);
        for (depth, name) in to.iter().take(parents).enumerate() {
            if !missing {
                match self.inner.catalog.lookup(dir, name).await? {
                    Some(attr) if attr.kind == NodeKind::Dir => {
                        dir = attr.node;
                        continue;
                    }
                    Some(_) => return Err(VaultError::NotDir),
                    None => missing = true,
                }
            }
            let path: Vec<Name> = to.iter().take(depth + 1).cloned().collect();
            let was = match from.starts_with(&path) {
                true => match self.name_at(ctx, &path, draft.at).await {
                    Ok(name) => (name.kind == NodeKind::Dir).then_some(name),
                    Err(VaultError::NotFound { .. }) => None,
                    Err(error) => return Err(error),
                },
                false => None,
            };
            let (mode, owner) = was.map_or((0o700, (ctx.uid, ctx.gid)), |was| {
                (was.mode, (was.uid, was.gid))
            });
            draft.folders.push(folder(path, mode, owner));
        }
        Ok(())
    }

    /// What is to be done for one name. Returns the folder to go on with, where it is one.
    async fn draft_one(
        &self,
        then: &PastName,
        mut now: Option<Attr>,
        path: Vec<Name>,
        draft: &mut Draft,
    ) -> Result<Option<(NodeId, Option<NodeId>, Vec<Name>)>> {
        let owner = (then.uid, then.gid);
        let in_the_way = match &now {
            None => false,
            Some(attr) if attr.kind != then.kind => true,
            Some(attr) if attr.kind == NodeKind::Symlink => {
                self.inner.catalog.read_link(attr.node).await? != then.target
            }
            Some(_) => false,
        };
        // What is there now took the name at a time that is still to come, if clocks are to be believed.
        let ahead = !draft.wish.doubtful && then.until.is_some_and(|(until, _)| until > draft.now);
        if in_the_way
            && !draft.wish.doubtful
            && let Some(attr) = &now
            && (ahead || self.is_ahead(attr, draft.now).await?)
        {
            draft.leave(path, Doubt::Ahead, then.document);
            return Ok(None);
        }
        if in_the_way && let Some(attr) = now.take() {
            let aside = self.aside(&path).await?;
            let mut there = path.clone();
            there.pop();
            there.push(aside.clone());
            draft.asides.push(RestoreStep {
                path: path.clone(),
                what: Restoring::Aside(aside),
            });
            draft.extras.push(Extra { path: there, attr });
        }
        match (then.kind, now) {
            (NodeKind::Dir, now) => {
                if now.is_none() && ahead {
                    draft.leave(path, Doubt::Ahead, then.document);
                    return Ok(None);
                }
                if now.is_none() {
                    draft.folders.push(folder(path.clone(), then.mode, owner));
                }
                return Ok(Some((then.node, now.map(|attr| attr.node), path)));
            }
            (NodeKind::File, now) => {
                let version = self.version_then(then, draft.at).await?;
                let of = (then.document, version.number);
                let same = now
                    .as_ref()
                    .is_some_and(|attr| attr.head == version.head && attr.size == version.size);
                if same {
                    draft.same += 1;
                    return Ok(None);
                }
                if version.gone {
                    draft.leave(path, Doubt::Destroyed, then.document);
                    return Ok(None);
                }
                if !draft.wish.doubtful {
                    let ahead = ahead
                        || version.hidden.is_some_and(|saved| saved > draft.now)
                        || match &now {
                            Some(attr) => self.is_ahead(attr, draft.now).await?,
                            None => false,
                        };
                    let doubt = match (ahead, version.number, version.hidden) {
                        (true, ..) => Some(Doubt::Ahead),
                        (false, VersionNo(0), Some(_)) => Some(Doubt::Empty),
                        _ => None,
                    };
                    if let Some(doubt) = doubt {
                        draft.leave(path, doubt, then.document);
                        return Ok(None);
                    }
                }
                let what = match now {
                    Some(attr) => Restoring::Version {
                        version: of,
                        size: version.size,
                        node: attr.node,
                        base: attr.head,
                    },
                    None => Restoring::File {
                        version: of,
                        size: version.size,
                        mode: then.mode,
                        owner,
                    },
                };
                draft.files.push(RestoreStep { path, what });
            }
            (_, Some(_)) => draft.same += 1,
            (_, None) if ahead => draft.leave(path, Doubt::Ahead, then.document),
            (kind, None) => draft.files.push(RestoreStep {
                path,
                what: Restoring::Special {
                    kind,
                    mode: then.mode,
                    owner,
                    rdev: then.rdev,
                    target: then.target.clone(),
                },
            }),
        }
        Ok(None)
    }

    /// Whether something got its name, or was saved, at a time that is still to come.
    async fn is_ahead(&self, attr: &Attr, now: Timestamp) -> Result<bool> {
        let names = self.inner.catalog.names_of_node(attr.node).await?;
        if names
            .iter()
            .any(|name| name.until.is_none() && name.since > now)
        {
            return Ok(true);
        }
        if attr.kind != NodeKind::File {
            return Ok(false);
        }
        let versions = self.inner.catalog.history(attr.document).await?;
        Ok(versions.iter().any(|version| version.saved_at > now))
    }

    /// Takes out of what is to be removed, or to get its old name back, what nobody can be certain of, and the folders in which it is. Says how many stay.
    async fn leave_extras(
        &self,
        extras: &mut Vec<Extra>,
        now: Timestamp,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<u64> {
        // What has the document of a name that is left out may be just that, under another name.
        let documents: HashSet<FileId> = left_out.iter().map(|left| left.document).collect();
        let (mut stay, mut newer, mut go) = (HashSet::new(), 0, Vec::new());
        for extra in extras.drain(..) {
            let is_file = extra.attr.kind == NodeKind::File;
            if is_file && documents.contains(&extra.attr.document) {
                newer += 1;
            } else if self.is_ahead(&extra.attr, now).await? {
                left_out.push(LeftOut {
                    path: extra.path.clone(),
                    doubt: Doubt::Ahead,
                    document: extra.attr.document,
                });
            } else {
                go.push(extra);
                continue;
            }
            for depth in 1..extra.path.len() {
                stay.extend(extra.path.get(..depth).map(<[Name]>::to_vec));
            }
        }
        let all = go.len();
        go.retain(|extra| !stay.contains(&extra.path));
        newer += (all - go.len()) as u64;
        *extras = go;
        Ok(newer)
    }

    /// Puts the steps into an order in which each can be done.
    async fn finish(&self, mut draft: Draft) -> Result<RestorePlan> {
        let mut newer = draft.extras.len() as u64;
        let (mut backs, mut files, mut removes) = (Vec::new(), draft.files, Vec::new());
        if draft.wish.exact {
            newer = 0;
            let mut extras = draft.extras;
            // What is in a folder that was not there then was not there either.
            let mut place = 0;
            while let Some(extra) = extras.get(place) {
                place += 1;
                if extra.attr.kind != NodeKind::Dir {
                    continue;
                }
                let path = extra.path.clone();
                for (name, attr) in self.all_entries(extra.attr.node).await? {
                    let mut below = path.clone();
                    below.push(name);
                    extras.push(Extra { path: below, attr });
                }
            }
            if !draft.wish.doubtful {
                newer = self
                    .leave_extras(&mut extras, draft.now, &mut draft.left_out)
                    .await?;
            }
            let mut moved: HashMap<FileId, Extra> = HashMap::new();
            for extra in extras {
                let is_file = extra.attr.kind == NodeKind::File;
                if is_file && !moved.contains_key(&extra.attr.document) {
                    moved.insert(extra.attr.document, extra);
                } else {
                    removes.push(extra);
                }
            }
            for step in &mut files {
                let Restoring::File { version, size, .. } = step.what else {
                    continue;
                };
                let Some(extra) = moved.remove(&version.0) else {
                    continue;
                };
                backs.push(RestoreStep {
                    path: step.path.clone(),
                    what: Restoring::Back {
                        from: extra.path,
                        node: extra.attr.node,
                    },
                });
                step.what = Restoring::Version {
                    version,
                    size,
                    node: extra.attr.node,
                    base: extra.attr.head,
                };
                // Only renamed since.
                if extra.attr.version == version.1 {
                    step.path.clear();
                }
            }
            files.retain(|step| !step.path.is_empty());
            removes.extend(moved.into_values());
            removes.sort_by(|one, other| other.path.cmp(&one.path));
        }
        let removes = removes.into_iter().map(|extra| RestoreStep {
            what: Restoring::Remove {
                folder: extra.attr.kind == NodeKind::Dir,
                node: extra.attr.node,
                head: extra.attr.head,
            },
            path: extra.path,
        });
        let steps = draft.asides.into_iter().chain(draft.folders);
        Ok(RestorePlan {
            at: draft.at,
            steps: steps.chain(backs).chain(files).chain(removes).collect(),
            same: draft.same,
            newer,
            left_out: draft.left_out,
        })
    }

    /// A free name for what is in the way of a path.
    async fn aside(&self, path: &[Name]) -> Result<Name> {
        let parent = path.split_last().map_or(&[][..], |(_, parent)| parent);
        let dir = self.resolve_names(parent).await?.node;
        let mut number = 1;
        loop {
            let name = aside(path, number);
            if self.inner.catalog.lookup(dir, &name).await?.is_none() {
                return Ok(name);
            }
            number += 1;
        }
    }

    async fn all_entries(&self, dir: NodeId) -> Result<Vec<(Name, Attr)>> {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let page = self.inner.catalog.list(dir, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(entries);
            };
            after = Some(last.cursor);
            entries.extend(page.into_iter().map(|entry| (entry.name, entry.attr)));
        }
    }

    pub(crate) async fn resolve_names(&self, path: &[Name]) -> Result<Attr> {
        let catalog = &self.inner.catalog;
        let mut attr = catalog.attr(NodeId::ROOT).await?.ok_or(VaultError::Stale)?;
        for name in path {
            attr = catalog
                .lookup(attr.node, name)
                .await?
                .ok_or(VaultError::NotFound {
                    what: "file or folder",
                })?;
        }
        Ok(attr)
    }
}

fn folder(path: Vec<Name>, mode: u32, owner: (u32, u32)) -> RestoreStep {
    RestoreStep {
        path,
        what: Restoring::Folder { mode, owner },
    }
}

/// What something in the way is called from then on, for the so-many-th time.
fn aside(path: &[Name], number: u32) -> Name {
    let mark = match number {
        1 => " (in the way of a restore)".to_owned(),
        number => format!(" (in the way of a restore {number})"),
    };
    let name = path.last().map(Name::as_bytes).unwrap_or_default();
    let room = Name::MAX.saturating_sub(mark.len());
    // Not in the middle of a character.
    let mut end = name.len().min(room);
    while end > 0 && end < name.len() && name.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    let mut bytes = name.get(..end).unwrap_or_default().to_vec();
    bytes.extend_from_slice(mark.as_bytes());
    Name::new(&bytes).unwrap_or_else(|_| Name::fallback(number))
}
