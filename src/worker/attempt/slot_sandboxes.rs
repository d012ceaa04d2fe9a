//! The sandboxes that a slot keeps for its next execution: a parked one, and with `sandbox.reuse` the one of its last
//! execution, for another execution of the same API key.

use std::sync::Arc;

use slog::{debug, info};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::execution::KeyId;
use crate::failpoint;
use crate::metrics::{METRICS, Raised, docker_call};
use crate::sandbox::{DockerError, Profile, Sandbox, SandboxError};
use crate::settings::Reuse;
use crate::worker::{Worker, attempt::Attempt};

#[derive(Default)]
pub(crate) struct SlotSandboxes {
    parked: Option<Parked>,
    reusable: Option<Reusable>,
    /// What the next execution probably needs: the same as the last one.
    pub next_profile: Option<Profile>,
}

/// A sandbox that is parked or being created.
struct Parked {
    profile: Profile,
    since: Instant,
    /// Returns `None` if it was cancelled before Docker was asked to create the container.
    task: JoinHandle<Option<Result<Sandbox, DockerError>>>,
    priority: watch::Sender<Priority>,
    _counted: Raised,
}

/// The priority of a sandbox that is being created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    /// After the sandboxes that executions wait for.
    Background,
    /// An execution waits for it.
    Foreground,
    Cancelled,
}

/// Dropping it removes the sandbox.
struct Reusable {
    owner: Option<KeyId>,
    profile: Profile,
    expires_at: Instant,
    /// Completes when the init has cleaned up.
    task: JoinHandle<Result<Sandbox, SandboxError>>,
}

impl SlotSandboxes {
    /// Everything for one attempt. A copy of the profile stays here, in case the attempt panics.
    pub fn take_all(&mut self) -> Self {
        let next_profile = self.next_profile.clone();
        std::mem::replace(self, Self { next_profile, ..Self::default() })
    }

    /// Adds what an attempt returns. An attempt that was adopted took nothing, so a sandbox may be parked here already.
    pub fn restore(&mut self, returned: Self) {
        self.reusable = returned.reusable.or(self.reusable.take());
        self.parked = self.parked.take().or(returned.parked);
        self.next_profile = returned.next_profile.or(self.next_profile.take());
    }

    pub fn has_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Starts to park a sandbox with the next profile.
    pub fn park(&mut self, worker: &Arc<Worker>) {
        let Some(profile) = self.next_profile.clone() else { return };
        if worker.settings.sandbox.parked == 0 || worker.is_draining() {
            return;
        }
        let (priority, changes) = watch::channel(Priority::Background);
        let task = actix_rt::spawn(park(Arc::clone(worker), profile.clone(), changes));
        let (since, _counted) = (Instant::now(), METRICS.parked.raise());
        self.parked = Some(Parked { profile, since, task, priority, _counted });
    }

    pub fn evict_expired(&mut self, worker: &Worker) {
        self.reusable.take_if(|reusable| reusable.expires_at <= Instant::now());
        if let Some(expired) = self.parked.take_if(|parked| parked.is_expired(worker)) {
            // The environment went unused, and it cannot be removed while a parked sandbox mounts it.
            if let Some(profile) = &mut self.next_profile {
                profile.environment = None;
            }
            actix_rt::spawn(expired.remove());
        }
    }

