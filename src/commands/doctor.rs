//! `rgridd doctor`: checks everything the daemon needs and explains how to fix what is missing.

use std::{fs, io::ErrorKind, net::TcpListener, process::ExitCode, time::Duration};

use anyhow::{anyhow, bail};
use rgrid_api::units::{format_duration, format_size};
use slog::{Discard, Logger, o};

use crate::daemon::database::Database;
use crate::daemon::docker_engine;
use crate::sandbox::{Docker, FirewallReport, PullPolicy};
use crate::settings::{FirewallMode, Settings};
use crate::store::Store;

/// The oldest Postgres version that the statements in `store` support.
const POSTGRES_MIN: i32 = 130_000;
/// Connections that a daemon needs besides its pool: one for LISTEN, and some for an operator's psql.
const EXTRA_CONNECTIONS: i64 = 3;

/// The finding, or the problem and its fix.
type Check = anyhow::Result<String>;

/// Prints one line per check; fails if one of them fails.
pub fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    report.add("settings", Ok(format!("worker {}, {} slots", settings.worker.name, settings.worker.slots)));
    report.add("data directory", data_directory(settings));
    report.add("address", address(settings));
    if !settings.install.ca_bundle.as_os_str().is_empty() {
        report.add("certificates", certificates(settings));
    }
    actix_rt::System::new().block_on(async {
        check_database(settings, &mut report).await;
        check_docker(settings, &mut report).await;
    });
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[derive(Default)]
struct Report {
    failed: bool,
}

impl Report {
    fn add(&mut self, name: &str, check: Check) {
        match check {
            Ok(finding) => println!("ok      {name}: {finding}"),
            Err(problem) => {
                self.failed = true;
                println!("failed  {name}: {problem}");
            }
        }
    }

    /// For a problem that needs attention but does not prevent this daemon from working.
    fn warn(&self, name: &str, problem: &anyhow::Error) {
        println!("warning {name}: {problem}");
    }
}

fn data_directory(settings: &Settings) -> Check {
    let path = settings.data_dir.display();
    let is_new = !settings.data_dir.exists();
    fs::create_dir_all(&settings.data_dir).map_err(|error| {
        anyhow!("cannot create {path}: {error}; choose another directory with data_dir (--data-dir)")
    })?;
    tempfile::tempfile_in(&settings.data_dir).map_err(|error| {
        anyhow!(
            "cannot write to {path}: {error}; change its owner, or choose another directory with data_dir"
        )
    })?;
    if is_new {
        // The doctor leaves nothing behind.
        let _ = fs::remove_dir(&settings.data_dir);
        return Ok(format!("{path} (created on the first start)"));
    }
    Ok(path.to_string())
}

fn address(settings: &Settings) -> Check {
    let listen = settings.http.listen.0;
    match TcpListener::bind(listen) {
        Ok(_) => Ok(format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Ok(format!("{listen} is in use; if not by rgridd, choose another address with http.listen"))
        }
        Err(error) => bail!("cannot listen on {listen}: {error}; choose another address with http.listen"),
    }
}

fn certificates(settings: &Settings) -> Check {
    let path = settings.install.ca_bundle.display();
    match fs::read_to_string(&settings.install.ca_bundle) {
        Ok(text) if text.contains("BEGIN CERTIFICATE") => Ok(path.to_string()),
        Ok(_) => bail!("{path} contains no PEM certificate (install.ca_bundle)"),
        Err(error) => bail!("cannot read {path}: {error} (install.ca_bundle)"),
    }
}

async fn check_database(settings: &Settings, report: &mut Report) {
    if Database::is_to_be_made(settings) {
        let finding =
            "a private Postgres in the data directory, created on the first start (database.url is not set)";
        return report.add("database", Ok(finding.to_owned()));
    }
    let log = Logger::root(Discard, o!());
    let (database, _data_dir) = match Database::open_beside(settings, &log) {
        Ok(opened) => opened,
        Err(error) => return report.add("database", Err(anyhow!("{error:#}"))),
    };
    let store = &database.store;
    let migrations = store.migrations().await;
    let is_up_to_date = migrations.as_ref().is_ok_and(|all| all.iter().all(|migration| migration.applied));
    let schema = migrations.map(|all| {
        let pending = all.iter().filter(|migration| !migration.applied).count();
        format!("reachable; {} migrations, {pending} pending", all.len())
    });
    report.add("database", schema.map_err(|error| anyhow!("{error}; check database.url (or DATABASE_URL)")));
    report.add("database server", database_server(store, settings).await);
    if is_up_to_date {
        report.add("disk budget", disk_budget(store, settings).await);
        match silent_workers(store, settings).await {
            Ok(finding) => report.add("workers", Ok(finding)),
            Err(problem) => report.warn("workers", &problem),
        }
    }
    database.close(&log);
}

