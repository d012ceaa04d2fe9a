//! Builds the record of an execution from the exit of its job.

use std::time::Duration;

use slog::{error, warn};

use crate::execution::diagnosis::{self, FailureContext};
use crate::execution::exit_mapping::{RunLimits, exit_code, map_exit};
use crate::execution::{
    Claimed, ExecutionRecord, FailureKind, FileContent, Outcome, PhaseTimes, ReleaseReason, Usage,
};
use crate::failpoint;
use crate::sandbox::{Sandbox, SandboxError};
use crate::worker::attempt::{Attempt, AttemptResult, job, monitor::Exit, output_buffer::Streams};

use super::output_buffer::OutputBuffer;

/// For all output files of an execution. Docker may hang, and the result must be recorded nevertheless.
pub(super) const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a result waits while older output is removed to make room for its files.
const ROOM_TIMEOUT: Duration = Duration::from_secs(20);

impl Attempt {
    pub(super) async fn finish(&mut self, exit: Exit) -> Result<ExecutionRecord, AttemptResult> {
        Ok(match exit {
            Exit::Reported(exit) => {
                failpoint::hit("run.exited").await;
                self.record_exit(*exit).await?
            }
            Exit::SandboxLost(reason) => {
                if matches!(reason, SandboxError::Violation(_)) {
                    // Now, because writing the result may take long.
                    self.sandbox = None;
                }
                warn!(self.log, "the sandbox is gone"; "reason" => %reason);
                record_of(lost(&self.claimed, &reason), self.output.partial())
            }
            Exit::Overdue | Exit::LimitReached => {
                error!(self.log, "the init did not enforce the deadline; killing its container");
                // Now, because writing the result may take long.
                self.sandbox = None;
                overdue(&self.claimed, &self.output)
            }
        })
    }

    async fn record_exit(&mut self, exit: rgrid_init::Exit) -> Result<ExecutionRecord, AttemptResult> {
        let settings = &self.worker.settings;
        let limits = RunLimits { timeout: self.claimed.timeout, memory: self.claimed.memory_bytes };
        let max =
            RunLimits { timeout: settings.execution.max_timeout.0, memory: settings.sandbox.max_memory.0 };
        let mut outcome = map_exit(&exit, &limits, &max);
        let streams = self.output.finished(&exit, settings.execution.output_limit.0);
        let outputs = self.download_outputs(&exit, &mut outcome).await?;
        if let Some(cause) = self.cause(&exit, &streams.stderr.text).await
            && let Outcome::Failed { kind: FailureKind::Exit, error } = &mut outcome
        {
            error.push_str(&format!(": {cause}"));
        }
        let outputs = self.reserve_room(outputs, &mut outcome).await;
        Ok(ExecutionRecord {
            exit_code: exit_code(&exit),
            usage: Some(Usage { cpu_ms: exit.cpu_ms, peak_memory_bytes: exit.peak_memory_bytes }),
            phases: PhaseTimes {
                script: Some(exit.wall_ms).filter(|ms| *ms > 0).map(Duration::from_millis),
                ..PhaseTimes::default()
            },
            outputs,
            // The init reports about ten short sentences, but a sandbox may send anything.
            outputs_left_out: (exit.outputs_left_out.iter().take(20))
                .map(|sentence| sentence.chars().take(400).collect())
                .collect(),
            ..record_of(outcome, streams)
        })
    }

    /// Without its output files, the result of a script that succeeded is not known.
    async fn download_outputs(
        &mut self,
        exit: &rgrid_init::Exit,
        outcome: &mut Outcome,
    ) -> Result<Vec<FileContent>, AttemptResult> {
        let Some(sandbox) = &mut self.sandbox else { return Ok(Vec::new()) };
        let late =
            |_| Err(SandboxError::Disconnected(format!("not done after {}s", DOWNLOAD_TIMEOUT.as_secs())));
        let limits = job::limits(&self.claimed, &self.worker.settings);
        let downloaded = tokio::time::timeout(DOWNLOAD_TIMEOUT, outputs(sandbox, exit, &limits)).await;
        let error = match downloaded.unwrap_or_else(late) {
            Ok(outputs) => return Ok(outputs),
            Err(error) => error,
        };
        warn!(self.log, "downloading the output files failed"; "reason" => %error);
        if *outcome == Outcome::Completed && matches!(error, SandboxError::EngineLost(_)) {
            return Err(AttemptResult::Released(ReleaseReason::EngineLost));
        }
        fail_output(
            outcome,
            format!("the script ended well, but its files could not be brought back: {error}"),
        );
        Ok(Vec::new())
    }

