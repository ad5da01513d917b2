//! A life of several machines: what they ask of one vault, and what they are told.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use warifu_vault::node::{Name, NodeId};
use warifu_vault::seam::catalog::{Catalog, RenameMode};
use warifu_vault::seam::journal::Row;
use warifu_vault::{Access, Context, FileHandle, Vault, VaultError};

use super::{Ask, Event, Mark, NameNo, NodeNo, Told, Verdict, explain};
use crate::catalogs::CrashingCatalog;
use crate::clock::ManualClock;
use crate::world::World;

const CLIENTS: usize = 8;
/// Few, so that all meet.
const NAMES: NameNo = 3;
const STEPS: usize = 6;

/// A machine that has the vault mounted.
pub struct Machine {
    /// The vault, which has joined the others.
    pub vault: Vault,
    /// Its line to the catalogue.
    pub line: CrashingCatalog,
    /// On whose behalf it works.
    pub ctx: Context,
}

/// Where machines come from.
#[async_trait]
pub trait Office: Send + Sync {
    /// A machine with an opening of the catalogue and a clock of its own. Saves wait for the catalogue for a fraction of a second.
    async fn machine(&self, host: &str, clock: ManualClock) -> Machine;
    /// Lets servers fail now and then, fewer than can be spared, or (with `false`) none any more.
    fn trouble(&self, trouble: bool);
}

/// What came of a life.
pub struct Life {
    /// What was asked and told.
    pub events: Vec<Event>,
    /// How many copies there are of what met a newer version.
    pub copies: usize,
}

/// Numbers that follow from a seed.
struct Dice(World, u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(World::new(seed), 0)
    }

    fn next(&mut self) -> u64 {
        self.1 += 1;
        self.0.draw(&[&self.1.to_le_bytes()])
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("tests use names that are possible")
}

async fn read_all(handle: &FileHandle) -> Result<Vec<u8>, VaultError> {
    let mut all = Vec::new();
    loop {
        let part = handle.read(all.len() as u64, 1 << 20).await?;
        if part.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(part.expose());
    }
}

fn file(number: NameNo) -> Name {
    name(&format!("file-{number}"))
}

/// What all clients write down.
#[derive(Default)]
struct Book {
    events: Mutex<Vec<Event>>,
    time: AtomicU64,
    marks: AtomicU64,
}

impl Book {
    fn now(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst)
    }

    /// Asks something. Until it is answered, or when it never is, nobody knows whether it took effect.
    async fn ask(
        &self,
        client: usize,
        ask: Ask,
        act: impl Future<Output = Option<Told>>,
    ) -> Option<Told> {
        let place = {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(Event {
                client,
                ask,
                told: Told::Silence,
                began: self.now(),
                ended: 0,
            });
            events.len() - 1
        };
        let told = act.await?;
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        (events[place].told, events[place].ended) = (told, self.now());
        Some(told)
    }

    fn mark(&self) -> Mark {
        1 + self.marks.fetch_add(1, Ordering::SeqCst) as Mark
    }
}

/// Contents that say who wrote them, by their length too.
fn contents(mark: Mark) -> Vec<u8> {
    let line = format!("{mark:08}");
    line.repeat(20 + mark as usize).into_bytes()
}

fn mark_of(bytes: &[u8]) -> Option<Mark> {
    let mark = std::str::from_utf8(bytes.get(..8)?).ok()?.parse().ok()?;
    assert_eq!(bytes, contents(mark), "a file is wholly one version");
    Some(mark)
}

/// One client, as long as it lives.
struct Client<'a> {
    number: usize,
    machine: &'a Machine,
    book: &'a Book,
    dice: Dice,
    /// Files of which it has changes that may not be saved yet: it sees others than the rest.
    dirty: HashSet<NodeNo>,
}

