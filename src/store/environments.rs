//! The installed environments of each Docker host.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::upsert::excluded;

use crate::store::schema::environments;
use crate::store::sql::{ago, clock_timestamp, elapsed, signed};
use crate::store::{Store, StoreError};

/// An environment that was used this recently is not removed: its execution may ask for it once more.
const IN_USE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentKey {
    /// The id of the Docker host.
    pub engine: String,
    /// A digest of everything that determines the contents.
    pub key: String,
}

/// An environment whose installation is complete.
#[derive(Debug, Clone)]
pub struct StoredEnvironment {
    pub volume: String,
    size: u64,
    idle: Duration,
    uses: i64,
}

impl StoredEnvironment {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Time since it was last used.
    pub fn idle(&self) -> Duration {
        self.idle
    }
}

/// The last two columns are the time of the last use and the database's clock.
type EnvironmentRow = (String, i64, i64, DateTime<Utc>, DateTime<Utc>);

impl Store {
    /// The volume of an installed environment, which counts as used now.
    pub async fn use_environment(&self, wanted: &EnvironmentKey) -> Result<Option<String>, StoreError> {
        let wanted = wanted.clone();
        self.query(move |conn| {
            diesel::update(environments::table.find((wanted.engine, wanted.key)))
                .set((
                    environments::last_used_at.eq(clock_timestamp()),
                    environments::uses.eq(environments::uses + 1),
                ))
                .returning(environments::volume)
                .get_result(conn)
                .optional()
        })
        .await
    }

    /// Adds an environment after its installation is complete. An earlier volume for the same key is swept.
    pub async fn add_environment(
        &self,
        key: &EnvironmentKey,
        volume: &str,
        size: u64,
    ) -> Result<(), StoreError> {
        let (key, volume) = (key.clone(), volume.to_owned());
        self.query(move |conn| {
            use environments::{created_at, last_used_at, size_bytes};
            diesel::insert_into(environments::table)
                .values((
                    environments::engine.eq(key.engine),
                    environments::key.eq(key.key),
                    environments::volume.eq(volume),
                    size_bytes.eq(signed(size)),
                ))
                .on_conflict((environments::engine, environments::key))
                .do_update()
                .set((
                    environments::volume.eq(excluded(environments::volume)),
                    size_bytes.eq(excluded(size_bytes)),
                    created_at.eq(clock_timestamp()),
                    last_used_at.eq(clock_timestamp()),
                ))
                .execute(conn)
                .map(drop)
        })
        .await
    }

    /// All environments of a Docker host, the least recently used first.
    pub async fn environments(&self, engine: &str) -> Result<Vec<StoredEnvironment>, StoreError> {
        let engine = engine.to_owned();
        self.query(move |conn| {
            let rows: Vec<EnvironmentRow> = environments::table
                .filter(environments::engine.eq(engine))
                .order(environments::last_used_at)
                .select((
                    environments::volume,
                    environments::size_bytes,
                    environments::uses,
                    environments::last_used_at,
                    clock_timestamp(),
                ))
                .load(conn)?;
            let environment = |(volume, size, uses, used, now): (_, i64, _, _, _)| StoredEnvironment {
                volume,
                size: size.unsigned_abs(),
                idle: elapsed(used, now),
                uses,
            };
            Ok(rows.into_iter().map(environment).collect())
        })
        .await
    }

    /// Deletes the row, so that the volume may be removed. False if the environment was used since it was listed.
    pub async fn retire_environment(
        &self,
        engine: &str,
        old: &StoredEnvironment,
    ) -> Result<bool, StoreError> {
        let (engine, volume, uses) = (engine.to_owned(), old.volume.clone(), old.uses);
        self.query(move |conn| {
            let unused = environments::table
                .filter(environments::engine.eq(engine))
                .filter(environments::volume.eq(volume))
                .filter(environments::uses.eq(uses));
            diesel::delete(unused).execute(conn).map(|rows| rows > 0)
        })
        .await
    }

    /// Deletes the row of the least recently used environment of all hosts; its host sweeps the volume. Returns 0 or 1.
    pub async fn retire_idlest_environment(&self) -> Result<usize, StoreError> {
        self.query(|conn| {
            let idle = || environments::table.filter(environments::last_used_at.lt(ago(IN_USE)));
            let idlest: Option<(String, String)> = idle()
                .order(environments::last_used_at)
                .select((environments::engine, environments::key))
                .first(conn)
                .optional()?;
            let Some((engine, key)) = idlest else { return Ok(0) };
            let row = idle().filter(environments::engine.eq(engine)).filter(environments::key.eq(key));
            diesel::delete(row).execute(conn)
        })
        .await
    }

    /// Deletes the row of a volume that no longer exists.
    pub async fn forget_environment(&self, engine: &str, volume: &str) -> Result<(), StoreError> {
        let (engine, volume) = (engine.to_owned(), volume.to_owned());
        self.query(move |conn| {
            let lost = environments::table
                .filter(environments::engine.eq(engine))
                .filter(environments::volume.eq(volume));
            diesel::delete(lost).execute(conn).map(drop)
        })
        .await
    }
}
