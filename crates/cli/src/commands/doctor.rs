//! `rgrid doctor`: is everything fine on the way from here to a running script?

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use rgrid_api::Health;
use rgrid_api::server::{Check, Worker};
use rgrid_api::units::format_duration;
use serde_json::json;

use crate::cli::Json;
use crate::client::Server;
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::{Console, Tone};
use crate::output::times;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A worker tells that it lives every ten seconds, unless its lease was changed.
const SILENT: Duration = Duration::from_secs(60);
/// One that has been silent for longer is not expected back.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Check the server: can it be reached, are its database, Docker and workers fine
#[derive(Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    form: Json,
}

pub fn run(args: &DoctorArgs, session: &Session) -> Result<Exit, Failure> {
    let server = session.server()?;
    let mut report = Report::default();
    examine(&server, &mut report);
    if args.form.json {
        let ok = report.exit == Exit::Fine;
        session.console.json(&json!({ "ok": ok, "version": VERSION, "checks": report.checks }))?;
    } else {
        report.checks.iter().try_for_each(|check| show(check, &session.console))?;
    }
    Ok(report.exit)
}

struct Report {
    checks: Vec<Check>,
    exit: Exit,
}

impl Default for Report {
    fn default() -> Self {
        Self { checks: Vec::new(), exit: Exit::Fine }
    }
}

impl Report {
    fn add(&mut self, check: Check) {
        if !check.ok && self.exit == Exit::Fine {
            self.exit = Exit::Failed;
        }
        self.checks.push(check);
    }

    fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.add(Check { name: name.to_owned(), ok: true, detail: detail.into() });
    }

    /// Leaves with the failure's own code.
    fn failed(&mut self, name: &str, failure: Failure) {
        let hint = failure.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        self.exit = failure.exit;
        self.add(Check { name: name.to_owned(), ok: false, detail: format!("{}{hint}", failure.what) });
    }
}

/// Stops at the first thing without which the rest can't be asked.
fn examine(server: &Server, report: &mut Report) {
    match server.health() {
        Ok(health) => report.ok("server", greeting(server, &health)),
        Err(failure) => return report.failed("server", failure),
    }
    match server.readiness().map(serde_json::from_value::<Health>) {
        Ok(Ok(health)) => health.checks.into_iter().for_each(|check| report.add(check)),
        Ok(Err(error)) => {
            report.failed("readiness", Failure::failed(format!("can't be understood: {error}")))
        }
        Err(failure) => report.failed("readiness", failure),
    }
    match server.workers() {
        Ok((workers, _)) => {
            let key = if server.target().key.is_some() { "taken" } else { "none is needed" };
            report.ok("api key", key);
            judge(&workers.items, server.clock().as_deref()).into_iter().for_each(|check| report.add(check));
        }
        Err(failure) if failure.exit == Exit::NotAllowed => report.failed("api key", failure),
        Err(failure) => report.failed("workers", failure),
    }
}

fn greeting(server: &Server, health: &Health) -> String {
    let target = server.target();
    let other = if health.version == VERSION { String::new() } else { format!("; this rgrid is {VERSION}") };
    format!("{} (from {}) answers, version {}{other}", target.url, target.url_from, health.version)
}

/// `now` is the server's clock: this machine's may be wrong.
fn judge(workers: &[Worker], now: Option<&str>) -> Vec<Check> {
    let mut names = BTreeSet::new();
    // The freshest come first: a name's first row is its present life, the others are earlier ones.
    let present: Vec<(&Worker, Duration)> = workers
        .iter()
        .filter(|worker| names.insert(&worker.name))
        .map(|worker| (worker, silence(worker, now)))
        .filter(|(_, silent)| *silent < FORGOTTEN)
        .collect();
    let mut checks: Vec<Check> = present.iter().map(|(worker, silent)| look_at(worker, *silent)).collect();
    if !checks.iter().any(|check| check.ok) {
        let detail = "none takes anything, so nothing runs; start one with `rgridd --role worker`".to_owned();
        checks.push(Check { name: "workers".to_owned(), ok: false, detail });
    }
    checks
}

fn look_at(worker: &Worker, silent: Duration) -> Check {
    let Worker { name, slots, running, draining, .. } = worker;
    let (alive, silence) = (silent < SILENT, format_duration(silent));
    let detail = match (alive, draining) {
        (false, _) => format!("has not been heard of for {silence}; is its host down?"),
        (true, true) => format!("is stopping, and takes nothing new; it still runs {running}"),
        (true, false) => format!("{running} of {slots} slots taken, heard of {silence} ago"),
    };
    Check { name: format!("worker {name}"), ok: alive && !draining, detail }
}

/// Since its last sign of life; nothing when the server's clock is not known.
fn silence(worker: &Worker, now: Option<&str>) -> Duration {
    now.and_then(|now| times::between(&worker.last_seen, now)).unwrap_or_default()
}

fn show(check: &Check, console: &Console) -> Result<(), Failure> {
    let (word, tone) = if check.ok { ("ok", Tone::Good) } else { ("failed", Tone::Bad) };
    console.marked(&format!("{word:<7}"), tone, &format!(" {}: {}", check.name, check.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, last_seen: &str, draining: bool) -> Worker {
        Worker {
            id: "worker_1".to_owned(),
            name: name.to_owned(),
            slots: 2,
            running: 1,
            started_at: "2025-11-15T16:00:00Z".to_owned(),
            last_seen: last_seen.to_owned(),
            draining,
            labels: Default::default(),
        }
    }

    fn judged(workers: &[Worker]) -> Vec<(String, bool)> {
        let checks = judge(workers, Some("2025-11-15T16:30:00Z"));
        checks.into_iter().map(|check| (check.name, check.ok)).collect()
    }

    #[test]
    fn a_silent_worker_is_told_unless_it_came_back() {
        let (fresh, old) = ("2025-11-15T16:29:55Z", "2025-11-15T16:20:00Z");
        assert_eq!(
            judged(&[worker("a", fresh, false), worker("a", old, false)]),
            [("worker a".to_owned(), true)]
        );
        assert_eq!(
            judged(&[worker("a", fresh, false), worker("b", old, false)]),
            [("worker a".to_owned(), true), ("worker b".to_owned(), false)]
        );
        assert_eq!(judged(&[worker("a", fresh, false), worker("b", "2025-11-01T00:00:00Z", false)]).len(), 1);
    }

    #[test]
    fn without_a_worker_nothing_runs() {
        assert_eq!(judged(&[]), [("workers".to_owned(), false)]);
        let draining = [worker("a", "2025-11-15T16:29:55Z", true)];
        assert_eq!(judged(&draining), [("worker a".to_owned(), false), ("workers".to_owned(), false)]);
    }
}
