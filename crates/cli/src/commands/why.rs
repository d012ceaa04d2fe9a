//! `rgrid why`: one sentence on what became of an execution, and what mends it.

use clap::Args;
use rgrid_api::names::labels_in_words;
use rgrid_api::server::Worker;
use rgrid_api::units::format_duration;
use rgrid_api::{Execution, FailureKind, Phases, Status};

use crate::cli::{Id, Json};
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::{hints, times};

/// Longer last words are cut.
const WORDS_MAX: usize = 120;

/// Say in one sentence what went wrong, how long each phase took, and what mends it
#[derive(Args)]
pub struct WhyArgs {
    #[command(flatten)]
    which: Id,
    #[command(flatten)]
    form: Json,
}

pub fn run(args: &WhyArgs, session: &Session) -> Result<Exit, Failure> {
    let server = session.server()?;
    if args.form.json {
        return session.console.json(&server.execution_document(&args.which.id)?).map(|()| Exit::Fine);
    }
    let execution = server.execution(&args.which.id)?;
    let sentence = match execution.status {
        Status::Queued => waiting(&execution, &server.workers()?.0.items),
        Status::Running => running(&execution),
        Status::Completed => completed(&execution),
        Status::Cancelled => with_remedy(format!("{} was cancelled", execution.id), &execution),
        Status::Failed => with_remedy(failed(&execution), &execution),
    };
    session.console.line(&sentence).map(|()| Exit::Fine)
}

fn waiting(execution: &Execution, workers: &[Worker]) -> String {
    let since = times::since(&execution.created_at).map(format_duration).unwrap_or_default();
    let fit: Vec<&Worker> = workers.iter().filter(|worker| fits(execution, worker)).collect();
    let slots: u64 = fit.iter().filter(|worker| !worker.draining).map(|worker| u64::from(worker.slots)).sum();
    let busy: u64 = fit.iter().map(|worker| worker.running).sum();
    let why = match slots {
        0 if !execution.on.is_empty() => {
            let missing = labels_in_words(&execution.on);
            format!("no worker has {missing}; start one with worker.labels, or submit it without --on")
        }
        0 => "no worker takes anything, which `rgrid doctor` tells more about".to_owned(),
        slots if busy >= slots => {
            let all =
                if slots == 1 { "the one slot is".to_owned() } else { format!("all {slots} slots are") };
            format!("{all} taken; `rgrid list --status running` shows by what")
        }
        slots => format!("{busy} of {slots} slots are taken, so it should begin in a moment"),
    };
    let before = match execution.queue_position.map(|position| position.saturating_sub(1)) {
        None | Some(0) => String::new(),
        Some(1) => ", behind 1 other".to_owned(),
        Some(before) => format!(", behind {before} others"),
    };
    format!("{} waits, since {since}{before}: {why}.", execution.id)
}

fn fits(execution: &Execution, worker: &Worker) -> bool {
    execution.on.iter().all(|(key, value)| worker.labels.get(key) == Some(value))
}

fn running(execution: &Execution) -> String {
    let since =
        execution.started_at.as_deref().and_then(times::since).map(format_duration).unwrap_or_default();
    let worker = execution.worker.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let again = match execution.attempt {
        0 | 1 => String::new(),
        attempt => format!(", in attempt {attempt}, since its worker was lost or stopped in the one before"),
    };
    format!("{} runs{worker}, since {since}{again}; see it with `rgrid logs -f {0}`.", execution.id)
}

fn completed(execution: &Execution) -> String {
    let (id, phases) = (&execution.id, phases(execution));
    match execution.outputs_left_out.as_slice() {
        [] => format!("Nothing went wrong: {id} completed{phases}."),
        left_out => {
            format!("{id} completed{phases}, but not all of its files were kept. {}", left_out.join(" "))
        }
    }
}

fn failed(execution: &Execution) -> String {
    let error = execution.execution_error.as_deref().unwrap_or("for a reason that is not known");
    // What to do comes at the end; the server's sentence may have said it already.
    let said = ["; raise the limit with", "; this is the server's maximum"];
    let error = said.iter().fold(error, |error, end| error.split(end).next().unwrap_or(error));
    let error = error.trim_end_matches('.');
    let words = last_words(execution).map(|words| format!(" ({words})")).unwrap_or_default();
    format!("{} failed: {error}{words}", execution.id)
}

/// A traceback's last line is its reason.
fn last_words(execution: &Execution) -> Option<String> {
    if execution.failure_kind != Some(FailureKind::Exit) {
        return None;
    }
    let line = execution.stderr.as_deref()?.lines().rev().find(|line| !line.trim().is_empty())?.trim();
    let cut = line.chars().count() > WORDS_MAX;
    let words: String = line.chars().take(WORDS_MAX).collect();
    Some(if cut { format!("{words}…") } else { words })
}

fn with_remedy(what: String, execution: &Execution) -> String {
    let remedy = hints::of(execution).map(|remedy| format!("; {remedy}")).unwrap_or_default();
    format!("{what}{}{remedy}.", phases(execution))
}

