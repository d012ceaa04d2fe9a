//! `rgrid why`: explains in one sentence what happened to an execution and how to fix it.

use clap::Args;
use rgrid_api::names::format_labels;
use rgrid_api::server::Worker;
use rgrid_api::units::format_duration;
use rgrid_api::{Execution, FailureKind, Phases, Status};

use crate::cli::{Context, Id, Json};
use crate::error::{Exit, Result};
use crate::output::{report, times};

const MAX_CAUSE: usize = 120;

/// Explain what went wrong, how long each phase took, and how to fix it
#[derive(Args)]
pub struct WhyArgs {
    #[command(flatten)]
    target: Id,
    #[command(flatten)]
    output: Json,
}

pub fn run(args: &WhyArgs, context: &Context) -> Result<Exit> {
    let (client, console) = (context.client()?, &context.console);
    if args.output.json {
        return console.json(&client.execution_document(&args.target.id)?).map(|()| Exit::Success);
    }
    let execution = client.execution(&args.target.id)?;
    let sentence = match execution.status {
        Status::Queued => explain_queued(&execution, &client.workers()?.items),
        Status::Running => explain_running(&execution),
        Status::Completed => explain_completed(&execution),
        Status::Cancelled => with_hint(format!("{} was cancelled", execution.id), &execution),
        Status::Failed => explain_failed(&execution),
    };
    console.line(&sentence).map(|()| Exit::Success)
}

fn explain_queued(execution: &Execution, workers: &[Worker]) -> String {
    let matches =
        |worker: &&Worker| execution.on.iter().all(|(key, value)| worker.labels.get(key) == Some(value));
    let matching: Vec<&Worker> = workers.iter().filter(matches).collect();
    let accepting = matching.iter().filter(|worker| !worker.draining);
    let slots: u64 = accepting.map(|worker| u64::from(worker.slots)).sum();
    let busy: u64 = matching.iter().map(|worker| worker.running).sum();
    let cause = match slots {
        0 if !execution.on.is_empty() => {
            let missing = format_labels(&execution.on);
            format!("no worker has {missing}; start one with worker.labels, or submit it without --on")
        }
        0 => "no worker accepts executions; check the server with `rgrid doctor`".to_owned(),
        slots if busy >= slots => {
            let all =
                if slots == 1 { "the only slot is".to_owned() } else { format!("all {slots} slots are") };
            format!("{all} in use; list what is running with `rgrid list --status running`")
        }
        slots => format!("{busy} of {slots} slots are in use, so it should start in a moment"),
    };
    let ahead = match execution.queue_position.map(|position| position.saturating_sub(1)) {
        None | Some(0) => String::new(),
        Some(1) => ", behind 1 other".to_owned(),
        Some(ahead) => format!(", behind {ahead} others"),
    };
    let since = times::since(&execution.created_at).map(format_duration).unwrap_or_default();
    format!("{} has been queued for {since}{ahead}: {cause}.", execution.id)
}

fn explain_running(execution: &Execution) -> String {
    let (id, started) = (&execution.id, execution.started_at.as_deref());
    let since = started.and_then(times::since).map(format_duration).unwrap_or_default();
    let worker = execution.worker.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let attempt = match execution.attempt {
        0 | 1 => String::new(),
        attempt => {
            format!(", now in attempt {attempt}, because the worker of the previous one was lost or stopped")
        }
    };
    format!("{id} has been running{worker} for {since}{attempt}; follow it with `rgrid logs -f {id}`.")
}

fn explain_completed(execution: &Execution) -> String {
    let (id, phases) = (&execution.id, describe_phases(execution));
    match execution.outputs_left_out.as_slice() {
        [] => format!("Nothing went wrong: {id} completed{phases}."),
        left_out => {
            format!("{id} completed{phases}, but some of its files were not kept. {}", left_out.join(" "))
        }
    }
}

fn explain_failed(execution: &Execution) -> String {
    let error = execution.execution_error.as_deref().unwrap_or("the cause is not known");
    // The server's message may suggest a fix, which the hint repeats with a command.
    let suggestions = ["; raise the limit with", "; this is the server's maximum"];
    let error = suggestions.iter().fold(error, |error, end| error.split(end).next().unwrap_or(error));
    let cause = last_error_line(execution).map(|line| format!(" ({line})")).unwrap_or_default();
    with_hint(format!("{} failed: {}{cause}", execution.id, error.trim_end_matches('.')), execution)
}

/// The last line of a traceback is its cause.
fn last_error_line(execution: &Execution) -> Option<String> {
    if execution.failure_kind != Some(FailureKind::Exit) {
        return None;
    }
    let line = execution.stderr.as_deref()?.lines().rev().find(|line| !line.trim().is_empty())?.trim();
    let end = line.char_indices().nth(MAX_CAUSE).and_then(|(end, _)| line.get(..end));
    Some(end.map_or(line.to_owned(), |cut| format!("{cut}…")))
}

fn with_hint(message: String, execution: &Execution) -> String {
    let hint = report::hint_for(execution).map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{message}{}{hint}.", describe_phases(execution))
}

