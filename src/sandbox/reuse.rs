//! Reuse of a sandbox for another job, where the settings allow it.
//!
//! This module decides by the sandbox's own history; the slot decides which executions may share a sandbox.

use std::time::{Duration, Instant};

use rgrid_init::{Command, Event, ExitReason, Message};

use crate::sandbox::{Sandbox, SandboxError};

/// Longer than the init's own deadline for the cleanup.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct History {
    created: Instant,
    /// Jobs that ended and were cleaned up.
    jobs: u32,
    /// Whether the last job exited by itself.
    exited: bool,
    /// Set once a further job is ruled out.
    spoilt: bool,
}

impl History {
    pub fn new() -> Self {
        Self { created: Instant::now(), jobs: 0, exited: false, spoilt: false }
    }

    /// Any exit code counts as a normal exit. After a timeout, a signal, a cancellation or an OOM kill, the script may have
    /// left something behind that the cleanup does not know.
    pub fn note(&mut self, event: &Event) {
        if let Event::Exit(exit) = event {
            self.exited = matches!(exit.reason, ExitReason::Exited { .. });
        }
    }

    /// Rules out a further job.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }
}

impl Sandbox {
    /// Whether another job may run after the one that has ended.
    pub fn is_renewable(&self, max_jobs: u32, max_age: Duration) -> bool {
        let History { jobs, exited, spoilt, .. } = &self.history;
        let within_limits = jobs + 1 < max_jobs && self.age() < max_age;
        within_limits && *exited && !spoilt && self.builds().is_none() && self.connection.is_some()
    }

    pub fn age(&self) -> Duration {
        self.history.created.elapsed()
    }

    /// Replaces the last ack: the init cleans up and waits for another job. `upto` is its last event, which must be
    /// stored. On an error the container is removed.
    pub async fn renew(mut self, upto: u64) -> Result<Self, SandboxError> {
        self.history.exited = false;
        self.send(&Command::Renew { upto }).await?;
        let connection = self.require_connection()?;
        let answer = tokio::time::timeout(RENEWAL_TIMEOUT, connection.receive()).await;
        let late = |_| SandboxError::Disconnected(format!("no answer within {}s", RENEWAL_TIMEOUT.as_secs()));
        match answer.map_err(late)?.map_err(|error| SandboxError::Disconnected(error.to_string()))? {
            Message::Renewed => {
                self.history.jobs += 1;
                Ok(self)
            }
            Message::Refused { reason } => Err(SandboxError::Refused(reason)),
            other => Err(SandboxError::Disconnected(format!("expected renewed, received {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use rgrid_init::Exit;

    use super::*;

    #[test]
    fn only_a_script_that_exited_by_itself_allows_another_job() {
        let cases = [
            (ExitReason::Exited { code: 0 }, true),
            (ExitReason::Exited { code: 3 }, true),
            (ExitReason::Signalled { signal: 11 }, false),
            (ExitReason::TimedOut, false),
            (ExitReason::OutOfMemory, false),
            (ExitReason::Cancelled, false),
            (ExitReason::CouldNotStart { reason: String::new() }, false),
        ];
        for (ending, expected) in cases {
            let mut history = History::new();
            history.note(&Event::Exit(Exit::new(ending.clone())));
            assert_eq!(history.exited, expected, "{ending:?}");
        }
    }
}
