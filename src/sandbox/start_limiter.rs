//! Limits when containers are created in advance. Executions that wait for a container come first; creation in advance
//! is limited in number and backs off while Docker fails or is slow.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// Sandboxes that are created in advance at the same time.
const MAX_BACKGROUND: usize = 2;
/// Backoff after a failure; doubled after each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A Docker that needs longer for a sandbox is overloaded, so the backoff is as long as the start took.
const SLOW_START: Duration = Duration::from_secs(3);

/// Clones share the same state.
#[derive(Clone)]
pub(crate) struct StartLimiter(Arc<Inner>);

struct Inner {
    /// Number of [`Foreground`] guards.
    waiting: watch::Sender<usize>,
    permits: Arc<Semaphore>,
    backoff: Mutex<Backoff>,
}

#[derive(Default)]
struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Default for StartLimiter {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(MAX_BACKGROUND));
        Self(Arc::new(Inner { waiting: watch::channel(0).0, permits, backoff: Mutex::default() }))
    }
}

/// Permission to create a container in advance.
pub(crate) struct Background(
    #[expect(dead_code, reason = "held until dropped")] Option<OwnedSemaphorePermit>,
);

/// An execution waits for its sandbox until this is dropped.
pub(crate) struct Foreground(StartLimiter);

impl Drop for Foreground {
    fn drop(&mut self) {
        self.0.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl StartLimiter {
    /// Announces that an execution waits for its sandbox, until the guard is dropped.
    pub fn foreground(&self) -> Foreground {
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        Foreground(self.clone())
    }

    /// Waits until a sandbox may be created in advance. Keep the guard while creating it.
    pub async fn background(&self) -> Background {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.ok();
        self.idle().await;
        Background(permit)
    }

    /// Waits until no execution waits for a sandbox and the backoff is over.
    pub async fn idle(&self) {
        let mut waiting = self.0.waiting.subscribe();
        loop {
            // Cannot fail, because `self` owns the sender.
            let _ = waiting.wait_for(|waiting| *waiting == 0).await;
            let until = self.0.backoff.lock().until.filter(|until| Instant::now() < *until);
            let Some(until) = until else { return };
            tokio::time::sleep_until(until).await;
        }
    }

    /// Records whether a container could be created, and how long it took.
    pub fn record(&self, succeeded: bool, took: Duration) {
        let mut backoff = self.0.backoff.lock();
        backoff.failures = if succeeded { 0 } else { backoff.failures.saturating_add(1) };
        let pause = match backoff.failures {
            0 if took < SLOW_START => Duration::ZERO,
            0 => took,
            failures => MIN_BACKOFF * 2u32.saturating_pow(failures - 1).min(64),
        };
        backoff.until = Instant::now().checked_add(pause.min(MAX_BACKOFF));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_idle(limiter: &StartLimiter) -> bool {
        limiter.idle().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_created_in_advance_while_an_execution_waits() {
        let limiter = StartLimiter::default();
        let (one, two) = (limiter.foreground(), limiter.foreground());
        drop(one);
        assert!(!is_idle(&limiter));
        drop(two);
        assert!(is_idle(&limiter));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_created_at_the_same_time_is_limited() {
        let limiter = StartLimiter::default();
        let permits = [limiter.background().await, limiter.background().await];
        assert!(limiter.background().now_or_never().is_none());
        drop(permits);
        assert!(limiter.background().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_backoff_follows_the_last_starts() {
        let fast = (true, Duration::ZERO);
        let slow = (true, SLOW_START * 2);
        let failed = (false, Duration::ZERO);
        type Starts = Vec<(bool, Duration)>;
        let cases: [(&str, Starts, Duration); 8] = [
            ("no start", vec![], Duration::ZERO),
            ("a fast start", vec![fast], Duration::ZERO),
            ("a slow start", vec![slow], SLOW_START * 2),
            ("a very slow start", vec![(true, MAX_BACKOFF * 2)], MAX_BACKOFF),
            ("a failure", vec![failed], MIN_BACKOFF),
            ("three failures", vec![failed; 3], MIN_BACKOFF * 4),
            ("a hundred failures", vec![failed; 100], MAX_BACKOFF),
            ("a fast start after failures", vec![failed, failed, fast], Duration::ZERO),
        ];
        for (name, starts, expected) in cases {
            let limiter = StartLimiter::default();
            starts.into_iter().for_each(|(succeeded, took)| limiter.record(succeeded, took));
            let since = Instant::now();
            limiter.idle().await;
            assert_eq!(since.elapsed(), expected, "{name}");
        }
    }
}
