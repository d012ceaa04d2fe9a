//! A loop that is started again when it panics.

use std::future::Future;
use std::time::Duration;

use slog::{Logger, error};
use tokio::sync::watch;

use crate::metrics::METRICS;

/// Between a panic and the next start, so that a panic at every start does not spin.
const PAUSE: Duration = Duration::from_millis(500);
/// After so many panics in a row the owner gives up, and with it the process: an operator's restart
/// policy knows better.
const PANICS_IN_A_ROW: u32 = 10;
/// A loop that ran this long was fine.
const FINE_AFTER: Duration = Duration::from_secs(60);

/// How a part tells that it cannot be kept alive; whoever owns the process ends it then.
#[derive(Clone)]
pub struct FatalError(watch::Sender<Option<String>>);

impl Default for FatalError {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl FatalError {
    pub fn report(&self, reason: String) {
        self.0.send_replace(Some(reason));
    }

    /// Returns only when something cannot be kept alive.
    pub async fn wait(&self) -> String {
        let mut receiver = self.0.subscribe();
        let told = receiver.wait_for(Option::is_some).await;
        told.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }
}

/// Runs the loop that `start` makes until it returns; after a panic it is made again.
///
/// Returns `Err` when it cannot be kept alive.
pub async fn tend<F, T>(name: &'static str, log: Logger, mut start: F) -> Result<(), String>
where
    F: FnMut() -> T,
    T: Future<Output = ()> + 'static,
{
    let mut panics = 0;
    while panics < PANICS_IN_A_ROW {
        let begun = tokio::time::Instant::now();
        let task = actix_rt::spawn(start());
        match task.await {
            Ok(()) => return Ok(()),
            Err(stopped) if stopped.is_panic() => {
                panics = if begun.elapsed() > FINE_AFTER { 1 } else { panics + 1 };
                METRICS.panics.add(&[name], 1);
                error!(log, "a loop panicked and is started again"; "loop" => name, "panics" => panics);
                tokio::time::sleep(PAUSE).await;
            }
            Err(_) => return Ok(()),
        }
    }
    Err(format!("the {name} panicked {PANICS_IN_A_ROW} times in a row"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[actix_rt::test]
    async fn a_loop_that_panics_is_started_again() {
        tokio::time::pause();
        let starts = Rc::new(Cell::new(0));
        let counter = Rc::clone(&starts);
        let tended = tend("test", Logger::root(slog::Discard, slog::o!()), || {
            let starts = Rc::clone(&counter);
            async move {
                starts.set(starts.get() + 1);
                assert!(starts.get() >= 3, "as a bug would");
            }
        });
        assert_eq!(tended.await, Ok(()));
        assert_eq!(starts.get(), 3);
    }

    #[actix_rt::test]
    async fn one_that_always_panics_is_given_up() {
        tokio::time::pause();
        let tended = tend("test", Logger::root(slog::Discard, slog::o!()), || async { panic!("always") });
        assert!(tended.await.is_err());
    }
}
