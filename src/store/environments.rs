//! The installed environments of each Docker host.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::upsert::excluded;

use crate::store::sql::{ago, clock_timestamp, elapsed, signed};
use crate::store::{Result, Store, schema::environments};

/// An environment that was used this recently is not removed: its execution may ask for it once more.
const IN_USE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Insertable)]
#[diesel(table_name = environments)]
pub struct EnvironmentKey {
    /// The id of the Docker host.
    pub engine: String,
    /// A digest of everything that determines the contents.
    pub key: String,
}

/// An environment whose installation is complete.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = environments, check_for_backend(diesel::pg::Pg))]
pub struct StoredEnvironment {
    pub volume: String,
    size_bytes: i64,
    uses: i64,
    last_used_at: DateTime<Utc>,
    /// The database's clock.
    #[diesel(select_expression = clock_timestamp())]
    now: DateTime<Utc>,
}

impl StoredEnvironment {
    pub fn size(&self) -> u64 {
        self.size_bytes.unsigned_abs()
    }

    /// Time since it was last used.
    pub fn idle(&self) -> Duration {
        elapsed(self.last_used_at, self.now)
    }
}

impl Store {
    /// The volume of an installed environment, which counts as used now.
    pub async fn use_environment(&self, wanted: &EnvironmentKey) -> Result<Option<String>> {
        let row = environments::table.find((wanted.engine.clone(), wanted.key.clone()));
        let uses = environments::uses.eq(environments::uses + 1);
        let used = diesel::update(row).set((environments::last_used_at.eq(clock_timestamp()), uses));
        Ok(self.load(used.returning(environments::volume)).await?.pop())
    }

    /// Adds an environment after its installation is complete. An earlier volume for the same key is swept.
    pub async fn add_environment(&self, key: &EnvironmentKey, volume: &str, size: u64) -> Result<()> {
        use environments::{created_at, last_used_at, size_bytes, volume as volume_column};
        let values = (key.clone(), volume_column.eq(volume.to_owned()), size_bytes.eq(signed(size)));
        let added = diesel::insert_into(environments::table).values(values);
        let replaced = added.on_conflict((environments::engine, environments::key)).do_update().set((
            volume_column.eq(excluded(volume_column)),
            size_bytes.eq(excluded(size_bytes)),
            created_at.eq(clock_timestamp()),
            last_used_at.eq(clock_timestamp()),
        ));
        self.execute(replaced).await.map(drop)
    }

    /// All environments of a Docker host, the least recently used first.
    pub async fn environments(&self, engine: &str) -> Result<Vec<StoredEnvironment>> {
        let all = environments::table.filter(environments::engine.eq(engine.to_owned()));
        self.load(all.order(environments::last_used_at).select(StoredEnvironment::as_select())).await
    }

    /// Deletes the row, so that the volume may be removed. False if the environment was used since it was listed.
    pub async fn retire_environment(&self, engine: &str, old: &StoredEnvironment) -> Result<bool> {
        let unused = of_volume(engine, &old.volume).filter(environments::uses.eq(old.uses));
        Ok(self.execute(diesel::delete(unused)).await? > 0)
    }

    /// Deletes the row of the least recently used environment of all hosts; its host sweeps the volume. Returns 0 or 1.
    pub async fn retire_idlest_environment(&self) -> Result<usize> {
        let idle = environments::table.filter(environments::last_used_at.lt(ago(IN_USE)));
        let idlest = idle.order(environments::last_used_at).limit(1);
        let keys: Vec<(String, String)> =
            self.load(idlest.select((environments::engine, environments::key))).await?;
        let Some((engine, key)) = keys.into_iter().next() else { return Ok(0) };
        let row = idle.filter(environments::engine.eq(engine)).filter(environments::key.eq(key));
        self.execute(diesel::delete(row)).await
    }

    /// Deletes the row of a volume that no longer exists.
    pub async fn forget_environment(&self, engine: &str, volume: &str) -> Result<()> {
        self.execute(diesel::delete(of_volume(engine, volume))).await.map(drop)
    }
}

#[diesel::dsl::auto_type]
fn of_volume(engine: &str, volume: &str) -> _ {
    let (engine, volume): (String, String) = (engine.to_owned(), volume.to_owned());
    environments::table.filter(environments::engine.eq(engine)).filter(environments::volume.eq(volume))
}
