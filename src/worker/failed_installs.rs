//! Recent install failures, shared with the executions that were waiting for the same install.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::execution::ExecutionRecord;

/// Much longer than the interval at which a waiting execution looks.
const KEEP_FOR: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct FailedInstalls(Mutex<HashMap<String, (Instant, ExecutionRecord)>>);

impl FailedInstalls {
    pub fn add(&self, environment_key: &str, record: &ExecutionRecord) {
        let mut failures = self.0.lock();
        failures.retain(|_, (at, _)| at.elapsed() < KEEP_FOR);
        failures.insert(environment_key.to_owned(), (Instant::now(), record.clone()));
    }

    /// A failure since `since`. An older one is no answer, because a new execution tries the install again.
    pub fn since(&self, environment_key: &str, since: Instant) -> Option<ExecutionRecord> {
        self.0.lock().get(environment_key).filter(|(at, _)| *at >= since).map(|(_, record)| record.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::FailureKind;

    #[test]
    fn only_executions_that_were_already_waiting_share_a_failure() {
        let installs = FailedInstalls::default();
        let before = Instant::now();
        installs.add("key", &ExecutionRecord::failed(FailureKind::Install, "no"));
        std::thread::sleep(Duration::from_millis(2));
        assert!(installs.since("key", before).is_some());
        assert!(installs.since("other", before).is_none());
        assert!(installs.since("key", Instant::now()).is_none());
    }
}
