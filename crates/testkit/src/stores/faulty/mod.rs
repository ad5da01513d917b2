//! A server that fails as told: by a switch, by a script, or by chance.

mod faults;
mod listing;
mod past;

pub use faults::{Faults, Latency, Lie, Rates, State, Trouble};
pub use past::Mark;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use warifu_vault::seam::store::{
    Answers, Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use self::faults::Met;
use self::past::Change;
use super::Method;
use crate::world::World;

/// A store between a client and a real one, that fails as its [`Faults`] say.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use warifu_testkit::stores::{FaultyStore, MemoryStore, Method, Trouble, share_name};
/// use warifu_testkit::world::World;
/// use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};
///
/// let (server, faults) = FaultyStore::new(&World::new(1), 0, Arc::new(MemoryStore::new()));
/// faults.plan(Method::Put, 1, Trouble::LostReply);
/// let first = server.put_new(&share_name(1), "share".into(), Durability::Now).await.unwrap_err();
/// assert_eq!(first.kind, StoreErrorKind::NoAnswer);
/// let again = server.put_new(&share_name(1), "share".into(), Durability::Now).await.unwrap_err();
/// assert_eq!(again.kind, StoreErrorKind::AlreadyExists); // it was there all the time
/// # });
/// ```
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ShareStore>,
    faults: Faults,
}

impl FaultyStore {
    /// Puts faults before `inner`. `label` tells this server from the others of the world, so that chance strikes each by itself.
    #[must_use]
    pub fn new(world: &World, label: u64, inner: Arc<dyn ShareStore>) -> (Arc<Self>, Faults) {
        let faults = Faults::new(world, label);
        (
            Arc::new(Self {
                inner,
                faults: faults.clone(),
            }),
            faults,
        )
    }

    /// Takes `act` through what the call meets.
    async fn through<T>(
        &self,
        met: &Met,
        act: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let Met {
            method,
            trouble,
            delay,
            ..
        } = *met;
        let refused = |kind| StoreError::new(kind, format!("fault: {method:?} {kind:?}"));
        let world = &self.faults.world;
        let met = async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            match trouble {
                Some(Trouble::Refused(kind)) => Err(refused(kind)),
                Some(Trouble::Hangs) => std::future::pending().await,
                Some(Trouble::LostReply | Trouble::PartialWrite) => {
                    let _ = act.await;
                    Err(refused(StoreErrorKind::NoAnswer))
                }
                Some(Trouble::Late(late)) => {
                    tokio::time::sleep(late).await;
                    act.await
                }
                Some(Trouble::LateReply(late)) => {
                    let done = act.await;
                    tokio::time::sleep(late).await;
                    done
                }
                Some(Trouble::FlippedBit | Trouble::CutOff) | None => act.await,
            }
        };
        world.call(met).await
    }

    fn absent(&self, name: &ObjectKey) -> Result<(), StoreError> {
        if self.faults.forgot(name) {
            return Err(StoreError::new(
                StoreErrorKind::NotFound,
                format!("there is no object {name}"),
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl ShareStore for FaultyStore {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let met = self.faults.meet(Method::Put, Some(name));
        let in_part =
            met.trouble == Some(Trouble::PartialWrite) || self.faults.tells(&Lie::KeepsParts);
        let object = if in_part {
            object.slice(..met.part(object.len()))
        } else {
            object
        };
        let act = async {
            // It forgets what is written, not what is there already: that name is taken.
            if self.faults.tells(&Lie::ForgetsWrites) && self.inner.stat(name).await.is_err() {
                self.faults.script().forgotten.insert(name.clone());
                return Ok(());
            }
            self.inner.put_new(name, object, durability).await?;
            self.faults.script().forgotten.remove(name);
            self.faults.note(Change::Put(name.clone()));
            Ok(())
        };
        self.through(&met, act).await
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let met = self.faults.meet(Method::Get, Some(name));
        let act = async {
            self.absent(name)?;
            self.inner.get(name, range).await
        };
        let done = self.through(&met, act).await;
        done.map(|object| self.faults.spoil(object, &met))
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        let act = async {
            self.absent(name)?;
            self.inner.stat(name).await
        };
        let met = self.faults.meet(Method::Stat, Some(name));
        self.through(&met, act).await
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        let met = self.faults.meet(Method::List, None);
        let after = after.filter(|_| !self.faults.tells(&Lie::ListsInCircles));
        let mut page = self.through(&met, self.inner.list(after, limit)).await?;
        for lie in &self.faults.script().lies {
            listing::tell(&mut page, after, lie);
        }
        Ok(page)
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        let act = async {
            if self.faults.script().forgotten.remove(name) {
                return Ok(());
            }
            let before = if self.faults.remembers() {
                self.inner.get(name, None).await.ok()
            } else {
                None
            };
            self.inner.delete(name).await?;
            if let Some(bytes) = before {
                self.faults.note(Change::Removed(name.clone(), bytes));
            }
            Ok(())
        };
        let met = self.faults.meet(Method::Delete, Some(name));
        self.through(&met, act).await
    }

    /// Each of them meets what is planned for one.
    async fn put_many(&self, objects: &[(ObjectKey, Bytes)]) -> Option<Answers> {
        let puts = objects.iter();
        let puts = puts.map(|(name, object)| self.put_new(name, object.clone(), Durability::Soon));
        Some(join_all(puts).await)
    }

    async fn delete_many(&self, names: &[ObjectKey]) -> Option<Answers> {
        Some(join_all(names.iter().map(|name| self.delete(name))).await)
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let act = async {
            if self.faults.tells(&Lie::SkipsSync) {
                return Ok(());
            }
            self.inner.sync().await
        };
        let met = self.faults.meet(Method::Sync, None);
        self.through(&met, act).await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        let met = self.faults.meet(Method::Space, None);
        self.through(&met, self.inner.space()).await
    }
}
