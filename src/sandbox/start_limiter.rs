//! Who may ask Docker for a container now: runs that wait for one first, then what is made for later.
//!
//! Parking is limited in number at once, waits while a run waits, and rests when Docker fails or is slow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// Sandboxes that are parked at once.
const AT_ONCE: usize = 2;
/// After a failure; twice as long after each further one.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// A Docker that needs longer for a sandbox has too much to do: it gets as long a rest.
const SLOW: Duration = Duration::from_secs(3);

/// Cloning shares them.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Inner>);

struct Inner {
    /// Runs that wait for their sandbox.
    waiting: watch::Sender<usize>,
    places: Arc<Semaphore>,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Default for Turns {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self(Arc::new(Inner { waiting: watch::channel(0).0, places, rest: Mutex::default() }))
    }
}

/// Something is made for later until this is dropped.
pub struct Background(#[expect(dead_code, reason = "it is held, not read")] Option<OwnedSemaphorePermit>);

/// A run waits for its sandbox until this is dropped.
pub struct Foreground(Turns);

impl Drop for Foreground {
    fn drop(&mut self) {
        self.0.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl Turns {
    pub fn first(&self) -> Foreground {
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        Foreground(self.clone())
    }

    /// Returns when something may be made for later; one of a few may until the answer is dropped.
    pub async fn later(&self) -> Background {
        // It is never closed.
        let place = Arc::clone(&self.0.places).acquire_owned().await.ok();
        self.calm().await;
        Background(place)
    }

    /// Returns when no run waits and Docker does not need a rest.
    pub async fn calm(&self) {
        let mut waiting = self.0.waiting.subscribe();
        loop {
            // The sender lives as long as this.
            let _ = waiting.wait_for(|waiting| *waiting == 0).await;
            let Some(until) = self.rests_until() else { return };
            tokio::time::sleep_until(until).await;
        }
    }

    fn rests_until(&self) -> Option<Instant> {
        self.rest().until.filter(|until| Instant::now() < *until)
    }

    /// How it went with a container that was asked for.
    pub fn note(&self, fine: bool, took: Duration) {
        let mut rest = self.rest();
        rest.failures = if fine { 0 } else { rest.failures.saturating_add(1) };
        let pause = match rest.failures {
            0 if took < SLOW => Duration::ZERO,
            0 => took,
            failures => FIRST_REST * 2u32.saturating_pow(failures - 1).min(64),
        };
        rest.until = Instant::now().checked_add(pause.min(LONGEST_REST));
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.0.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_calm(turns: &Turns) -> bool {
        futures_util::FutureExt::now_or_never(turns.calm()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_made_for_later_while_a_run_waits() {
        let turns = Turns::default();
        let (one, two) = (turns.first(), turns.first());
        drop(one);
        assert!(!is_calm(&turns));
        drop(two);
        assert!(is_calm(&turns));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_made_at_once() {
        let turns = Turns::default();
        let held = [turns.later().await, turns.later().await];
        assert!(futures_util::FutureExt::now_or_never(turns.later()).is_none());
        drop(held);
        assert!(futures_util::FutureExt::now_or_never(turns.later()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_docker_that_fails_gets_longer_and_longer_rests_until_it_works() {
        let turns = Turns::default();
        let begun = Instant::now();
        for _ in 0..3 {
            turns.note(false, Duration::ZERO);
            turns.calm().await;
        }
        assert_eq!(begun.elapsed().as_millis(), 500 + 1000 + 2000);
        (0..100).for_each(|_| turns.note(false, Duration::ZERO));
        let begun = Instant::now();
        turns.calm().await;
        assert_eq!(begun.elapsed().as_millis(), LONGEST_REST.as_millis());
        turns.note(true, Duration::ZERO);
        assert!(is_calm(&turns));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_docker_rests_as_long_as_it_took() {
        let turns = Turns::default();
        turns.note(true, SLOW * 2);
        let begun = Instant::now();
        turns.calm().await;
        assert_eq!(begun.elapsed(), SLOW * 2);
    }
}
