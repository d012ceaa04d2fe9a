//! The disk budget of blobs, outputs, environments and images, and what is removed to keep it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::metrics::METRICS;
use crate::store::{Result, Store};

/// Measuring reads the sizes in every row, so the result is reused this long near the limit, and any time far from it.
const MEASUREMENT_TTL: Duration = Duration::from_secs(10);
/// Executions per batch of a removal: few at first, more if a batch frees little.
const FIRST_BATCH: i64 = 20;
const LARGEST_BATCH: i64 = 5_000;

/// Clones share it.
#[derive(Clone)]
pub struct DiskBudget {
    /// In bytes; 0 means no limit.
    limit: u64,
    /// The output that each running execution may still write, in bytes.
    output_reserve: u64,
    last: Arc<Mutex<Option<Measurement>>>,
    /// Bytes of the reservations.
    reserved: Arc<AtomicU64>,
}

/// Bytes that are about to be stored. To be dropped when they have been stored, or will not be.
#[must_use]
pub struct Reservation {
    reserved: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy)]
struct Measurement {
    at: Instant,
    bytes: u64,
}

/// The budget does not suffice, even after everything removable has been removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    pub most: u64,
    pub needed: u64,
}

impl DiskBudget {
    /// A `limit` of 0 means no limit.
    pub fn new(limit: u64, output_reserve: u64) -> Self {
        Self { limit, output_reserve, last: Arc::default(), reserved: Arc::default() }
    }

    /// Reserves `bytes`. Removes the oldest removable data before it refuses.
    pub async fn reserve(&self, store: &Store, bytes: u64) -> Result<Result<Reservation, OverBudget>> {
        if self.limit == 0 {
            return Ok(Ok(self.reservation(0)));
        }
        // One at a time, so that concurrent submissions do not count on the same free bytes.
        let mut last = self.last.lock().await;
        let needed = bytes + self.output_reserve;
        let measurement = match *last {
            Some(measurement) if self.suffices(&measurement, needed) => measurement,
            _ => self.measure_within(store, self.limit.saturating_sub(needed)).await?,
        };
        let needed_in_all = measurement.bytes + needed;
        if needed_in_all > self.limit {
            *last = Some(measurement);
            return Ok(Err(OverBudget { most: self.limit, needed: needed_in_all }));
        }
        *last = Some(Measurement { bytes: needed_in_all, ..measurement });
        Ok(Ok(self.reservation(bytes)))
    }

    /// Removes data until the budget holds, because running executions may have written more than the reserve.
    pub async fn enforce(&self, store: &Store) -> Result<()> {
        if self.limit > 0 {
            let mut last = self.last.lock().await;
            *last = Some(self.measure_within(store, self.limit).await?);
        }
        Ok(())
    }

    /// Measures, and measures again after removing data if more than `goal` is stored.
    async fn measure_within(&self, store: &Store, goal: u64) -> Result<Measurement> {
        let measurement = self.measure(store).await?;
        if measurement.bytes <= goal {
            return Ok(measurement);
        }
        self.free(store, goal).await?;
        self.measure(store).await
    }

    fn reservation(&self, bytes: u64) -> Reservation {
        self.reserved.fetch_add(bytes, Ordering::SeqCst);
        Reservation { reserved: self.reserved.clone(), bytes }
    }

    /// Whether a measurement can decide that `needed` more bytes fit.
    fn suffices(&self, measurement: &Measurement, needed: u64) -> bool {
        let total = measurement.bytes + needed;
        total <= self.limit / 5 * 4 || (total <= self.limit && measurement.at.elapsed() < MEASUREMENT_TTL)
    }

    async fn measure(&self, store: &Store) -> Result<Measurement> {
        let at = Instant::now();
        // Before the stored bytes: what is stored in between counts twice rather than not at all.
        let reserved = self.reserved.load(Ordering::SeqCst);
        let running = store.running().await?;
        let bytes = reserved + store.stored_bytes().await? + running * self.output_reserve;
        Ok(Measurement { at, bytes })
    }

    /// Removes data until `goal` is reached: first environments and images, which can be installed and pulled again, then
    /// the outputs of ended executions, then these executions with their inputs.
    async fn free(&self, store: &Store, goal: u64) -> Result<()> {
        for kind in ["environments", "images", "outputs", "executions"] {
            let (mut batch, mut before) = (FIRST_BATCH, None::<u64>);
            loop {
                store.remove_unreferenced_blobs(Duration::ZERO).await?;
                let bytes = self.measure(store).await?.bytes;
                if bytes <= goal {
                    return Ok(());
                }
                batch = next_batch(batch, before.replace(bytes), bytes, goal);
                let removed = match kind {
                    "environments" => store.retire_idlest_environment().await?,
                    "images" => store.retire_idlest_image().await?,
                    "outputs" => store.prune_oldest(Duration::ZERO, batch).await?,
                    _ => store.remove_oldest(Duration::ZERO, batch).await?,
                };
                METRICS.swept.add(&[kind], removed as u64);
                if removed == 0 {
                    break;
                }
            }
        }
        store.remove_unreferenced_blobs(Duration::ZERO).await?;
        Ok(())
    }
}

/// Grows when the previous batch freed less than a quarter of what is still too much.
fn next_batch(batch: i64, before: Option<u64>, bytes: u64, goal: u64) -> i64 {
    let freed = before.map(|before| before.saturating_sub(bytes));
    match freed {
        Some(freed) if freed.saturating_mul(4) < bytes - goal => (batch * 2).min(LARGEST_BATCH),
        _ => batch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_decides_near_the_limit_only_while_it_is_recent() {
        let budget = DiskBudget::new(1000, 0);
        let now = Instant::now();
        let old = now.checked_sub(MEASUREMENT_TTL).unwrap();
        // Measured at, bytes, needed, suffices.
        for (at, bytes, needed, suffices) in [
            (old, 700, 100, true),
            (old, 700, 101, false),
            (now, 700, 101, true),
            (now, 900, 100, true),
            (now, 900, 101, false),
            (old, 900, 100, false),
        ] {
            assert_eq!(budget.suffices(&Measurement { at, bytes }, needed), suffices, "{bytes} + {needed}");
        }
    }

    #[test]
    fn batches_grow_while_they_free_little() {
        // Batch, bytes before, bytes after, goal, next batch.
        for (batch, before, bytes, goal, next) in [
            (20, None, 2000, 1000, 20),
            (20, Some(2000), 1900, 1000, 40),
            (20, Some(2000), 1500, 1000, 20),
            (4000, Some(2000), 2000, 1000, LARGEST_BATCH),
            // Grew meanwhile.
            (20, Some(1500), 2000, 1000, 40),
        ] {
            assert_eq!(next_batch(batch, before, bytes, goal), next, "{batch} {before:?} {bytes} {goal}");
        }
    }

    #[test]
    fn a_dropped_reservation_no_longer_counts() {
        let budget = DiskBudget::new(1000, 0);
        let reservation = budget.reservation(300);
        assert_eq!(budget.reserved.load(Ordering::SeqCst), 300);
        drop(reservation);
        assert_eq!(budget.reserved.load(Ordering::SeqCst), 0);
    }
}
