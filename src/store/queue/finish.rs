//! What a run leaves behind: chunks while it goes on, its end once.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text};
use diesel::{Connection, PgConnection, RunQueryDsl};

use crate::execution::{AppendReply, Claim, ExecutionRecord};
use crate::metrics::{self, METRICS};
use crate::store::executions::files::{FileRows, Role};
use crate::store::executions::progress;
use crate::store::notify::Notification;
use crate::store::statement::statement;
use crate::store::{Chunk, Store, StoreError};

/// The row is locked while its chunks go in, so that no chunk can follow the end of its attempt.
const APPEND: &str = "
    WITH mine AS (
        SELECT id, attempt, cancel_requested FROM executions
        WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running' FOR NO KEY UPDATE),
    stored AS (
        INSERT INTO output_chunks (execution_id, attempt, seq, stream, text)
        SELECT mine.id, mine.attempt, c.seq, c.stream, c.text
        FROM mine, unnest($4::bigint[], $5::text[], $6::text[]) AS c (seq, stream, text)
        ON CONFLICT DO NOTHING)
    SELECT cancel_requested FROM mine";

/// The only statement that ends a run. It names the attempt: a worker that comes back late changes
/// nothing. The chunks are folded into the row by the caller, who has them all, and go away here.
pub(crate) const FINISH: &str = "
    WITH ended AS (
        UPDATE executions
        SET status = $4, exit_code = $5, failure_kind = $6, execution_error = $7, stdout = $8, stderr = $9,
            install_output = $10, stdout_bytes = $11, stderr_bytes = $12, output_truncated = $13,
            cpu_ms = $14, peak_memory_bytes = $15, environment_ms = $16, sandbox_ms = $17, script_ms = $18,
            image = coalesce($19, image), output_cuts = $20, completed_at = clock_timestamp(), lease_until = NULL,
            secrets = NULL
        WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running'
        RETURNING id),
    gone AS (DELETE FROM output_chunks USING ended WHERE execution_id = ended.id)
    SELECT id FROM ended";

/// In the transaction that ended the run.
const LEFT_OUT: &str = "UPDATE executions SET outputs_left_out = $2 WHERE id = $1";

/// Whether the final write took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReply {
    Stored,
    ClaimLost,
}

impl Store {
    /// Stores output of a run that goes on. Storing a chunk again changes nothing.
    pub async fn append(&self, claim: &Claim, chunks: Vec<Chunk>) -> Result<AppendReply, StoreError> {
        let claim = claim.clone();
        let execution = claim.execution.clone();
        let verdict = self
            .run(move |conn| {
                let mut seqs = Vec::with_capacity(chunks.len());
                let mut streams = Vec::with_capacity(chunks.len());
                let mut texts = Vec::with_capacity(chunks.len());
                for chunk in chunks {
                    seqs.push(i64::try_from(chunk.seq).unwrap_or(i64::MAX));
                    streams.push(chunk.stream.as_str());
                    texts.push(chunk.text);
                }
                let rows: Vec<CancelRow> = statement(APPEND)
                    .bind::<Text, _>(claim.execution.as_str())
                    .bind::<Integer, _>(claim.attempt)
                    .bind::<Text, _>(claim.worker.as_str())
                    .bind::<Array<BigInt>, _>(seqs)
                    .bind::<Array<Text>, _>(streams)
                    .bind::<Array<Text>, _>(texts)
                    .load(conn)?;
                Ok(match rows.first() {
                    None => AppendReply::ClaimLost,
                    Some(row) if row.cancel_requested => AppendReply::CancelRequested,
                    Some(_) => AppendReply::Continue,
                })
            })
            .await?;
        self.news.publish(Notification::Changed(execution));
        Ok(verdict)
    }

