//! `rgridd migrate status|up|down`.

use std::process::ExitCode;

use anyhow::Context;
use slog::{Discard, Logger, o};

use super::database::Database;
use super::home::Home;
use crate::settings::Settings;

pub fn status(settings: Settings) -> anyhow::Result<ExitCode> {
    with_database(&settings, async |database| {
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
    with_database(&settings, async |database| {
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
    with_database(&settings, async |database| {
        match database.store.migrate_down().await? {
            Some(step) => println!("took back {step}"),
            None => println!("there is no step left to take back"),
        }
        Ok(())
    })
}

fn with_database(
    settings: &Settings,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    // A private Postgres belongs to the daemon that runs on it.
    let _home = settings.embedded_database().then(|| Home::open(&settings.data_dir)).transpose()?;
    let log = Logger::root(Discard, o!());
    let database = Database::open(settings, &log)?;
    let result = actix_rt::System::new().block_on(work(&database)).context("migrate");
    database.close(&log);
    result.map(|()| ExitCode::SUCCESS)
}
