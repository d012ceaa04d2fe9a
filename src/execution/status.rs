//! The state machine of an execution.

use rgrid_api::Status;

/// The state diagram of `ARCHITECTURE.md`. The constraints of the database and the guarded UPDATEs of the store enforce
/// the same transitions.
pub fn may_become(from: Status, to: Status) -> bool {
    use Status::{Cancelled, Completed, Failed, Queued, Running};
    match from {
        Queued => matches!(to, Running | Cancelled),
        // A drain releases an execution, and a rescue requeues it if it has attempts left.
        Running => matches!(to, Completed | Failed | Cancelled | Queued),
        Completed | Failed | Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_status_never_changes() {
        for from in Status::ALL.into_iter().filter(|s| s.is_final()) {
            for to in Status::ALL {
                assert!(!may_become(from, to), "{from} → {to}");
            }
        }
    }

    #[test]
    fn only_a_running_execution_can_complete() {
        let before: Vec<_> = Status::ALL.into_iter().filter(|s| may_become(*s, Status::Completed)).collect();
        assert_eq!(before, [Status::Running]);
    }
}
