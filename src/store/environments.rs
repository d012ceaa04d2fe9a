//! The environments that are whole, and which runs wait for one.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Integer, Text};

use crate::execution::Claim;
use crate::store::notify::Notification;
use crate::store::{Store, StoreError};

const USE: &str = "
    UPDATE environments SET last_used_at = clock_timestamp(), uses = uses + 1
    WHERE engine = $1 AND key = $2 RETURNING volume AS text";

/// A volume that stood there for the same key is nobody's from now on, and swept.
const ADD: &str = "
    INSERT INTO environments (engine, key, volume, size_bytes) VALUES ($1, $2, $3, $4)
    ON CONFLICT (engine, key) DO UPDATE SET volume = excluded.volume, size_bytes = excluded.size_bytes,
        created_at = clock_timestamp(), last_used_at = clock_timestamp()";

const LIST: &str = "
    SELECT volume, size_bytes, uses,
        (extract(epoch FROM clock_timestamp() - last_used_at) * 1000)::bigint AS idle_ms
    FROM environments WHERE engine = $1 ORDER BY last_used_at";

/// Nothing happens when it was used in between.
const RETIRE: &str = "DELETE FROM environments WHERE engine = $1 AND volume = $2 AND uses = $3";

/// Not one that was used just now: its run may still ask for it.
const RETIRE_IDLEST: &str = "
    DELETE FROM environments WHERE (engine, key) IN (
        SELECT engine, key FROM environments WHERE last_used_at < clock_timestamp() - interval '1 minute'
        ORDER BY last_used_at LIMIT 1)";

const FORGET: &str = "DELETE FROM environments WHERE engine = $1 AND volume = $2";

const INSTALLING: &str = "
    UPDATE executions SET installing = $4
    WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running'";

/// Which environment: `engine` is the Docker host's own id, `key` says what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentKey {
    pub engine: String,
    pub key: String,
}

/// An environment that is whole.
#[derive(Debug, Clone, QueryableByName)]
pub struct StoredEnvironment {
    #[diesel(sql_type = Text)]
    pub volume: String,
    #[diesel(sql_type = BigInt)]
    size_bytes: i64,
    #[diesel(sql_type = BigInt)]
    idle_ms: i64,
    #[diesel(sql_type = BigInt)]
    uses: i64,
}

impl StoredEnvironment {
    pub fn size(&self) -> u64 {
        self.size_bytes.unsigned_abs()
    }

    /// Since a run last asked for it.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.idle_ms).unwrap_or(0))
    }
}

impl Store {
    /// The volume, if it is whole; from now on it counts as just used.
    pub async fn use_environment(&self, wanted: &EnvironmentKey) -> Result<Option<String>, StoreError> {
        let wanted = wanted.clone();
        self.run(move |conn| {
            let rows: Vec<TextRow> =
                sql_query(USE).bind::<Text, _>(wanted.engine).bind::<Text, _>(wanted.key).load(conn)?;
            Ok(rows.into_iter().next().map(|row| row.text))
        })
        .await
    }

    /// From now on the volume is taken for whole.
    pub async fn add_environment(
        &self,
        key: &EnvironmentKey,
        volume: &str,
        size: u64,
    ) -> Result<(), StoreError> {
        let (key, volume) = (key.clone(), volume.to_owned());
        self.run(move |conn| {
            sql_query(ADD)
                .bind::<Text, _>(key.engine)
                .bind::<Text, _>(key.key)
                .bind::<Text, _>(volume)
                .bind::<BigInt, _>(i64::try_from(size).unwrap_or(i64::MAX))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// All of an engine, the one that was used longest ago first.
    pub async fn environments(&self, engine: &str) -> Result<Vec<StoredEnvironment>, StoreError> {
        let engine = engine.to_owned();
        self.run(move |conn| Ok(sql_query(LIST).bind::<Text, _>(engine).load(conn)?)).await
    }

    /// Whether it may be removed now: nobody has asked for it since it was listed, and nobody gets it any more.
    pub async fn retire_environment(
        &self,
        engine: &str,
        old: &StoredEnvironment,
    ) -> Result<bool, StoreError> {
        let (engine, volume, uses) = (engine.to_owned(), old.volume.clone(), old.uses);
        self.run(move |conn| {
            let rows = sql_query(RETIRE)
                .bind::<Text, _>(engine)
                .bind::<Text, _>(volume)
                .bind::<BigInt, _>(uses)
                .execute(conn)?;
            Ok(rows > 0)
        })
        .await
    }

    /// The one of all hosts that was used longest ago is nobody's from now on, and its host sweeps it. How many: 0 or 1.
    pub async fn retire_idlest_environment(&self) -> Result<usize, StoreError> {
        self.run(|conn| Ok(sql_query(RETIRE_IDLEST).execute(conn)?)).await
    }

    /// Its volume is not there any more.
    pub async fn forget_environment(&self, engine: &str, volume: &str) -> Result<(), StoreError> {
        let (engine, volume) = (engine.to_owned(), volume.to_owned());
        self.run(move |conn| {
            sql_query(FORGET).bind::<Text, _>(engine).bind::<Text, _>(volume).execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Notes that the run has not come to its script yet, or that it has now. False: the claim is lost.
    pub async fn set_installing(&self, claim: &Claim, installing: bool) -> Result<bool, StoreError> {
        let (claim, execution) = (claim.clone(), claim.execution.clone());
        let noted = self
            .run(move |conn| {
                let rows = sql_query(INSTALLING)
                    .bind::<Text, _>(claim.execution.as_str())
                    .bind::<Integer, _>(claim.attempt)
                    .bind::<Text, _>(claim.worker.as_str())
                    .bind::<Bool, _>(installing)
                    .execute(conn)?;
                Ok(rows > 0)
            })
            .await?;
        self.news.publish(Notification::Changed(execution));
        Ok(noted)
    }
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    text: String,
}
