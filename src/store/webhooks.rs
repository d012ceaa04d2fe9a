//! Webhooks that are due. A trigger adds a row when an execution ends, in the same transaction, and the row is deleted
//! after the delivery. So a crash may repeat a call but never lose one.

use std::time::Duration;

use diesel::dsl::{exists, not};
use diesel::prelude::*;

use crate::execution::{ExecutionId, KeyId};
use crate::store::sql::{clock_timestamp, from_now};
use crate::store::{Result, Store, schema::executions, schema::webhooks};

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = webhooks, check_for_backend(diesel::pg::Pg))]
pub struct DueWebhook {
    execution_id: String,
    pub url: String,
    /// Including this one.
    pub tries: i32,
}

impl DueWebhook {
    pub fn execution(&self) -> ExecutionId {
        ExecutionId::from_stored(self.execution_id.clone())
    }
}

impl Store {
    /// Claims the webhook that is due first and does not belong to one of these keys. The claimant has `lease` to
    /// deliver; after that, another daemon may claim it.
    pub async fn take_due_webhook(
        &self,
        except: Vec<KeyId>,
        lease: Duration,
    ) -> Result<Option<(DueWebhook, Option<KeyId>)>> {
        let except: Vec<String> = except.iter().map(KeyId::to_string).collect();
        self.transaction(move |conn| {
            let excepted = executions::table
                .filter(executions::id.eq(webhooks::execution_id))
                .filter(executions::key_id.eq_any(except));
            let due: Option<String> = webhooks::table
                .filter(webhooks::next_try.le(clock_timestamp()))
                .filter(not(exists(excepted)))
                .order(webhooks::next_try)
                .limit(1)
                .select(webhooks::execution_id)
                .for_update()
                .skip_locked()
                .get_result(conn)
                .optional()?;
            let Some(due) = due else { return Ok(None) };
            let key: Option<String> =
                executions::table.find(&due).select(executions::key_id).get_result(conn)?;
            let taken = (webhooks::tries.eq(webhooks::tries + 1), webhooks::next_try.eq(from_now(lease)));
            let taken = diesel::update(webhooks::table.find(due)).set(taken);
            let webhook = taken.returning(DueWebhook::as_returning()).get_result(conn)?;
            Ok(Some((webhook, key.map(KeyId::from_stored))))
        })
        .await
    }

    /// After a delivery, or when it is given up.
    pub async fn delete_webhook(&self, id: &ExecutionId) -> Result<()> {
        self.execute(diesel::delete(webhooks::table.find(id.to_string()))).await.map(drop)
    }

    pub async fn reschedule_webhook(&self, id: &ExecutionId, after: Duration, error: String) -> Result<()> {
        let changes = (webhooks::next_try.eq(from_now(after)), webhooks::last_error.eq(error));
        self.execute(diesel::update(webhooks::table.find(id.to_string())).set(changes)).await.map(drop)
    }
}