    /// Reserves disk space for the output files. Returns none of them if they do not fit.
    async fn reserve_room(&mut self, outputs: Vec<FileContent>, outcome: &mut Outcome) -> Vec<FileContent> {
        let bytes = outputs.iter().map(|file| file.content.len() as u64).sum();
        let admitted = self.worker.budget.reserve(&self.worker.store, bytes);
        let no_room = match tokio::time::timeout(ROOM_TIMEOUT, admitted).await {
            Ok(Ok(Err(no_room))) if !outputs.is_empty() => no_room,
            Ok(room) => {
                // Without a database nothing can be counted, and nothing can be stored before it is back.
                self.reserved = room.ok().and_then(Result::ok);
                return outputs;
            }
            Err(_) => {
                warn!(self.log, "freeing disk space takes long; the next sweep continues");
                return outputs;
            }
        };
        let max = rgrid_api::units::format_size(no_room.most);
        warn!(self.log, "no room for the output files"; "budget" => &max);
        fail_output(
            outcome,
            format!(
                "the script ended well, but its files were not kept: the {max} that this server may store are full \
                 (retention.disk_budget)"
            ),
        );
        Vec::new()
    }

    /// The probable cause of a failure, derived from the script's last output.
    async fn cause(&self, exit: &rgrid_init::Exit, stderr: &str) -> Option<String> {
        let (code, signal) = match exit.reason {
            rgrid_init::ExitReason::Exited { code: 0 } => return None,
            rgrid_init::ExitReason::Exited { code } => (Some(code), None),
            rgrid_init::ExitReason::Signalled { signal } => (None, Some(signal)),
            _ => return None,
        };
        let claimed = &self.claimed;
        // The names only make the text more precise, so an error is ignored.
        let inputs = match claimed.has_inputs {
            true => self.worker.store.input_names(&claimed.claim.execution).await.unwrap_or_default(),
            false => Vec::new(),
        };
        diagnosis::explain(&FailureContext {
            code,
            signal,
            stderr,
            script: &claimed.script_name,
            runtime: &claimed.runtime,
            inputs: &inputs,
            args: &claimed.args,
            network: claimed.network,
            memory_bytes: claimed.memory_bytes,
        })
    }
}

/// A script that succeeded fails because of its output files. An earlier failure is more important.
fn fail_output(outcome: &mut Outcome, error: String) {
    if *outcome == Outcome::Completed {
        *outcome = Outcome::Failed { kind: FailureKind::Output, error };
    }
}

/// The container ended without a report of its init.
fn lost(claimed: &Claimed, reason: &SandboxError) -> Outcome {
    let (kind, error) = match reason {
        SandboxError::Gone { oom_killed: true, .. } => {
            let limit = rgrid_api::units::format_size(claimed.memory_bytes);
            let error =
                format!("the script needed more than its {limit} of memory; ask for more with --memory");
            (FailureKind::OutOfMemory, error)
        }
        SandboxError::Violation(violation) => (FailureKind::Internal, format!("{violation}; it was removed")),
        other => {
            let error =
                format!("the sandbox was ended from outside while the script ran ({other}); submit it again");
            (FailureKind::Lost, error)
        }
    };
    Outcome::Failed { kind, error }
}

pub(super) fn overdue(claimed: &Claimed, output: &OutputBuffer) -> ExecutionRecord {
    let timeout = rgrid_api::units::format_duration(claimed.timeout);
    let error = format!(
        "the script was still running after {timeout}, its time limit, and had to be killed from outside"
    );
    record_of(Outcome::Failed { kind: FailureKind::Timeout, error }, output.partial())
}

pub(super) fn record_of(outcome: Outcome, streams: Streams) -> ExecutionRecord {
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

/// Checks the sizes and names again, because they come from the sandbox.
async fn outputs(
    sandbox: &mut Sandbox,
    exit: &rgrid_init::Exit,
    limits: &rgrid_init::Limits,
) -> Result<Vec<FileContent>, SandboxError> {
    rgrid_init::check_outputs(&exit.outputs, limits)?;
    let mut stored = Vec::new();
    for (number, file) in (0u32..).zip(&exit.outputs) {
        if file.name.split('/').all(|part| rgrid_api::names::check_file_name(part).is_ok()) {
            let content = sandbox.download(number, file.size).await?;
            stored.push(FileContent { name: file.name.clone(), content });
        }
    }
    Ok(stored)
}
