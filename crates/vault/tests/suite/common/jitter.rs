//! Servers whose answers take their time, each its own.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError,
};

use super::Dice;

/// How long answers take, drawn anew for each.
#[derive(Clone, Copy, Debug)]
pub enum Spread {
    /// Anything between two numbers of milliseconds.
    Even(u64, u64),
    /// At least so many milliseconds, and with a long tail of this mean behind.
    Tail(u64, f64),
}

impl Spread {
    fn draw(self, dice: &mut Dice) -> Duration {
        match self {
            Self::Even(from, to) => {
                Duration::from_micros(from * 1000 + dice.roll((to - from) * 1000))
            }
            Self::Tail(least, mean) => {
                let even = (dice.roll(1_000_000) + 1) as f64 / 1_000_001.0;
                Duration::from_millis(least) + Duration::from_secs_f64(-even.ln() * mean / 1000.0)
            }
        }
    }
}

/// A server that answers as the one behind it, later.
#[derive(Debug)]
pub struct Jittery {
    inner: Arc<dyn ShareStore>,
    spread: Spread,
    dice: Mutex<Dice>,
    read: Arc<AtomicU64>,
}

impl Jittery {
    /// How many bytes have been read from it.
    pub fn read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    pub fn new(inner: Arc<dyn ShareStore>, spread: Spread, seed: u64) -> Self {
        Self {
            inner,
            spread,
            dice: Mutex::new(Dice::new(seed)),
            read: Arc::default(),
        }
    }

    async fn wait(&self) {
        let delay = self.spread.draw(&mut self.dice.lock().unwrap());
        tokio::time::sleep(delay).await;
    }
}

#[async_trait]
impl ShareStore for Jittery {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.wait().await;
        self.inner.put_new(name, object, durability).await
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        // The request has arrived, and counts, before it takes its time.
        let object = self.inner.get(name, range).await;
        if let Ok(object) = &object {
            self.read.fetch_add(object.len() as u64, Ordering::Relaxed);
        }
        self.wait().await;
        object
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        self.wait().await;
        self.inner.stat(name).await
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        self.wait().await;
        self.inner.list(after, limit).await
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        self.wait().await;
        self.inner.delete(name).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.wait().await;
        self.inner.sync().await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.wait().await;
        self.inner.space().await
    }
}
