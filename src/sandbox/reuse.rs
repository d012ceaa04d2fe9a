//! A sandbox that gets another job after its first, where the settings allow it.
//!
//! What may be used again is decided here as far as it is the sandbox's own history; for whom, the slot decides.

use std::time::{Duration, Instant};

use rgrid_init::{Command, Ending, Event, Message};

use crate::sandbox::{Sandbox, SandboxError};

/// The init gives itself less.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a sandbox has been through.
pub(crate) struct History {
    made: Instant,
    /// Jobs that have ended in it and were cleaned up after.
    jobs: u32,
    /// The job that it has, or had last, ended by itself.
    ended_well: bool,
    /// For good.
    spoilt: bool,
}

impl History {
    pub fn new() -> Self {
        Self { made: Instant::now(), jobs: 0, ended_well: false, spoilt: false }
    }

    /// An exit code, whatever it is, is the script's own end. What ended at its deadline, by a signal, by a cancel or
    /// for its memory may have left more than is known.
    pub fn note(&mut self, event: &Event) {
        if let Event::Exit(exit) = event {
            self.ended_well = matches!(exit.ending, Ending::Exited { .. });
        }
    }

    /// It gets no further job.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }
}

impl Sandbox {
    /// Whether another job may follow the one that has ended.
    pub fn is_renewable(&self, most_jobs: u32, max_age: Duration) -> bool {
        let History { made, jobs, ended_well, spoilt } = &self.history;
        let lasts = jobs + 1 < most_jobs && made.elapsed() < max_age;
        lasts && *ended_well && !spoilt && self.builds().is_none() && self.wire.is_some()
    }

    pub fn age(&self) -> Duration {
        self.history.made.elapsed()
    }

    /// In place of the last ack: the init cleans up and waits for another job. `upto` is its last event, which must be
    /// stored. After an error the container is being removed.
    pub async fn renew(mut self, upto: u64) -> Result<Self, SandboxError> {
        self.history.ended_well = false;
        self.send(&Command::Renew { upto }).await?;
        let Some(wire) = self.wire.as_mut() else {
            return Err(SandboxError::Disconnected("there is no connection".to_owned()));
        };
        let answered = tokio::time::timeout(RENEWAL_TIMEOUT, wire.receive()).await;
        let late = |_| Err(format!("no answer within {}s", RENEWAL_TIMEOUT.as_secs()));
        match answered.unwrap_or_else(late) {
            Ok(Message::Renewed) => {
                self.history.jobs += 1;
                Ok(self)
            }
            Ok(Message::Refused { reason }) => Err(SandboxError::Refused(reason)),
            Ok(other) => Err(SandboxError::Disconnected(format!("it said {other:?} instead"))),
            Err(reason) => Err(SandboxError::Disconnected(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rgrid_init::Exit;

    use super::*;

    fn after(ending: Ending) -> History {
        let mut history = History::new();
        history.note(&Event::Exit(Exit::of(ending)));
        history
    }

    #[test]
    fn only_a_script_that_ended_by_itself_may_be_followed_by_another() {
        assert!(after(Ending::Exited { code: 0 }).ended_well);
        assert!(after(Ending::Exited { code: 3 }).ended_well);
        for ending in [
            Ending::Signalled { signal: 11 },
            Ending::TimedOut,
            Ending::OutOfMemory,
            Ending::Cancelled,
            Ending::CouldNotStart { reason: String::new() },
        ] {
            assert!(!after(ending.clone()).ended_well, "{ending:?}");
        }
    }
}