    /// The reusable sandbox if it fits, or else the parked one, or else a new one.
    pub async fn take(
        &mut self,
        worker: &Worker,
        owner: Option<&KeyId>,
        profile: &Profile,
    ) -> Result<Sandbox, DockerError> {
        if let Some(reusable) = self.reusable.take()
            && reusable.owner.as_ref() == owner
            && reusable.profile == *profile
            && reusable.expires_at > Instant::now()
        {
            match reusable.task.await {
                Ok(Ok(sandbox)) => return Ok(sandbox),
                failed => {
                    info!(worker.log, "a sandbox could not be reused"; "reason" => ?failed.map(|r| r.err()))
                }
            }
        }
        let _foreground = worker.docker.start_limiter.foreground();
        match self.parked.take() {
            Some(parked) if parked.profile == *profile && !parked.is_expired(worker) => {
                parked.priority.send_replace(Priority::Foreground);
                match parked.task.await {
                    Ok(Some(Ok(sandbox))) => return Ok(sandbox),
                    failed => {
                        debug!(worker.log, "parking failed"; "reason" => ?failed.map(|r| r.map(|r| r.map(drop))))
                    }
                }
            }
            Some(other) => drop(actix_rt::spawn(other.remove())),
            None => {}
        }
        // A task of its own, because Docker would create a container that no sandbox owns if this future were dropped.
        let (docker, profile) = (worker.docker.clone(), profile.clone());
        let created = actix_rt::spawn(async move { docker.create_sandbox(&profile).await }).await;
        created.unwrap_or_else(|stopped| Err(DockerError::NoHandshake(stopped.to_string())))
    }

    /// Removes all sandboxes and waits until they are gone.
    pub async fn remove_all(self) {
        if let Some(reusable) = self.reusable {
            drop(reusable.task.await);
        }
        if let Some(parked) = self.parked {
            parked.remove().await;
        }
    }
}

impl Parked {
    /// The init ends at its `park_ttl`, so a sandbox that is almost as old must not be used.
    fn is_expired(&self, worker: &Worker) -> bool {
        self.since.elapsed() > worker.settings.sandbox.park_ttl.0 * 3 / 4
    }

    async fn remove(self) {
        self.priority.send_replace(Priority::Cancelled);
        if let Ok(Some(Ok(sandbox))) = self.task.await {
            drop(sandbox);
        }
    }
}

/// Retries while Docker is unavailable, unless an execution waits, which reports the failure instead.
async fn park(
    worker: Arc<Worker>,
    profile: Profile,
    mut priority: watch::Receiver<Priority>,
) -> Option<Result<Sandbox, DockerError>> {
    loop {
        let _turn = tokio::select! {
            biased;
            // An error means that the sandbox was dropped.
            changed = priority.wait_for(|priority| *priority != Priority::Background) => {
                if changed.map_or(Priority::Cancelled, |priority| *priority) == Priority::Cancelled {
                    return None;
                }
                None
            }
            turn = worker.docker.start_limiter.background() => Some(turn),
        };
        failpoint::hit("nest.parking").await;
        let parked = worker.docker.create_sandbox(&profile).await;
        failpoint::hit("nest.parked").await;
        match parked {
            Err(error) if error.is_transient() && *priority.borrow() == Priority::Background => {
                debug!(worker.log, "parking failed; retrying"; "error" => %error);
            }
            other => return Some(other),
        }
    }
}

impl Attempt {
    /// Acknowledges the exit, so that the init ends, or keeps the sandbox for another execution of the same key.
    pub(super) async fn release(mut self) -> SlotSandboxes {
        self.sandboxes.next_profile = self.profile.clone();
        let Some(mut sandbox) = self.sandbox.take() else { return self.sandboxes };
        let (settings, last_event) = (&self.worker.settings.sandbox, self.exit_event);
        let max_age = settings.reuse_max_age.0;
        match self.profile.take() {
            Some(profile)
                if settings.reuse == Reuse::SameKey
                    && !self.worker.is_draining()
                    && sandbox.is_renewable(settings.reuse_runs, max_age) =>
            {
                // The init ends by itself after it has been parked for `park_ttl`.
                let remaining = max_age.saturating_sub(sandbox.age()).min(settings.park_ttl.0 * 3 / 4);
                let expires_at = Instant::now() + remaining;
                let task = actix_rt::spawn(async move {
                    failpoint::hit("run.renewing").await;
                    docker_call("renew", sandbox.renew(last_event)).await
                });
                let owner = self.claimed.owner.clone();
                self.sandboxes.reusable = Some(Reusable { owner, profile, expires_at, task });
            }
            _ => sandbox.ack(last_event).await,
        }
        self.sandboxes
    }
}
