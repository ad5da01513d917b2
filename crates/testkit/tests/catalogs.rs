//! The in-memory catalogue keeps the contract, and is honest about power cuts and crashes.

use std::sync::Arc;

use warifu_core::head::Timestamp;
use warifu_core::ids::FileId;
use warifu_testkit::catalogs::contract::{self, Pair, Subject};
use warifu_testkit::catalogs::{CatalogFault, CrashingCatalog, MemoryCatalog, chain_after, model};
use warifu_testkit::world::{Death, World};
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::{Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{Catalog, CatalogError, Durability, NewNode, Write};

fn memory() -> Subject {
    Subject {
        catalog: Arc::new(MemoryCatalog::new()),
        chain: Box::new(chain_after),
        keep: Box::new(()),
    }
}

fn write(durability: Durability) -> Write {
    let context = Context {
        actor: "a".into(),
        uid: 0,
        gid: 0,
        host: "h".into(),
        program: String::new(),
        purpose: String::new(),
    };
    let at = Timestamp { secs: 1, nanos: 0 };
    Write {
        audit: AuditEntry {
            at,
            context,
            act: Act::Create,
            node: None,
            detail: String::new(),
        },
        durability,
    }
}

fn folder() -> NewNode {
    NewNode {
        kind: NodeKind::Dir,
        mode: 0o700,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: vec![],
        document: FileId::NIL,
        inherits: false,
        unless: None,
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

async fn make(
    catalog: &dyn Catalog,
    text: &str,
    durability: Durability,
) -> Result<(), CatalogError> {
    catalog
        .create(NodeId::ROOT, &name(text), folder(), write(durability))
        .await
        .map(|_| ())
}

async fn has(catalog: &dyn Catalog, text: &str) -> bool {
    catalog
        .lookup(NodeId::ROOT, &name(text))
        .await
        .unwrap()
        .is_some()
}

#[tokio::test]
async fn the_memory_catalogue_keeps_the_contract() {
    contract::catalog(memory).await;
}

#[tokio::test]
async fn the_crashing_catalogue_keeps_it_while_nothing_crashes() {
    contract::catalog(|| {
        let subject = memory();
        Subject {
            catalog: Arc::new(CrashingCatalog::new(subject.catalog, World::new(1))),
            ..subject
        }
    })
    .await;
}

#[tokio::test]
async fn two_that_share_a_memory_catalogue_hear_of_each_other() {
    contract::sessions(|| {
        let memory = MemoryCatalog::new();
        Pair {
            there: Arc::new(memory.clone()),
            here: Subject {
                catalog: Arc::new(CrashingCatalog::new(Arc::new(memory), World::new(1))),
                chain: Box::new(chain_after),
                keep: Box::new(()),
            },
        }
    })
    .await;
}

#[tokio::test]
async fn two_memory_catalogues_live_the_same_life() {
    for seed in 0..5 {
        let world = World::new(seed);
        model::compare(&MemoryCatalog::new(), &MemoryCatalog::new(), &world, 300).await;
    }
}

#[tokio::test]
#[should_panic(expected = "differ")]
async fn catalogues_that_differ_are_found_out() {
    let (one, other) = (MemoryCatalog::new(), MemoryCatalog::new());
    make(&other, "more", Durability::Soon).await.unwrap();
    model::compare(&one, &other, &World::new(1), 50).await;
}

#[tokio::test]
async fn a_power_cut_takes_what_was_not_synced() {
    let catalog = MemoryCatalog::new();
    make(&catalog, "one", Durability::Soon).await.unwrap();
    make(&catalog, "two", Durability::Now).await.unwrap();
    make(&catalog, "three", Durability::Soon).await.unwrap();
    assert!(has(&catalog, "three").await);
    catalog.power_cut();
    assert!(
        has(&catalog, "one").await,
        "a write that is safe makes all before it safe"
    );
    assert!(has(&catalog, "two").await && !has(&catalog, "three").await);
    make(&catalog, "four", Durability::Soon).await.unwrap();
    catalog.sync().await.unwrap();
    catalog.power_cut();
    assert!(has(&catalog, "four").await);
}

#[tokio::test]
async fn what_survives_a_power_cut_is_a_beginning_of_history() {
    for kept in 0..=3 {
        let catalog = MemoryCatalog::new();
        catalog.remember();
        make(&catalog, "safe", Durability::Now).await.unwrap();
        for text in ["1", "2", "3"] {
            make(&catalog, text, Durability::Soon).await.unwrap();
        }
        assert_eq!(catalog.at_risk(), 3);
        catalog.power_cut_after(kept);
        assert!(has(&catalog, "safe").await);
        for (number, text) in (1..).zip(["1", "2", "3"]) {
            assert_eq!(
                has(&catalog, text).await,
                number <= kept,
                "write {number} of {kept} kept"
            );
        }
        assert_eq!(catalog.at_risk(), 0);
    }
}

#[tokio::test]
async fn faults_strike_the_write_they_were_told() {
    let memory = MemoryCatalog::new();
    let catalog = CrashingCatalog::new(Arc::new(memory.clone()), World::new(0));
    catalog.fail_write(2, CatalogFault::NoAnswer);
    catalog.fail_write(3, CatalogFault::LostReply);
    catalog.fail_write(4, CatalogFault::Full);
    make(&catalog, "1", Durability::Soon).await.unwrap();
    assert!(matches!(
        make(&catalog, "2", Durability::Soon).await,
        Err(CatalogError::NoAnswer { .. })
    ));
    assert!(has(&catalog, "1").await, "reads are not counted");
    assert!(matches!(
        make(&catalog, "3", Durability::Soon).await,
        Err(CatalogError::NoAnswer { .. })
    ));
    assert!(matches!(
        make(&catalog, "4", Durability::Soon).await,
        Err(CatalogError::Full)
    ));
    make(&catalog, "5", Durability::Soon).await.unwrap();
    assert_eq!(catalog.writes(), 5);
    let there = [
        has(&memory, "2").await,
        has(&memory, "3").await,
        has(&memory, "4").await,
    ];
    assert_eq!(there, [false, true, false], "only the lost reply was done");
    catalog.fail_writes(Some(CatalogFault::Full));
    assert!(matches!(catalog.sync().await, Err(CatalogError::Full)));
    catalog.fail_writes(None);
    catalog.sync().await.unwrap();
}

#[tokio::test]
async fn death_comes_before_or_after_a_write() {
    for (death, done) in [(Death::Before(2), false), (Death::After(2), true)] {
        let memory = MemoryCatalog::new();
        let world = World::new(0);
        let catalog = CrashingCatalog::new(Arc::new(memory.clone()), world.clone());
        world.die(death);
        tokio::select! {
            () = async {
                make(&catalog, "1", Durability::Soon).await.unwrap();
                let _never = make(&catalog, "2", Durability::Soon).await;
            } => panic!("the client is dead"),
            () = world.dead() => {}
        }
        assert!(has(&memory, "1").await);
        assert_eq!(has(&memory, "2").await, done);
        world.revive();
        assert_eq!(has(&catalog, "2").await, done);
    }
}
