//! What happens after a panic in an actor's task or in a background loop.

use std::time::Duration;

use actix::{ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, fut};
use slog::{Logger, error};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::METRICS;

/// Pause before a restart, so that a panic at every start does not spin.
pub const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// After this many panics in a row the process exits, and the operator's restart policy takes over.
const MAX_PANICS_IN_A_ROW: u32 = 10;
/// A panic after this long without one starts a new row.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Reports that a part of the daemon cannot be kept alive, so that its process exits.
#[derive(Clone, Default)]
pub struct FatalError(watch::Sender<Option<String>>);

impl FatalError {
    pub fn report(&self, reason: String) {
        self.0.send_replace(Some(reason));
    }

    /// Returns only after [`FatalError::report`].
    pub async fn wait(&self) -> String {
        let mut receiver = self.0.subscribe();
        let reported = receiver.wait_for(Option::is_some).await;
        reported.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }
}

/// Counts the panics of one actor or background loop.
pub struct PanicCounter {
    name: &'static str,
    log: Logger,
    fatal: FatalError,
    in_a_row: u32,
    started: Instant,
}

impl PanicCounter {
    pub fn new(name: &'static str, fatal: FatalError, log: Logger) -> Self {
        Self { name, log, fatal, in_a_row: 0, started: Instant::now() }
    }

    pub fn started(&mut self) {
        self.started = Instant::now();
    }

    /// Counts a panic and returns whether to restart. After too many in a row it reports a fatal error instead.
    pub fn may_restart(&mut self) -> bool {
        self.in_a_row = if self.started.elapsed() > STABLE_AFTER { 1 } else { self.in_a_row + 1 };
        METRICS.panics.add(&[self.name], 1);
        error!(self.log, "restarting after a panic"; "task" => self.name, "panics" => self.in_a_row);
        let may_restart = self.in_a_row < MAX_PANICS_IN_A_ROW;
        if !may_restart {
            self.fatal.report(format!("the {} panicked {MAX_PANICS_IN_A_ROW} times in a row", self.name));
        }
        may_restart
    }

    /// Stops the actor after a pause, so that its Supervisor restarts it. Messages stay in the mailbox meanwhile.
    pub(crate) fn restart_actor<A>(&mut self, ctx: &mut Context<A>)
    where
        A: Supervised<Context = Context<A>>,
    {
        if self.may_restart() {
            let pause = fut::wrap_future::<_, A>(tokio::time::sleep(RESTART_PAUSE));
            ctx.wait(pause.map(|(), _, ctx: &mut Context<A>| ctx.stop()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn ten_panics_in_a_row_are_fatal_but_not_ten_in_ten_minutes() {
        tokio::time::pause();
        for (between, survives) in [(Duration::from_secs(1), false), (Duration::from_secs(61), true)] {
            let fatal = FatalError::default();
            let mut panics =
                PanicCounter::new("test", fatal.clone(), Logger::root(slog::Discard, slog::o!()));
            for _ in 0..9 {
                tokio::time::advance(between).await;
                assert!(panics.may_restart(), "{between:?}");
                panics.started();
            }
            tokio::time::advance(between).await;
            assert_eq!(panics.may_restart(), survives, "{between:?}");
            assert_eq!(fatal.0.borrow().is_none(), survives, "{between:?}");
        }
    }
}
