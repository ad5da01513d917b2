//! The model: what names stand for, what is in the files, and what a power cut may leave of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_vault::node::NodeId;

use super::{FILES, SLOTS};

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

/// Names, and for each file what it may be after a power cut.
#[derive(Clone, Debug)]
pub(crate) struct Moment(BTreeMap<usize, (usize, Vec<Bytes>)>);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) files: Vec<File>,
    pub(crate) names: BTreeMap<usize, usize>,
    pub(crate) slots: [Option<usize>; SLOTS],
    /// Moments that a power cut may return to, since names were last made safe.
    moments: Vec<Moment>,
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut model = Self {
            files: Vec::new(),
            names: BTreeMap::new(),
            slots: [None; SLOTS],
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
