//! `rgridd migrate status|up|down`.

use std::process::ExitCode;

use anyhow::Context;

use crate::daemon::database::Database;
use crate::settings::Settings;
use crate::store::{Store, StoreError};

pub fn status(settings: Settings) -> anyhow::Result<ExitCode> {
    Database::beside(&settings, async |database| show(&database.store).await.context("migrate"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn up(settings: Settings) -> anyhow::Result<ExitCode> {
    Database::beside(&settings, async |database| apply(&database.store).await.context("migrate"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn down(settings: Settings) -> anyhow::Result<ExitCode> {
    Database::alone(&settings, async |database| take_back(&database.store).await.context("migrate"))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(store: &Store) -> Result<(), StoreError> {
    for step in store.migrations().await? {
        let state = match (step.applied, step.known) {
            (true, true) => "applied",
            (true, false) => "applied by a newer rgridd",
            (false, _) => "pending",
        };
        println!("{:<24} {state}", step.name);
    }
    Ok(())
}

async fn apply(store: &Store) -> Result<(), StoreError> {
    let applied = store.migrate().await?;
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    for step in applied {
        println!("applied {step}");
    }
    Ok(())
}

async fn take_back(store: &Store) -> Result<(), StoreError> {
    match store.migrate_down().await? {
        Some(step) => println!("took back {step}"),
        None => println!("there is no step left to take back"),
    }
    Ok(())
}
