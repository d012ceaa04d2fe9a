//! What users may do to an execution that exists: cancel it, or run its job once more.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Jsonb, Nullable, Text};

use crate::execution::{EnvVars, ExecutionId, KeyId};
use crate::store::notify::Notification;
use crate::store::queue::submit::values;
use crate::store::schema::executions;
use crate::store::{Store, StoreError};

/// What waits ends at once; what runs is told to its worker.
const CANCEL: &str = "
    UPDATE executions
    SET status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
        completed_at = CASE status WHEN 'queued' THEN clock_timestamp() END,
        secrets = CASE status WHEN 'queued' THEN NULL ELSE secrets END, cancel_requested = true
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING status";

/// The same job under a new id: files are shared by their hash, nothing of the first run is copied.
const RETRY: &str = "
    WITH new AS (
        INSERT INTO executions (id, runtime, script_name, args, env, labels, requirements, timeout_ms,
            memory_bytes, cpus_milli, network, max_attempts, webhook_url, secret_names, on_labels, priority, secrets, key_id)
        SELECT $2, runtime, script_name, args, env, labels, requirements, timeout_ms,
            memory_bytes, cpus_milli, network, max_attempts, webhook_url, secret_names, on_labels, priority, $3, $4
        FROM executions WHERE id = $1
        RETURNING id)
    INSERT INTO execution_files (execution_id, role, name, size, sha256)
    SELECT new.id, f.role, f.name, f.size, f.sha256
    FROM new, execution_files f WHERE f.execution_id = $1 AND f.role <> 'output'";

impl Store {
    /// An execution that has ended can't be cancelled any more; one that was cancelled already is fine.
    pub async fn cancel(&self, id: &ExecutionId) -> Result<(), StoreError> {
        let wanted = id.clone();
        let ended = self
            .run(move |conn| {
                let rows: Vec<StatusRow> = sql_query(CANCEL).bind::<Text, _>(wanted.as_str()).load(conn)?;
                if let Some(row) = rows.first() {
                    return Ok(row.status == "cancelled");
                }
                let status: String =
                    executions::table.find(wanted.as_str()).select(executions::status).first(conn)?;
                match status.as_str() {
                    "cancelled" => Ok(false),
                    other => Err(StoreError::Conflict(format!("{wanted} has ended already: {other}"))),
                }
            })
            .await?;
        self.news.publish(if ended { Notification::Ended(id.clone()) } else { Notification::Cancel });
        Ok(())
    }

    /// The names of the secrets that it was submitted with; their values are gone when it has ended.
    pub async fn secret_names(&self, id: &ExecutionId) -> Result<Vec<String>, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let row = executions::table.find(id.as_str());
            let names: serde_json::Value = row.select(executions::secret_names).first(conn)?;
            serde_json::from_value(names)
                .map_err(|error| StoreError::Internal(format!("stored row: {error}")))
        })
        .await
    }

    /// `secrets` are the new run's: those of the first one are not kept. It belongs to `owner`.
    pub async fn retry(
        &self,
        id: &ExecutionId,
        secrets: EnvVars,
        owner: Option<KeyId>,
    ) -> Result<ExecutionId, StoreError> {
        let (first, new) = (id.clone(), ExecutionId::generate());
        let again = new.clone();
        self.run(move |conn| {
            let files = sql_query(RETRY)
                .bind::<Text, _>(first.as_str())
                .bind::<Text, _>(new.as_str())
                .bind::<Nullable<Jsonb>, _>(values(&secrets))
                .bind::<Nullable<Text>, _>(owner.as_ref().map(KeyId::as_str))
                .execute(conn)?;
            // There is a script at least, unless there is no such execution.
            if files == 0 { Err(StoreError::NotFound) } else { Ok(()) }
        })
        .await?;
        self.news.publish(Notification::Queued);
        Ok(again)
    }
}

#[derive(diesel::QueryableByName)]
struct StatusRow {
    #[diesel(sql_type = Text)]
    status: String,
}
