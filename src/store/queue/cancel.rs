//! Cancelling an execution, and submitting its job once more.

use diesel::dsl::{case_when, not};
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::execution::{EnvVars, ExecutionId, KeyId};
use crate::store::executions::files;
use crate::store::queue::submit::secret_values;
use crate::store::schema::{execution_files, executions};
use crate::store::{Result, Store, StoreError, notify::Notification, sql::clock_timestamp};

impl Store {
    /// A queued execution ends at once; the worker of a running one stops it. Cancelling a cancelled execution
    /// succeeds; one that has ended otherwise is a conflict.
    pub async fn cancel(&self, id: &ExecutionId) -> Result<()> {
        let wanted = id.clone();
        let ended = self
            .run(move |conn| {
                use executions::{cancel_requested, completed_at, secrets, status};
                // One statement: between two, the execution could be claimed or released.
                let is_queued = || status.eq("queued");
                let status_now: Option<String> = diesel::update(executions::table.find(wanted.as_str()))
                    .filter(status.eq_any(["queued", "running"]))
                    .set((
                        status.eq(case_when(is_queued(), "cancelled".into_sql::<Text>()).otherwise(status)),
                        completed_at.eq(case_when(is_queued(), clock_timestamp())),
                        secrets.eq(case_when(not(is_queued()), secrets)),
                        cancel_requested.eq(true),
                    ))
                    .returning(status)
                    .get_result(conn)
                    .optional()?;
                if let Some(status_now) = status_now {
                    return Ok(status_now == "cancelled");
                }
                let ended: String = executions::table.find(wanted.as_str()).select(status).first(conn)?;
                match ended.as_str() {
                    "cancelled" => Ok(false),
                    other => Err(StoreError::Conflict(format!("{wanted} has ended already: {other}"))),
                }
            })
            .await?;
        self.notifier.publish(if ended { Notification::Ended(id.clone()) } else { Notification::Cancel });
        Ok(())
    }

    /// The names of the secrets that it was submitted with. Their values are deleted when it ends.
    pub async fn secret_names(&self, id: &ExecutionId) -> Result<Vec<String>> {
        let names = executions::table.find(id.to_string()).select(executions::secret_names);
        self.run(|conn| Ok(serde_json::from_value(names.get_result(conn)?)?)).await
    }

    /// Submits the same job under a new id, for `owner` and with new `secrets`. Files are shared by their hash; no
    /// results are copied.
    pub async fn retry(
        &self,
        id: &ExecutionId,
        secrets: EnvVars,
        owner: Option<KeyId>,
    ) -> Result<ExecutionId> {
        let (first, new) = (id.clone(), ExecutionId::generate());
        let again = new.to_string();
        self.transaction(move |conn| {
            let job: Job = executions::table.find(first.as_str()).select(Job::as_select()).first(conn)?;
            diesel::insert_into(executions::table)
                .values((
                    executions::id.eq(&again),
                    executions::secrets.eq(secret_values(&secrets)),
                    executions::key_id.eq(owner.as_ref().map(KeyId::as_str)),
                    job,
                ))
                .execute(conn)?;
            use execution_files::{execution_id, name, role, sha256, size};
            execution_files::table
                .filter(execution_id.eq(first.as_str()))
                .filter(role.ne(files::role::OUTPUT))
                .select((again.into_sql::<Text>(), role, name, size, sha256))
                .insert_into(execution_files::table)
                .into_columns((execution_id, role, name, size, sha256))
                .execute(conn)?;
            Ok(())
        })
        .await?;
        self.notifier.publish(Notification::Queued);
        Ok(new)
    }
}

/// The columns that a retry shares with the first execution.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = executions, check_for_backend(diesel::pg::Pg))]
struct Job {
    runtime: String,
    script_name: String,
    args: serde_json::Value,
    env: serde_json::Value,
    labels: serde_json::Value,
    requirements: Option<String>,
    timeout_ms: i64,
    memory_bytes: i64,
    cpus_milli: i32,
    network: bool,
    max_attempts: i32,
    webhook_url: Option<String>,
    secret_names: serde_json::Value,
    on_labels: serde_json::Value,
    priority: i16,
}
