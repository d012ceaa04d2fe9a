//! Loops that report the state of Docker, the Recorder and the images to `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};

use crate::failpoint;
use crate::http::Readiness;
use crate::maintenance::images;
use crate::worker::{Backlog, Worker};

const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Operators pull images while the daemon runs.
const CHECK_IMAGES_EVERY: Duration = Duration::from_secs(30);

/// Reports whether Docker responds and whether results can be stored. Never returns.
pub(super) async fn check(worker: Arc<Worker>, readiness: Arc<Readiness>, backlog: Backlog, log: Logger) {
    let mut responded = true;
    loop {
        failpoint::hit("engine.watching").await;
        readiness.set(
            "recorder",
            match backlog.reason() {
                None => Ok("ok".to_owned()),
                Some(reason) => Err(format!("results are waiting to be stored: {reason}")),
            },
        );
        let state = worker.docker.ping().await;
        if responded != state.is_ok() {
            responded = state.is_ok();
            match &state {
                Ok(_) => info!(log, "Docker responds again"),
                Err(error) => warn!(log, "Docker does not respond"; "error" => %error),
            }
        }
        let state = state.map_err(|error| error.to_string());
        worker.condition.send_if_modified(|condition| {
            let problem = state.as_ref().err().cloned();
            let changed = condition.engine_problem != problem;
            condition.engine_problem = problem;
            changed
        });
        readiness.set("docker", state);
        tokio::time::sleep(if responded { CHECK_EVERY } else { CHECK_AGAIN_AFTER_FAILURE }).await;
    }
}

/// Reports which images are present. Missing images do not make the daemon unready. Never returns.
pub(super) async fn report_images(worker: Arc<Worker>, readiness: Arc<Readiness>) {
    loop {
        // `check` reports that Docker does not respond.
        if let Ok(summary) = images::availability(&worker).await {
            readiness.set("images", Ok(summary));
        }
        tokio::time::sleep(CHECK_IMAGES_EVERY).await;
    }
}
