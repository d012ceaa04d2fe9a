//! What a slot has at hand for its next run: a sandbox that is parked, and where the settings allow it
//! (`sandbox.reuse`) the one of its last run, for another run of the same owner.

use slog::info;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::execution::{Claimed, KeyId};
use crate::failpoint;
use crate::metrics::docker_call;
use crate::sandbox::{DockerError, Profile, Sandbox, SandboxError};
use crate::settings::Reuse;
use crate::worker::Worker;
use crate::worker::attempt::nest::Nest;

#[derive(Default)]
pub(crate) struct SlotSandboxes {
    kept: Option<Kept>,
    pub nest: Nest,
}

/// Dropping it removes the sandbox.
struct Kept {
    owner: Option<KeyId>,
    profile: Profile,
    stale_at: Instant,
    /// The init is cleaning up; nothing waits for it until a run needs it.
    task: JoinHandle<Result<Sandbox, SandboxError>>,
}

impl SlotSandboxes {
    /// The kept sandbox if it is this owner's and fits, else the parked one, else a new one.
    pub async fn sandbox(
        &mut self,
        worker: &Worker,
        owner: Option<&KeyId>,
        profile: &Profile,
    ) -> Result<Sandbox, DockerError> {
        if let Some(kept) = self.kept.take()
            && kept.owner.as_ref() == owner
            && kept.profile == *profile
            && !kept.is_stale()
        {
            match kept.task.await {
                Ok(Ok(sandbox)) => return Ok(sandbox),
                failed => {
                    info!(worker.log, "a sandbox could not be used again"; "why" => ?failed.map(|r| r.err()))
                }
            }
        }
        std::mem::take(&mut self.nest).sandbox(worker, profile).await
    }

    /// Lets go of the sandbox of a run whose end, event `last`, is stored.
    pub async fn take_back(
        &mut self,
        worker: &Worker,
        claimed: &Claimed,
        profile: Option<&Profile>,
        mut sandbox: Sandbox,
        last: u64,
    ) {
        let settings = &worker.settings.sandbox;
        let max_age = settings.reuse_max_age.0;
        let may_stay = settings.reuse == Reuse::SameKey && !worker.is_draining();
        match profile {
            Some(profile) if may_stay && sandbox.is_renewable(settings.reuse_runs, max_age) => {
                // The init ends by itself when it has been parked for too long.
                let lasts = max_age.saturating_sub(sandbox.age()).min(settings.park_ttl.0 * 3 / 4);
                let task = actix_rt::spawn(async move {
                    failpoint::hit("run.renewing").await;
                    docker_call("renew", sandbox.renew(last)).await
                });
                let stale_at = Instant::now() + lasts;
                let (owner, profile) = (claimed.owner.clone(), profile.clone());
                self.kept = Some(Kept { owner, profile, stale_at, task });
            }
            _ => sandbox.ack(last).await,
        }
    }

    /// Puts back what a run has left. One that was taken over had none of this, so what is here already stays.
    pub fn restore(&mut self, left: Self) {
        if left.kept.is_some() {
            self.kept = left.kept;
        }
        if self.nest.is_empty() {
            self.nest = left.nest;
        }
    }

    /// What is too old to be used goes.
    pub fn tidy(&mut self) {
        self.kept.take_if(|kept| kept.is_stale());
    }

    /// Removes what is there, and waits until it is gone.
    pub async fn clear(self) {
        if let Some(kept) = self.kept {
            drop(kept.task.await);
        }
        self.nest.clear().await;
    }
}

impl Kept {
    fn is_stale(&self) -> bool {
        self.stale_at <= Instant::now()
    }
}
