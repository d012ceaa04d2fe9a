//! An execution in lines.

use rgrid_api::{Execution, Status};

use crate::error::Failure;
use crate::output::console::{Console, Tone};
use crate::output::times;

type Line = (&'static str, String, Tone);

/// As in `rgrid status`: lines that have no value yet are left out.
pub fn show(execution: &Execution, console: &Console) -> Result<(), Failure> {
    lines(execution).into_iter().try_for_each(|(name, value, tone)| console.field(name, &value, tone))
}

pub fn lines(execution: &Execution) -> Vec<Line> {
    let tone = Tone::of(execution.status);
    let mut lines = vec![
        ("Execution", execution.id.clone(), Tone::Plain),
        ("Status", execution.status.to_string(), tone),
        ("Runtime", execution.runtime.clone(), Tone::Plain),
        ("Created", times::local(&execution.created_at), Tone::Plain),
    ];
    if let Some(missing) = &execution.waits_for {
        lines.push(("Waiting", missing.clone(), Tone::Plain));
    }
    let mut add = |name, value: Option<String>| {
        lines.extend(value.map(|value| (name, value, Tone::Plain)));
    };
    add("Started", execution.started_at.as_deref().map(times::local));
    add("Completed", execution.completed_at.as_deref().map(times::local));
    add("Duration", execution.duration_ms.map(times::milliseconds));
    add("Exit Code", execution.exit_code.map(|code| code.to_string()));
    // Worth a line only when something happened to the first one.
    add("Attempt", (execution.attempt > 1).then(|| execution.attempt_in_words()));
    lines.extend(execution.outputs_left_out.iter().map(|left_out| ("Left out", left_out.clone(), Tone::Bad)));
    if execution.status == Status::Failed {
        lines.extend(execution.execution_error.clone().map(|error| ("Error", error, Tone::Bad)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::report::tests::execution;

    fn names(execution: &Execution) -> Vec<&'static str> {
        lines(execution).iter().map(|(name, ..)| *name).collect()
    }

    #[test]
    fn what_has_no_value_yet_is_left_out() {
        let queued = execution("exec_1", Status::Queued);
        assert_eq!(names(&queued), ["Execution", "Status", "Runtime", "Created"]);
    }

    #[test]
    fn one_that_has_ended_tells_everything() {
        let ended = Execution {
            started_at: Some("2025-11-15T16:30:05Z".to_owned()),
            completed_at: Some("2025-11-15T16:30:10Z".to_owned()),
            duration_ms: Some(5012),
            exit_code: Some(1),
            execution_error: Some("because".to_owned()),
            ..execution("exec_1", Status::Failed)
        };
        let expected = [
            "Execution",
            "Status",
            "Runtime",
            "Created",
            "Started",
            "Completed",
            "Duration",
            "Exit Code",
            "Error",
        ];
        assert_eq!(names(&ended), expected);
        assert!(lines(&ended).iter().any(|(name, value, _)| *name == "Duration" && value == "5s"));
    }
}
