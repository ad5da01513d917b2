//! Reading and changing the contents of an open file. Nothing here talks to a server except to fetch what is missing.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use warifu_core::head::{Content, Head};
use warifu_core::ids::ExtentId;
use warifu_core::secret::SecretBytes;

use super::parts;
use super::plain::{Contents, Plain};
use super::state::{FileState, OpenFile, Slot};
use super::{EXTENT, FILE_MAX};
use crate::error::{Result, VaultError};
use crate::seam::clock::Timestamp;
use crate::vault::{Inner, lock};

/// Where a write goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// To an offset.
    At(u64),
    /// To the end, wherever that is at the moment of the write.
    End,
}

impl Place {
    /// The offset, and whether so many bytes can be written there.
    fn find(self, state: &FileState, len: usize) -> Result<u64> {
        let offset = match self {
            Self::At(offset) => offset,
            Self::End => state.size,
        };
        fits(offset, len).map(|()| offset)
    }
}

/// The part of an extent that a stretch of the file covers.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    number: u64,
    /// First byte within the extent.
    at: usize,
    /// Length.
    len: usize,
    /// Where it lies within the caller's bytes.
    outer: usize,
}

/// Cuts the bytes `offset .. offset + len` of a file into stretches that each lie in one extent.
fn stretches(offset: u64, len: usize) -> impl Iterator<Item = Stretch> {
    let mut outer = 0_usize;
    std::iter::from_fn(move || {
        let left = len.checked_sub(outer).filter(|left| *left > 0)?;
        let position = offset.saturating_add(outer as u64);
        let (number, within) = (position / EXTENT, position % EXTENT);
        let room = usize::try_from(EXTENT - within).unwrap_or(usize::MAX);
        let stretch = Stretch {
            number,
            at: usize::try_from(within).unwrap_or(usize::MAX),
            len: left.min(room),
            outer,
        };
        outer += stretch.len;
        Some(stretch)
    })
}

/// How many bytes of an extent lie before the end of a file of this size.
pub(crate) fn span(size: u64, number: u64) -> usize {
    let begin = number.saturating_mul(EXTENT);
    usize::try_from(size.saturating_sub(begin).min(EXTENT)).unwrap_or(usize::MAX)
}

/// How many bytes are gathered at a time: what a read asks for at once must fit into RAM beside everything else.
const GATHER: usize = 16 << 20;

/// What is no longer than this is fetched when it is opened to be read, where that takes no waiting.
const SHORT: usize = 128 << 10;

/// How many extents are fetched before a program that reads in order asks for them.
const AHEAD: u64 = 2;

