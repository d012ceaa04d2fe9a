//! Keeps the firewall around sandboxes in place, and reports when it cannot.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use slog::{Logger, error, info, warn};
use tokio::sync::watch;

use crate::execution::{FirewallState, WorkerCondition};
use crate::http::Readiness;
use crate::sandbox::{Docker, Firewall, FirewallReport};
use crate::settings::{FirewallMode, Settings};

const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// On a host where it never succeeded, for example because the daemon is not root.
const CHECK_UNVERIFIED_EVERY: Duration = Duration::from_secs(60);
/// A check takes milliseconds. One that hangs has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
const HINT: &str = "run `rgridd firewall up` as root on the Docker host";

/// The firewall that this process keeps. It works without the engine, because sandboxes survive a crash of dockerd.
#[derive(Clone)]
pub(super) struct FirewallKeeper {
    settings: Arc<Settings>,
    docker: Docker,
    firewall: Firewall,
    /// The result of the first check.
    pub condition: WorkerCondition,
}

/// Applies the rules, even if scripts have no network, because installs always have one. `None`: RGrid does not manage
/// them.
pub(super) async fn set_up(
    settings: &Arc<Settings>,
    docker: &Docker,
    log: &Logger,
) -> anyhow::Result<Option<FirewallKeeper>> {
    let sandbox = &settings.sandbox;
    if sandbox.firewall == FirewallMode::Off {
        return Ok(None);
    }
    let firewall = docker.firewall(sandbox).await?;
    let mut applied = firewall.clone();
    let applied = tokio::task::spawn_blocking(move || applied.apply()).await?;
    if let (FirewallMode::Require, Err(reason)) = (sandbox.firewall, &applied) {
        bail!("sandbox.firewall is `require`, but {reason}; as root on the Docker host: rgridd firewall up");
    }
    let mut condition = WorkerCondition::firewall_off();
    condition.set_firewall(applied.err(), false);
    warn_if_unverified(&condition, log);
    let (settings, docker) = (Arc::clone(settings), docker.clone());
    Ok(Some(FirewallKeeper { settings, docker, firewall, condition }))
}

fn warn_if_unverified(condition: &WorkerCondition, log: &Logger) {
    if condition.firewall == FirewallState::Unverified {
        warn!(log, "cannot verify that the firewall keeps sandboxes from this host and from metadata services";
            "reason" => &condition.firewall_problem, "hint" => HINT);
    }
}

impl FirewallKeeper {
    /// Checks the rules again and again, and restores them. Never returns.
    pub async fn run(
        mut self,
        condition: watch::Sender<WorkerCondition>,
        readiness: Arc<Readiness>,
        log: Logger,
    ) {
        let mut reporter = Reporter { condition, readiness, restored: None, second_layer_problem: None, log };
        reporter.set_readiness();
        loop {
            if !self.firewall.is_on_this_host() {
                self.find_bridge().await;
            }
            let mut firewall = self.firewall.clone();
            let mut applying = tokio::task::spawn_blocking(move || firewall.apply());
            let applied = match tokio::time::timeout(TIMEOUT, &mut applying).await {
                Ok(applied) => applied,
                Err(_) => {
                    reporter.report(
                        Err(format!("iptables does not respond within {}s", TIMEOUT.as_secs())),
                        self.required(),
                    );
                    // No second one while it hangs.
                    applying.await
                }
            };
            let applied = applied.unwrap_or_else(|stopped| Err(format!("the check stopped: {stopped}")));
            reporter.report(applied, self.required());
            let pause = match reporter.condition.borrow().firewall {
                FirewallState::Failed => CHECK_AGAIN_AFTER_FAILURE,
                FirewallState::Unverified => CHECK_UNVERIFIED_EVERY,
                FirewallState::Off | FirewallState::Verified => CHECK_EVERY,
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn required(&self) -> bool {
        self.settings.sandbox.firewall == FirewallMode::Require
    }

    /// The network may have been removed, and created again with another bridge.
    async fn find_bridge(&mut self) {
        let found = self.docker.firewall(&self.settings.sandbox);
        if let Ok(Ok(firewall)) = tokio::time::timeout(TIMEOUT, found).await {
            self.firewall = firewall;
        }
    }
}

/// Publishes the results of the checks, and logs changes.
struct Reporter {
    condition: watch::Sender<WorkerCondition>,
    readiness: Arc<Readiness>,
    /// What the last check restored. Two daemons with different settings would restore it again and again.
    restored: Option<String>,
    second_layer_problem: Option<String>,
    log: Logger,
}

impl Reporter {
    fn report(&mut self, applied: Result<FirewallReport, String>, required: bool) {
        let reason = match applied {
            Ok(report) => {
                self.log_report(report);
                None
            }
            Err(reason) => Some(reason),
        };
        let changed = self.condition.send_if_modified(|condition| {
            let before = condition.clone();
            condition.set_firewall(reason, required || condition.was_verified());
            *condition != before
        });
        if changed {
            self.log_condition();
            self.set_readiness();
        }
    }

    fn log_report(&mut self, FirewallReport { restored, second_layer_problem }: FirewallReport) {
        if let Some(missing) = &restored
            && self.restored.is_none()
        {
            warn!(self.log, "the firewall was changed and is restored"; "missing" => missing);
        }
        if let Some(reason) = &second_layer_problem
            && self.second_layer_problem.is_none()
        {
            warn!(self.log, "the firewall has only one layer, the table `filter`"; "reason" => reason);
        }
        (self.restored, self.second_layer_problem) = (restored, second_layer_problem);
    }

    fn log_condition(&self) {
        let condition = self.condition.borrow();
        match condition.firewall {
            FirewallState::Failed => {
                error!(self.log, "cannot verify the firewall; no script starts with a network until it can be";
                    "reason" => &condition.firewall_problem, "hint" => HINT);
            }
            FirewallState::Unverified => warn_if_unverified(&condition, &self.log),
            FirewallState::Off | FirewallState::Verified => info!(self.log, "the firewall is verified"),
        }
    }

    fn set_readiness(&self) {
        let condition = self.condition.borrow();
        let problem = condition.firewall_problem.as_deref().unwrap_or_default();
        let state = match condition.firewall {
            FirewallState::Failed => Err(format!("cannot verify the firewall: {problem}; {HINT}")),
            FirewallState::Unverified => Ok(format!("not verified: {problem}")),
            FirewallState::Off | FirewallState::Verified => Ok("verified".to_owned()),
        };
        self.readiness.set("firewall", state);
    }
}
