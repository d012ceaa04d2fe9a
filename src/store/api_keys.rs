//! API keys. The database holds a key's hash, never the key.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, select};
use diesel::prelude::*;

use crate::execution::{Caller, Key, KeyId, Scope};
use crate::store::sql::{ago, clock_timestamp, from_now};
use crate::store::{Result, Store, schema::api_keys};

/// The resolution of `last_used_at`, so that not every request writes.
const LAST_USED_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people.
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    /// None: until it is revoked.
    pub lifetime: Option<Duration>,
}

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = api_keys, check_for_backend(diesel::pg::Pg))]
pub struct KeyRow {
    pub id: String,
    pub name: String,
    pub scopes: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    Valid(Caller),
    /// No key has this id, or the secret differs.
    Unknown,
    Revoked,
    Expired,
}

impl Store {
    /// Only the holder of the whole key learns that it was revoked or has expired. Read at each request, so that a
    /// revoked key fails at the next one.
    pub async fn authenticate(&self, key: &Key) -> Result<Authentication> {
        let key = key.clone();
        self.run(move |conn| {
            let found: Option<(KeyRow, Vec<u8>, DateTime<Utc>)> = api_keys::table
                .find(key.id().as_str())
                .select((KeyRow::as_select(), api_keys::secret_sha256, clock_timestamp()))
                .first(conn)
                .optional()?;
            let Some((row, _, now)) = found.filter(|(_, sha256, _)| key.matches(sha256)) else {
                return Ok(Authentication::Unknown);
            };
            if row.revoked_at.is_some() {
                return Ok(Authentication::Revoked);
            }
            if row.expires_at.is_some_and(|expiry| expiry <= now) {
                return Ok(Authentication::Expired);
            }
            if row.last_used_at.is_none_or(|used| used < now - LAST_USED_INTERVAL) {
                // The filter again, because other processes may see the same old time.
                let last_used = api_keys::last_used_at;
                diesel::update(api_keys::table.find(key.id().as_str()))
                    .filter(last_used.is_null().or(last_used.lt(ago(LAST_USED_INTERVAL).nullable())))
                    .set(last_used.eq(clock_timestamp().nullable()))
                    .execute(conn)?;
            }
            let scopes = row.scopes.iter().filter_map(|scope| scope.parse().ok()).collect();
            Ok(Authentication::Valid(Caller::with_key(key.id().clone(), scopes)))
        })
        .await
    }

    /// Whether a key that was valid has been neither revoked nor expired since.
    pub async fn is_key_still_valid(&self, id: &KeyId) -> Result<bool> {
        let unexpired =
            api_keys::expires_at.is_null().or(api_keys::expires_at.gt(clock_timestamp().nullable()));
        let key = api_keys::table.find(id.to_string()).filter(api_keys::revoked_at.is_null());
        self.get(select(exists(key.filter(unexpired)))).await
    }

    pub async fn create_key(&self, key: &Key, new: NewKey) -> Result<()> {
        let scopes: Vec<&'static str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
        let row = (
            api_keys::id.eq(key.id().to_string()),
            api_keys::name.eq(new.name),
            api_keys::secret_sha256.eq(key.digest().to_vec()),
            api_keys::scopes.eq(scopes),
            new.lifetime.map(|lifetime| api_keys::expires_at.eq(from_now(lifetime).nullable())),
        );
        self.execute(diesel::insert_into(api_keys::table).values(row)).await.map(drop)
    }

    /// The oldest first.
    pub async fn keys(&self) -> Result<Vec<KeyRow>> {
        let all = api_keys::table.order((api_keys::created_at, api_keys::id));
        self.load(all.select(KeyRow::as_select())).await
    }

    /// Returns when the key was revoked first.
    pub async fn revoke_key(&self, id: &KeyId) -> Result<DateTime<Utc>> {
        let key = api_keys::table.find(id.to_string());
        let not_revoked = key.clone().filter(api_keys::revoked_at.is_null());
        let now = api_keys::revoked_at.eq(clock_timestamp().nullable());
        self.execute(diesel::update(not_revoked).set(now)).await?;
        self.get(key.select(api_keys::revoked_at.assume_not_null())).await
    }
}