impl Client<'_> {
    async fn step(&mut self) {
        let (from, to) = {
            let from = self.dice.roll(u64::from(NAMES)) as NameNo;
            (
                from,
                (from + 1 + self.dice.roll(u64::from(NAMES) - 1) as NameNo) % NAMES,
            )
        };
        match self.dice.roll(12) {
            0 | 1 => self.create(from).await,
            2 => self.rename(from, to).await,
            3 => self.unlink(from).await,
            4..=6 => {
                if let Some(node) = self.lookup(from).await {
                    self.read(node).await;
                }
            }
            _ => {
                if let Some(node) = self.lookup(from).await {
                    self.save(node).await;
                }
            }
        }
    }

    async fn create(&mut self, at: NameNo) {
        let Machine { vault, ctx, .. } = self.machine;
        let act = async {
            let made = vault
                .create_file(ctx, NodeId::ROOT, &file(at), 0o600, Access::READ_WRITE)
                .await;
            match made {
                Ok((attr, handle)) => {
                    let _ = handle.release(ctx).await;
                    Some(Told::Node(attr.node.0))
                }
                Err(VaultError::Exists) => Some(Told::Taken),
                Err(_) => None,
            }
        };
        self.book.ask(self.number, Ask::Create(at), act).await;
    }

    async fn lookup(&mut self, at: NameNo) -> Option<NodeNo> {
        let Machine { vault, ctx, .. } = self.machine;
        let act = async {
            match vault.lookup(ctx, NodeId::ROOT, &file(at)).await {
                Ok(attr) => Some(Told::Node(attr.node.0)),
                Err(VaultError::NotFound { .. }) => Some(Told::Nothing),
                Err(_) => None,
            }
        };
        match self.book.ask(self.number, Ask::Lookup(at), act).await? {
            Told::Node(node) if !self.dirty.contains(&node) => Some(node),
            _ => None,
        }
    }

    async fn read(&mut self, node: NodeNo) {
        let Machine { vault, ctx, .. } = self.machine;
        let act = async {
            match vault.open(ctx, NodeId(node), Access::READ).await {
                Ok(handle) => {
                    let read = read_all(&handle).await.ok()?;
                    let _ = handle.release(ctx).await;
                    Some(Told::Contents(mark_of(&read)))
                }
                Err(VaultError::Stale) => Some(Told::Nothing),
                Err(_) => None,
            }
        };
        self.book.ask(self.number, Ask::Read(node), act).await;
    }

    async fn save(&mut self, node: NodeNo) {
        let Machine { vault, ctx, .. } = self.machine;
        let mut opened = None;
        let act = async {
            match vault.open(ctx, NodeId(node), Access::READ_WRITE).await {
                Ok(handle) => {
                    let read = read_all(&handle).await.ok()?;
                    opened = Some(handle);
                    Some(Told::Contents(mark_of(&read)))
                }
                Err(VaultError::Stale) => Some(Told::Nothing),
                Err(_) => None,
            }
        };
        let told = self.book.ask(self.number, Ask::Read(node), act).await;
        let (Some(Told::Contents(base)), Some(handle)) = (told, opened) else {
            return;
        };
        let mark = self.book.mark();
        let act = async {
            let bytes = contents(mark);
            let saved = async {
                handle.set_size(ctx, bytes.len() as u64).await?;
                handle.write(ctx, 0, &bytes).await?;
                // People take their time, and others come between.
                tokio::time::sleep(Duration::from_millis(u64::from(mark % 7))).await;
                handle.flush(ctx).await
            };
            let saved = saved.await;
            let released = handle.release(ctx).await;
            (saved.is_ok() && released.is_ok()).then_some(Told::Done)
        };
        let ask = Ask::Save { node, base, mark };
        if self.book.ask(self.number, ask, act).await.is_none() {
            self.dirty.insert(node);
        }
    }

    async fn rename(&mut self, from: NameNo, to: NameNo) {
        let Machine { vault, ctx, .. } = self.machine;
        let act = async {
            let (old, new) = (file(from), file(to));
            let (old, new) = ((NodeId::ROOT, &old), (NodeId::ROOT, &new));
            match vault.rename(ctx, old, new, RenameMode::Replace).await {
                Ok(_) => Some(Told::Done),
                Err(VaultError::NotFound { .. }) => Some(Told::Nothing),
                Err(_) => None,
            }
        };
        self.book.ask(self.number, Ask::Rename(from, to), act).await;
    }

    async fn unlink(&mut self, at: NameNo) {
        let Machine { vault, ctx, .. } = self.machine;
        let act = async {
            match vault.remove(ctx, NodeId::ROOT, &file(at)).await {
                Ok(()) => Some(Told::Done),
                Err(VaultError::NotFound { .. }) => Some(Told::Nothing),
                Err(_) => None,
            }
        };
        self.book.ask(self.number, Ask::Unlink(at), act).await;
    }
}

