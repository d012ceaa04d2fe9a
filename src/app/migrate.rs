//! `rgridd migrate status|up|down`.

use std::process::ExitCode;

use anyhow::Context;
use slog::{Discard, Logger, o};

use super::database::Database;
use super::home::Home;
use crate::settings::Settings;

pub fn status(settings: Settings) -> anyhow::Result<ExitCode> {
    beside(&settings, async |database| {
        for step in database.store.migration_steps().await? {
            let state = match (step.applied, step.known) {
                (true, true) => "applied",
                (true, false) => "applied by a newer rgridd",
                (false, _) => "pending",
            };
            println!("{:<24} {state}", step.name);
        }
        Ok(())
    })
}

pub fn up(settings: Settings) -> anyhow::Result<ExitCode> {
    beside(&settings, async |database| {
        let applied = database.store.migrate().await?;
        if applied.is_empty() {
            println!("the schema is up to date");
        }
        for step in applied {
            println!("applied {step}");
        }
        Ok(())
    })
}

pub fn down(settings: Settings) -> anyhow::Result<ExitCode> {
    alone(&settings, async |database| {
        match database.store.migrate_down().await? {
            Some(step) => println!("took back {step}"),
            None => println!("there is no step left to take back"),
        }
        Ok(())
    })
}

/// On the private Postgres of a daemon that runs, too.
fn beside(
    settings: &Settings,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let log = Logger::root(Discard, o!());
    let (database, _home) = Database::open_beside(settings, &log)?;
    with(database, work, &log)
}

/// Not under the feet of a daemon whose private Postgres it is.
fn alone(
    settings: &Settings,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let _home = settings.embedded_database().then(|| Home::open(&settings.data_dir)).transpose()?;
    let log = Logger::root(Discard, o!());
    with(Database::open(settings, &log)?, work, &log)
}

fn with(
    database: Database,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<()>,
    log: &Logger,
) -> anyhow::Result<ExitCode> {
    let result = actix_rt::System::new().block_on(work(&database)).context("migrate");
    database.close(log);
    result.map(|()| ExitCode::SUCCESS)
}
