//! Asking again when a server is away for a moment.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::units::format_duration;

use crate::client::error::{Passing, Taken, Trouble};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::Console;

const SHORT: Duration = Duration::from_secs(30);
/// A server that went away while somebody waits for it: long enough for an upgrade.
const LONG: Duration = Duration::from_secs(300);
/// A server that only wants one to ask less often.
const UNTOLD: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What whoever called the command does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Wants an answer now: without a server there is none.
    Answer,
    /// Waits for an execution's end anyway.
    End,
}

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Freely,
    /// Only while it is sure that the server has not acted on it.
    UnlessTaken,
}

pub(crate) struct Persistence<'a> {
    pub patience: Patience,
    /// The server has answered once, so it is there and its address is right.
    pub reached: Cell<bool>,
    pub console: &'a Console,
}

impl Persistence<'_> {
    pub fn ask<T>(&self, repeat: Repeat, attempt: impl Fn() -> Result<T, Trouble>) -> Result<T, Failure> {
        let (begun, mut pause, mut told) = (Instant::now(), FIRST_PAUSE, false);
        // A server that breaks off in the middle of the first answer has not been reached for long.
        let limit = self.limit();
        loop {
            let passing = match attempt() {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing(passing)) => passing,
            };
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() || !self.may_repeat(repeat, passing.taken) {
                return Err(given_up(passing, repeat, told));
            }
            // Whoever asks a lot is slowed down for a moment, which is not worth a word.
            let slowed = passing.failure.exit == Exit::Failed && begun.elapsed() < UNTOLD;
            if !slowed && !std::mem::replace(&mut told, true) {
                self.tell(&passing.failure, limit);
            }
            thread::sleep(passing.retry_after.unwrap_or(pause).max(pause).min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn limit(&self) -> Duration {
        if self.patience == Patience::End && self.reached.get() { LONG } else { SHORT }
    }

    fn may_repeat(&self, repeat: Repeat, taken: Taken) -> bool {
        let waits = self.patience == Patience::End;
        match taken {
            Taken::Nowhere => self.reached.get(),
            Taken::NotSent => self.reached.get() || waits,
            Taken::Refused => true,
            Taken::Perhaps => repeat == Repeat::Freely,
        }
    }

    fn tell(&self, failure: &Failure, limit: Duration) {
        self.console.warning(&format!("{failure}; trying again for up to {}", format_duration(limit)));
        // A server that has been there before needs no telling where it is.
        if let Some(hint) = failure.hint.as_ref().filter(|_| !self.reached.get()) {
            self.console.hint(hint);
        }
    }
}

fn given_up(passing: Passing, repeat: Repeat, told: bool) -> Failure {
    let failure = passing.failure;
    if repeat == Repeat::UnlessTaken && passing.taken == Taken::Perhaps {
        return failure.hint("it may have been taken all the same; `rgrid list` shows the newest");
    }
    if told { Failure { what: format!("{} (gave up)", failure.what), ..failure } } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(taken: Taken) -> Trouble {
        let failure = Failure::new(Exit::Unreachable, "away");
        Trouble::Passing(Passing { failure, taken, retry_after: None })
    }

    /// How often it was asked, when the third time goes well.
    fn asked(patience: Patience, reached: bool, repeat: Repeat, taken: Taken) -> u32 {
        let console = Console::new();
        let persistence = Persistence { patience, reached: Cell::new(reached), console: &console };
        let times = Cell::new(0);
        let _ = persistence.ask(repeat, || {
            times.set(times.get() + 1);
            if times.get() == 3 { Ok(()) } else { Err(passing(taken)) }
        });
        times.get()
    }

    #[test]
    fn a_server_that_was_never_there_is_not_waited_for() {
        use Patience::{Answer, End};
        assert_eq!(asked(Answer, false, Repeat::Freely, Taken::NotSent), 1);
        assert_eq!(asked(Answer, true, Repeat::Freely, Taken::NotSent), 3);
        assert_eq!(asked(End, false, Repeat::Freely, Taken::NotSent), 3);
        assert_eq!(asked(End, false, Repeat::Freely, Taken::Nowhere), 1);
    }

    #[test]
    fn what_may_have_been_taken_is_not_sent_twice() {
        assert_eq!(asked(Patience::Answer, true, Repeat::UnlessTaken, Taken::Perhaps), 1);
        assert_eq!(asked(Patience::Answer, true, Repeat::UnlessTaken, Taken::Refused), 3);
        assert_eq!(asked(Patience::Answer, true, Repeat::Freely, Taken::Perhaps), 3);
    }
}
