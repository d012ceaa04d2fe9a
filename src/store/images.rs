//! The images that were pulled here, and when one was used last.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Bool, Text};

use crate::store::{Store, StoreError};

const ADD: &str = "
    INSERT INTO images (engine, image, name, size_bytes) VALUES ($1, $2, $3, $4)
    ON CONFLICT (engine, image) DO UPDATE SET last_used_at = clock_timestamp(), retired_at = NULL";

const USE: &str = "
    UPDATE images SET last_used_at = clock_timestamp(), retired_at = NULL WHERE engine = $1 AND image = ANY($2)";

const LIST: &str = "
    SELECT image, name, retired_at IS NOT NULL AS is_retired,
        (extract(epoch FROM clock_timestamp() - last_used_at) * 1000)::bigint AS idle_ms
    FROM images WHERE engine = $1 ORDER BY last_used_at";

/// Not one of today: its use is noted only now and then, and to pull it again takes long.
const RETIRE_IDLEST: &str = "
    UPDATE images SET retired_at = clock_timestamp() WHERE (engine, image) IN (
        SELECT engine, image FROM images
        WHERE retired_at IS NULL AND last_used_at < clock_timestamp() - interval '1 day'
        ORDER BY last_used_at LIMIT 1)";

const FORGET: &str = "DELETE FROM images WHERE engine = $1 AND image = $2";

/// An image that RGrid has pulled.
#[derive(Debug, Clone, QueryableByName)]
pub struct StoredImage {
    #[diesel(sql_type = Text)]
    pub image: String,
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Given up to make room.
    #[diesel(sql_type = Bool)]
    pub is_retired: bool,
    #[diesel(sql_type = BigInt)]
    idle_ms: i64,
}

impl StoredImage {
    /// Since it was last seen in use.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.idle_ms).unwrap_or(0))
    }
}

impl Store {
    /// It was pulled just now.
    pub async fn add_image(
        &self,
        engine: &str,
        image: &str,
        name: &str,
        size: u64,
    ) -> Result<(), StoreError> {
        let (engine, image, name) = (engine.to_owned(), image.to_owned(), name.to_owned());
        self.run(move |conn| {
            sql_query(ADD)
                .bind::<Text, _>(engine)
                .bind::<Text, _>(image)
                .bind::<Text, _>(name)
                .bind::<BigInt, _>(i64::try_from(size).unwrap_or(i64::MAX))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// From now on they count as just used, also one that was given up.
    pub async fn use_images(&self, engine: &str, images: Vec<String>) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        self.run(move |conn| {
            sql_query(USE).bind::<Text, _>(engine).bind::<Array<Text>, _>(images).execute(conn)?;
            Ok(())
        })
        .await
    }

    /// All of an engine, the one that was used longest ago first.
    pub async fn images(&self, engine: &str) -> Result<Vec<StoredImage>, StoreError> {
        let engine = engine.to_owned();
        self.run(move |conn| Ok(sql_query(LIST).bind::<Text, _>(engine).load(conn)?)).await
    }

    /// The one of all hosts that was used longest ago no longer counts, and its host removes it. How many: 0 or 1.
    pub async fn retire_idlest_image(&self) -> Result<usize, StoreError> {
        self.run(|conn| Ok(sql_query(RETIRE_IDLEST).execute(conn)?)).await
    }

    /// It is not there any more.
    pub async fn forget_image(&self, engine: &str, image: &str) -> Result<(), StoreError> {
        let (engine, image) = (engine.to_owned(), image.to_owned());
        self.run(move |conn| {
            sql_query(FORGET).bind::<Text, _>(engine).bind::<Text, _>(image).execute(conn)?;
            Ok(())
        })
        .await
    }
}
