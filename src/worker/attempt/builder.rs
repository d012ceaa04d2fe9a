//! A sandbox that installs: followed to its end, and what it built written down or thrown away.

use std::sync::Arc;
use std::time::Duration;

use rgrid_init::Exit;
use slog::{info, warn};

use crate::execution::exit_mapping::{install_too_large, map_install_exit};
use crate::execution::{FailureKind, Outcome};
use crate::sandbox::{EnvironmentBuild, Sandbox, SandboxError};
use crate::store::EnvironmentKey;
use crate::worker::Worker;
use crate::worker::active_claims::ClaimHandle;
use crate::worker::attempt::Ending;
use crate::worker::attempt::dispatch::concluded;
use crate::worker::attempt::environment::Preparing;
use crate::worker::attempt::environment_spec::{self, SIZE_FILE};
use crate::worker::attempt::finish;
use crate::worker::attempt::monitor::{Alarm, End, Followed, Running, follow as follow_job, forsake};
use crate::worker::attempt::output_buffer::{OutputBuffer, Phase};

/// Beside the time for the install itself: for clearing up, and for an init that does not keep the time.
const ROOM: Duration = Duration::from_secs(180);
/// Until the disk is looked at; the pauses grow with the time that Docker needs to tell.
const FIRST_LOOK: Duration = Duration::from_secs(3);
const TIMES_THE_LOOK: u32 = 20;
const DATABASE_PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// The volume, written down as whole; or how the attempt ended.
pub(crate) async fn follow(
    preparing: &mut Preparing<'_>,
    held: &mut ClaimHandle,
    sandbox: Sandbox,
    building: &EnvironmentBuild,
) -> Result<String, Ending> {
    let worker = preparing.worker;
    let volume = building.volume.clone();
    let mut transcript = std::mem::replace(&mut preparing.transcript, OutputBuffer::new());
    transcript.enter(Phase::Install);
    let job = Running {
        sandbox,
        transcript,
        longest: outer_deadline(worker),
        alarm: Some(alarm(worker, volume.clone())),
    };
    let Followed { end, mut sandbox, mut transcript } =
        follow_job(worker, &preparing.claimed.claim, held, job).await;
    let outcome = match end {
        End::Exit(seq, exit) => {
            transcript.end_install(&exit, worker.settings.execution.output_limit.0);
            match settle(worker, &mut sandbox, &transcript, &exit, building).await {
                Ok(()) => {
                    info!(preparing.log, "installed"; "environment" => &volume, "took_ms" => exit.setup_ms);
                    sandbox.ack(seq).await;
                    preparing.transcript = transcript;
                    return Ok(volume);
                }
                Err(Unsettled::Judged(outcome)) => outcome,
                Err(Unsettled::NotWritten) => return Err(Ending::Released { begun: false }),
            }
        }
        End::Broken(reason) => {
            warn!(preparing.log, "the builder is gone"; "reason" => %reason);
            broken(&reason)
        }
        End::Overdue => failed(FailureKind::Install, "the install did not end in time and was killed".into()),
        End::Alarm => install_too_large(&environment_spec::limits(&worker.settings)),
        End::Released => return Err(Ending::Released { begun: false }),
        End::ClaimLost => {
            forsake(worker, &preparing.claimed.claim, sandbox, preparing.log).await;
            return Err(Ending::ClaimLost);
        }
    };
    let conclusion = finish::without_script(outcome, &transcript);
    if conclusion.outcome.failure_kind() == Some(FailureKind::Install) {
        worker.failed_installs.add(&building.key, &conclusion);
    }
    // Its volume goes before the end is written down, which may take as long as the database needs, also for room on
    // the very disk that an install has filled.
    drop(sandbox);
    Err(concluded(conclusion))
}

/// Longest time from the hand-over until the init must have told the end.
pub(crate) fn outer_deadline(worker: &Worker) -> Duration {
    worker.settings.install.timeout.0 + 2 * worker.settings.execution.grace.0 + ROOM
}

