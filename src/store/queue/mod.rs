//! The statements that move an execution through the queue.

pub(crate) mod cancel;
pub(crate) mod claim;
pub(crate) mod finish;
pub(crate) mod release;
pub(crate) mod submit;

use crate::execution::Claim;
use crate::store::schema::executions;
use diesel::prelude::*;

/// The row of a claim, while the claim is valid. The attempt is the fencing token: a worker that comes back late matches
/// nothing.
#[diesel::dsl::auto_type]
pub(crate) fn claimed_row(claim: &Claim) -> _ {
    let (id, worker): (String, String) = (claim.execution.to_string(), claim.worker.to_string());
    let attempt: i32 = claim.attempt;
    executions::table
        .filter(executions::id.eq(id))
        .filter(executions::attempt.eq(attempt))
        .filter(executions::worker_id.eq(worker))
        .filter(executions::status.eq("running"))
}
