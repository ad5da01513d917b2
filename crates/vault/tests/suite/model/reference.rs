//! The model: what names stand for, what is in the files, and what a power cut may leave of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_vault::node::NodeId;

use super::steps::text;
use super::{FILES, Op, SLOTS};

pub(crate) type Bytes = Arc<Vec<u8>>;

/// What is found in a vault: by the number of its name, the node and the contents of each file.
pub(crate) type Found = BTreeMap<usize, (NodeId, Vec<u8>)>;

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) node: NodeId,
    /// What its open handles see.
    pub(crate) live: Vec<u8>,
    pub(crate) dirty: bool,
    /// What was saved last.
    pub(crate) saved: Bytes,
    /// What a power cut may leave: the last version that is safe, and those after it.
    pub(crate) allowed: Vec<Bytes>,
    /// Whether anything was ever saved.
    pub(crate) has_version: bool,
    pub(crate) handles: usize,
}

impl File {
    fn cut(&mut self, size: u64) {
        self.dirty |= self.live.len() as u64 != size;
        self.live.resize(usize::try_from(size).unwrap(), 0);
    }
}

/// Names, and for each file what it may be after a power cut.
#[derive(Clone, Debug)]
pub(crate) struct Moment(BTreeMap<usize, (usize, Vec<Bytes>)>);

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) files: Vec<File>,
    pub(crate) names: BTreeMap<usize, usize>,
    pub(crate) slots: [Option<usize>; SLOTS],
    /// How many files were closed in this life whose changes could not be saved: a shutdown names them.
    pub(crate) losses: usize,
    /// Moments that a power cut may return to, since names were last made safe.
    moments: Vec<Moment>,
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut model = Self {
            files: Vec::new(),
            names: BTreeMap::new(),
            slots: [None; SLOTS],
            losses: 0,
            moments: Vec::new(),
        };
        model.remember();
        model
    }

    /// Notes the moment, as one that a power cut may return to.
    pub(crate) fn remember(&mut self) {
        let allowed = |file: &usize| self.files[*file].allowed.clone();
        let now = self
            .names
            .iter()
            .map(|(name, file)| (*name, (*file, allowed(file))))
            .collect();
        self.moments.push(Moment(now));
    }

    /// Everything up to now is safe; a power cut returns to no moment before.
    fn history_is_safe(&mut self) {
        self.moments.clear();
        self.remember();
    }

    pub(crate) fn links(&self, file: usize) -> usize {
        self.names.values().filter(|named| **named == file).count()
    }

    pub(crate) fn create(&mut self, name: usize, node: NodeId) {
        let empty: Bytes = Arc::default();
        self.files.push(File {
            node,
            live: Vec::new(),
            dirty: false,
            saved: Arc::clone(&empty),
            allowed: vec![empty],
            has_version: false,
            handles: 0,
        });
        self.names.insert(name, self.files.len() - 1);
    }

    pub(crate) fn save(&mut self, file: usize) {
        let named = self.links(file) > 0;
        let file = &mut self.files[file];
        if file.dirty && named {
            file.saved = Arc::new(file.live.clone());
            file.allowed.push(Arc::clone(&file.saved));
            file.has_version = true;
            file.dirty = false;
        }
    }

    pub(crate) fn fsync(&mut self, file: usize) {
        if self.links(file) == 0 {
            return;
        }
        let switched = self.files[file].dirty;
        self.save(file);
        let saved = Arc::clone(&self.files[file].saved);
        self.files[file].allowed = vec![Arc::clone(&saved)];
        if switched {
            self.history_is_safe();
            return;
        }
        for moment in &mut self.moments {
            let of_file = moment.0.values_mut().filter(|(named, _)| *named == file);
            of_file.for_each(|(_, allowed)| *allowed = vec![Arc::clone(&saved)]);
        }
    }

    pub(crate) fn sync(&mut self) {
        for file in &mut self.files {
            file.allowed = vec![Arc::clone(&file.saved)];
        }
        self.history_is_safe();
    }

    /// Does what an operation does when it succeeds. `made` is the node of a file made by it.
    pub(crate) fn apply(&mut self, op: &Op, made: Option<NodeId>) {
        match *op {
            Op::Open {
                slot,
                file,
                rewrite,
            } if self.slots[slot].is_none() => {
                if let Some(node) = made {
                    self.create(file, node);
                }
                // The client died while it made the file: whoever finds it notes it.
                let Some(number) = self.names.get(&file).copied() else {
                    return;
                };
                let opened = &mut self.files[number];
                if opened.handles == 0 {
                    opened.live = opened.saved.to_vec();
                }
                if rewrite && !opened.live.is_empty() {
                    opened.live.clear();
                    opened.dirty = true;
                }
                opened.handles += 1;
                self.slots[slot] = Some(number);
            }
            Op::Write {
                slot,
                at,
                len,
                seed,
            } => {
                if let (Some(file), 1..) = (self.slots[slot], len) {
                    let (file, at) = (&mut self.files[file], usize::try_from(at).unwrap());
                    file.live.resize(file.live.len().max(at + len), 0);
                    file.live[at..at + len].copy_from_slice(&text(len, seed));
                    file.dirty = true;
                }
            }
            Op::Cut { slot, size } => {
                if let Some(file) = self.slots[slot] {
                    self.files[file].cut(size);
                }
            }
            Op::Flush { slot } => {
                if let Some(file) = self.slots[slot] {
                    self.save(file);
                }
            }
            Op::Fsync { slot } => {
                if let Some(file) = self.slots[slot] {
                    self.fsync(file);
                }
            }
            Op::Release { slot } => self.release(slot),
            Op::Truncate { file, size } => {
                if let Some(number) = self.names.get(&file).copied() {
                    let file = &mut self.files[number];
                    if file.handles == 0 {
                        file.live = file.saved.to_vec();
                    }
                    // Who is in the middle of changing it saves both: half of their work is nobody's version.
                    let halfway = file.dirty;
                    file.cut(size);
                    if !halfway {
                        self.save(number);
                    }
                }
            }
            Op::Rename { from, to } => self.rename(from, to),
            Op::Exchange { from, to } => {
                let files = (self.names.get(&from).copied(), self.names.get(&to).copied());
                if let (Some(one), Some(other)) = files {
                    self.names.insert(from, other);
                    self.names.insert(to, one);
                }
            }
            Op::Remove { file } => drop(self.names.remove(&file)),
            Op::Link { from, to } => {
                if let Some(number) = self.names.get(&from).copied() {
                    self.names.entry(to).or_insert(number);
                }
            }
            Op::Sync => self.sync(),
            Op::Restart | Op::Rebuild { .. } => {
                (0..self.files.len()).for_each(|file| self.save(file));
                self.sync();
                self.kill();
            }
            _ => {}
        }
    }

    /// A handle was closed whose changes could not be saved.
    pub(crate) fn drop_changes(&mut self, slot: usize) {
        let Some(file) = self.slots[slot].take() else {
            return;
        };
        let file = &mut self.files[file];
        file.handles -= 1;
        if file.handles == 0 {
            file.live = file.saved.to_vec();
            file.dirty = false;
            self.losses += 1;
        }
    }

    /// The client ended in the middle of an operation, before which it was `self`, and may have done it; this is what is
    /// found.
    pub(crate) fn after(mut self, op: &Op, found: &Found) -> Result<Self, String> {
        let mut done = self.clone();
        done.apply(op, None);
        done.kill();
        self.kill();
        if let Op::Open { file, .. } = *op
            && let Some((node, bytes)) = found.get(&file)
            && bytes.is_empty()
            && !self.names.contains_key(&file)
        {
            done.create(file, *node);
        }
        let named = |model: &Self| {
            let there = |(name, file): (&usize, &usize)| {
                let found = found.get(name);
                found.is_some_and(|(node, _)| *node == model.files[*file].node)
            };
            model.names.len() == found.len() && model.names.iter().all(there)
        };
        let names = if named(&done) {
            done.names.clone()
        } else if named(&self) {
            self.names.clone()
        } else {
            let (found, before) = (found.keys(), self.names.keys());
            return Err(format!(
                "after an end in {op:?} there are {found:?}; before it {before:?}"
            ));
        };
        // What may be lost in a power cut: what might have been before, and since.
        let mut moments = std::mem::take(&mut self.moments);
        for (name, number) in &names {
            let bytes = &found[name].1;
            let file = &mut done.files[*number];
            let old = self.files.get(*number);
            let is_old = old.is_some_and(|old| *old.saved == *bytes);
            if *file.saved != *bytes && !is_old {
                let is = bytes.len();
                let (was, would) = (old.map(|old| old.saved.len()), file.saved.len());
                return Err(format!(
                    "after an end in {op:?}: {} has {is} bytes; before {was:?}, afterwards {would}",
                    FILES[*name]
                ));
            }
            if let Some(old) = old {
                let mut allowed = old.allowed.clone();
                let since = file.allowed.iter().filter(|bytes| {
                    // Each once: they are compared with everything that is read.
                    !old.allowed.iter().any(|known| Arc::ptr_eq(known, bytes))
                });
                allowed.extend(since.cloned());
                file.allowed = allowed;
                file.has_version |= old.has_version;
            }
            file.saved = Arc::new(bytes.clone());
            file.live.clone_from(bytes);
        }
        done.names = names;
        done.moments.clear();
        done.remember();
        moments.append(&mut done.moments);
        done.moments = moments;
        Ok(done)
    }

    pub(crate) fn release(&mut self, slot: usize) {
        let Some(file) = self.slots[slot].take() else {
            return;
        };
        self.files[file].handles -= 1;
        if self.files[file].handles == 0 {
            self.save(file);
        }
    }

    pub(crate) fn rename(&mut self, from: usize, to: usize) {
        let Some(moved) = self.names.get(&from).copied() else {
            return;
        };
        match self.names.get(&to).copied() {
            Some(other) if other == moved => return,
            Some(other) if self.links(other) == 1 && self.files[other].has_version => {
                // The file becomes the next version of the one it replaces, and may fall back to that.
                if self.files[moved].allowed.len() > 1 || !self.files[moved].has_version {
                    let mut allowed = self.files[other].allowed.clone();
                    allowed.append(&mut self.files[moved].allowed);
                    self.files[moved].allowed = allowed;
                }
                self.files[moved].has_version = true;
            }
            _ => {}
        }
        self.names.remove(&from);
        self.names.insert(to, moved);
    }

    /// The client is gone; what it had saved is there.
    pub(crate) fn kill(&mut self) {
        self.slots = [None; SLOTS];
        self.losses = 0;
        for file in &mut self.files {
            file.live = file.saved.to_vec();
            (file.dirty, file.handles) = (false, 0);
        }
    }

    /// Whether a power cut may have left this. Files of which too few shares can be had for the moment are not in `found`.
    fn fitting(&self, found: &Found, whole: bool) -> Option<&Moment> {
        let fits = |moment: &&Moment| {
            let of_moment = |(name, (node, contents)): (&usize, &(NodeId, Vec<u8>))| {
                let there = moment.0.get(name);
                there.is_some_and(|(file, allowed)| {
                    self.files[*file].node == *node
                        && allowed.iter().any(|bytes| **bytes == *contents)
                })
            };
            (!whole || moment.0.keys().eq(found.keys())) && found.iter().all(of_moment)
        };
        self.moments.iter().rev().find(fits)
    }

    /// Whether a power cut may have left this, among other things.
    pub(crate) fn possible(&self, found: &Found) -> Result<(), String> {
        let fits = self.fitting(found, false).map(|_| ());
        fits.ok_or_else(|| {
            format!(
                "after a power cut there are impossible files: {:?}",
                found.keys()
            )
        })
    }

    /// Takes over what a power cut has left, if it may have left that.
    pub(crate) fn adopt(&mut self, found: &Found) -> Result<(), String> {
        let Some(Moment(moment)) = self.fitting(found, true).cloned() else {
            let sizes: Vec<_> = found
                .iter()
                .map(|(name, (_, bytes))| (FILES[*name], bytes.len()))
                .collect();
            let moments: Vec<_> = self.moments.iter().map(Moment::sizes).collect();
            return Err(format!(
                "after a power cut there is {sizes:?}, which is none of {moments:?}"
            ));
        };
        self.names = moment
            .iter()
            .map(|(name, (file, _))| (*name, *file))
            .collect();
        self.kill();
        for (name, (_, bytes)) in found {
            let file = &mut self.files[self.names[name]];
            file.saved = Arc::new(bytes.clone());
            file.allowed = vec![Arc::clone(&file.saved)];
            file.live.clone_from(bytes);
            // An empty file may have lost its only version.
            file.has_version &= !bytes.is_empty();
        }
        self.history_is_safe();
        Ok(())
    }
}

impl Moment {
    fn sizes(&self) -> Vec<(&'static str, Vec<usize>)> {
        let files = self.0.iter();
        files
            .map(|(name, (_, allowed))| {
                (
                    FILES[*name],
                    allowed.iter().map(|bytes| bytes.len()).collect(),
                )
            })
            .collect()
    }
}
