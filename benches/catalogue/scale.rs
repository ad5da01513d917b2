//! Requests to catalogues of 10,000 and of a million files, by turns.

use std::path::Path;
use std::time::{Duration, Instant};

use warifu_catalog::{PostgresCatalog, PostgresLogin, PostgresUrl, SqliteCatalog};
use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, Threshold, VaultId, VersionNo};
use warifu_core::keys::{CatalogKey, VaultKey};
use warifu_testkit::servers::{Postgres, PostgresOptions};
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, Commit, Durability, ExtentRecord, IndexSet, Intent, NewNode, RenameMode, Version,
    Write,
};
use warifu_vault::seam::generations::Generations;
use warifu_vault::seam::journal::{Restored, Resume, Row};

use crate::Outcome;

const FEW: u64 = 10_000;
/// In each folder, in the small catalogue as in the large one: what is listed is as long in both.
const FOLDER: u64 = 1_000;
const ROUNDS: usize = 400;
/// The first ones make connections and plans, and fetch what is read again and again.
const UNCOUNTED: usize = 50;

const AT: Timestamp = Timestamp {
    secs: 1_790_000_000,
    nanos: 0,
};

const ACTS: [&str; 7] = [
    "look up",
    "open",
    "save",
    "list 1,000",
    "rename",
    "unlink",
    "create",
];

fn draw() -> Outcome<u64> {
    let id = ExtentId::fresh()?;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(id.as_bytes().get(..8).unwrap_or(&[0; 8]));
    Ok(u64::from_le_bytes(bytes))
}

fn document_name(number: u64) -> Outcome<Name> {
    Ok(Name::new(format!("申請書 {number:07}.docx").as_bytes())?)
}

fn attr(node: u64, kind: NodeKind, nlink: u32) -> Attr {
    Attr {
        node: NodeId(node),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        nlink,
        rdev: 0,
        size: 0,
        atime: AT,
        mtime: AT,
        ctime: AT,
        btime: AT,
        document: FileId::NIL,
        version: VersionNo(0),
        head: None,
    }
}

fn head_record(extent: ExtentId, document: FileId, version: u64) -> Outcome<ExtentRecord> {
    Ok(ExtentRecord {
        extent,
        kind: ExtentKind::Head,
        number: 0,
        len: 20_480,
        threshold: Threshold::new(2, 3)?,
        scheme: Scheme::Shamir,
        generation: Generation(1),
        document,
        version: VersionNo(version),
        owed: IndexSet::EMPTY,
    })
}

fn entry(parent: u64, name: Name, node: u64) -> Row {
    Row::Entry {
        parent: NodeId(parent),
        tag: [0; 16],
        name,
        node: NodeId(node),
        since: AT,
    }
}

/// The rows of folder `number`, whose node comes after those of all folders before it with their files.
fn folder(number: u64) -> Outcome<Vec<Row>> {
    let at = 2 + number * (FOLDER + 1);
    let name = Name::new(format!("課 {number:04}").as_bytes())?;
    let mut rows = vec![
        Row::Node(attr(at, NodeKind::Dir, 2)),
        entry(NodeId::ROOT.0, name, at),
    ];
    for file in 0..FOLDER {
        let (node, document, head) = (at + 1 + file, FileId::fresh()?, ExtentId::fresh()?);
        let mut attr = attr(node, NodeKind::File, 1);
        (attr.document, attr.version, attr.head) = (document, VersionNo(1), Some(head));
        attr.size = 17_003;
        let version = Version {
            document,
            number: VersionNo(1),
            size: attr.size,
            mtime: AT,
            saved_at: AT,
            author: "hanako.sato".into(),
            host: "madoguchi-pc-12".into(),
            head: Some(head),
            settled: true,
            layout: Vec::new(),
        };
        rows.push(Row::Node(attr));
        rows.push(entry(at, document_name(file)?, node));
        rows.push(Row::Extent(head_record(head, document, 1)?));
        rows.push(Row::Version(version, 0));
    }
    Ok(rows)
}

