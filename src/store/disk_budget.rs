//! The room that contents, outputs, environments and images may take, and what goes when it is short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::metrics::METRICS;
use crate::store::{Store, StoreError};

/// Measuring reads every row's sizes; in between, what was admitted here is added. Far from the limit an old
/// number will do.
const MEASURED_AGE: Duration = Duration::from_secs(10);
/// Executions that lose their output, or go altogether, at a time: few at first, more where that frees next to nothing.
const FIRST_BATCH: i64 = 20;
const LARGEST_BATCH: i64 = 5_000;

/// Cloning shares it.
#[derive(Clone)]
pub struct DiskBudget {
    most: u64,
    /// Room that each run may still need for what it will say.
    reserve: u64,
    state: Arc<Mutex<Option<Measured>>>,
    /// What was admitted and is still on its way to the database.
    coming: Arc<AtomicU64>,
}

/// Room that was taken; dropped when what it is for has been stored, or will not be.
#[must_use]
pub struct Reservation {
    coming: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.coming.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy)]
struct Measured {
    at: Instant,
    bytes: u64,
}

/// There is no room, also after everything that may go has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    pub most: u64,
    pub needed: u64,
}

impl DiskBudget {
    /// 0 is no limit.
    pub fn new(most: u64, reserve: u64) -> Self {
        Self { most, reserve, state: Arc::default(), coming: Arc::default() }
    }

    /// Takes room for so many bytes; removes what may go, oldest first, before it refuses.
    pub async fn reserve(
        &self,
        store: &Store,
        bytes: u64,
    ) -> Result<Result<Reservation, OverBudget>, StoreError> {
        if self.most == 0 {
            return Ok(Ok(self.room(0)));
        }
        // One at a time: those who come together must not all see the same room.
        let mut state = self.state.lock().await;
        let needed = bytes + self.reserve;
        let mut measured = match *state {
            Some(measured) if self.is_good(&measured, needed) => measured,
            _ => self.measure(store).await?,
        };
        if measured.bytes + needed > self.most {
            self.collect(store, self.most.saturating_sub(needed)).await?;
            measured = self.measure(store).await?;
        }
        let fits = measured.bytes + needed <= self.most;
        if fits {
            measured.bytes += needed;
        }
        *state = Some(measured);
        Ok(if fits {
            Ok(self.room(bytes))
        } else {
            Err(OverBudget { most: self.most, needed: measured.bytes + needed })
        })
    }

    /// Removes until the budget holds again; what runs may have said more than was reserved.
    pub async fn enforce(&self, store: &Store) -> Result<(), StoreError> {
        if self.most == 0 {
            return Ok(());
        }
        let mut state = self.state.lock().await;
        let mut measured = self.measure(store).await?;
        if measured.bytes > self.most {
            self.collect(store, self.most).await?;
            measured = self.measure(store).await?;
        }
        *state = Some(measured);
        Ok(())
    }

    fn room(&self, bytes: u64) -> Reservation {
        self.coming.fetch_add(bytes, Ordering::SeqCst);
        Reservation { coming: self.coming.clone(), bytes }
    }

    fn is_good(&self, measured: &Measured, needed: u64) -> bool {
        let with = measured.bytes + needed;
        with <= self.most / 5 * 4 || (with <= self.most && measured.at.elapsed() < MEASURED_AGE)
    }

    async fn measure(&self, store: &Store) -> Result<Measured, StoreError> {
        let at = Instant::now();
        // Before what is stored: what arrives in between counts twice rather than not at all.
        let coming = self.coming.load(Ordering::SeqCst);
        let running = store.running().await?;
        Ok(Measured { at, bytes: coming + store.stored_bytes().await? + running * self.reserve })
    }

    /// First environments, which can be made anew, and images, which can be pulled again; then what ended executions
    /// said and left; then they themselves with what was handed over to them.
    async fn collect(&self, store: &Store, goal: u64) -> Result<(), StoreError> {
        for what in [Kept::Environments, Kept::Images, Kept::Outputs, Kept::Executions] {
            let (mut batch, mut before) = (FIRST_BATCH, None);
            loop {
                store.remove_unreferenced_blobs(Duration::ZERO).await?;
                let bytes = self.measure(store).await?.bytes;
                if bytes <= goal {
                    return Ok(());
                }
                let freed = before.replace(bytes).map(|before: u64| before.saturating_sub(bytes));
                if freed.is_some_and(|freed| freed.saturating_mul(4) < bytes - goal) {
                    batch = (batch * 2).min(LARGEST_BATCH);
                }
                let removed = what.remove_some(store, batch).await?;
                METRICS.swept.add(&[what.name()], removed as u64);
                if removed == 0 {
                    break;
                }
            }
        }
        store.remove_unreferenced_blobs(Duration::ZERO).await?;
        Ok(())
    }
}

/// What may go when room is short.
#[derive(Clone, Copy)]
enum Kept {
    Environments,
    Images,
    Outputs,
    Executions,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Kept::Environments => "environments",
            Kept::Images => "images",
            Kept::Outputs => "outputs",
            Kept::Executions => "executions",
        }
    }

    async fn remove_some(self, store: &Store, batch: i64) -> Result<usize, StoreError> {
        match self {
            Kept::Environments => store.retire_idlest_environment().await,
            Kept::Images => store.retire_idlest_image().await,
            Kept::Outputs => store.prune_oldest(batch).await,
            Kept::Executions => store.remove_oldest(batch).await,
        }
    }
}