/// `, after 120ms in the queue and 5s running the script`.
fn describe_phases(execution: &Execution) -> String {
    let started = execution.started_at.as_deref();
    let until = started.or(execution.completed_at.as_deref());
    let queued = until.and_then(|until| times::between(&execution.created_at, until)).map(format_duration);
    let attempt = match execution.attempt {
        0 | 1 => String::new(),
        _ => format!(", in attempt {}", execution.attempt_label()),
    };
    let (Some(queued), Some(duration)) = (&queued, execution.duration_ms.filter(|_| started.is_some()))
    else {
        return match queued.filter(|_| started.is_none()) {
            Some(queued) => format!(", after {queued} in the queue, without having started"),
            None => attempt,
        };
    };
    let Phases { environment_ms, sandbox_ms, script_ms, recorded_ms, .. } = execution.phases;
    let known = [
        (environment_ms, "installing its requirements"),
        (sandbox_ms, "preparing its sandbox"),
        (script_ms, "running the script"),
        (recorded_ms, "recording the result"),
    ];
    let known = known.iter().filter_map(|(ms, name)| Some(((*ms)?, *name)));
    let mut phases: Vec<String> =
        known.map(|(ms, name)| format!("{} {name}", times::milliseconds(ms))).collect();
    let last = phases.pop().unwrap_or_else(|| format!("{} running", times::milliseconds(duration)));
    phases.insert(0, format!("{queued} in the queue"));
    format!(", after {} and {last}{attempt}", phases.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rgrid_api::NextTry;

    use super::*;
    use crate::output::report::tests::execution;

    fn ended(kind: FailureKind, error: &str) -> Execution {
        Execution {
            started_at: Some("2025-11-15T16:30:00.120Z".to_owned()),
            completed_at: Some("2025-11-15T16:30:05.120Z".to_owned()),
            duration_ms: Some(5000),
            failure_kind: Some(kind),
            execution_error: Some(error.to_owned()),
            ..execution("exec_1", Status::Failed)
        }
    }

    #[test]
    fn the_last_line_of_a_traceback_is_the_cause() {
        let stderr = Some("Traceback\n  File …\nKeyError: 'plum'\n\n".to_owned());
        let ended = Execution { stderr, ..ended(FailureKind::Exit, "the script ended with exit code 1") };
        assert_eq!(
            explain_failed(&ended),
            "exec_1 failed: the script ended with exit code 1 (KeyError: 'plum'), after 120ms in the queue \
             and 5s running; see its output with `rgrid logs exec_1`."
        );
    }

    #[test]
    fn each_known_phase_is_listed() {
        let phases = Phases {
            queued_ms: Some(120),
            environment_ms: Some(2100),
            sandbox_ms: Some(90),
            script_ms: Some(4000),
            recorded_ms: None,
        };
        let ended = Execution { phases, ..ended(FailureKind::Exit, "") };
        assert_eq!(
            describe_phases(&ended),
            ", after 120ms in the queue, 2.1s installing its requirements, 90ms preparing its sandbox and 4s running \
             the script"
        );
    }

    #[test]
    fn a_fix_is_suggested_once() {
        let error = "the script exceeded its time limit of 5s; raise the limit with --timeout";
        let next_try = Some(NextTry { timeout_seconds: Some(10.0), memory_mb: None });
        let ended = Execution { timeout_seconds: 5.0, next_try, ..ended(FailureKind::Timeout, error) };
        let sentence = explain_failed(&ended);
        assert!(sentence.ends_with("; run it again with `rgrid run --timeout 10s script.py`."), "{sentence}");
        assert_eq!(sentence.matches("--timeout").count(), 1, "{sentence}");
    }

    #[test]
    fn an_execution_that_never_started_is_reported_as_such() {
        let cancelled = Execution {
            completed_at: Some("2025-11-15T16:30:03Z".to_owned()),
            ..execution("exec_1", Status::Cancelled)
        };
        assert_eq!(describe_phases(&cancelled), ", after 3s in the queue, without having started");
    }

    #[test]
    fn a_queued_execution_is_explained_by_its_workers() {
        let worker = |slots, running, draining| Worker {
            id: "worker_1".to_owned(),
            name: "a".to_owned(),
            slots,
            running,
            started_at: String::new(),
            last_seen: String::new(),
            draining,
            labels: Default::default(),
            engine_problem: None,
            firewall: None,
            firewall_problem: None,
        };
        let queued = execution("exec_1", Status::Queued);
        assert!(explain_queued(&queued, &[]).contains("no worker"));
        let third = Execution { queue_position: Some(3), ..queued.clone() };
        assert!(
            explain_queued(&third, &[worker(1, 1, false)])
                .contains(", behind 2 others: the only slot is in use")
        );
        assert!(explain_queued(&queued, &[worker(2, 0, true)]).contains("no worker"));
        assert!(explain_queued(&queued, &[worker(2, 2, false)]).contains("all 2 slots are in use"));
        assert!(explain_queued(&queued, &[worker(2, 1, false)]).contains("1 of 2 slots"));

        let labels = BTreeMap::from([("gpu".to_owned(), "true".to_owned())]);
        let wants = Execution { on: labels.clone(), ..queued };
        assert!(explain_queued(&wants, &[worker(2, 0, false)]).contains(": no worker has gpu=true; "));
        let has = Worker { labels, ..worker(1, 1, false) };
        assert!(explain_queued(&wants, &[worker(2, 0, false), has]).contains("the only slot is in use"));
    }
}
