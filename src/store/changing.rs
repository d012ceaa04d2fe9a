//! What users may do to an execution that exists: cancel it, or run its job once more.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;

use super::news::News;
use super::schema::executions;
use super::{Store, StoreError};
use crate::execution::ExecutionId;

/// What waits ends at once; what runs is told to its worker.
const CANCEL: &str = "
    UPDATE executions
    SET status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
        completed_at = CASE status WHEN 'queued' THEN clock_timestamp() END,
        cancel_requested = true
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING status";

/// The same job under a new id: files are shared by their hash, nothing of the first run is copied.
const RETRY: &str = "
    WITH new AS (
        INSERT INTO executions (id, runtime, script_name, args, env, labels, requirements, timeout_ms,
            memory_bytes, cpus_milli, network, max_attempts, webhook_url)
        SELECT $2, runtime, script_name, args, env, labels, requirements, timeout_ms,
            memory_bytes, cpus_milli, network, max_attempts, webhook_url
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
        self.news.publish(if ended { News::Ended(id.clone()) } else { News::Cancel });
        Ok(())
    }

    pub async fn retry(&self, id: &ExecutionId) -> Result<ExecutionId, StoreError> {
        let (first, new) = (id.clone(), ExecutionId::generate());
        let again = new.clone();
        self.run(move |conn| {
            let files = sql_query(RETRY)
                .bind::<Text, _>(first.as_str())
                .bind::<Text, _>(new.as_str())
                .execute(conn)?;
            // There is a script at least, unless there is no such execution.
            if files == 0 { Err(StoreError::NotFound) } else { Ok(()) }
        })
        .await?;
        self.news.publish(News::Queued);
        Ok(again)
    }
}

#[derive(diesel::QueryableByName)]
struct StatusRow {
    #[diesel(sql_type = Text)]
    status: String,
}
