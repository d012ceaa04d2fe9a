//! `rgridd migrate status|up|down`.

use anyhow::Context;
use clap::ValueEnum;

use crate::daemon::database::Database;
use crate::settings::Settings;

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
        Migrate::Down => Database::alone(settings, async |db| {
            match db.store.migrate_down().await? {
                Some(migration) => println!("reverted {migration}"),
                None => println!("no migration is applied"),
            }
            Ok(())
        }),
        Migrate::Up => Database::beside(settings, async |db| {
            let applied = db.store.migrate().await?;
            if applied.is_empty() {
                println!("the schema is up to date");
            }
            applied.iter().for_each(|migration| println!("applied {migration}"));
            Ok(())
        }),
        Migrate::Status => Database::beside(settings, async |db| {
            for migration in db.store.migrations().await? {
                let state = match (migration.applied, migration.known) {
                    (true, true) => "applied",
                    (true, false) => "applied by a newer rgridd",
                    (false, _) => "pending",
                };
                println!("{:<24} {state}", migration.name);
            }
            Ok(())
        }),
    }
    .context("migrate")
}
