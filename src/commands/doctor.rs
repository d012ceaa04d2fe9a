//! `rgridd doctor`: everything the daemon needs, each with what to do when it is missing.

use std::process::ExitCode;
use std::time::Duration;

use slog::{Discard, Logger, o};

use crate::commands::checks;
use crate::daemon::database::Database;
use crate::daemon::docker_engine;
use crate::sandbox::{Docker, FirewallState};
use crate::settings::{Firewall, NetworkPolicy, Settings};

/// Prints a line a check; fails when one of them does.
pub fn examine(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    report.add("settings", Ok(format!("worker {}, {} slots", settings.worker.name, settings.worker.slots)));
    report.add("data folder", checks::data_folder(&settings));
    report.add("address", checks::address(&settings));
    if let Some(certificates) = checks::certificates(&settings) {
        report.add("certificates", certificates);
    }
    actix_rt::System::new().block_on(async {
        examine_database(&settings, &mut report).await;
        examine_docker(&settings, &mut report).await;
    });
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[derive(Default)]
struct Report {
    failed: bool,
}

impl Report {
    /// Somebody should look at it, but this daemon can work.
    fn warn(&self, name: &str, what: &str) {
        println!("warning {name}: {what}");
    }

    fn add(&mut self, name: &str, result: Result<String, String>) {
        match result {
            Ok(found) => println!("ok      {name}: {found}"),
            Err(wrong) => {
                self.failed = true;
                println!("failed  {name}: {wrong}");
            }
        }
    }
}

async fn examine_database(settings: &Settings, report: &mut Report) {
    if Database::is_to_be_made(settings) {
        let found =
            "a private Postgres, which the first start makes in the data folder (no database.url is set)";
        return report.add("database", Ok(found.to_owned()));
    }
    let log = Logger::root(Discard, o!());
    let (database, _home) = match Database::open_beside(settings, &log) {
        Ok(opened) => opened,
        Err(error) => return report.add("database", Err(format!("{error:#}"))),
    };
    let steps = database.store.migrations().await;
    let up_to_date = steps.as_ref().map(|steps| steps.iter().all(|step| step.applied)).map_err(|_| ());
    report.add(
        "database",
        match steps {
            Ok(steps) => {
                let pending = steps.iter().filter(|step| !step.applied).count();
                Ok(format!("answers; {} schema steps, {pending} pending", steps.len()))
            }
            Err(error) => Err(format!("{error}; check database.url (DATABASE_URL)")),
        },
    );
    report.add("database server", checks::database(&database.store, settings).await);
    if let Ok(true) = up_to_date {
        report.add("database room", checks::room(&database.store, settings).await);
        match stale_workers(settings, &database).await {
            Ok(found) => report.add("workers", Ok(found)),
            Err(stale) => report.warn("workers", &stale),
        }
    }
    database.close(&log);
}

/// A worker that went without a word is told; its runs are taken care of by themselves.
async fn stale_workers(settings: &Settings, database: &Database) -> Result<String, String> {
    let lease = settings.worker.lease.0;
    match database.store.stale_workers(lease).await {
        Ok(stale) if stale.is_empty() => Ok("none is stale".to_owned()),
        Ok(stale) => {
            let silent = |(name, seconds): &(String, i64)| {
                let silence = Duration::from_secs(seconds.max(&0).unsigned_abs());
                format!("{name} for {}", rgrid_api::units::format_duration(silence))
            };
            let all: Vec<_> = stale.iter().map(silent).collect();
            Err(format!(
                "silent without having stopped: {}; start them again, or forget it: what they ran is run elsewhere",
                all.join(", ")
            ))
        }
        Err(error) => Err(format!("not looked at: {error}")),
    }
}

async fn examine_docker(settings: &Settings, report: &mut Report) {
    let log = Logger::root(Discard, o!());
    let identity = docker_engine::docker_settings(settings, "doctor".to_owned(), "doctor");
    let docker = match Docker::connect(identity, log).await {
        Ok(docker) => docker,
        Err(error) => return report.add("docker", Err(error.to_string())),
    };
    match docker.ping().await {
        Ok(engine) => report.add("docker", Ok(format!("engine {}", engine.version))),
        Err(error) => return report.add("docker", Err(error.to_string())),
    }
    report.add("docker engine", checks::engine(&docker).await);
    if let Err(error) = docker.check_runtime().await {
        report.add("sandbox.runtime", Err(error.to_string()));
    }
    examine_fence(settings, &docker, report).await;
    report.add("sandbox", checks::sandbox(&docker, settings).await);
    let table = settings.runtimes();
    for (name, runtime) in table.iter() {
        let found = docker.image(&runtime.image, crate::sandbox::PullPolicy::Never).await;
        let line = match found {
            Ok(_) => Ok(runtime.image.clone()),
            // The others are got when they are first needed.
            Err(error) if runtime.default => Err(error.to_string()),
            Err(_) => Ok(format!("{} is not here yet; it is pulled when it is first needed", runtime.image)),
        };
        report.add(&format!("runtime {name}"), line);
    }
}

async fn examine_fence(settings: &Settings, docker: &Docker, report: &mut Report) {
    let sandbox = &settings.sandbox;
    let found = match (sandbox.network, sandbox.firewall) {
        (NetworkPolicy::None, _) => Ok("sandboxes have no network".to_owned()),
        (_, Firewall::Off) => Ok("off, so somebody else sees to it (sandbox.firewall)".to_owned()),
        _ => match docker.firewall(&sandbox.blocked, &sandbox.host_ports).await.map(|fence| fence.check()) {
            Ok(FirewallState::Active) => {
                Ok("sandboxes reach neither this host nor metadata services".to_owned())
            }
            Ok(FirewallState::Unverified(reason)) if sandbox.firewall == Firewall::Require => Err(reason),
            Ok(FirewallState::Unverified(reason)) => {
                Ok(format!("not ensured: {reason}; as root on the Docker host: rgridd firewall"))
            }
            Err(error) => Err(error.to_string()),
        },
    };
    report.add("firewall", found);
}
