//! Suggests a higher limit for a retry if an execution failed because of a limit.

use rgrid_api::{Execution, FailureKind, NextTry};

use crate::settings::Settings;

const MIB: u64 = 1 << 20;

/// About twice the limit, up to the server's maximum. None if no limit caused the failure or the maximum was in effect.
pub(crate) fn for_retry(execution: &Execution, settings: &Settings) -> Option<NextTry> {
    match execution.failure_kind? {
        FailureKind::Timeout => {
            let max = settings.execution.max_timeout.0.as_secs_f64();
            let seconds = more_time(execution.timeout_seconds, max)?;
            Some(NextTry { timeout_seconds: Some(seconds), memory_mb: None })
        }
        FailureKind::OutOfMemory => {
            let mebibytes = more_memory(execution.memory_mb, settings.sandbox.max_memory.0 / MIB)?;
            Some(NextTry { timeout_seconds: None, memory_mb: Some(mebibytes) })
        }
        _ => None,
    }
}

fn more_time(limit: f64, max: f64) -> Option<f64> {
    Some((limit * 2.0).ceil().min(max)).filter(|more| *more > limit)
}

/// The next power of two, or the maximum.
fn more_memory(limit: u64, max: u64) -> Option<u64> {
    Some(limit.saturating_add(1).next_power_of_two().min(max)).filter(|more| *more > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_but_never_above_the_maximum() {
        let memory = [64, 500, 512, 1900, 2048].map(|limit| more_memory(limit, 2048));
        assert_eq!(memory, [Some(128), Some(512), Some(1024), Some(2048), None]);
        let time = [0.4, 5.0, 400.0, 600.0].map(|limit| more_time(limit, 600.0));
        assert_eq!(time, [Some(1.0), Some(10.0), Some(600.0), None]);
    }
}