async fn fill(catalog: &dyn Catalog, files: u64) -> Outcome<()> {
    let folders = files / FOLDER;
    let mut root = attr(NodeId::ROOT.0, NodeKind::Dir, 2);
    root.nlink += u32::try_from(folders)?;
    let rows = std::iter::once(Row::Node(root))
        // What randomness refuses is missed below.
        .chain((0..folders).flat_map(|number| folder(number).unwrap_or_default()))
        .map(Restored::Row);
    let resume = Resume {
        next: 1,
        tip: None,
        undecided: false,
        archived: 0,
        last_node: NodeId(2 + folders * (FOLDER + 1)),
        generations: Generations::FIRST,
    };
    catalog.restore(Box::new(rows), resume).await?;
    let there = catalog.usage().await?.files;
    assert_eq!(there, files, "it is filled");
    Ok(())
}

fn write(act: Act) -> Write {
    let context = Context {
        actor: "hanako.sato".into(),
        uid: 1000,
        gid: 1000,
        host: "madoguchi-pc-12".into(),
        program: "soffice.bin".into(),
        purpose: String::new(),
    };
    Write {
        audit: AuditEntry {
            at: AT,
            context,
            act,
            node: Some(NodeId(4)),
            detail: "17003 bytes".into(),
        },
        durability: Durability::Soon,
    }
}

async fn save(catalog: &dyn Catalog, attr: &Attr) -> Outcome<()> {
    let (save, head) = (ExtentId::fresh()?, ExtentId::fresh()?);
    let intent = Intent {
        save,
        extents: vec![(head, Generation(1))],
    };
    let lease = Duration::from_secs(600);
    let about = catalog.begin_save_of(attr.node, &intent, lease).await?;
    assert!(about.is_some(), "the file is there");
    let commit = Commit {
        save,
        size: 17_003,
        mtime: AT,
        saved_at: AT,
        author: "hanako.sato".into(),
        host: "madoguchi-pc-12".into(),
        head: Some(head),
        layout: Vec::new(),
        dealt: vec![head_record(head, attr.document, attr.version.0 + 1)?],
        settled: true,
    };
    catalog
        .commit_save(attr.node, attr.head, commit, write(Act::Save))
        .await?;
    Ok(())
}

/// A catalogue, how many folders it has, and what was measured.
struct Measured<'a> {
    catalog: &'a dyn Catalog,
    folders: u64,
    times: [Vec<Duration>; ACTS.len()],
}

impl<'a> Measured<'a> {
    fn new(catalog: &'a dyn Catalog, files: u64) -> Self {
        Self {
            catalog,
            folders: files / FOLDER,
            times: Default::default(),
        }
    }

    fn median(&self, act: usize) -> f64 {
        let mut times = self.times.get(act).cloned().unwrap_or_default();
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        median.as_secs_f64() * 1e6
    }

    /// Each act once, with a file that was drawn among all.
    async fn round(&mut self, number: usize) -> Outcome<()> {
        let catalog = self.catalog;
        let place = draw()? % self.folders;
        let parent = NodeId(2 + place * (FOLDER + 1));
        let name = document_name(draw()? % FOLDER)?;
        let new_name = Name::new(format!("改名 {number}").as_bytes())?;
        let mut times = [Duration::ZERO; ACTS.len()];
        let mut at = Instant::now();
        let mut lap = |act: usize| {
            if let Some(time) = times.get_mut(act) {
                *time = at.elapsed();
            }
            at = Instant::now();
        };
        let found = catalog.lookup(parent, &name).await?;
        lap(0);
        let found = found.ok_or("the file is there")?;
        let entry = write(Act::OpenWrite).audit;
        let (attr, _) = catalog.open(found.node, entry, Durability::Soon).await?;
        lap(1);
        save(catalog, &attr).await?;
        lap(2);
        let listed = catalog.list(parent, None, 2_000).await?.len();
        lap(3);
        let (from, to) = ((parent, &name), (parent, &new_name));
        catalog
            .rename(from, to, RenameMode::Replace, &[], write(Act::Rename))
            .await?;
        lap(4);
        catalog
            .unlink(parent, &new_name, &[], write(Act::Remove))
            .await?;
        lap(5);
        let new = NewNode {
            kind: NodeKind::File,
            mode: 0o644,
            uid: 1000,
            gid: 1000,
            rdev: 0,
            target: Vec::new(),
            document: FileId::fresh()?,
            inherits: true,
            unless: None,
        };
        catalog
            .create(parent, &name, new, write(Act::Create))
            .await?;
        lap(6);
        assert_eq!(listed as u64, FOLDER, "all are listed");
        if number >= UNCOUNTED {
            for (all, time) in self.times.iter_mut().zip(times) {
                all.push(time);
            }
        }
        Ok(())
    }
}

