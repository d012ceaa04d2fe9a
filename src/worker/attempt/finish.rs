//! What is recorded of an attempt, for each way in which it can end.

use std::time::Duration;

use rgrid_init::Exit;
use slog::{Logger, error, warn};

use crate::execution::diagnosis::{self, FailureContext};
use crate::execution::exit_mapping::{RunLimits, exit_code, map_exit};
use crate::execution::{Claimed, ExecutionRecord, FailureKind, Outcome, PhaseTimes, StoredOutput, Usage};
use crate::failpoint;
use crate::sandbox::{Sandbox, SandboxError};
use crate::settings::Settings;
use crate::store::Reservation;
use crate::worker::Worker;
use crate::worker::attempt::Ending;
use crate::worker::attempt::dispatch::concluded;
use crate::worker::attempt::monitor::{End, Followed, forsake};
use crate::worker::attempt::output_buffer::{OutputBuffer, Streams};

/// For all output files of a run. Docker that hangs must not keep a result from being told.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// Until room for them is known to be there. A result does not wait longer for the clearing up of old ones.
const ROOM_PATIENCE: Duration = Duration::from_secs(20);

/// How a followed script ended.
pub(crate) async fn script(worker: &Worker, claimed: &Claimed, followed: Followed, log: &Logger) -> Ending {
    let Followed { end, mut sandbox, transcript } = followed;
    let mut room = None;
    let (conclusion, last_event) = match end {
        End::Exit(seq, exit) => {
            failpoint::hit("run.exited").await;
            let (conclusion, taken) = exited(worker, claimed, &mut sandbox, &transcript, *exit, log).await;
            room = taken;
            (conclusion, seq)
        }
        End::Broken(reason) => {
            warn!(log, "the sandbox is gone"; "reason" => %reason);
            (broken(claimed, &transcript, &reason), 0)
        }
        End::Overdue | End::Alarm => {
            error!(log, "the init did not keep the deadline; its container is killed");
            // At once, however long it takes to write that down.
            drop(sandbox);
            return concluded(overdue(claimed, &transcript));
        }
        // Dropping the sandbox removes it.
        End::Released => return Ending::Released { begun: true },
        End::ClaimLost => {
            forsake(worker, &claimed.claim, sandbox, log).await;
            return Ending::ClaimLost;
        }
    };
    Ending::Concluded(Box::new(conclusion), Some(Box::new(sandbox)), last_event, room)
}

/// The script has ended by itself, at its deadline, or by a cancel: the init tells which.
async fn exited(
    worker: &Worker,
    claimed: &Claimed,
    sandbox: &mut Sandbox,
    transcript: &OutputBuffer,
    exit: Exit,
    log: &Logger,
) -> (ExecutionRecord, Option<Reservation>) {
    let limit = worker.settings.execution.output_limit.0;
    let had = RunLimits { timeout: claimed.timeout, memory: claimed.memory_bytes };
    let mut outcome = map_exit(&exit, &had, &most(&worker.settings));
    let fetched = tokio::time::timeout(FETCH_TIMEOUT, outputs(sandbox, &exit)).await;
    let late = |_| Err(SandboxError::Disconnected(format!("not done after {}s", FETCH_TIMEOUT.as_secs())));
    let outputs = match fetched.unwrap_or_else(late) {
        Ok(outputs) => outputs,
        Err(reason) => {
            warn!(log, "the output files could not be fetched"; "reason" => %reason);
            if outcome == Outcome::Completed {
                let error =
                    format!("the script ended well, but its files could not be brought back: {reason}");
                outcome = Outcome::Failed { kind: FailureKind::Output, error };
            }
            Vec::new()
        }
    };
    let streams = transcript.ended(&exit, limit);
    if let Outcome::Failed { kind: FailureKind::Exit, error } = &mut outcome
        && let Some(cause) = cause(worker, claimed, &exit, &streams.stderr.text).await
    {
        error.push_str(&format!(": {cause}"));
    }
    let (outputs, room) = as_room_allows(worker, outputs, &mut outcome, log).await;
    let usage = Usage { cpu_ms: exit.cpu_ms, peak_memory_bytes: exit.peak_memory_bytes };
    let mut conclusion = with(outcome, streams);
    conclusion.exit_code = exit_code(&exit);
    conclusion.usage = Some(usage);
    conclusion.phases.script = Some(exit.wall_ms).filter(|ms| *ms > 0).map(Duration::from_millis);
    conclusion.outputs = outputs;
    conclusion.outputs_left_out = left_out(&exit);
    (conclusion, room)
}

/// What a submission may ask for.
fn most(settings: &Settings) -> RunLimits {
    RunLimits { timeout: settings.execution.max_timeout.0, memory: settings.sandbox.max_memory.0 }
}

