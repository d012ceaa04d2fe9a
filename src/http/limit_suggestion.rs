//! What a next try may ask for, when it was a limit that ended an execution.

use rgrid_api::{Execution, FailureKind, NextTry};

use crate::settings::Settings;

const MIB: u64 = 1 << 20;

/// About twice what it had, as far as this server gives it; none where no limit ended it, or where it had the most.
pub(crate) fn of(execution: &Execution, settings: &Settings) -> Option<NextTry> {
    match execution.failure_kind? {
        FailureKind::Timeout => {
            let most = settings.execution.max_timeout.0.as_secs_f64();
            let seconds = more_time(execution.timeout_seconds, most)?;
            Some(NextTry { timeout_seconds: Some(seconds), memory_mb: None })
        }
        FailureKind::OutOfMemory => {
            let mebibytes = more_memory(execution.memory_mb, settings.sandbox.max_memory.0 / MIB)?;
            Some(NextTry { timeout_seconds: None, memory_mb: Some(mebibytes) })
        }
        _ => None,
    }
}

fn more_time(had: f64, most: f64) -> Option<f64> {
    Some((had * 2.0).ceil().min(most)).filter(|more| *more > had)
}

/// A power of two, or the most.
fn more_memory(had: u64, most: u64) -> Option<u64> {
    Some(had.saturating_add(1).next_power_of_two().min(most)).filter(|more| *more > had)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_was_too_low_is_raised_but_never_beyond_what_the_server_gives() {
        let memory = [64, 500, 512, 1900, 2048].map(|had| more_memory(had, 2048));
        assert_eq!(memory, [Some(128), Some(512), Some(1024), Some(2048), None]);
        let time = [0.4, 5.0, 400.0, 600.0].map(|had| more_time(had, 600.0));
        assert_eq!(time, [Some(1.0), Some(10.0), Some(600.0), None]);
    }
}