/// `, after 120ms in the queue and 5s of running`.
fn phases(execution: &Execution) -> String {
    let begun = execution.started_at.as_deref();
    let until = begun.or(execution.completed_at.as_deref());
    let queued = until.and_then(|until| times::between(&execution.created_at, until)).map(format_duration);
    let again = match execution.attempt {
        0 | 1 => String::new(),
        _ => format!(", in attempt {}", execution.attempt_in_words()),
    };
    match (queued, begun) {
        (Some(queued), Some(_)) if execution.duration_ms.is_some() => {
            let steps: Vec<String> =
                std::iter::once(format!("{queued} in the queue")).chain(steps(execution)).collect();
            format!(", after {}{again}", listed(&steps))
        }
        (Some(queued), None) => format!(", after {queued} in the queue, without having begun"),
        _ => again,
    }
}

/// What came after the queue; a step that is not known, or was not there, is left out.
fn steps(execution: &Execution) -> Vec<String> {
    let Phases { environment_ms, sandbox_ms, script_ms, recorded_ms, .. } = execution.phases;
    let known = [
        (environment_ms, "for its requirements"),
        (sandbox_ms, "for its sandbox"),
        (script_ms, "of running"),
        (recorded_ms, "for its result"),
    ];
    let told = known.into_iter().filter_map(|(ms, what)| Some((ms?, what)));
    let steps: Vec<String> = told.map(|(ms, what)| format!("{} {what}", times::milliseconds(ms))).collect();
    let whole = execution.duration_ms.filter(|_| steps.is_empty());
    steps.into_iter().chain(whole.map(|ms| format!("{} of running", times::milliseconds(ms)))).collect()
}

/// `a, b and c`.
fn listed(items: &[String]) -> String {
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
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

    fn sentence(execution: &Execution) -> String {
        with_remedy(failed(execution), execution)
    }

    #[test]
    fn a_traceback_tells_its_last_line() {
        let stderr = Some("Traceback\n  File …\nKeyError: 'plum'\n\n".to_owned());
        let ended = Execution { stderr, ..ended(FailureKind::Exit, "the script ended with exit code 1") };
        assert_eq!(
            sentence(&ended),
            "exec_1 failed: the script ended with exit code 1 (KeyError: 'plum'), after 120ms in the queue \
             and 5s of running; see what it said with `rgrid logs exec_1`."
        );
    }

    #[test]
    fn each_phase_that_is_known_is_told() {
        let phases = Phases {
            queued_ms: Some(120),
            environment_ms: Some(2100),
            sandbox_ms: Some(90),
            script_ms: Some(4000),
            recorded_ms: None,
        };
        let ended = Execution { phases, ..ended(FailureKind::Exit, "") };
        let told = super::phases(&ended);
        assert_eq!(
            told,
            ", after 120ms in the queue, 2.1s for its requirements, 90ms for its sandbox and 4s of running"
        );
    }

    #[test]
    fn what_to_do_is_said_once() {
        let error = "the script exceeded its time limit of 5s; raise the limit with --timeout";
        let next_try = Some(NextTry { timeout_seconds: Some(10.0), memory_mb: None });
        let ended = Execution { timeout_seconds: 5.0, next_try, ..ended(FailureKind::Timeout, error) };
        let told = sentence(&ended);
        assert!(told.ends_with("; run it again with `rgrid run --timeout 10s script.py`."), "{told}");
        assert_eq!(told.matches("--timeout").count(), 1, "{told}");
    }

    #[test]
    fn one_that_never_began_says_so() {
        let cancelled = Execution {
            completed_at: Some("2025-11-15T16:30:03Z".to_owned()),
            ..execution("exec_1", Status::Cancelled)
        };
        assert_eq!(phases(&cancelled), ", after 3s in the queue, without having begun");
    }

    #[test]
    fn a_waiting_one_tells_what_it_waits_for() {
        let worker = |slots, running, draining| Worker {
            id: "worker_1".to_owned(),
            name: "a".to_owned(),
            slots,
            running,
            started_at: String::new(),
            last_seen: String::new(),
            draining,
            labels: Default::default(),
        };
        let queued = execution("exec_1", Status::Queued);
        assert!(waiting(&queued, &[]).contains("no worker"));
        let third = Execution { queue_position: Some(3), ..queued.clone() };
        assert!(waiting(&third, &[worker(1, 1, false)]).contains(", behind 2 others: the one slot is taken"));
        assert!(waiting(&queued, &[worker(2, 0, true)]).contains("no worker"));
        assert!(waiting(&queued, &[worker(2, 2, false)]).contains("all 2 slots are taken"));
        assert!(waiting(&queued, &[worker(2, 1, false)]).contains("1 of 2 slots"));

        let labels = BTreeMap::from([("gpu".to_owned(), "true".to_owned())]);
        let wants = Execution { on: labels.clone(), ..queued };
        assert!(waiting(&wants, &[worker(2, 0, false)]).contains(": no worker has gpu=true; "));
        let has = Worker { labels, ..worker(1, 1, false) };
        assert!(waiting(&wants, &[worker(2, 0, false), has]).contains("the one slot is taken"));
    }
}
