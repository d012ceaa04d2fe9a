//! API keys. What is stored of one tells whether it is right; the key itself is nowhere.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text, Timestamptz};

use crate::execution::{Caller, Key, KeyId, Scope};
use crate::store::schema::api_keys;
use crate::store::{Store, StoreError};

/// By the primary key, and asked at each request: a key that is revoked fails at the next one.
const LOOK_UP: &str = "
    SELECT secret_sha256, scopes, revoked_at IS NOT NULL AS revoked,
        coalesce(expires_at <= clock_timestamp(), false) AS expired,
        coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) AS stale
    FROM api_keys WHERE id = $1";

/// At most once a minute for each key, also when many processes see it stale at once.
const NOTE_USE: &str = "
    UPDATE api_keys SET last_used_at = clock_timestamp()
    WHERE id = $1 AND coalesce(last_used_at < clock_timestamp() - interval '1 minute', true)";

const CREATE: &str = "
    INSERT INTO api_keys (id, name, secret_sha256, scopes, expires_at)
    VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 ms')";

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people.
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    /// None: until it is revoked.
    pub lifetime: Option<Duration>,
}

/// A key as it is listed.
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

/// Whether a key opens the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    Valid(Caller),
    /// No key of that id, or another secret.
    Unknown,
    Revoked,
    Expired,
}

impl Store {
    /// Whose key it is. Only who has the whole key learns that it was revoked or has expired.
    pub async fn authenticate(&self, key: &Key) -> Result<Authentication, StoreError> {
        let key = key.clone();
        self.run(move |conn| {
            let rows: Vec<LookUpRow> = sql_query(LOOK_UP).bind::<Text, _>(key.id().as_str()).load(conn)?;
            let Some(row) = rows.into_iter().next().filter(|row| key.matches(&row.secret_sha256)) else {
                return Ok(Authentication::Unknown);
            };
            if row.revoked {
                return Ok(Authentication::Revoked);
            }
            if row.expired {
                return Ok(Authentication::Expired);
            }
            if row.stale {
                sql_query(NOTE_USE).bind::<Text, _>(key.id().as_str()).execute(conn)?;
            }
            let scopes = row.scopes.iter().filter_map(|scope| scope.parse().ok()).collect();
            Ok(Authentication::Valid(Caller::with_key(key.id().clone(), scopes)))
        })
        .await
    }

    pub async fn create_key(&self, key: &Key, new: NewKey) -> Result<(), StoreError> {
        let (id, digest) = (key.id().clone(), key.digest().to_vec());
        let scopes: Vec<&'static str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
        let lifetime = new.lifetime.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        self.run(move |conn| {
            sql_query(CREATE)
                .bind::<Text, _>(id.as_str())
                .bind::<Text, _>(new.name)
                .bind::<Binary, _>(digest)
                .bind::<Array<Text>, _>(scopes)
                .bind::<Nullable<BigInt>, _>(lifetime)
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// The oldest first.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.run(|conn| {
            let all = api_keys::table.order((api_keys::created_at, api_keys::id));
            Ok(all.select(KeyRow::as_select()).load(conn)?)
        })
        .await
    }

    /// When it was revoked; again changes nothing. No such key is `NotFound`.
    pub async fn revoke_key(&self, id: &KeyId) -> Result<DateTime<Utc>, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let row: RevokedRow = sql_query(
                "UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE id = $1
                 RETURNING revoked_at",
            )
            .bind::<Text, _>(id.as_str())
            .get_result(conn)?;
            Ok(row.revoked_at)
        })
        .await
    }
}

#[derive(QueryableByName)]
struct LookUpRow {
    #[diesel(sql_type = Binary)]
    secret_sha256: Vec<u8>,
    #[diesel(sql_type = Array<Text>)]
    scopes: Vec<String>,
    #[diesel(sql_type = Bool)]
    revoked: bool,
    #[diesel(sql_type = Bool)]
    expired: bool,
    #[diesel(sql_type = Bool)]
    stale: bool,
}

#[derive(QueryableByName)]
struct RevokedRow {
    #[diesel(sql_type = Timestamptz)]
    revoked_at: DateTime<Utc>,
}
