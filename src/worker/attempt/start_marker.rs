//! That a script has begun, noted for its followers.

use std::time::Duration;

use slog::debug;
use tokio::task::JoinHandle;

use crate::execution::Claim;
use crate::worker::Worker;

/// A short run has ended by then, and costs no statement more.
const NOTED_AFTER: Duration = Duration::from_millis(250);

/// Dropping it takes back what was not noted yet.
pub(crate) struct Begun(JoinHandle<()>);

impl Begun {
    pub fn note_soon(worker: &Worker, claim: &Claim) -> Self {
        let (store, log, claim) = (worker.store.clone(), worker.log.clone(), claim.clone());
        Self(actix_rt::spawn(async move {
            tokio::time::sleep(NOTED_AFTER).await;
            if let Err(error) = store.script_started(&claim).await {
                debug!(log, "the script's begin was not noted"; "execution" => %claim.execution, "error" => %error);
            }
        }))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.abort();
    }
}
