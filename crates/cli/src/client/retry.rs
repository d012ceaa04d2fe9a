//! Retries requests while the server is unavailable.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::units::format_duration;

use crate::client::error::{Delivery, RequestError, TransientError};
use crate::error::{CliError, Exit, Result};
use crate::output::Console;

const INTERACTIVE_LIMIT: Duration = Duration::from_secs(30);
/// Long enough for an upgrade of a server that was reached before.
const WAITING_LIMIT: Duration = Duration::from_secs(300);
/// Rate limiting for less than this is not reported.
const SILENT_RATE_LIMIT: Duration = Duration::from_secs(5);
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryMode {
    /// The user expects an immediate response: give up at once if there is no server.
    Interactive,
    /// The command waits until an execution has ended.
    Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idempotency {
    Idempotent,
    /// Retry only if the server cannot have acted on the request.
    NotIdempotent,
}

pub(crate) struct RetryPolicy<'a> {
    pub mode: RetryMode,
    /// The server has responded once, so its address is right.
    pub reached: Cell<bool>,
    pub console: &'a Console,
}

impl RetryPolicy<'_> {
    pub fn run<T>(
        &self,
        idempotency: Idempotency,
        attempt: impl Fn() -> Result<T, RequestError>,
    ) -> Result<T> {
        let (start, mut pause, mut reported) = (Instant::now(), MIN_PAUSE, false);
        // Fixed before the first attempt, which may reach the server and then fail.
        let limit = match self.mode {
            RetryMode::Waiting if self.reached.get() => WAITING_LIMIT,
            _ => INTERACTIVE_LIMIT,
        };
        loop {
            let TransientError { error, delivery, retry_after } = match attempt() {
                Ok(value) => return Ok(value),
                Err(RequestError::Permanent(error)) => return Err(error),
                Err(RequestError::Transient(error)) => error,
            };
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || !self.may_retry(idempotency, delivery) {
                return Err(give_up(error, idempotency, delivery, reported));
            }
            let is_short_rate_limit = error.exit == Exit::Failure && start.elapsed() < SILENT_RATE_LIMIT;
            if !reported && !is_short_rate_limit {
                reported = true;
                self.report(&error, limit);
            }
            thread::sleep(retry_after.unwrap_or(pause).max(pause).min(left));
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn may_retry(&self, idempotency: Idempotency, delivery: Delivery) -> bool {
        match delivery {
            Delivery::UnknownHost => self.reached.get(),
            Delivery::NotConnected => self.reached.get() || self.mode == RetryMode::Waiting,
            Delivery::Rejected => true,
            Delivery::Uncertain => idempotency == Idempotency::Idempotent,
        }
    }

    fn report(&self, error: &CliError, limit: Duration) {
        self.console.warning(&format!("{error}; retrying for up to {}", format_duration(limit)));
        // The hint is about the address, which is right if the server was reached before.
        if let Some(hint) = error.hint.as_ref().filter(|_| !self.reached.get()) {
            self.console.hint(hint);
        }
    }
}

fn give_up(error: CliError, idempotency: Idempotency, delivery: Delivery, reported: bool) -> CliError {
    if idempotency == Idempotency::NotIdempotent && delivery == Delivery::Uncertain {
        return error.hint("the request may have succeeded; list the latest executions with `rgrid list`");
    }
    if reported { CliError { message: format!("{error} (gave up)"), ..error } } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of attempts if the third one succeeds.
    fn attempts(mode: RetryMode, reached: bool, idempotency: Idempotency, delivery: Delivery) -> u32 {
        let console = Console::new();
        let policy = RetryPolicy { mode, reached: Cell::new(reached), console: &console };
        let attempts = Cell::new(0);
        let _ = policy.run(idempotency, || {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 3 {
                return Ok(());
            }
            let error = CliError::new(Exit::Unreachable, "unavailable");
            Err(RequestError::Transient(TransientError { error, delivery, retry_after: None }))
        });
        attempts.get()
    }

    #[test]
    fn only_requests_that_may_be_repeated_are_retried() {
        use Delivery::{NotConnected, Rejected, Uncertain, UnknownHost};
        use Idempotency::{Idempotent, NotIdempotent};
        use RetryMode::{Interactive, Waiting};
        for (mode, reached, idempotency, delivery, expected) in [
            (Interactive, false, Idempotent, NotConnected, 1),
            (Interactive, true, Idempotent, NotConnected, 3),
            (Waiting, false, Idempotent, NotConnected, 3),
            (Waiting, false, Idempotent, UnknownHost, 1),
            (Waiting, true, Idempotent, UnknownHost, 3),
            (Interactive, true, NotIdempotent, Uncertain, 1),
            (Interactive, true, NotIdempotent, Rejected, 3),
            (Interactive, true, Idempotent, Uncertain, 3),
        ] {
            let actual = attempts(mode, reached, idempotency, delivery);
            assert_eq!(actual, expected, "{mode:?} {reached} {idempotency:?} {delivery:?}");
        }
    }
}
