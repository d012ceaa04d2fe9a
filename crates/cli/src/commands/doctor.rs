//! `rgrid doctor`: checks everything between this machine and a running script.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use rgrid_api::server::{Check, Worker};
use rgrid_api::units::format_duration;
use rgrid_api::{FirewallState, Health};
use serde_json::json;

use crate::cli::{Context, Json};
use crate::client::Client;
use crate::error::{CliError, Exit, Result};
use crate::output::{Style, times};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// By default, a worker sends a heartbeat every ten seconds.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// A worker that has been lost for longer is not expected to return.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Check that the server is reachable and its database, Docker and workers are healthy
#[derive(Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    output: Json,
}

pub fn run(args: &DoctorArgs, context: &Context) -> Result<Exit> {
    let mut report = Report { checks: Vec::new(), exit: Exit::Success };
    check_server(&context.client()?, &mut report);
    let Report { checks, exit } = report;
    if args.output.json {
        let report = json!({ "ok": exit == Exit::Success, "version": VERSION, "checks": checks });
        return context.console.json(&report).map(|()| exit);
    }
    for Check { name, ok, detail } in checks {
        let (result, style) = if ok { ("ok", Style::Success) } else { ("failed", Style::Error) };
        context.console.styled_line(&format!("{result:<7}"), style, &format!(" {name}: {detail}"))?;
    }
    Ok(exit)
}

struct Report {
    checks: Vec<Check>,
    exit: Exit,
}

impl Report {
    fn add(&mut self, check: Check) {
        if !check.ok && self.exit == Exit::Success {
            self.exit = Exit::Failure;
        }
        self.checks.push(check);
    }

    /// The command exits with the code of this error.
    fn error(&mut self, name: &str, error: CliError) {
        let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        self.exit = error.exit;
        self.add(Check { name: name.to_owned(), ok: false, detail: format!("{}{hint}", error.message) });
    }
}

/// Stops at the first error that makes the other checks impossible.
fn check_server(client: &Client, report: &mut Report) {
    let target = client.target();
    match client.health() {
        Ok(Health { version, .. }) => {
            let other = if version == VERSION { String::new() } else { format!("; this rgrid is {VERSION}") };
            let detail = format!("{} (from {}), version {version}{other}", target.url, target.url_source);
            report.add(Check { name: "server".to_owned(), ok: true, detail });
        }
        Err(error) => return report.error("server", error),
    }
    match client.readiness().map(serde_json::from_value::<Health>) {
        Ok(Ok(health)) => health.checks.into_iter().for_each(|check| report.add(check)),
        Ok(Err(error)) => {
            report.error("readiness", CliError::failure(format!("cannot parse the response: {error}")));
        }
        Err(error) => report.error("readiness", error),
    }
    match client.workers() {
        Ok(workers) => {
            let detail = if target.key.is_some() { "accepted" } else { "not required" }.to_owned();
            report.add(Check { name: "api key".to_owned(), ok: true, detail });
            let checks = check_workers(&workers.items, client.server_time().as_deref());
            checks.into_iter().for_each(|check| report.add(check));
        }
        Err(error) if error.exit == Exit::NotAllowed => report.error("api key", error),
        Err(error) => report.error("workers", error),
    }
}

/// `now` is the server's time, since the clock of this machine may be wrong.
fn check_workers(workers: &[Worker], now: Option<&str>) -> Vec<Check> {
    let mut names = BTreeSet::new();
    // A restarted worker has several rows, the latest first.
    let mut checks: Vec<Check> = workers
        .iter()
        .filter(|worker| names.insert(&worker.name))
        .filter_map(|worker| {
            let silence = now.and_then(|now| times::between(&worker.last_seen, now)).unwrap_or_default();
            (silence < FORGOTTEN_AFTER).then(|| check_worker(worker, silence))
        })
        .collect();
    if !checks.iter().any(|check| check.ok) {
        let detail = "no worker accepts executions; start one with `rgridd --role worker`".to_owned();
        checks.push(Check { name: "workers".to_owned(), ok: false, detail });
    }
    checks
}

