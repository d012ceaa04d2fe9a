//! Webhooks that are due. A trigger adds a row when an execution ends, in the same transaction, and the row is deleted
//! after the delivery. So a crash may repeat a call but never lose one.

use std::time::Duration;

use diesel::prelude::*;

use crate::execution::ExecutionId;
use crate::store::sql::{clock_timestamp, from_now};
use crate::store::{Result, Store, schema::webhooks};

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
    /// Claims due webhooks. The claimant has `lease` to deliver; after that, another daemon may claim them.
    pub async fn take_due_webhooks(&self, count: i64, lease: Duration) -> Result<Vec<DueWebhook>> {
        self.transaction(move |conn| {
            let due: Vec<String> = webhooks::table
                .filter(webhooks::next_try.le(clock_timestamp()))
                .order(webhooks::next_try)
                .limit(count)
                .select(webhooks::execution_id)
                .for_update()
                .skip_locked()
                .load(conn)?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            let taken = (webhooks::tries.eq(webhooks::tries + 1), webhooks::next_try.eq(from_now(lease)));
            let due = diesel::update(webhooks::table.filter(webhooks::execution_id.eq_any(due))).set(taken);
            Ok(due.returning(DueWebhook::as_returning()).load(conn)?)
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