/// A desk: machines one after another, some of which die.
async fn desk(office: Arc<dyn Office>, number: usize, seed: u64, book: Arc<Book>) {
    let mut dice = Dice::new(seed * 1000 + number as u64);
    let mut steps = STEPS;
    for life in 0.. {
        let skew = ManualClock::default();
        skew.advance(Duration::from_secs(dice.roll(1_000_000)));
        let machine = office.machine(&format!("desk-{number}-{life}"), skew).await;
        let percent = if seed.is_multiple_of(3) { 0 } else { 4 };
        machine.line.storm(World::new(dice.next()), percent);
        let mut client = Client {
            number,
            machine: &machine,
            book: &book,
            dice: Dice::new(dice.next()),
            dirty: HashSet::new(),
        };
        let dies = dice.chance(40) && life < 2;
        let work = async {
            while steps > 0 {
                steps -= 1;
                client.step().await;
            }
        };
        if dies {
            tokio::select! {
                () = work => {}
                () = tokio::time::sleep(Duration::from_micros(dice.roll(60_000))) => {}
            }
            // What it had under way reaches the catalogue no more.
            machine.line.cut_off(true);
        } else {
            work.await;
            let _ = machine.vault.shutdown(&machine.ctx).await;
        }
        if steps == 0 {
            return;
        }
    }
}

/// Lets machines work on an empty vault, and checks what they were told.
///
/// # Panics
/// When it cannot be explained, or an acknowledged save is in no version.
pub async fn life(office: Arc<dyn Office>, seed: u64) -> Life {
    let book = Arc::new(Book::default());
    office.trouble(seed % 2 == 1);
    let mut desks = JoinSet::new();
    for number in 0..CLIENTS {
        desks.spawn(desk(Arc::clone(&office), number, seed, Arc::clone(&book)));
    }
    while let Some(ended) = desks.join_next().await {
        ended.expect("no desk panics");
    }
    office.trouble(false);

    // Everything has come to rest: what is there now was there in the end.
    let last = office.machine("last", ManualClock::default()).await;
    let mut reader = Client {
        number: CLIENTS,
        machine: &last,
        book: &book,
        dice: Dice::new(0),
        dirty: HashSet::new(),
    };
    for at in 0..NAMES {
        if let Some(node) = reader.lookup(at).await {
            reader.read(node).await;
        }
    }
    let events: Vec<_> = {
        let all = book.events.lock().unwrap_or_else(PoisonError::into_inner);
        // A question that nobody answered and that changes nothing says nothing.
        let says = |event: &&Event| {
            event.told != Told::Silence || !matches!(event.ask, Ask::Lookup(_) | Ask::Read(_))
        };
        all.iter().filter(says).copied().collect()
    };
    let told = || events.iter().map(|event| format!("{event:?}\n"));
    assert_eq!(
        explain(&events),
        Verdict::Explained,
        "seed {seed}:\n{}",
        told().collect::<String>()
    );
    let copies = nothing_is_lost(&last, &events, seed).await;
    let _ = last.vault.shutdown(&last.ctx).await;
    Life { events, copies }
}

/// Each acknowledged save is a version of some document: of the file, or of a copy beside it. Returns how many copies there are.
async fn nothing_is_lost(last: &Machine, events: &[Event], seed: u64) -> usize {
    let listed = last.vault.list(&last.ctx, NodeId::ROOT, None, 10_000).await;
    let listed: Vec<_> = listed
        .expect("the root is listed")
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let different: BTreeSet<_> = listed.iter().collect();
    assert_eq!(different.len(), listed.len(), "seed {seed}: a name twice");
    let mut sizes = BTreeSet::new();
    let mut after = None;
    loop {
        let rows = last.line.rows(after, 1000).await.expect("rows are read");
        let Some(end) = rows.last() else { break };
        after = Some(end.key());
        sizes.extend(rows.iter().filter_map(|row| match row {
            Row::Version(version, _) => Some(version.size),
            _ => None,
        }));
    }
    for event in events {
        if let (Ask::Save { mark, .. }, Told::Done) = (event.ask, event.told) {
            assert!(
                sizes.contains(&(contents(mark).len() as u64)),
                "seed {seed}: what {mark} wrote is in no version"
            );
        }
    }
    let copies = listed
        .iter()
        .filter(|name| name.display().contains("(conflict "));
    copies.count()
}

/// Lives many lives, each in an office of its own, and says how much was tried.
///
/// # Panics
/// As for [`life`]; and when nothing of importance happened in any of them.
pub async fn lives<F: Future<Output = Arc<dyn Office>>>(number: u64, office: impl Fn() -> F) {
    let (mut saves, mut silent, mut copies) = (0, 0, 0);
    for seed in 0..number {
        let life = life(office().await, seed).await;
        let is_save = |event: &&Event| matches!(event.ask, Ask::Save { .. });
        saves += life.events.iter().filter(is_save).count();
        let is_silent = |event: &&Event| event.told == Told::Silence;
        silent += life.events.iter().filter(is_silent).count();
        copies += life.copies;
    }
    eprintln!(
        "{number} lives: {saves} saves, {copies} copies, {silent} questions without an answer"
    );
    // Otherwise nothing was tried.
    assert!(saves > 0 && silent > 0 && copies > 0);
}
