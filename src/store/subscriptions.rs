//! The followers of each execution, woken when it changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::execution::ExecutionId;

/// How long a follower in another process counts after its last renewal.
const REMOTE_FOLLOWER_TTL: Duration = Duration::from_secs(60);

/// The most executions with followers in other processes. Beyond it, those followers poll.
const REMOTE_FOLLOWERS_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<Followers>);

#[derive(Default)]
struct Followers {
    local: HashMap<ExecutionId, Vec<Arc<Notify>>>,
    remote: HashMap<ExecutionId, Instant>,
}

impl Subscriptions {
    /// No change after this call is missed: one that occurs between two waits is kept.
    pub fn subscribe(self: &Arc<Self>, execution: &ExecutionId) -> Subscription {
        let notify = Arc::new(Notify::new());
        self.0.lock().local.entry(execution.clone()).or_default().push(Arc::clone(&notify));
        Subscription { execution: execution.clone(), notify, subscriptions: Arc::clone(self) }
    }

    pub fn wake(&self, execution: &ExecutionId) {
        for notify in self.0.lock().local.get(execution).into_iter().flatten() {
            notify.notify_one();
        }
    }

    pub fn wake_all(&self) {
        for notify in self.0.lock().local.values().flatten() {
            notify.notify_one();
        }
    }

    /// Notes that another process has followers of this execution.
    pub fn note_remote_follower(&self, execution: &ExecutionId) {
        let mut followers = self.0.lock();
        if followers.remote.len() >= REMOTE_FOLLOWERS_MAX {
            followers.remote.retain(|_, since| since.elapsed() < REMOTE_FOLLOWER_TTL);
        }
        if followers.remote.len() < REMOTE_FOLLOWERS_MAX {
            followers.remote.insert(execution.clone(), Instant::now());
        }
    }

    pub fn has_remote_followers(&self, execution: &ExecutionId) -> bool {
        self.0.lock().remote.get(execution).is_some_and(|since| since.elapsed() < REMOTE_FOLLOWER_TTL)
    }

    /// After the execution has ended.
    pub fn forget(&self, execution: &ExecutionId) {
        self.0.lock().remote.remove(execution);
    }
}

/// A follower in this process.
pub struct Subscription {
    execution: ExecutionId,
    notify: Arc<Notify>,
    subscriptions: Arc<Subscriptions>,
}

impl Subscription {
    /// Returns when the execution may have changed since the last call.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut followers = self.subscriptions.0.lock();
        if let Some(all) = followers.local.get_mut(&self.execution) {
            all.retain(|one| !Arc::ptr_eq(one, &self.notify));
            if all.is_empty() {
                followers.local.remove(&self.execution);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_waits_is_kept_and_wakes_only_its_followers() {
        let subscriptions = Arc::new(Subscriptions::default());
        let (one, other) = (ExecutionId::generate(), ExecutionId::generate());
        let (watch, idle) = (subscriptions.subscribe(&one), subscriptions.subscribe(&other));
        subscriptions.wake(&one);
        watch.changed().await;
        let woken = tokio::time::timeout(Duration::from_millis(20), idle.changed()).await;
        assert!(woken.is_err());
        drop((watch, idle));
        assert!(subscriptions.0.lock().local.is_empty());
    }

    #[test]
    fn remote_followers_are_forgotten_when_the_execution_ends() {
        let subscriptions = Subscriptions::default();
        let id = ExecutionId::generate();
        assert!(!subscriptions.has_remote_followers(&id));
        subscriptions.note_remote_follower(&id);
        assert!(subscriptions.has_remote_followers(&id));
        subscriptions.forget(&id);
        assert!(!subscriptions.has_remote_followers(&id));
    }
}
