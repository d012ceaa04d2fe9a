//! Waiting for the thing itself, with a deadline.

use std::time::{Duration, Instant};

/// Looks every few milliseconds until `look` gives a value; panics with `what` at the deadline.
pub fn wait_until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
