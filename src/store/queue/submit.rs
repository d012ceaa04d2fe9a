//! Taking a submission: one statement, so that it is there whole or not at all.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, SmallInt, Text};

use crate::execution::{EnvVars, ExecutionId, IdempotencyKey, KeyId, NewExecution};
use crate::store::executions::files::{FileRows, Role};
use crate::store::notify::Notification;
use crate::store::schema::executions;
use crate::store::statement::statement;
use crate::store::{Store, StoreError};
use crate::store::{webhooks, workers};

/// How long a key stands for its submission.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

const SUBMIT: &str = "
    WITH content AS (
        INSERT INTO blobs (sha256, content) SELECT * FROM unnest($1::bytea[], $2::bytea[])
        ON CONFLICT DO NOTHING),
    new AS (
        INSERT INTO executions (id, runtime, script_name, args, env, labels, requirements, timeout_ms,
            memory_bytes, cpus_milli, network, max_attempts, idempotency_key, idempotency_sha256, key_id, secrets, secret_names,
            on_labels, priority)
        VALUES ($6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
        ON CONFLICT (coalesce(key_id, ''), idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id),
    named AS (
        INSERT INTO execution_files (execution_id, role, name, size, sha256)
        SELECT new.id, f.* FROM new, unnest($3::text[], $4::text[], $5::bigint[], $1::bytea[])
            AS f (role, name, size, sha256))
    SELECT id FROM new";

const FREE_KEY: &str = "
    UPDATE executions SET idempotency_key = NULL, idempotency_sha256 = NULL
    WHERE idempotency_key = $1 AND coalesce(key_id, '') = coalesce($3, '')
        AND created_at < clock_timestamp() - $2 * interval '1 s'";

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    New(ExecutionId),
    /// The idempotency key was known: this is the first one.
    Known(ExecutionId),
}

impl Store {
    pub async fn submit(&self, new: NewExecution) -> Result<Submitted, StoreError> {
        let submitted = self
            .run(move |conn| {
                if !new.on.is_empty() {
                    workers::all_know_labels(conn)?;
                }
                if insert_whole(conn, &new)? {
                    return Ok(Submitted::New(new.id));
                }
                let Some(key) = &new.idempotency else {
                    return Err(StoreError::Internal("an insert without a key found a conflict".to_owned()));
                };
                if let Some(first) = first_with(conn, key, new.key.as_ref())? {
                    return Ok(Submitted::Known(first));
                }
                // The key had expired and is free now.
                if insert_whole(conn, &new)? {
                    Ok(Submitted::New(new.id))
                } else {
                    Err(StoreError::KeyReused)
                }
            })
            .await?;
        self.news.publish(Notification::Queued);
        Ok(submitted)
    }
}

/// With its webhook, where there is one.
fn insert_whole(conn: &mut PgConnection, new: &NewExecution) -> Result<bool, StoreError> {
    let Some(url) = &new.webhook else { return insert(conn, new) };
    conn.transaction(|conn| {
        let inserted = insert(conn, new)?;
        if inserted {
            webhooks::note(conn, &new.id, url)?;
        }
        Ok(inserted)
    })
}

fn insert(conn: &mut PgConnection, new: &NewExecution) -> Result<bool, StoreError> {
    let script = [(Role::Script, new.script.name.as_str(), new.script.content.as_slice())];
    let inputs = new.inputs.iter().map(|file| (Role::Input, file.name.as_str(), file.content.as_slice()));
    let rows = FileRows::new(script.into_iter().chain(inputs));
    let ids: Vec<IdRow> = statement(SUBMIT)
        .bind::<Array<Binary>, _>(rows.hashes)
        .bind::<Array<Binary>, _>(rows.contents)
        .bind::<Array<Text>, _>(rows.roles)
        .bind::<Array<Text>, _>(rows.names)
        .bind::<Array<BigInt>, _>(rows.sizes)
        .bind::<Text, _>(new.id.as_str())
        .bind::<Text, _>(&new.runtime)
        .bind::<Text, _>(&new.script.name)
        .bind::<Jsonb, _>(serde_json::json!(new.args))
        .bind::<Jsonb, _>(serde_json::json!(new.env.0))
        .bind::<Jsonb, _>(serde_json::json!(new.labels))
        .bind::<Nullable<Text>, _>(&new.requirements)
        .bind::<BigInt, _>(i64::try_from(new.limits.timeout.as_millis()).unwrap_or(i64::MAX))
        .bind::<BigInt, _>(i64::try_from(new.limits.memory_bytes).unwrap_or(i64::MAX))
        .bind::<Integer, _>(i32::try_from(new.limits.cpus_milli).unwrap_or(i32::MAX))
        .bind::<Bool, _>(new.limits.network)
        .bind::<Integer, _>(i32::try_from(new.limits.max_attempts).unwrap_or(i32::MAX))
        .bind::<Nullable<Text>, _>(new.idempotency.as_ref().map(|i| i.key.as_str()))
        .bind::<Nullable<Binary>, _>(new.idempotency.as_ref().map(|i| i.body_sha256.as_slice()))
        .bind::<Nullable<Text>, _>(new.key.as_ref().map(KeyId::as_str))
        .bind::<Nullable<Jsonb>, _>(values(&new.secrets))
        .bind::<Jsonb, _>(serde_json::json!(new.secrets.names().collect::<Vec<_>>()))
        .bind::<Jsonb, _>(serde_json::json!(new.on))
        .bind::<SmallInt, _>(new.priority)
        .load(conn)?;
    Ok(!ids.is_empty())
}

/// None where there are none, so that the column is empty.
pub(crate) fn values(secrets: &EnvVars) -> Option<serde_json::Value> {
    (!secrets.0.is_empty()).then(|| serde_json::json!(secrets.0))
}

/// The first submission of that owner with that key; none when it was so long ago that the key is free again.
fn first_with(
    conn: &mut PgConnection,
    key: &IdempotencyKey,
    owner: Option<&KeyId>,
) -> Result<Option<ExecutionId>, StoreError> {
    let owner = owner.map(KeyId::as_str);
    let freed = sql_query(FREE_KEY)
        .bind::<Text, _>(&key.key)
        .bind::<BigInt, _>(i64::try_from(KEY_LIFETIME.as_secs()).unwrap_or(i64::MAX))
        .bind::<Nullable<Text>, _>(owner)
        .execute(conn)?;
    if freed > 0 {
        return Ok(None);
    }
    let (id, sha256): (String, Option<Vec<u8>>) = executions::table
        .filter(executions::idempotency_key.eq(&key.key))
        .filter(executions::key_id.is_not_distinct_from(owner))
        .select((executions::id, executions::idempotency_sha256))
        .first(conn)?;
    if sha256.as_deref() != Some(key.body_sha256.as_slice()) {
        return Err(StoreError::KeyReused);
    }
    Ok(Some(ExecutionId::from_stored(id)))
}

#[derive(diesel::QueryableByName)]
struct IdRow {
    #[diesel(sql_type = Text)]
    #[allow(dead_code, reason = "that there is a row is the answer")]
    id: String,
}