enum Unsettled {
    Judged(Outcome),
    /// The database would not have it: somebody has to do it once more.
    NotWritten,
}

/// Only what has ended well and is as large as it may be is written down, and only then outlives its builder.
async fn settle(
    worker: &Arc<Worker>,
    sandbox: &mut Sandbox,
    transcript: &OutputBuffer,
    exit: &Exit,
    building: &EnvironmentBuild,
) -> Result<(), Unsettled> {
    let limits = environment_spec::limits(&worker.settings);
    if let Some(outcome) = map_install_exit(exit, &limits, &transcript.install().text) {
        return Err(Unsettled::Judged(outcome));
    }
    let size = measured(sandbox, exit).await.map_err(|reason| {
        Unsettled::Judged(failed(FailureKind::Install, format!("what was installed can't be kept: {reason}")))
    })?;
    if size > limits.size {
        return Err(Unsettled::Judged(install_too_large(&limits)));
    }
    write_down(worker, building, size).await.map_err(|reason| {
        warn!(worker.log, "an environment could not be written down"; "reason" => reason);
        Unsettled::NotWritten
    })?;
    sandbox.keep_environment();
    keep_budget(worker).await;
    Ok(())
}

/// Patiently: an install may have taken minutes, and a database that restarts is away for seconds.
async fn write_down(worker: &Arc<Worker>, building: &EnvironmentBuild, size: u64) -> Result<(), String> {
    let engine = worker.docker.engine_id().await.map_err(|error| error.to_string())?;
    let key = EnvironmentKey { engine, key: building.key.clone() };
    let since = tokio::time::Instant::now();
    loop {
        match worker.store.add_environment(&key, &building.volume, size).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() && since.elapsed() < DATABASE_PATIENCE => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// How large an environment becomes is known when it is whole: room is made for it then. The sweep does so again.
async fn keep_budget(worker: &Worker) {
    match tokio::time::timeout(DATABASE_PATIENCE, worker.budget.enforce(&worker.store)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(worker.log, "the disk budget could not be kept; the next sweep does"; "error" => %error)
        }
        Err(_) => warn!(worker.log, "making room takes long; the next sweep goes on"),
    }
}

async fn measured(sandbox: &mut Sandbox, exit: &Exit) -> Result<u64, String> {
    let found = (0u32..).zip(&exit.outputs).find(|(_, file)| file.name == SIZE_FILE);
    let Some((number, file)) = found else {
        return Err("its size was not told".to_owned());
    };
    let fetched = tokio::time::timeout(finish::FETCH_TIMEOUT, sandbox.download(number, file.size)).await;
    let content = fetched.map_err(|_| "its size was not told in time")?.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&content);
    text.trim().parse().map_err(|_| "its size is no number".to_owned())
}

fn broken(reason: &SandboxError) -> Outcome {
    match reason {
        SandboxError::Gone { oom_killed: true, .. } => failed(
            FailureKind::Install,
            "the installation of the requirements exceeded its memory limit; the server's install.memory sets it"
                .to_owned(),
        ),
        other => failed(
            FailureKind::Lost,
            format!("the install was ended from outside before the script ran ({other}); submit it again"),
        ),
    }
}

fn failed(kind: FailureKind, error: String) -> Outcome {
    Outcome::Failed { kind, error }
}

/// A volume has no limit (but on XFS with quotas), so only looking keeps an install from filling the disk.
fn alarm(worker: &Arc<Worker>, volume: String) -> Alarm<'_> {
    let most = worker.settings.install.max_size.0;
    Box::pin(async move {
        let mut pause = FIRST_LOOK;
        loop {
            tokio::time::sleep(pause).await;
            let begun = tokio::time::Instant::now();
            match worker.docker.volume_size(&volume).await {
                Ok(Some(size)) if size > most => return,
                Ok(_) => {}
                Err(error) => warn!(worker.log, "the disk of an install is not known"; "error" => %error),
            }
            pause = FIRST_LOOK.max(begun.elapsed() * TIMES_THE_LOOK);
        }
    })
}