/// The output files, or none of them where they do not fit into what may be stored.
async fn as_room_allows(
    worker: &Worker,
    outputs: Vec<StoredOutput>,
    outcome: &mut Outcome,
    log: &Logger,
) -> (Vec<StoredOutput>, Option<Reservation>) {
    let bytes = outputs.iter().map(|file| file.content.len() as u64).sum();
    // Without a database nothing can be counted; nor stored, until it is back.
    let admitted = tokio::time::timeout(ROOM_PATIENCE, worker.budget.reserve(&worker.store, bytes)).await;
    let no_room = match admitted {
        Ok(Ok(Err(no_room))) if !outputs.is_empty() => no_room,
        Ok(room) => return (outputs, room.ok().and_then(Result::ok)),
        Err(_) => {
            warn!(log, "making room takes long; the next sweep goes on");
            return (outputs, None);
        }
    };
    let most = rgrid_api::units::format_size(no_room.most);
    warn!(log, "no room for the output files"; "budget" => &most);
    if *outcome == Outcome::Completed {
        let error = format!(
            "the script ended well, but its files were not kept: the {most} that this server may store are full \
             (retention.disk_budget)"
        );
        *outcome = Outcome::Failed { kind: FailureKind::Output, error };
    }
    (Vec::new(), None)
}

/// Why it failed, in so far as its words tell.
async fn cause(worker: &Worker, claimed: &Claimed, exit: &Exit, stderr: &str) -> Option<String> {
    // Only for the sake of a better word: without the names there is a good one too.
    let names = match claimed.has_inputs {
        true => worker.store.input_names(&claimed.claim.execution).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let (code, signal) = match exit.reason {
        rgrid_init::ExitReason::Exited { code } => (Some(code), None),
        rgrid_init::ExitReason::Signalled { signal } => (None, Some(signal)),
        _ => (None, None),
    };
    diagnosis::explain(&FailureContext {
        code,
        signal,
        stderr,
        script: &claimed.script_name,
        runtime: &claimed.runtime,
        inputs: &names,
        args: &claimed.args,
        network: claimed.network,
        memory_bytes: claimed.memory_bytes,
    })
}

/// The container ended without a word of the init.
fn broken(claimed: &Claimed, transcript: &OutputBuffer, reason: &SandboxError) -> ExecutionRecord {
    let outcome = match reason {
        SandboxError::Gone { oom_killed: true, .. } => Outcome::Failed {
            kind: FailureKind::OutOfMemory,
            error: format!(
                "the script exceeded its memory limit of {}; raise the limit with --memory",
                rgrid_api::units::format_size(claimed.memory_bytes)
            ),
        },
        other => Outcome::Failed {
            kind: FailureKind::Lost,
            error: format!(
                "the sandbox was ended from outside while the script ran ({other}); submit it again"
            ),
        },
    };
    with(outcome, transcript.cut_off())
}

pub(crate) fn overdue(claimed: &Claimed, transcript: &OutputBuffer) -> ExecutionRecord {
    let error = format!(
        "the script exceeded its time limit of {} and had to be killed from outside",
        rgrid_api::units::format_duration(claimed.timeout)
    );
    with(Outcome::Failed { kind: FailureKind::Timeout, error }, transcript.cut_off())
}

/// Cancelled before the script ran.
pub(crate) fn cancelled() -> ExecutionRecord {
    without_script(Outcome::Cancelled, &OutputBuffer::new())
}

/// Of an attempt that did not come to its script there is what its install said.
pub(crate) fn without_script(outcome: Outcome, transcript: &OutputBuffer) -> ExecutionRecord {
    with(outcome, transcript.cut_off())
}

fn with(outcome: Outcome, streams: Streams) -> ExecutionRecord {
    ExecutionRecord {
        outcome,
        exit_code: None,
        stdout: streams.stdout,
        stderr: streams.stderr,
        install: streams.install,
        usage: None,
        outputs: Vec::new(),
        outputs_left_out: Vec::new(),
        phases: PhaseTimes::default(),
        image: None,
    }
}

/// The init tells about ten, in short sentences; what comes from a sandbox may be anything.
fn left_out(exit: &Exit) -> Vec<String> {
    let short = |sentence: &String| sentence.chars().take(400).collect();
    exit.outputs_left_out.iter().take(20).map(short).collect()
}

/// Names were checked by the init; they come from the sandbox, so they are checked again.
async fn outputs(sandbox: &mut Sandbox, exit: &Exit) -> Result<Vec<StoredOutput>, SandboxError> {
    let mut stored = Vec::new();
    for (number, file) in (0u32..).zip(&exit.outputs) {
        let plain = file.name.split('/').all(|part| rgrid_api::names::check_file_name(part).is_ok());
        if plain {
            let content = sandbox.download(number, file.size).await?;
            stored.push(StoredOutput { name: file.name.clone(), content });
        }
    }
    Ok(stored)
}
