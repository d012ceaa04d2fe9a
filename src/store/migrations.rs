//! The migrations, embedded in the binary.
//!
//! An advisory lock serialises daemons that start at the same time: the second one finds nothing left to apply.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::select;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::store::sql::{pg_advisory_lock, pg_advisory_unlock};
use crate::store::{Result, Store, StoreError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// The key of the advisory lock: "rgrid" in ASCII.
const LOCK: i64 = 0x72_6772_6964;

/// Includes the wait for the lock. A migration may rewrite a large table.
const DEADLINE: Duration = Duration::from_secs(2 * 3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Such as `0002_outputs`.
    pub name: String,
    pub applied: bool,
    /// False if a newer daemon applied it.
    pub known: bool,
}

impl Store {
    /// Applies the pending migrations and returns their names. Refuses a schema that is newer than this daemon.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        self.change_schema(|conn| {
            let applied = conn.run_pending_migrations(MIGRATIONS).map_err(failed)?;
            Ok(applied.iter().map(ToString::to_string).collect())
        })
        .await
    }

    /// Reverts the last migration and returns its name; none if no migration is applied.
    pub async fn migrate_down(&self) -> Result<Option<String>> {
        self.change_schema(|conn| {
            if conn.applied_migrations().map_err(failed)?.is_empty() {
                return Ok(None);
            }
            let reverted = conn.revert_last_migration(MIGRATIONS).map_err(failed)?;
            Ok(Some(reverted.to_string()))
        })
        .await
    }

    /// All migrations, the oldest first.
    pub async fn migrations(&self) -> Result<Vec<MigrationStatus>> {
        self.run(statuses).await
    }

    async fn change_schema<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut PgConnection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_within(DEADLINE, |conn| {
            // The wait for another daemon's migration and a migration itself may take longer than a query.
            conn.batch_execute("SET lock_timeout = '5min'; SET statement_timeout = '1h'")?;
            select(pg_advisory_lock(LOCK)).execute(conn)?;
            let result = refuse_newer(conn).and_then(|()| change(conn));
            select(pg_advisory_unlock(LOCK)).execute(conn)?;
            conn.batch_execute("SET lock_timeout = '10s'; SET statement_timeout = '20s'")?;
            result
        })
        .await
    }
}

fn statuses(conn: &mut PgConnection) -> Result<Vec<MigrationStatus>> {
    let mut applied: Vec<String> =
        conn.applied_migrations().map_err(failed)?.iter().map(ToString::to_string).collect();
    applied.sort();
    let migrations: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(failed)?;
    let mut statuses = Vec::new();
    for migration in migrations {
        let (name, version) = (migration.name().to_string(), migration.name().version().to_string());
        statuses.push(MigrationStatus { name, applied: applied.contains(&version), known: true });
        applied.retain(|other| *other != version);
    }
    statuses.extend(applied.into_iter().map(|name| MigrationStatus { name, applied: true, known: false }));
    Ok(statuses)
}

fn refuse_newer(conn: &mut PgConnection) -> Result<()> {
    let unknown: Vec<String> =
        statuses(conn)?.into_iter().filter(|status| !status.known).map(|status| status.name).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "the database's schema is newer than this rgridd (it has step {}, which this one does not know): \
         start a newer rgridd, or go back with the newer one's `rgridd migrate down`",
        unknown.join(", ")
    )))
}

fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Internal(format!("migration failed: {error}"))
}
