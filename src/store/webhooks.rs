//! Webhooks that are due: whatever statement ends an execution makes a row (a trigger does, see the migration),
//! and it goes away when it was taken. So a crash at any point means one call more, never one less.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::execution::ExecutionId;
use crate::store::statement::statement;
use crate::store::{Store, StoreError};

const NOTE: &str = "UPDATE executions SET webhook_url = $2 WHERE id = $1";

/// Whoever takes one has so long for it; then another daemon may.
const TAKE: &str = "
    WITH due AS (
        SELECT execution_id FROM webhooks WHERE next_try <= clock_timestamp()
        ORDER BY next_try LIMIT $1 FOR UPDATE SKIP LOCKED)
    UPDATE webhooks w SET tries = tries + 1, next_try = clock_timestamp() + $2 * interval '1 ms'
    FROM due WHERE w.execution_id = due.execution_id
    RETURNING w.execution_id, w.url, w.tries";

const AGAIN: &str = "
    UPDATE webhooks SET next_try = clock_timestamp() + $2 * interval '1 ms', last_error = $3
    WHERE execution_id = $1";

#[derive(Debug, Clone, QueryableByName)]
pub struct DueWebhook {
    #[diesel(sql_type = Text)]
    execution_id: String,
    #[diesel(sql_type = Text)]
    pub url: String,
    /// With this one.
    #[diesel(sql_type = Integer)]
    pub tries: i32,
}

impl DueWebhook {
    pub fn execution(&self) -> ExecutionId {
        ExecutionId::from_stored(self.execution_id.clone())
    }
}

/// In the transaction of its submission.
pub(crate) fn note(conn: &mut PgConnection, id: &ExecutionId, url: &str) -> Result<(), StoreError> {
    statement(NOTE).bind::<Text, _>(id.as_str()).bind::<Text, _>(url).execute(conn)?;
    Ok(())
}

impl Store {
    /// Takes some that are due, for so long.
    pub async fn take_due_webhooks(
        &self,
        count: i64,
        lease: Duration,
    ) -> Result<Vec<DueWebhook>, StoreError> {
        self.run(move |conn| {
            Ok(statement(TAKE).bind::<BigInt, _>(count).bind::<BigInt, _>(millis(lease)).load(conn)?)
        })
        .await
    }

    /// It was taken, or is given up.
    pub async fn delete_webhook(&self, id: &ExecutionId) -> Result<(), StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            statement("DELETE FROM webhooks WHERE execution_id = $1")
                .bind::<Text, _>(id.as_str())
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    pub async fn reschedule_webhook(
        &self,
        id: &ExecutionId,
        after: Duration,
        why: String,
    ) -> Result<(), StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            statement(AGAIN)
                .bind::<Text, _>(id.as_str())
                .bind::<BigInt, _>(millis(after))
                .bind::<Text, _>(why)
                .execute(conn)?;
            Ok(())
        })
        .await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