impl Inner {
    /// Reads up to `len` bytes from `offset`; fewer at the end of the file.
    pub(crate) async fn read(
        self: &Arc<Self>,
        file: &Arc<OpenFile>,
        offset: u64,
        len: usize,
    ) -> Result<Contents> {
        if len <= GATHER {
            return self.gather(file, offset, len).await;
        }
        let size = file.state.read().await.size;
        let len = usize::try_from(size.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(len);
        let mut out = SecretBytes::with_len(len);
        let mut done = 0;
        while done < len {
            let part = self
                .gather(file, offset + done as u64, GATHER.min(len - done))
                .await?;
            let Some(place) = out.expose_mut().get_mut(done..done + part.len()) else {
                break;
            };
            place.copy_from_slice(part.expose());
            done += part.len();
            if part.is_empty() {
                break;
            }
        }
        out.truncate(done);
        Ok(out.into())
    }

    /// Tells the servers what a program will most likely read that has just opened a file to read it: all of it, where that is
    /// one object. Of a large file it may want the end. What is short and comes without waiting is fetched here and now, while the program
    /// is still being told that the file is open. Never waits.
    pub(crate) fn expect_reading(self: &Arc<Self>, file: &OpenFile) {
        let (head, len) = {
            let Ok(state) = file.state.try_read() else {
                return;
            };
            match (state.slot(0), state.head, state.buffers.contains_key(&0)) {
                (Slot::InHead, Some(head), false) => (head, span(state.size, 0)),
                _ => return,
            }
        };
        if self.expect(head, len) && len <= SHORT && self.room() > SHORT {
            // Where something had to be waited for after all, this is broken off, and done when the program reads.
            let _ = self.load(file, 0).now_or_never();
        }
    }

    /// Tells those servers that would be asked first that an extent of about this length will be read next. Returns whether all of them
    /// have it at hand.
    fn expect(&self, extent: ExtentId, len: usize) -> bool {
        let servers = &self.servers;
        let (generation, threshold) = servers.likely();
        let k = usize::from(threshold.k());
        let asked = servers.by_speed(threshold, len as u64);
        let asked = asked.iter().take(k).filter(|server| {
            let name = servers.object_key(server, extent, generation);
            server.seat.store.expect(&name)
        });
        asked.count() == k
    }

    /// How many bytes of contents may be taken into RAM before something has to go.
    fn room(&self) -> usize {
        self.options.memory_limit.saturating_sub(self.ledger.held())
    }

    async fn gather(
        self: &Arc<Self>,
        file: &Arc<OpenFile>,
        offset: u64,
        len: usize,
    ) -> Result<Contents> {
        let in_order = file.order.next(offset, len);
        // What was fetched in parts may have been dropped again before it is copied; not for ever.
        let mut parts_left = 4;
        loop {
            let missing = {
                let state = file.state.read().await;
                let len = usize::try_from(state.size.saturating_sub(offset))
                    .unwrap_or(usize::MAX)
                    .min(len);
                let missing = self.first_missing(file, &state, offset, len);
                match missing {
                    None => {
                        let out = self.where_it_lies(&state, offset, len).unwrap_or_else(|| {
                            let mut out = SecretBytes::with_len(len);
                            self.copy_out(file, &state, offset, out.expose_mut());
                            out.into()
                        });
                        if in_order {
                            self.read_ahead(file, &state, (offset + len as u64) / EXTENT);
                        }
                        return Ok(out);
                    }
                    Some(stretch) => {
                        let extent = match state.slot(stretch.number) {
                            Slot::Stored(extent) if !in_order => Some(extent),
                            _ => None,
                        };
                        let extent = extent.filter(|_| parts::worth_it(state.size, len));
                        (stretch, extent.filter(|_| parts_left > 0))
                    }
                }
            };
            // Before and not after: what is fetched now must not be what is dropped.
            if self.ledger.held() > self.options.memory_limit {
                self.drop_clean();
            }
            let (stretch, extent) = missing;
            if let Some(extent) = extent {
                parts_left -= 1;
                if self
                    .load_part(file, (stretch.number, extent), stretch.at, stretch.len)
                    .await?
                {
                    continue;
                }
                parts_left = 0;
            }
            if in_order {
                self.expect_next(file, stretch.number + 1).await;
            }
            self.load(file, stretch.number).await?;
        }
    }

    /// A program that reads in order will want the next extent too.
    async fn expect_next(&self, file: &OpenFile, number: u64) {
        let state = file.state.read().await;
        if let (Slot::Stored(extent), false) =
            (state.slot(number), state.buffers.contains_key(&number))
        {
            self.expect(extent, span(state.size, number));
        }
    }

    /// The first stretch that is not in RAM.
    fn first_missing(
        &self,
        file: &OpenFile,
        state: &FileState,
        offset: u64,
        len: usize,
    ) -> Option<Stretch> {
        let absent = |stretch: &Stretch| {
            !state.buffers.contains_key(&stretch.number)
                && match state.slot(stretch.number) {
                    Slot::Hole => false,
                    Slot::Stored(extent) => {
                        !lock(&file.parts).hold(extent, stretch.at, stretch.len)
                    }
                    Slot::InHead | Slot::Fresh(_) => true,
                }
        };
        stretches(offset, len).find(absent)
    }

    /// A read that lies in one extent in RAM, without copying it.
    fn where_it_lies(&self, state: &FileState, offset: u64, len: usize) -> Option<Contents> {
        let stretch = stretches(offset, len)
            .next()
            .filter(|stretch| stretch.len == len)?;
        let plain = state.buffers.get(&stretch.number)?;
        plain.used.store(self.tick(), Ordering::Relaxed);
        plain.share(stretch.at, len)
    }

    fn copy_out(&self, file: &OpenFile, state: &FileState, offset: u64, out: &mut [u8]) {
        for stretch in stretches(offset, out.len()) {
            let Some(place) = out.get_mut(stretch.outer..stretch.outer + stretch.len) else {
                continue;
            };
            match (
                state.buffers.get(&stretch.number),
                state.slot(stretch.number),
            ) {
                (Some(plain), _) => {
                    plain.used.store(self.tick(), Ordering::Relaxed);
                    plain.read(stretch.at, place);
                }
                (None, Slot::Stored(extent)) => {
                    lock(&file.parts).read(extent, stretch.at, place);
                }
                (None, _) => place.fill(0),
            }
        }
    }

    /// Fetches the next extents while a program that reads in order is busy with this one.
    fn read_ahead(self: &Arc<Self>, file: &Arc<OpenFile>, state: &FileState, reached: u64) {
        for next in reached + 1..=reached + AHEAD {
            if next < state.extents()
                && !state.buffers.contains_key(&next)
                && state.slot(next) != Slot::Hole
            {
                self.load_ahead(file, next);
            }
        }
    }

    /// Fetches an extent while a program is busy with another, if there is room for it.
    pub(super) fn load_ahead(self: &Arc<Self>, file: &Arc<OpenFile>, number: u64) {
        // One at a time: whoever holds the lock is fetching it already.
        if self.room() as u64 <= AHEAD * EXTENT || file.fetch_lock(number).try_lock().is_err() {
            return;
        }
        let (inner, file) = (Arc::clone(self), Arc::clone(file));
        tokio::spawn(async move {
            // A failure shows when the extent is read for its own sake.
            let _ = inner.load(&file, number).await;
        });
    }

    /// Brings an extent into RAM, if it is not there.
    pub(crate) async fn load(&self, file: &OpenFile, number: u64) -> Result<()> {
        let lock = file.fetch_lock(number);
        let _fetching = lock.lock().await;
        loop {
            let (slot, head, len) = {
                let state = file.state.read().await;
                if state.buffers.contains_key(&number) {
                    return Ok(());
                }
                (state.slot(number), state.head, span(state.size, number))
            };
            let (fetched, contents) = match (slot, head) {
                (Slot::Hole, _) | (Slot::InHead, None) => (SecretBytes::with_len(0), 0..0),
                (Slot::InHead, Some(head)) => {
                    let secret = self.fetch(file, head, len).await?;
                    let contents = inline_contents(&secret)?;
                    (secret, contents)
                }
                (Slot::Stored(extent) | Slot::Fresh(extent), _) => {
                    let secret = self.fetch(file, extent, len).await?;
                    let contents = 0..secret.len();
                    (secret, contents)
                }
            };
            let mut state = file.state.write().await;
            if state.buffers.contains_key(&number) {
                return Ok(());
            }
            if state.slot(number) != slot || (slot == Slot::InHead && state.head != head) {
                continue;
            }
            let len = span(state.size, number).min(contents.len());
            let contents = contents.start..contents.start + len;
            let plain = Plain::of(fetched, contents, &self.ledger);
            plain.used.store(self.tick(), Ordering::Relaxed);
            state.buffers.insert(number, plain);
            return Ok(());
        }
    }

    /// Writes `data`; the file grows as needed, with zeros between its old end and where they go.
    pub(crate) async fn write(
        self: &Arc<Self>,
        file: &Arc<OpenFile>,
        place: Place,
        data: &[u8],
        now: Timestamp,
    ) -> Result<()> {
        // Before, so that what is refused takes no room: a program may go on and on.
        self.make_room(file).await?;
        let full = loop {
            let missing = {
                let mut state = file.state.write().await;
                let offset = place.find(&state, data.len())?;
                if data.is_empty() {
                    return Ok(());
                }
                match needed_first(&state, offset, data.len()) {
                    None => break self.copy_in(file, &mut state, offset, data, now),
                    Some(number) => number,
                }
            };
            self.load(file, missing).await?;
        };
        for number in full {
            self.send_early(file, number);
        }
        // It is taken, whatever becomes of this; the next write finds out.
        let _ = self.make_room(file).await;
        Ok(())
    }

    /// As [`write`](Self::write) where nothing has to be fetched, sent or waited for; `None` where something has, and then
    /// nothing was done.
    pub(crate) fn write_at_once(
        self: &Arc<Self>,
        file: &Arc<OpenFile>,
        place: Place,
        data: &[u8],
        now: Timestamp,
    ) -> Option<Result<()>> {
        // A buffer that grows takes twice as much.
        let most = data.len().saturating_mul(2).max(EXTENT as usize);
        if self.ledger.held().saturating_add(most) > self.options.memory_limit {
            return None;
        }
        let full = {
            let mut state = file.state.try_write().ok()?;
            let offset = match place.find(&state, data.len()) {
                Ok(offset) => offset,
                Err(error) => return Some(Err(error)),
            };
            if needed_first(&state, offset, data.len()).is_some() {
                return None;
            }
            self.copy_in(file, &mut state, offset, data, now)
        };
        for number in full {
            self.send_early(file, number);
        }
        Some(Ok(()))
    }

    /// Returns the extents that the write has filled to the end: a program that writes in order is done with them.
    fn copy_in(
        &self,
        file: &OpenFile,
        state: &mut FileState,
        offset: u64,
        data: &[u8],
        now: Timestamp,
    ) -> Vec<u64> {
        let mut full = Vec::new();
        for stretch in stretches(offset, data.len()) {
            let bytes = data
                .get(stretch.outer..stretch.outer + stretch.len)
                .unwrap_or_default();
            let plain = state
                .buffers
                .entry(stretch.number)
                .or_insert_with(|| Plain::empty(&self.ledger));
            plain.write(stretch.at, bytes);
            plain.used.store(self.tick(), Ordering::Relaxed);
            if (stretch.at + stretch.len) as u64 == EXTENT && plain.len() as u64 == EXTENT {
                full.push(stretch.number);
            }
        }
        state.size = state.size.max(offset + data.len() as u64);
        state.touch(now);
        full.retain(|number| !file.frozen && !state.unlinked && state.sending.insert(*number));
        full
    }

    /// Cuts the file off at `size`, or lets it grow to it with zeros.
    pub(crate) async fn set_size(&self, file: &OpenFile, size: u64, now: Timestamp) -> Result<()> {
        if size > FILE_MAX {
            return Err(VaultError::TooLarge {
                size,
                limit: FILE_MAX,
            });
        }
        let (boundary, rest) = (size / EXTENT, usize::try_from(size % EXTENT).unwrap_or(0));
        loop {
            {
                let mut state = file.state.write().await;
                let shrinks = size < state.size;
                // The extent in which the file now ends is kept in part: what is behind the end must be zeros, should the file grow again.
                let cuts = shrinks && rest > 0 && state.slot(boundary) != Slot::Hole;
                if !cuts || state.buffers.contains_key(&boundary) {
                    if size == state.size {
                        return Ok(());
                    }
                    if shrinks {
                        let keep = size.div_ceil(EXTENT);
                        drop(state.buffers.split_off(&keep));
                        state
                            .slots
                            .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
                        if let Some(plain) = state.buffers.get_mut(&boundary) {
                            plain.truncate(rest);
                        }
                    }
                    state.size = size;
                    state.touch(now);
                    return Ok(());
                }
            }
            self.load(file, boundary).await?;
        }
    }

    /// Lets the file grow to `size` with zeros, if it is shorter.
    pub(crate) async fn grow_to(&self, file: &OpenFile, size: u64, now: Timestamp) -> Result<()> {
        fits(size, 0)?;
        let mut state = file.state.write().await;
        if size > state.size {
            state.size = size;
            state.touch(now);
        }
        Ok(())
    }

    /// Makes a stretch of the file zeros; its size stays.
    pub(crate) async fn punch(
        &self,
        file: &OpenFile,
        offset: u64,
        len: u64,
        now: Timestamp,
    ) -> Result<()> {
        loop {
            let missing = {
                let mut state = file.state.write().await;
                let len = usize::try_from(len.min(state.size.saturating_sub(offset)))
                    .unwrap_or(usize::MAX);
                if len == 0 {
                    return Ok(());
                }
                let whole = |state: &FileState, stretch: &Stretch| {
                    stretch.at == 0 && stretch.len >= span(state.size, stretch.number)
                };
                let missing = stretches(offset, len).find(|stretch| {
                    let absent = !state.buffers.contains_key(&stretch.number)
                        && state.slot(stretch.number) != Slot::Hole;
                    absent && !whole(&state, stretch)
                });
                match missing {
                    Some(stretch) => stretch.number,
                    None => {
                        for stretch in stretches(offset, len) {
                            if whole(&state, &stretch) {
                                state.buffers.remove(&stretch.number);
                                if state.slot(stretch.number) != Slot::Hole {
                                    state.set_slot(stretch.number, Slot::Hole);
                                }
                            } else if let Some(plain) = state.buffers.get_mut(&stretch.number) {
                                plain.zero(stretch.at, stretch.len);
                            }
                        }
                        state.touch(now);
                        return Ok(());
                    }
                }
            };
            self.load(file, missing).await?;
        }
    }

    /// Keeps the contents held in RAM below the limit: first by dropping what the servers have too, then by sending what
    /// this file has that they have not. A file that has lost its name is sent too: its objects are under the intent of a save
    /// that never comes, and go when the file is closed, or with the intent.
    pub(crate) async fn make_room(self: &Arc<Self>, file: &Arc<OpenFile>) -> Result<()> {
        if self.ledger.held() <= self.options.memory_limit {
            return Ok(());
        }
        self.drop_clean();
        let mut lapsed = false;
        while self.ledger.held() > self.options.memory_limit {
            let oldest = {
                let state = file.state.read().await;
                if file.frozen {
                    return Ok(());
                }
                let dirty = state.buffers.iter().filter(|(_, plain)| plain.dirty);
                dirty
                    .min_by_key(|(_, plain)| plain.used.load(Ordering::Relaxed))
                    .map(|(number, _)| *number)
            };
            let Some(oldest) = oldest else { return Ok(()) };
            let shared = file.saving.read().await;
            match self.send(file, oldest).await {
                Err(VaultError::Lapsed) if !lapsed => {
                    lapsed = true;
                    drop(shared);
                    let _alone = file.saving.write().await;
                    self.forget_sent(file).await;
                }
                other => other?,
            }
            self.drop_clean();
        }
        Ok(())
    }

    /// Drops contents that the servers have too, the longest unused first, until a quarter of the limit is free.
    fn drop_clean(&self) {
        let goal = self.options.memory_limit / 4 * 3;
        let files = self.files_in_ram();
        files.iter().for_each(|file| lock(&file.parts).clear());
        let mut clean: Vec<(u64, usize, u64)> = Vec::new();
        for (place, file) in files.iter().enumerate() {
            let Ok(state) = file.state.try_read() else {
                continue;
            };
            let candidates = state.buffers.iter().filter(|(_, plain)| !plain.dirty);
            clean.extend(
                candidates
                    .map(|(number, plain)| (plain.used.load(Ordering::Relaxed), place, *number)),
            );
        }
        clean.sort_unstable();
        for (_, place, number) in clean {
            if self.ledger.held() <= goal {
                return;
            }
            let Some(Ok(mut state)) = files.get(place).map(|file| file.state.try_write()) else {
                continue;
            };
            if state.buffers.get(&number).is_some_and(|plain| !plain.dirty) {
                state.buffers.remove(&number);
            }
        }
    }
}

/// Fails for what would make a file too large.
fn fits(offset: u64, len: usize) -> Result<()> {
    let end = offset.saturating_add(len as u64);
    if end > FILE_MAX {
        return Err(VaultError::TooLarge {
            size: end,
            limit: FILE_MAX,
        });
    }
    Ok(())
}

/// The first extent that must be fetched before so many bytes can be written: it is changed in part only.
fn needed_first(state: &FileState, offset: u64, len: usize) -> Option<u64> {
    stretches(offset, len)
        .find(|stretch| {
            let covers = stretch.at == 0 && stretch.len >= span(state.size, stretch.number);
            !covers
                && !state.buffers.contains_key(&stretch.number)
                && state.slot(stretch.number) != Slot::Hole
        })
        .map(|stretch| stretch.number)
}

/// Where the contents lie in a head.
fn inline_contents(secret: &SecretBytes) -> Result<Range<usize>> {
    let (head, begin) = Head::parse(secret.expose()).map_err(|error| VaultError::Damaged {
        what: format!("the head of a version: {error}"),
    })?;
    if !matches!(head.content, Content::Inline) {
        return Err(VaultError::Damaged {
            what: "the head of a version does not hold its contents".to_owned(),
        });
    }
    usize::try_from(head.size)
        .ok()
        .and_then(|size| begin.checked_add(size))
        .filter(|end| *end <= secret.len())
        .map(|end| begin..end)
        .ok_or_else(|| VaultError::Damaged {
            what: "the head of a version is shorter than its contents".to_owned(),
        })
}
