//! The schema's steps, carried inside the binary.
//!
//! An advisory lock makes two daemons that start at once take turns: one migrates, the other finds
//! nothing left to do.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_query;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::store::{Store, StoreError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Any number that nobody else locks: "rgrid" in ASCII.
const LOCK: i64 = 0x72_6772_6964;

/// The lock may have to be waited for, and a step may rewrite a big table.
const DEADLINE: Duration = Duration::from_secs(2 * 3600);

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Such as `0002_outputs`.
    pub name: String,
    pub applied: bool,
    /// This daemon knows it; one that it doesn't know was made by a newer one.
    pub known: bool,
}

impl Store {
    /// Brings the schema up to date; returns the names of what was applied.
    ///
    /// A schema that is newer than this daemon is refused: it would write what it does not understand.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.run_within(DEADLINE, |conn| {
            locked(conn, |conn| {
                refuse_newer(conn)?;
                let applied = conn.run_pending_migrations(MIGRATIONS).map_err(failed)?;
                Ok(applied.iter().map(ToString::to_string).collect())
            })
        })
        .await
    }

    /// Takes the last step back; returns its name, none when there is nothing left.
    pub async fn migrate_down(&self) -> Result<Option<String>, StoreError> {
        self.run_within(DEADLINE, |conn| {
            locked(conn, |conn| {
                refuse_newer(conn)?;
                if conn.applied_migrations().map_err(failed)?.is_empty() {
                    return Ok(None);
                }
                let reverted = conn.revert_last_migration(MIGRATIONS).map_err(failed)?;
                Ok(Some(reverted.to_string()))
            })
        })
        .await
    }

    /// All steps, the oldest first.
    pub async fn migrations(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        self.run(steps).await
    }
}

fn locked<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Waiting for another daemon's migration, and a big one of our own, may take longer than a query.
    conn.batch_execute("SET lock_timeout = '5min'; SET statement_timeout = '1h'")?;
    sql_query(format!("SELECT pg_advisory_lock({LOCK})")).execute(conn)?;
    let result = work(conn);
    sql_query(format!("SELECT pg_advisory_unlock({LOCK})")).execute(conn)?;
    conn.batch_execute("SET lock_timeout = '10s'; SET statement_timeout = '20s'")?;
    result
}

fn steps(conn: &mut PgConnection) -> Result<Vec<MigrationStatus>, StoreError> {
    let mut applied: Vec<String> =
        conn.applied_migrations().map_err(failed)?.iter().map(ToString::to_string).collect();
    applied.sort();
    let migrations: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(failed)?;
    let mut steps = Vec::new();
    for migration in migrations {
        let version = migration.name().version().to_string();
        let at = applied.iter().position(|v| *v == version);
        steps.push(MigrationStatus {
            name: migration.name().to_string(),
            applied: at.is_some(),
            known: true,
        });
        at.map(|at| applied.remove(at));
    }
    steps.extend(applied.into_iter().map(|name| MigrationStatus { name, applied: true, known: false }));
    Ok(steps)
}

fn refuse_newer(conn: &mut PgConnection) -> Result<(), StoreError> {
    let unknown: Vec<String> =
        steps(conn)?.into_iter().filter(|step| !step.known).map(|step| step.name).collect();
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
