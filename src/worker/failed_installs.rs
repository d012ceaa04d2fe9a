//! Installs that failed a moment ago, for the runs that were waiting for them: the same again would end the same.
//! A run that comes later tries for itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::execution::ExecutionRecord;

/// Everybody who waits looks more often than this.
const KEPT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct FailedInstalls(Mutex<HashMap<String, (Instant, ExecutionRecord)>>);

impl FailedInstalls {
    pub fn note(&self, key: &str, conclusion: &ExecutionRecord) {
        let mut known = self.lock();
        known.retain(|_, (at, _)| at.elapsed() < KEPT);
        known.insert(key.to_owned(), (Instant::now(), conclusion.clone()));
    }

    /// The failure of what somebody has waited for since then.
    pub fn since(&self, key: &str, since: Instant) -> Option<ExecutionRecord> {
        let known = self.lock();
        known.get(key).filter(|(at, _)| *at >= since).map(|(_, conclusion)| conclusion.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, ExecutionRecord)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::FailureKind;

    #[test]
    fn only_who_was_waiting_already_shares_a_failure() {
        let installs = FailedInstalls::default();
        let before = Instant::now();
        installs.note("key", &ExecutionRecord::failed(FailureKind::Install, "no"));
        std::thread::sleep(Duration::from_millis(2));
        assert!(installs.since("key", before).is_some());
        assert!(installs.since("other", before).is_none());
        assert!(installs.since("key", Instant::now()).is_none());
    }
}