async fn database_server(store: &Store, settings: &Settings) -> Check {
    let facts = store.database_facts().await?;
    if facts.version < POSTGRES_MIN {
        bail!("Postgres {} is too old; use version 13 or later", facts.version_text);
    }
    if facts.read_only {
        bail!("this Postgres is a read-only standby; set database.url to the primary");
    }
    if facts.encoding != "UTF8" {
        bail!("the encoding of the database is {}; create it with ENCODING 'UTF8'", facts.encoding);
    }
    let free = i64::from(facts.max_connections) - facts.in_use;
    let needed = settings.database.connections as i64 + EXTRA_CONNECTIONS;
    if free < needed {
        bail!(
            "{free} of {} connections are free, but {needed} are needed; raise max_connections in Postgres, or \
             lower database.connections",
            facts.max_connections
        );
    }
    let rights =
        if facts.superuser { "; its role is a superuser, which is more than RGrid needs" } else { "" };
    Ok(format!("Postgres {}, {free} connections free{rights}", facts.version_text))
}

async fn disk_budget(store: &Store, settings: &Settings) -> Check {
    let stored = store.stored_bytes().await?;
    match settings.retention.disk_budget.0 {
        0 => Ok(format!("{} stored, no limit (retention.disk_budget)", format_size(stored))),
        limit if stored >= limit => bail!(
            "full: {} of {} stored, so the oldest outputs are being deleted; raise retention.disk_budget, or lower \
             retention.outputs",
            format_size(stored),
            format_size(limit)
        ),
        limit => Ok(format!("{} of {} stored", format_size(stored), format_size(limit))),
    }
}

/// Other workers recover the executions of a silent one, so this is only a warning.
async fn silent_workers(store: &Store, settings: &Settings) -> Check {
    let silent = store.stale_workers(settings.worker.lease.0).await;
    let silent = silent.map_err(|error| anyhow!("cannot list the workers: {error}"))?;
    if silent.is_empty() {
        return Ok("no worker is silent".to_owned());
    }
    let silent = silent.iter().map(|(name, seconds)| {
        format!("{name} for {}", format_duration(Duration::from_secs(seconds.max(&0).unsigned_abs())))
    });
    bail!(
        "silent without having stopped: {}; start them again if they should run (their executions run elsewhere)",
        silent.collect::<Vec<_>>().join(", ")
    )
}

async fn check_docker(settings: &Settings, report: &mut Report) {
    let log = Logger::root(Discard, o!());
    let identity = docker_engine::docker_settings(settings, "doctor".to_owned(), "doctor");
    let docker = match Docker::connect(identity, log).await {
        Ok(docker) => docker,
        Err(error) => return report.add("docker", Err(error.into())),
    };
    match docker.ping().await {
        Ok(version) => report.add("docker", Ok(format!("engine {version}"))),
        Err(error) => return report.add("docker", Err(error.into())),
    }
    let engine = match docker.diagnose().await {
        Ok(engine) if engine.problems.is_empty() => Ok(engine.summary),
        Ok(engine) => Err(anyhow!(engine.problems.join("; "))),
        Err(error) => Err(error.into()),
    };
    report.add("docker engine", engine);
    if let Err(error) = docker.check_runtime().await {
        report.add("sandbox.runtime", Err(error.into()));
    }
    report.add("firewall", firewall(settings, &docker).await);
    report.add("sandbox", sandbox(settings, &docker).await);
    let table = settings.runtimes();
    for (name, runtime) in table.iter() {
        let check = match docker.image(&runtime.image, PullPolicy::Never).await {
            Ok(_) => Ok(runtime.image.clone()),
            Err(error) if runtime.default => Err(error.into()),
            Err(_) => Ok(format!("{} is not present; it is pulled on first use", runtime.image)),
        };
        report.add(&format!("runtime {name}"), check);
    }
}

async fn firewall(settings: &Settings, docker: &Docker) -> Check {
    let sandbox = &settings.sandbox;
    if sandbox.firewall == FirewallMode::Off {
        return Ok("not managed by RGrid (sandbox.firewall = \"off\")".to_owned());
    }
    match docker.firewall(sandbox).await?.check() {
        Ok(FirewallReport { second_layer_problem: None, .. }) => {
            Ok("sandboxes can reach neither this host nor metadata services".to_owned())
        }
        Ok(FirewallReport { second_layer_problem: Some(reason), .. }) => Ok(format!(
            "sandboxes can reach neither this host nor metadata services, but only the table `filter` prevents it: \
             {reason}; run `rgridd firewall up` as root on the Docker host"
        )),
        Err(reason) if sandbox.firewall == FirewallMode::Require => bail!(reason),
        Err(reason) => Ok(format!(
            "cannot verify the firewall: {reason}; run `rgridd firewall up` as root on the Docker host"
        )),
    }
}

/// Starts a sandbox, which shows that all parts work together.
async fn sandbox(settings: &Settings, docker: &Docker) -> Check {
    let table = settings.runtimes();
    let Some(runtime) = table.get(table.default_name()) else {
        bail!("there is no default runtime; set default = true for one");
    };
    let image = docker.image(&runtime.image, PullPolicy::Never).await?;
    let duration = docker.test_sandbox(&image, settings.sandbox.memory.0).await?;
    Ok(format!("starts in {}", format_duration(duration)))
}
