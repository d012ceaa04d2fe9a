//! The images that RGrid has pulled, on each Docker host.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::store::sql::{ago, clock_timestamp, elapsed, signed};
use crate::store::{Result, Store, schema::images};

/// An image that was used this recently is not removed: its use is noted only now and then, and a pull takes long.
const IN_USE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = images, check_for_backend(diesel::pg::Pg))]
pub struct StoredImage {
    pub image: String,
    pub name: String,
    /// Given up to free disk space; its host removes it.
    #[diesel(select_expression = images::retired_at.is_not_null())]
    pub is_retired: bool,
    last_used_at: DateTime<Utc>,
    /// The database's clock.
    #[diesel(select_expression = clock_timestamp())]
    now: DateTime<Utc>,
}

impl StoredImage {
    /// Time since it was last seen in use.
    pub fn idle(&self) -> Duration {
        elapsed(self.last_used_at, self.now)
    }
}

impl Store {
    /// Adds an image that was pulled just now.
    pub async fn add_image(&self, engine: &str, image: &str, name: &str, size: u64) -> Result<()> {
        let pulled = diesel::insert_into(images::table).values((
            images::engine.eq(engine.to_owned()),
            images::image.eq(image.to_owned()),
            images::name.eq(name.to_owned()),
            images::size_bytes.eq(signed(size)),
        ));
        let used = (images::last_used_at.eq(clock_timestamp()), images::retired_at.eq(None::<DateTime<Utc>>));
        self.execute(pulled.on_conflict((images::engine, images::image)).do_update().set(used))
            .await
            .map(drop)
    }

    /// Marks images as used now, also those that were given up.
    pub async fn use_images(&self, engine: &str, used: Vec<String>) -> Result<()> {
        let images =
            images::table.filter(images::engine.eq(engine.to_owned())).filter(images::image.eq_any(used));
        let used = (images::last_used_at.eq(clock_timestamp()), images::retired_at.eq(None::<DateTime<Utc>>));
        self.execute(diesel::update(images).set(used)).await.map(drop)
    }

    /// All images of a Docker host, the least recently used first.
    pub async fn images(&self, engine: &str) -> Result<Vec<StoredImage>> {
        let all = images::table.filter(images::engine.eq(engine.to_owned()));
        self.load(all.order(images::last_used_at).select(StoredImage::as_select())).await
    }

    /// Gives up the least recently used image of all hosts; its host removes it. Returns 0 or 1.
    pub async fn retire_idlest_image(&self) -> Result<usize> {
        let present = images::table.filter(images::retired_at.is_null());
        let idle = present.filter(images::last_used_at.lt(ago(IN_USE)));
        let idlest = idle.order(images::last_used_at).limit(1);
        let keys: Vec<(String, String)> = self.load(idlest.select((images::engine, images::image))).await?;
        let Some((engine, image)) = keys.into_iter().next() else { return Ok(0) };
        let row = idle.filter(images::engine.eq(engine)).filter(images::image.eq(image));
        self.execute(diesel::update(row).set(images::retired_at.eq(clock_timestamp().nullable()))).await
    }

    /// Deletes the row of an image that no longer exists.
    pub async fn forget_image(&self, engine: &str, image: &str) -> Result<()> {
        let row = images::table.find((engine.to_owned(), image.to_owned()));
        self.execute(diesel::delete(row)).await.map(drop)
    }
}
