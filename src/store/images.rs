//! The images that RGrid has pulled, on each Docker host.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::store::schema::images;
use crate::store::sql::{ago, clock_timestamp, elapsed, signed};
use crate::store::{Store, StoreError};

/// An image that was used this recently is not removed: its use is noted only now and then, and a pull takes long.
const IN_USE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone)]
pub struct StoredImage {
    pub image: String,
    pub name: String,
    /// Given up to free disk space; its host removes it.
    pub is_retired: bool,
    idle: Duration,
}

impl StoredImage {
    /// Time since it was last seen in use.
    pub fn idle(&self) -> Duration {
        self.idle
    }
}

/// The last two columns are the time of the last use and the database's clock.
type ImageRow = (String, String, bool, DateTime<Utc>, DateTime<Utc>);

impl Store {
    /// Adds an image that was pulled just now.
    pub async fn add_image(
        &self,
        engine: &str,
        image: &str,
        name: &str,
        size: u64,
    ) -> Result<(), StoreError> {
        let (engine, image, name) = (engine.to_owned(), image.to_owned(), name.to_owned());
        self.query(move |conn| {
            diesel::insert_into(images::table)
                .values((
                    images::engine.eq(engine),
                    images::image.eq(image),
                    images::name.eq(name),
                    images::size_bytes.eq(signed(size)),
                ))
                .on_conflict((images::engine, images::image))
                .do_update()
                .set((
                    images::last_used_at.eq(clock_timestamp()),
                    images::retired_at.eq(None::<DateTime<Utc>>),
                ))
                .execute(conn)
                .map(drop)
        })
        .await
    }

    /// Marks images as used now, also those that were given up.
    pub async fn use_images(&self, engine: &str, used: Vec<String>) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        self.query(move |conn| {
            diesel::update(images::table.filter(images::engine.eq(engine)).filter(images::image.eq_any(used)))
                .set((
                    images::last_used_at.eq(clock_timestamp()),
                    images::retired_at.eq(None::<DateTime<Utc>>),
                ))
                .execute(conn)
                .map(drop)
        })
        .await
    }

    /// All images of a Docker host, the least recently used first.
    pub async fn images(&self, engine: &str) -> Result<Vec<StoredImage>, StoreError> {
        let engine = engine.to_owned();
        self.query(move |conn| {
            let rows: Vec<ImageRow> = images::table
                .filter(images::engine.eq(engine))
                .order(images::last_used_at)
                .select((
                    images::image,
                    images::name,
                    images::retired_at.is_not_null(),
                    images::last_used_at,
                    clock_timestamp(),
                ))
                .load(conn)?;
            let image = |(image, name, is_retired, used, now)| StoredImage {
                image,
                name,
                is_retired,
                idle: elapsed(used, now),
            };
            Ok(rows.into_iter().map(image).collect())
        })
        .await
    }

    /// Gives up the least recently used image of all hosts; its host removes it. Returns 0 or 1.
    pub async fn retire_idlest_image(&self) -> Result<usize, StoreError> {
        self.query(|conn| {
            let idle = || {
                let in_use = images::table.filter(images::retired_at.is_null());
                in_use.filter(images::last_used_at.lt(ago(IN_USE)))
            };
            let idlest: Option<(String, String)> = idle()
                .order(images::last_used_at)
                .select((images::engine, images::image))
                .first(conn)
                .optional()?;
            let Some((engine, image)) = idlest else { return Ok(0) };
            diesel::update(idle().filter(images::engine.eq(engine)).filter(images::image.eq(image)))
                .set(images::retired_at.eq(clock_timestamp().nullable()))
                .execute(conn)
        })
        .await
    }

    /// Deletes the row of an image that no longer exists.
    pub async fn forget_image(&self, engine: &str, image: &str) -> Result<(), StoreError> {
        let (engine, image) = (engine.to_owned(), image.to_owned());
        self.query(move |conn| diesel::delete(images::table.find((engine, image))).execute(conn).map(drop))
            .await
    }
}
