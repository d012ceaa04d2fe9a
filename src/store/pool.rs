//! A share of the connections: so many calls at once, the rest waits in line.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::StoreError;

/// How long a call waits for a free connection before it says that the database is busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// For each connection of the lane so many more may be opened while calls on older ones are stuck.
const STUCK_FACTOR: usize = 2;

pub(crate) struct Lane {
    permits: Arc<Semaphore>,
    /// Calls that nobody waits for any more, though their threads have not come back.
    stuck: AtomicUsize,
    most_stuck: usize,
}

impl Lane {
    pub fn new(size: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(size));
        Arc::new(Self { permits, stuck: AtomicUsize::new(0), most_stuck: STUCK_FACTOR * size })
    }

    /// Another lane with `size` of this one's places.
    pub fn split(&self, size: usize) -> Arc<Self> {
        self.permits.forget_permits(size);
        Self::new(size)
    }

    pub async fn seat(self: &Arc<Self>) -> Result<Arc<Seat>, StoreError> {
        let waiting = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(permit)) => Ok(Arc::new(Seat { permit: Mutex::new(Some(permit)), lane: Arc::clone(self) })),
            Ok(Err(_)) | Err(_) => Err(StoreError::Busy),
        }
    }
}

/// The right to use one connection.
pub(crate) struct Seat {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    lane: Arc<Lane>,
}

impl Seat {
    /// Lets the next one in, though this one's thread is stuck in libpq, which cannot be told to give up. Bounded:
    /// a database that hangs for long must not pile up threads.
    pub fn pass_on(&self) {
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        if permit.is_some() && self.lane.stuck.load(Ordering::Relaxed) < self.lane.most_stuck {
            self.lane.stuck.fetch_add(1, Ordering::Relaxed);
            *permit = None;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let permit = self.permit.get_mut().unwrap_or_else(PoisonError::into_inner);
        if permit.is_none() {
            self.lane.stuck.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stuck_call_lets_the_next_one_in_but_not_for_ever() {
        let lane = Lane::new(1);
        let mut stuck = Vec::new();
        for _ in 0..STUCK_FACTOR {
            let seat = lane.seat().await.unwrap();
            seat.pass_on();
            stuck.push(seat);
        }
        let last = lane.seat().await.unwrap();
        last.pass_on();
        assert!(matches!(lane.seat().await, Err(StoreError::Busy)));
        stuck.clear();
        last.pass_on();
        assert!(lane.seat().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_of_its_own_is_not_held_up_by_the_rest() {
        let all = Lane::new(3);
        let own = all.split(1);
        let _taken = (all.seat().await.unwrap(), all.seat().await.unwrap());
        assert!(matches!(all.seat().await, Err(StoreError::Busy)));
        assert!(own.seat().await.is_ok());
    }
}
