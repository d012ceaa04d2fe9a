//! Who follows which execution: woken when something about it changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::execution::ExecutionId;

/// So long after another process last said that somebody there follows an execution, it is told of changes.
const FOLLOWED_FOR: Duration = Duration::from_secs(60);
/// A follower says so again after this time.
pub(crate) const REPEAT_AFTER: Duration = Duration::from_secs(20);
/// Executions that others follow, at most; beyond it their followers find changes by looking.
const FOLLOWED_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Subscriptions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    here: HashMap<ExecutionId, Vec<Arc<Notify>>>,
    elsewhere: HashMap<ExecutionId, Instant>,
}

impl Subscriptions {
    /// From now on no change is missed: one that comes while nobody waits is kept.
    pub fn watch(self: &Arc<Self>, execution: &ExecutionId) -> Subscription {
        let notify = Arc::new(Notify::new());
        self.lock().here.entry(execution.clone()).or_default().push(Arc::clone(&notify));
        Subscription { execution: execution.clone(), notify, watchers: Arc::clone(self) }
    }

    pub fn wake(&self, execution: &ExecutionId) {
        for notify in self.lock().here.get(execution).into_iter().flatten() {
            notify.notify_one();
        }
    }

    pub fn wake_all(&self) {
        for notify in self.lock().here.values().flatten() {
            notify.notify_one();
        }
    }

    /// Another process has followers of this one.
    pub fn note_elsewhere(&self, execution: &ExecutionId) {
        let mut state = self.lock();
        if state.elsewhere.len() >= FOLLOWED_MAX {
            state.elsewhere.retain(|_, since| since.elapsed() < FOLLOWED_FOR);
        }
        if state.elsewhere.len() < FOLLOWED_MAX {
            state.elsewhere.insert(execution.clone(), Instant::now());
        }
    }

    /// Whether a change of it is worth a word to the other processes.
    pub fn is_followed_elsewhere(&self, execution: &ExecutionId) -> bool {
        self.lock().elsewhere.get(execution).is_some_and(|since| since.elapsed() < FOLLOWED_FOR)
    }

    /// It has ended: nothing will change any more.
    pub fn forget(&self, execution: &ExecutionId) {
        self.lock().elsewhere.remove(execution);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An execution that is being followed in this process.
pub struct Subscription {
    execution: ExecutionId,
    notify: Arc<Notify>,
    watchers: Arc<Subscriptions>,
}

impl Subscription {
    /// Returns when something may have changed since the last call.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.watchers.lock();
        if let Some(all) = state.here.get_mut(&self.execution) {
            all.retain(|one| !Arc::ptr_eq(one, &self.notify));
            if all.is_empty() {
                state.here.remove(&self.execution);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_missed_and_only_its_followers_wake() {
        let watchers = Arc::new(Subscriptions::default());
        let (one, other) = (ExecutionId::generate(), ExecutionId::generate());
        let (watch, idle) = (watchers.watch(&one), watchers.watch(&other));
        watchers.wake(&one);
        watch.changed().await;
        let woken = tokio::time::timeout(Duration::from_millis(20), idle.changed()).await;
        assert!(woken.is_err());
        drop((watch, idle));
        assert!(watchers.lock().here.is_empty());
    }

    #[test]
    fn who_follows_elsewhere_is_known_until_the_end() {
        let watchers = Subscriptions::default();
        let id = ExecutionId::generate();
        assert!(!watchers.is_followed_elsewhere(&id));
        watchers.note_elsewhere(&id);
        assert!(watchers.is_followed_elsewhere(&id));
        watchers.forget(&id);
        assert!(!watchers.is_followed_elsewhere(&id));
    }
}
