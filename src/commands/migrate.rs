//! `rgridd migrate status|up|down`.

use anyhow::Context;
use clap::ValueEnum;

use crate::daemon::database::Database;
use crate::settings::Settings;
use crate::store::{Store, StoreError};

#[derive(Clone, Copy, ValueEnum)]
pub enum Migrate {
    /// List the migrations and whether they are applied
    Status,
    /// Apply all pending migrations
    Up,
    /// Revert the newest migration
    Down,
}

pub fn run(settings: &Settings, action: Migrate) -> anyhow::Result<()> {
    match action {
        Migrate::Status => Database::beside(settings, async |db| Ok(status(&db.store).await?)),
        Migrate::Up => Database::beside(settings, async |db| Ok(up(&db.store).await?)),
        Migrate::Down => Database::alone(settings, async |db| Ok(down(&db.store).await?)),
    }
    .context("migrate")
}

async fn status(store: &Store) -> Result<(), StoreError> {
    for migration in store.migrations().await? {
        let state = match (migration.applied, migration.known) {
            (true, true) => "applied",
            (true, false) => "applied by a newer rgridd",
            (false, _) => "pending",
        };
        println!("{:<24} {state}", migration.name);
    }
    Ok(())
}

async fn up(store: &Store) -> Result<(), StoreError> {
    let applied = store.migrate().await?;
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    for migration in applied {
        println!("applied {migration}");
    }
    Ok(())
}

async fn down(store: &Store) -> Result<(), StoreError> {
    match store.migrate_down().await? {
        Some(migration) => println!("reverted {migration}"),
        None => println!("no migration is applied"),
    }
    Ok(())
}
