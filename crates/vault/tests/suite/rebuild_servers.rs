//! P4 and P7: servers that cannot give all that they have do not stop a rebuild, and are named.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use warifu_testkit::stores::State;
use warifu_vault::error::Fault;
use warifu_vault::keys::Candidate;
use warifu_vault::rebuild::RebuildError;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use crate::common::lab::server_name;
use crate::common::{Lab, ctx, noise, put};
use crate::rebuild::{alike, from_servers, rows, try_from};

/// A disk with bad places.
#[derive(Debug)]
struct BadPlaces {
    inner: Arc<dyn ShareStore>,
    /// How often, and how, an object cannot be read from now on.
    bad: Mutex<BTreeMap<ObjectKey, (u32, StoreErrorKind)>>,
}

#[async_trait]
impl ShareStore for BadPlaces {
    async fn put_new(
        &self,
        key: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.inner.put_new(key, object, durability).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let kind = match self.bad.lock().unwrap().get_mut(key) {
            Some((left @ 1.., kind)) => {
                *left -= 1;
                Some(*kind)
            }
            _ => None,
        };
        match kind {
            Some(kind) => Err(StoreError::new(kind, "a bad place")),
            None => self.inner.get(key, range).await,
        }
    }

    async fn stat(&self, key: &ObjectKey) -> Result<ObjectStat, StoreError> {
        self.inner.stat(key).await
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        self.inner.list(after, limit).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync().await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.inner.space().await
    }
}

/// The servers, the first of them with these bad places.
fn servers(lab: &Lab, bad: Vec<(ObjectKey, (u32, StoreErrorKind))>) -> Vec<Candidate> {
    let mut bad = Some(bad.into_iter().collect());
    lab.stores
        .iter()
        .enumerate()
        .map(|(place, store)| {
            let inner = Arc::clone(store) as Arc<dyn ShareStore>;
            let bad = Mutex::new(bad.take().unwrap_or_default());
            Candidate {
                name: server_name(place),
                store: Arc::new(BadPlaces { inner, bad }),
            }
        })
        .collect()
}

fn shares(lab: &Lab, place: usize) -> Vec<ObjectKey> {
    let mut names = lab.servers[place].names();
    names.retain(ObjectKey::is_share);
    names
}

/// One bad sector: everything is there all the same, and the server and what it said are named.
#[tokio::test(start_paused = true)]
async fn p4_p7_what_a_server_cannot_read_does_not_stop_a_rebuild() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    for number in 0..6 {
        let file = format!("f{number}");
        put(&vault, &file, &noise(number, 500)).await.unwrap();
        vault.sync().await.unwrap();
    }
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let expected = rows(&lab.memory).await;
    for kind in [StoreErrorKind::Failed, StoreErrorKind::NoAnswer] {
        for bad in shares(&lab, 0) {
            let given = servers(&lab, vec![(bad, (u32::MAX, kind))]);
            let (catalog, report) = try_from(&lab, given).await.unwrap();
            let [unreadable] = &report.unreadable[..] else {
                panic!("{report:?}");
            };
            assert_eq!(
                (unreadable.objects, unreadable.fault.server.as_str()),
                (1, "A")
            );
            assert_eq!(unreadable.fault.fault, Fault::from(kind));
            assert!(report.is_whole() && !report.undecided, "{report:?}");
            assert_eq!(report.owed_shares, 1, "it is made anew by a repair");
            alike(&rows(&catalog).await, &expected, "all the same");
        }
    }
    // What can be read when it is asked for again is there.
    let first = shares(&lab, 0)[0].clone();
    let once = servers(&lab, vec![(first, (2, StoreErrorKind::Failed))]);
    let (_, report) = try_from(&lab, once).await.unwrap();
    assert!(report.unreadable.is_empty() && report.owed_shares == 0);
}

/// What only the server with bad places and one other have is not lost for good, and not passed over without a word.
#[tokio::test(start_paused = true)]
async fn p7_what_bad_places_may_hold_is_not_called_lost_for_good() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "known", &noise(1, 500)).await.unwrap();
    vault.sync().await.unwrap();
    let before = shares(&lab, 0);
    lab.faults[2].set(State::Gone);
    put(&vault, "last", &noise(2, 500)).await.unwrap();
    drop(vault);
    lab.heal();
    let of_last = shares(&lab, 0).into_iter().find(|s| !before.contains(s));
    let bad = vec![(of_last.unwrap(), (u32::MAX, StoreErrorKind::Failed))];
    let (_, report) = try_from(&lab, servers(&lab, bad)).await.unwrap();
    assert_eq!((report.unread, report.adopted_count), (1, 0), "{report:?}");
    assert!(!report.is_whole());
    let (_, report) = from_servers(&lab, &[0, 1, 2]).await;
    assert_eq!((report.unread, report.adopted_count), (0, 1), "{report:?}");
}

/// A server that goes away in the middle is not waited for object by object.
#[tokio::test(start_paused = true)]
async fn p7_a_server_that_goes_away_in_the_middle_ends_the_rebuild() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    for number in 0..40 {
        put(&vault, &format!("f{number}"), b"f").await.unwrap();
    }
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let bad = shares(&lab, 0)
        .into_iter()
        .map(|share| (share, (u32::MAX, StoreErrorKind::NoAnswer)))
        .collect();
    let error = try_from(&lab, servers(&lab, bad)).await.unwrap_err();
    assert!(
        matches!(&error, RebuildError::Server(fault) if fault.server == "A"),
        "{error}"
    );
}