    /// Ends several runs in one transaction; the answers are in the order of the claims.
    pub async fn finish(
        &self,
        ended: Vec<(Claim, std::sync::Arc<ExecutionRecord>)>,
    ) -> Result<Vec<FinishReply>, StoreError> {
        let ends = ended.clone();
        let recorded: Vec<FinishReply> = self
            .run(move |conn| {
                if let [(claim, conclusion)] = ended.as_slice()
                    && conclusion.outputs.is_empty()
                    && conclusion.outputs_left_out.is_empty()
                {
                    return Ok(vec![finish_one(conn, claim, conclusion)?]);
                }
                conn.transaction(|conn| {
                    ended
                        .iter()
                        .map(|(claim, conclusion)| finish_with_outputs(conn, claim, conclusion))
                        .collect()
                })
            })
            .await?;
        for ((claim, end), _) in ends.iter().zip(&recorded).filter(|(_, r)| **r == FinishReply::Stored) {
            self.news.publish(Notification::Ended(claim.execution.clone()));
            count(end);
        }
        Ok(recorded)
    }
}

fn finish_with_outputs(
    conn: &mut PgConnection,
    claim: &Claim,
    conclusion: &ExecutionRecord,
) -> Result<FinishReply, StoreError> {
    let recorded = finish_one(conn, claim, conclusion)?;
    if recorded == FinishReply::Stored && !conclusion.outputs.is_empty() {
        let files = conclusion.outputs.iter().map(|f| (Role::Output, f.name.as_str(), f.content.as_slice()));
        FileRows::new(files).insert(conn, &claim.execution)?;
    }
    if recorded == FinishReply::Stored && !conclusion.outputs_left_out.is_empty() {
        statement(LEFT_OUT)
            .bind::<Text, _>(claim.execution.as_str())
            .bind::<Jsonb, _>(serde_json::json!(conclusion.outputs_left_out))
            .execute(conn)?;
    }
    Ok(recorded)
}

fn finish_one(
    conn: &mut PgConnection,
    claim: &Claim,
    end: &ExecutionRecord,
) -> Result<FinishReply, StoreError> {
    let rows: Vec<IdRow> = statement(FINISH)
        .bind::<Text, _>(claim.execution.as_str())
        .bind::<Integer, _>(claim.attempt)
        .bind::<Text, _>(claim.worker.as_str())
        .bind::<Text, _>(end.outcome.status().as_str())
        .bind::<Nullable<Integer>, _>(end.exit_code)
        .bind::<Nullable<Text>, _>(end.outcome.failure_kind().map(|kind| kind.as_str()))
        .bind::<Nullable<Text>, _>(end.outcome.error())
        .bind::<Text, _>(&end.stdout.text)
        .bind::<Text, _>(&end.stderr.text)
        .bind::<Text, _>(&end.install.text)
        .bind::<BigInt, _>(signed(end.stdout.total))
        .bind::<BigInt, _>(signed(end.stderr.total))
        .bind::<Bool, _>(end.output_truncated())
        .bind::<Nullable<BigInt>, _>(end.usage.map(|usage| signed(usage.cpu_ms)))
        .bind::<Nullable<BigInt>, _>(end.usage.map(|usage| signed(usage.peak_memory_bytes)))
        .bind::<Nullable<BigInt>, _>(end.phases.environment.map(millis))
        .bind::<Nullable<BigInt>, _>(end.phases.sandbox.map(millis))
        .bind::<Nullable<BigInt>, _>(end.phases.script.map(millis))
        .bind::<Nullable<Text>, _>(end.image.as_deref())
        .bind::<Nullable<Jsonb>, _>(progress::cuts(end))
        .load(conn)?;
    Ok(if rows.is_empty() { FinishReply::ClaimLost } else { FinishReply::Stored })
}

/// For the metrics.
fn count(end: &ExecutionRecord) {
    let kind = end.outcome.failure_kind().map_or("", |kind| kind.as_str());
    METRICS.runs.add(&[end.outcome.status().as_str(), kind], 1);
    metrics::phase("environment", end.phases.environment);
    metrics::phase("sandbox", end.phases.sandbox);
    metrics::phase("script", end.phases.script);
    METRICS.output_bytes.add(&["stdout"], end.stdout.total);
    METRICS.output_bytes.add(&["stderr"], end.stderr.total);
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[derive(diesel::QueryableByName)]
struct CancelRow {
    #[diesel(sql_type = Bool)]
    cancel_requested: bool,
}

#[derive(diesel::QueryableByName)]
struct IdRow {
    #[diesel(sql_type = Text)]
    #[allow(dead_code, reason = "that there is a row is the answer")]
    id: String,
}
