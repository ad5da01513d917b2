//! Tests that ask the drive without a kernel: what a kernel asks only in the moment between two of its own questions.

use std::sync::Arc;
use std::time::Duration;

use warifu_core::ids::Threshold;
use warifu_testkit::catalogs::{CatalogFault, CrashingCatalog, MemoryCatalog};
use warifu_testkit::clock::ManualClock;
use warifu_testkit::stores::MemoryStore;
use warifu_testkit::world::World;
use warifu_vault::keys::{Candidate, found};
use warifu_vault::node::{Attr, AttrChange, Name, NodeId};
use warifu_vault::{Access, Context, Options, ServerSeat, Vault, VaultConfig};

use crate::caller::Caller;
use crate::drive::Drive;

const HANAKO: Caller = Caller {
    uid: 1000,
    gid: 1000,
    pid: 0,
};

fn taro() -> Context {
    Context {
        actor: "taro".into(),
        uid: 2000,
        gid: 2000,
        host: "there".into(),
        program: "test".into(),
        purpose: String::new(),
    }
}

/// A drive on one machine, the vault as another one has it, and the line of the first to the catalogue.
async fn two() -> (Arc<Drive>, Vault, CrashingCatalog) {
    let store = Arc::new(MemoryStore::new());
    let candidate = Candidate {
        name: "east".into(),
        store: store.clone(),
    };
    let threshold = Threshold::new(1, 1).unwrap();
    let founded = found(&[candidate], threshold).await.unwrap();
    let mut options = Options::default();
    options.catalog_patience = Duration::ZERO;
    // Nothing in the background writes to the catalogue meanwhile.
    options.upkeep.every = Duration::ZERO;
    options.journal = false;
    let memory = MemoryCatalog::new();
    let line = CrashingCatalog::new(Arc::new(memory.clone()), World::new(0));
    let config = || VaultConfig {
        vault: founded.vault,
        thresholds: threshold.into(),
        generation: founded.generation,
        servers: vec![ServerSeat {
            id: founded.servers[0],
            index: threshold.indices().next().unwrap(),
            name: "east".into(),
            store: store.clone(),
        }],
        options: options.clone(),
    };
    let key = || {
        let candidate = Candidate {
            name: "east".into(),
            store: store.clone(),
        };
        let expected = warifu_vault::keys::Expected {
            vault: founded.vault,
            thresholds: threshold.into(),
            seats: founded
                .servers
                .iter()
                .copied()
                .zip(threshold.indices())
                .collect(),
        };
        async move {
            let unlocked = warifu_vault::keys::unlock(&[candidate], &expected).await;
            unlocked.unwrap().key
        }
    };
    let clock = Arc::new(ManualClock::default());
    let here = Vault::start(config(), key().await, Arc::new(line.clone()), clock.clone());
    let there = Vault::start(config(), key().await, Arc::new(memory), clock);
    (Drive::new(here.await.unwrap()), there.await.unwrap(), line)
}

async fn made(vault: &Vault, name: &str, mode: u32, contents: &[u8]) -> Attr {
    let name = Name::new(name.as_bytes()).unwrap();
    let (taro, access) = (taro(), Access::READ_WRITE);
    let made = vault.create_file(&taro, NodeId::ROOT, &name, mode, access);
    let (attr, handle) = made.await.unwrap();
    handle.write(&taro, 0, contents).await.unwrap();
    handle.release(&taro).await.unwrap();
    attr
}

async fn contents(vault: &Vault, node: NodeId) -> Vec<u8> {
    let handle = vault.open(&taro(), node, Access::READ).await.unwrap();
    let read = handle.read(0, 1000).await.unwrap().expose().to_vec();
    handle.release(&taro()).await.unwrap();
    read
}

/// What is made by an open the kernel does not ask about rights; what somebody else has made it must.
#[tokio::test]
async fn a_file_made_elsewhere_since_the_kernel_looked_is_not_opened_unchecked() {
    let (drive, there, _) = two().await;
    let name = Name::new(b"x").unwrap();
    let attr = made(&there, "x", 0o600, b"taro's own").await;
    for flags in [libc::O_RDONLY, libc::O_RDWR, libc::O_RDWR | libc::O_TRUNC] {
        let flags = flags | libc::O_CREAT;
        let opened = drive.create(HANAKO, NodeId::ROOT, &name, (0o600, 0), flags);
        let refusal = opened.await.err().unwrap();
        assert_eq!(refusal.errno().code(), libc::ESTALE);
        assert_eq!(drive.open.files(), 0);
    }
    let alone = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let opened = drive.create(HANAKO, NodeId::ROOT, &name, (0o600, 0), alone);
    let refusal = opened.await.err().unwrap();
    assert_eq!(refusal.errno().code(), libc::EEXIST);
    assert_eq!(contents(&there, attr.node).await, b"taro's own");
}

/// An open that empties must take the set-id bits away. When it cannot, it fails, and empties nothing.
#[tokio::test]
async fn an_open_that_fails_empties_nothing() {
    let (drive, there, line) = two().await;
    let attr = made(&there, "x", 0o666, b"everybody's").await;
    let change = AttrChange {
        mode: Some(0o4777),
        ..AttrChange::default()
    };
    there.set_attr(&taro(), attr.node, &change).await.unwrap();
    let flags = libc::O_RDWR | libc::O_TRUNC;
    // The opening is written into the audit log, and then the bits are to go.
    line.fail_write(2, CatalogFault::NoAnswer);
    let refusal = drive.open(HANAKO, attr.node, flags).await.err().unwrap();
    assert_eq!(refusal.errno().code(), libc::EIO);
    assert_eq!(drive.open.files(), 0);
    assert_eq!(contents(&there, attr.node).await, b"everybody's");
    let (number, _) = drive.open(HANAKO, attr.node, flags).await.unwrap();
    drive.release(HANAKO, number, None).await.unwrap();
    assert_eq!(contents(&there, attr.node).await, b"");
    let attr = there.attr(&taro(), attr.node).await.unwrap();
    assert_eq!(attr.mode & 0o7777, 0o777);
}
