//! Submitting an execution, with idempotency keys.

use std::iter;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, SmallInt, Text};

use sha2::{Digest, Sha256};

use crate::execution::{EnvVars, ExecutionId, IdempotencyKey, KeyId, NewExecution};
use crate::store::executions::files::role;
use crate::store::sql::{ago, coalesce, millis, signed, statement};
use crate::store::{Result, Store, StoreError, notify::Notification, schema::executions, workers};

const IDEMPOTENCY_KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Inserts an execution with its files; no row if the idempotency key is taken.
///
/// SQL text: one round trip, and the execution is there with all of its files or not at all.
const SUBMIT: &str = "
    WITH content AS (
        INSERT INTO blobs (sha256, content) SELECT * FROM unnest($1::bytea[], $2::bytea[])
        ON CONFLICT DO NOTHING),
    new AS (
        INSERT INTO executions (id, runtime, script_name, args, env, labels, requirements, timeout_ms,
            memory_bytes, cpus_milli, network, max_attempts, idempotency_key, idempotency_sha256, key_id, secrets,
            secret_names, on_labels, priority, webhook_url)
        VALUES ($6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)
        ON CONFLICT (coalesce(key_id, ''), idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id),
    files AS (
        INSERT INTO execution_files (execution_id, role, name, size, sha256)
        SELECT new.id, f.* FROM new, unnest($3::text[], $4::text[], $5::bigint[], $1::bytea[])
            AS f (role, name, size, sha256))
    SELECT id FROM new";

/// The result of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    New(ExecutionId),
    /// The idempotency key was used before, for this execution.
    Known(ExecutionId),
}

impl Store {
    pub async fn submit(&self, new: NewExecution) -> Result<Submitted> {
        let submitted = self
            .run(move |conn| {
                if !new.on.is_empty() {
                    workers::require_label_support(conn)?;
                }
                if insert(conn, &new)? {
                    return Ok(Submitted::New(new.id));
                }
                let Some(key) = &new.idempotency else {
                    return Err(StoreError::Internal("an insert without a key found a conflict".to_owned()));
                };
                if let Some(first) = first_with(conn, key, new.key.as_ref())? {
                    return Ok(Submitted::Known(first));
                }
                // The key had expired and is free now.
                match insert(conn, &new)? {
                    true => Ok(Submitted::New(new.id)),
                    false => Err(StoreError::KeyReused),
                }
            })
            .await?;
        self.notifier.publish(Notification::Queued);
        Ok(submitted)
    }
}

/// False if the idempotency key is taken.
fn insert(conn: &mut PgConnection, new: &NewExecution) -> Result<bool> {
    let inputs = new.inputs.iter().map(|file| (role::INPUT, file));
    let (roles, files): (Vec<_>, Vec<_>) = iter::once((role::SCRIPT, &new.script)).chain(inputs).collect();
    let hashes: Vec<_> = files.iter().map(|file| Sha256::digest(&file.content).to_vec()).collect();
    let inserted = statement(SUBMIT)
        .bind::<Array<Binary>, _>(hashes)
        .bind::<Array<Binary>, _>(files.iter().map(|file| file.content.as_slice()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(roles)
        .bind::<Array<Text>, _>(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(files.iter().map(|file| file.content.len() as i64).collect::<Vec<_>>())
        .bind::<Text, _>(new.id.as_str())
        .bind::<Text, _>(&new.runtime)
        .bind::<Text, _>(&new.script.name)
        .bind::<Jsonb, _>(serde_json::json!(new.args))
        .bind::<Jsonb, _>(serde_json::json!(new.env.0))
        .bind::<Jsonb, _>(serde_json::json!(new.labels))
        .bind::<Nullable<Text>, _>(&new.requirements)
        .bind::<BigInt, _>(millis(new.limits.timeout))
        .bind::<BigInt, _>(signed(new.limits.memory_bytes))
        .bind::<Integer, _>(i32::try_from(new.limits.cpus_milli).unwrap_or(i32::MAX))
        .bind::<Bool, _>(new.limits.network)
        .bind::<Integer, _>(i32::try_from(new.limits.max_attempts).unwrap_or(i32::MAX))
        .bind::<Nullable<Text>, _>(new.idempotency.as_ref().map(|i| i.key.as_str()))
        .bind::<Nullable<Binary>, _>(new.idempotency.as_ref().map(|i| i.body_sha256.as_slice()))
        .bind::<Nullable<Text>, _>(new.key.as_ref().map(KeyId::as_str))
        .bind::<Nullable<Jsonb>, _>(secret_values(&new.secrets))
        .bind::<Jsonb, _>(serde_json::json!(new.secrets.names().collect::<Vec<_>>()))
        .bind::<Jsonb, _>(serde_json::json!(new.on))
        .bind::<SmallInt, _>(new.priority)
        .bind::<Nullable<Text>, _>(&new.webhook)
        .execute(conn)?;
    Ok(inserted > 0)
}

/// None without secrets, so that the column is NULL.
pub(crate) fn secret_values(secrets: &EnvVars) -> Option<serde_json::Value> {
    (!secrets.0.is_empty()).then(|| serde_json::json!(secrets.0))
}

/// The execution of that owner that the key was used for; none if the key has expired, which frees it.
fn first_with(
    conn: &mut PgConnection,
    key: &IdempotencyKey,
    owner: Option<&KeyId>,
) -> Result<Option<ExecutionId>> {
    // As in the unique index, which serves the look-up.
    let no_owner = diesel::dsl::sql::<Text>("''");
    let submission = executions::table
        .filter(executions::idempotency_key.eq(&key.key))
        .filter(coalesce(executions::key_id, no_owner).eq(owner.map_or("", KeyId::as_str)));
    let expired = submission.clone().filter(executions::created_at.lt(ago(IDEMPOTENCY_KEY_LIFETIME)));
    let no_key = executions::idempotency_key.eq(None::<String>);
    let no_hash = executions::idempotency_sha256.eq(None::<Vec<u8>>);
    if diesel::update(expired).set((no_key, no_hash)).execute(conn)? > 0 {
        return Ok(None);
    }
    let (id, sha256): (String, Option<Vec<u8>>) =
        submission.select((executions::id, executions::idempotency_sha256)).first(conn)?;
    match sha256.as_deref() == Some(key.body_sha256.as_slice()) {
        true => Ok(Some(ExecutionId::from_stored(id))),
        false => Err(StoreError::KeyReused),
    }
}
