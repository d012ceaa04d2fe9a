//! Rows as the queue's statements give them.

use std::time::Duration;

use diesel::sql_types::{BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text};

use crate::execution::{Claim, Claimed, EnvVars, ExecutionId, KeyId, WorkerId};
use crate::store::StoreError;
use crate::store::queue::claim::ClaimStatus;
use crate::store::queue::release::ReleasedClaim;

#[derive(diesel::QueryableByName)]
pub(crate) struct ClaimedRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Text)]
    runtime: String,
    #[diesel(sql_type = Text)]
    script_name: String,
    #[diesel(sql_type = Jsonb)]
    args: serde_json::Value,
    #[diesel(sql_type = Jsonb)]
    env: serde_json::Value,
    #[diesel(sql_type = Nullable<Jsonb>)]
    secrets: Option<serde_json::Value>,
    #[diesel(sql_type = Nullable<Text>)]
    requirements: Option<String>,
    #[diesel(sql_type = BigInt)]
    timeout_ms: i64,
    #[diesel(sql_type = BigInt)]
    memory_bytes: i64,
    #[diesel(sql_type = Integer)]
    cpus_milli: i32,
    #[diesel(sql_type = Bool)]
    network: bool,
    #[diesel(sql_type = Nullable<Text>)]
    key_id: Option<String>,
    #[diesel(sql_type = BigInt)]
    waited_ms: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    script: Option<Vec<u8>>,
    #[diesel(sql_type = Bool)]
    has_inputs: bool,
}

impl ClaimedRow {
    pub fn into_claimed(self, worker: &WorkerId) -> Result<Claimed, StoreError> {
        let unreadable = |error: serde_json::Error| StoreError::Internal(format!("stored job: {error}"));
        Ok(Claimed {
            claim: Claim {
                execution: ExecutionId::from_stored(self.id),
                attempt: self.attempt,
                worker: worker.clone(),
            },
            runtime: self.runtime,
            script_name: self.script_name,
            script: self.script.unwrap_or_default(),
            args: serde_json::from_value(self.args).map_err(unreadable)?,
            env: EnvVars(serde_json::from_value(self.env).map_err(unreadable)?),
            secrets: match self.secrets {
                Some(secrets) => EnvVars(serde_json::from_value(secrets).map_err(unreadable)?),
                None => EnvVars::default(),
            },
            requirements: self.requirements,
            timeout: Duration::from_millis(self.timeout_ms.unsigned_abs()),
            memory_bytes: self.memory_bytes.unsigned_abs(),
            cpus_milli: self.cpus_milli.unsigned_abs(),
            network: self.network,
            has_inputs: self.has_inputs,
            owner: self.key_id.map(KeyId::from_stored),
            waited: Duration::from_millis(self.waited_ms.max(0).unsigned_abs()),
        })
    }
}

#[derive(diesel::QueryableByName)]
pub(crate) struct PulseRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Bool)]
    cancel_requested: bool,
}

impl From<PulseRow> for ClaimStatus {
    fn from(row: PulseRow) -> Self {
        Self {
            execution: ExecutionId::from_stored(row.id),
            attempt: row.attempt,
            cancel_requested: row.cancel_requested,
        }
    }
}

#[derive(diesel::QueryableByName)]
pub(crate) struct RescueRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Text)]
    status: String,
}

impl From<RescueRow> for ReleasedClaim {
    fn from(row: RescueRow) -> Self {
        Self { execution: ExecutionId::from_stored(row.id), attempt: row.attempt, status: row.status }
    }
}
