//! The state machine: which status may follow which.

use rgrid_api::Status;

/// The arrows of the picture in `ARCHITECTURE.md`. The database's constraints and the guarded
/// UPDATEs of the store enforce the same; this is where a reader finds it in one place.
pub fn may_become(from: Status, to: Status) -> bool {
    use Status::{Cancelled, Completed, Failed, Queued, Running};
    match from {
        Queued => matches!(to, Running | Cancelled),
        // Back to queued: released at a drain, or rescued with attempts left.
        Running => matches!(to, Completed | Failed | Cancelled | Queued),
        Completed | Failed | Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_stays_as_it_is() {
        for from in Status::ALL.into_iter().filter(|s| s.is_final()) {
            for to in Status::ALL {
                assert!(!may_become(from, to), "{from} → {to}");
            }
        }
    }

    #[test]
    fn only_what_runs_can_complete() {
        let before: Vec<_> = Status::ALL.into_iter().filter(|s| may_become(*s, Status::Completed)).collect();
        assert_eq!(before, [Status::Running]);
    }
}
