//! What is recorded of an attempt, for each way in which it can end.

use std::time::Duration;

use rgrid_init::Exit;
use slog::{Logger, warn};

use super::transcript::{Streams, Transcript};
use crate::actors::Worker;
use crate::execution::diagnosis::{self, Facts};
use crate::execution::{Claimed, Conclusion, FailureKind, Outcome, PhaseTimes, StoredOutput, Usage};
use crate::sandbox::{Judged, Sandbox, SandboxError, judge};

/// The script has ended by itself, at its deadline, or by a cancel: the init tells which.
pub(super) async fn exited(
    worker: &Worker,
    claimed: &Claimed,
    sandbox: &mut Sandbox,
    transcript: &Transcript,
    exit: Exit,
    log: &Logger,
) -> Conclusion {
    let limit = worker.settings.execution.output_limit.0;
    let Judged { mut outcome, exit_code } = judge(
        &exit,
        claimed.timeout,
        claimed.memory_bytes,
        worker.settings.install.timeout.0,
        transcript.install_text(),
        claimed.network,
    );
    let outputs = match outputs(sandbox, &exit).await {
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
    let outputs = match worker
        .budget
        .admit(&worker.store, outputs.iter().map(|f| f.content.len() as u64).sum())
        .await
    {
        Ok(Err(no_room)) if !outputs.is_empty() => {
            let most = rgrid_api::units::format_size(no_room.most);
            let words = format!(
                "its files were not kept: the {most} that this server may store are full (retention.disk_budget)"
            );
            warn!(log, "no room for the output files"; "budget" => most);
            if outcome == Outcome::Completed {
                let error = format!("the script ended well, but {words}");
                outcome = Outcome::Failed { kind: FailureKind::Output, error };
            }
            Vec::new()
        }
        // Without a database nothing can be counted; nor stored, until it is back.
        _ => outputs,
    };
    let usage = Usage { cpu_ms: exit.cpu_ms, peak_memory_bytes: exit.peak_memory_bytes };
    let mut conclusion = with(outcome, streams);
    conclusion.exit_code = exit_code;
    conclusion.usage = Some(usage);
    conclusion.phases = PhaseTimes {
        environment: Some(exit.setup_ms).filter(|ms| *ms > 0).map(Duration::from_millis),
        sandbox: None,
        script: Some(exit.wall_ms).filter(|ms| *ms > 0).map(Duration::from_millis),
    };
    conclusion.outputs = outputs;
    conclusion
}

/// Why it failed, in so far as its words tell.
async fn cause(worker: &Worker, claimed: &Claimed, exit: &Exit, stderr: &str) -> Option<String> {
    // Only for the sake of a better word: without the names there is a good one too.
    let names = match claimed.has_inputs {
        true => worker.store.input_names(&claimed.claim.execution).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let (code, signal) = match exit.ending {
        rgrid_init::Ending::Exited { code } => (Some(code), None),
        rgrid_init::Ending::Signalled { signal } => (None, Some(signal)),
        _ => (None, None),
    };
    diagnosis::explain(&Facts {
        code,
        signal,
        stderr,
        script: &claimed.script_name,
        runtime: &claimed.runtime,
        inputs: &names,
        network: claimed.network,
        memory_bytes: claimed.memory_bytes,
    })
}

/// The container ended without a word of the init.
pub(super) fn broken(claimed: &Claimed, transcript: &Transcript, reason: &SandboxError) -> Conclusion {
    let outcome = match reason {
        SandboxError::Gone { oom_killed: true, .. } => Outcome::Failed {
            kind: FailureKind::OutOfMemory,
            error: format!(
                "the script needed more than its {} of memory; ask for more with --memory",
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

pub(super) fn overdue(claimed: &Claimed, transcript: &Transcript) -> Conclusion {
    let error = format!(
        "the script was still running after {}, its time limit, and had to be killed from outside",
        rgrid_api::units::format_duration(claimed.timeout)
    );
    with(Outcome::Failed { kind: FailureKind::Timeout, error }, transcript.cut_off())
}

/// Cancelled before anything ran.
pub(super) fn cancelled() -> Conclusion {
    with(Outcome::Cancelled, Transcript::default().cut_off())
}

fn with(outcome: Outcome, streams: Streams) -> Conclusion {
    Conclusion {
        outcome,
        exit_code: None,
        stdout: streams.stdout,
        stderr: streams.stderr,
        install: streams.install,
        usage: None,
        outputs: Vec::new(),
        phases: PhaseTimes::default(),
        image: None,
    }
}

/// Names were checked by the init; they come from the sandbox, so they are checked again.
async fn outputs(sandbox: &mut Sandbox, exit: &Exit) -> Result<Vec<StoredOutput>, SandboxError> {
    let mut stored = Vec::new();
    for (number, file) in (0u32..).zip(&exit.outputs) {
        let plain = file.name.split('/').all(|part| rgrid_api::names::check_file_name(part).is_ok());
        if plain {
            let content = sandbox.fetch(number, file.size).await?;
            stored.push(StoredOutput { name: file.name.clone(), content });
        }
    }
    Ok(stored)
}