fn check_worker(worker: &Worker, silence: Duration) -> Check {
    let Worker { name, slots, running, draining, .. } = worker;
    let (is_alive, age) = (silence < LOST_AFTER, format_duration(silence));
    let (condition, works) = describe_condition(worker);
    let detail = match (is_alive, draining) {
        (false, _) => format!("last seen {age} ago; check its host"),
        (true, true) => format!("draining, {running} still running"),
        (true, false) => format!("{running} of {slots} slots in use, last seen {age} ago, {condition}"),
    };
    Check { name: format!("worker {name}"), ok: is_alive && !draining && works, detail }
}

/// Describes the worker's engine and firewall. The second value: both work.
fn describe_condition(worker: &Worker) -> (String, bool) {
    let problem = worker.firewall_problem.as_deref().unwrap_or("unknown reason");
    let firewall = match worker.firewall {
        Some(FirewallState::Failed) => {
            format!("firewall failed: {problem}; scripts that need the network wait")
        }
        Some(FirewallState::Unverified) => format!("firewall not verified: {problem}"),
        Some(FirewallState::Verified) => "firewall verified".to_owned(),
        Some(FirewallState::Off) => "firewall not managed by RGrid".to_owned(),
        None => "firewall unknown".to_owned(),
    };
    let engine = match &worker.engine_problem {
        None => "engine ok".to_owned(),
        Some(problem) => format!("engine failed: {problem}"),
    };
    let works = worker.engine_problem.is_none() && worker.firewall != Some(FirewallState::Failed);
    (format!("{engine}, {firewall}"), works)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker((name, last_seen, draining): &(&str, &str, bool)) -> Worker {
        Worker {
            id: "worker_1".to_owned(),
            name: (*name).to_owned(),
            slots: 2,
            running: 1,
            started_at: "2025-11-15T16:00:00Z".to_owned(),
            last_seen: (*last_seen).to_owned(),
            draining: *draining,
            labels: Default::default(),
            engine_problem: None,
            firewall: None,
            firewall_problem: None,
        }
    }

    #[test]
    fn workers_are_checked_by_name_and_age() {
        let (fresh, old, forgotten) =
            ("2025-11-15T16:29:55Z", "2025-11-15T16:20:00Z", "2025-11-01T00:00:00Z");
        for (workers, expected) in [
            (&[][..], &[("workers", false)][..]),
            (&[("a", fresh, true)], &[("worker a", false), ("workers", false)]),
            (&[("a", fresh, false), ("a", old, false)], &[("worker a", true)]),
            (&[("a", fresh, false), ("b", old, false)], &[("worker a", true), ("worker b", false)]),
            (&[("a", fresh, false), ("b", forgotten, false)], &[("worker a", true)]),
        ] {
            let rows: Vec<Worker> = workers.iter().map(worker).collect();
            let checks = check_workers(&rows, Some("2025-11-15T16:30:00Z"));
            let results: Vec<_> = checks.iter().map(|check| (check.name.as_str(), check.ok)).collect();
            assert_eq!(results, expected, "{workers:?}");
        }
    }
    #[test]
    fn a_worker_fails_the_check_if_its_engine_or_its_firewall_fails() {
        use FirewallState::{Failed, Off, Unverified, Verified};
        let reason = || Some("no rule".to_owned());
        for (engine_problem, firewall, firewall_problem, ok, expected) in [
            (None, Some(Verified), None, true, "engine ok, firewall verified"),
            (None, Some(Off), None, true, "engine ok, firewall not managed by RGrid"),
            (None, None, None, true, "engine ok, firewall unknown"),
            (None, Some(Unverified), reason(), true, "engine ok, firewall not verified: no rule"),
            (
                None,
                Some(Failed),
                reason(),
                false,
                "firewall failed: no rule; scripts that need the network wait",
            ),
            (
                Some("no answer".to_owned()),
                Some(Verified),
                None,
                false,
                "engine failed: no answer, firewall verified",
            ),
        ] {
            let condition =
                Worker { engine_problem, firewall, firewall_problem, ..worker(&("a", "", false)) };
            let check = check_worker(&condition, Duration::from_secs(2));
            assert_eq!(check.ok, ok, "{check:?}");
            assert!(check.detail.ends_with(expected), "{check:?}");
        }
    }
}