fn key() -> Outcome<CatalogKey> {
    Ok(VaultKey::generate()?.catalog_key(VaultId::fresh()?))
}

async fn sqlite(dir: &Path, files: u64) -> Outcome<SqliteCatalog> {
    let path = dir.join(format!("{files}.db"));
    let begun = Instant::now();
    let catalog = SqliteCatalog::create(&path, key()?)?;
    fill(&catalog, files).await?;
    catalog.sync().await?;
    let mut bytes = 0;
    for name in [format!("{files}.db"), format!("{files}.db-wal")] {
        bytes += std::fs::metadata(dir.join(name)).map_or(0, |found| found.len());
    }
    told("SQLite", files, begun, bytes);
    Ok(catalog)
}

async fn postgres(server: &Postgres, files: u64) -> Outcome<PostgresCatalog> {
    let schema = format!("files{files}");
    let login = PostgresLogin {
        url: PostgresUrl::parse(&server.url(&schema))?,
        password: None,
        ca: None,
    };
    let begun = Instant::now();
    let catalog = PostgresCatalog::create(login, key()?).await?;
    fill(&catalog, files).await?;
    let size = server.ask(&format!(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
         WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'S')"
    ));
    told("PostgreSQL", files, begun, size.trim().parse()?);
    Ok(catalog)
}

fn told(engine: &str, files: u64, begun: Instant, bytes: u64) {
    println!(
        "{engine}, {files} files: filled in {:.0?}, {:.1} MB, {} bytes for each file",
        begun.elapsed(),
        bytes as f64 / 1e6,
        bytes / files
    );
}

/// Each of both comes after itself as often as after the other: whoever comes after something else finds the processor's memory cold.
async fn by_turns(both: &mut [Measured<'_>; 2]) -> Outcome<()> {
    for number in 0..UNCOUNTED + ROUNDS {
        for measured in &mut *both {
            measured.round(number).await?;
        }
        both.reverse();
    }
    // An even number of times: they stand as before.
    const { assert!((UNCOUNTED + ROUNDS).is_multiple_of(2)) };
    Ok(())
}

pub(crate) async fn run(dir: &Path) -> Outcome<()> {
    let many = match std::env::var("WARIFU_BENCH_FILES") {
        Ok(text) => text.parse()?,
        Err(_) => 1_000_000,
    };
    let server = Postgres::start(PostgresOptions {
        durable: crate::is_durable(),
        ..PostgresOptions::default()
    })
    .ok_or("PostgreSQL is not installed")?;
    let of_sqlite = [sqlite(dir, FEW).await?, sqlite(dir, many).await?];
    let of_postgres = [
        postgres(&server, FEW).await?,
        postgres(&server, many).await?,
    ];
    // What the database does by itself after it was filled, and would do in the middle of the measuring.
    server.ask("VACUUM ANALYZE");
    server.ask("CHECKPOINT");
    let [few, more] = &of_sqlite;
    let mut one = [Measured::new(few, FEW), Measured::new(more, many)];
    let [few, more] = &of_postgres;
    let mut other = [Measured::new(few, FEW), Measured::new(more, many)];
    by_turns(&mut one).await?;
    by_turns(&mut other).await?;
    for (engine, [few, more]) in [("SQLite", &one), ("PostgreSQL", &other)] {
        for (number, act) in ACTS.iter().enumerate() {
            let (small, large) = (few.median(number), more.median(number));
            println!(
                "{engine:<11} {act:<11} {small:9.1} µs of {FEW}, {large:9.1} µs of {many}: {:.2} x",
                large / small
            );
        }
    }
    Ok(())
}
