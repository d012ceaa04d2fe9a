//! Storing output while a script runs, and the result when it has ended.

use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text};

use crate::execution::{AppendReply, Claim, ExecutionRecord};
use crate::metrics::{self, METRICS};
use crate::store::executions::{files, progress};
use crate::store::sql::{millis, signed, statement};
use crate::store::{Chunk, Result, Store, notify::Notification, schema::executions};

/// Stores chunks of a valid claim. It locks the row, so that no chunk is stored after the end of its attempt.
///
/// SQL text: one round trip for the check of the claim, the chunks and the cancellation.
const APPEND: &str = "
    WITH claimed AS (
        SELECT id, attempt, cancel_requested FROM executions
        WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running' FOR NO KEY UPDATE),
    stored AS (
        INSERT INTO output_chunks (execution_id, attempt, seq, stream, text)
        SELECT claimed.id, claimed.attempt, c.seq, c.stream, c.text
        FROM claimed, unnest($4::bigint[], $5::text[], $6::text[]) AS c (seq, stream, text)
        ON CONFLICT DO NOTHING)
    SELECT cancel_requested FROM claimed";

/// The only statement that stores a result. It names the attempt, so a worker that comes back late changes nothing. The
/// record contains the text of all chunks, which are deleted here.
///
/// SQL text: one round trip for two tables, outside of a transaction.
pub const FINISH: &str = "
    WITH ended AS (
        UPDATE executions
        SET status = $4, exit_code = $5, failure_kind = $6, execution_error = $7, stdout = $8, stderr = $9,
            install_output = $10, stdout_bytes = $11, stderr_bytes = $12, output_truncated = $13,
            cpu_ms = $14, peak_memory_bytes = $15, environment_ms = $16, sandbox_ms = $17, script_ms = $18,
            image = coalesce($19, image), output_cuts = $20, completed_at = clock_timestamp(), lease_until = NULL,
            secrets = NULL
        WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running'
        RETURNING id),
    deleted AS (DELETE FROM output_chunks USING ended WHERE execution_id = ended.id)
    SELECT id FROM ended";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReply {
    Stored,
    ClaimLost,
}

impl Store {
    /// Stores output of a running attempt. Storing a chunk again changes nothing.
    pub async fn append(&self, claim: &Claim, chunks: Vec<Chunk>) -> Result<AppendReply> {
        #[derive(QueryableByName)]
        #[diesel(table_name = executions)]
        struct Claimed {
            cancel_requested: bool,
        }
        let claim = claim.clone();
        let execution = claim.execution.clone();
        let reply = self
            .run(move |conn| {
                let columns = chunks
                    .into_iter()
                    .map(|Chunk { seq, stream, text }| (signed(seq), stream.as_str(), text));
                let (seqs, streams, texts): (Vec<_>, Vec<_>, Vec<_>) = columns.collect();
                let rows: Vec<Claimed> = statement(APPEND)
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
        self.notifier.publish(Notification::Changed(execution));
        Ok(reply)
    }

    /// Stores several results in one transaction. The replies are in the order of the claims.
    pub async fn finish(&self, results: Vec<(Claim, Arc<ExecutionRecord>)>) -> Result<Vec<FinishReply>> {
        let ended = results.clone();
        let replies: Vec<FinishReply> = self
            .run(move |conn| {
                if let [(claim, record)] = results.as_slice()
                    && record.outputs.is_empty()
                    && record.outputs_left_out.is_empty()
                {
                    return Ok(vec![store_record(conn, claim, record)?]);
                }
                conn.transaction(|conn| {
                    results.iter().map(|(claim, record)| store_with_outputs(conn, claim, record)).collect()
                })
            })
            .await?;
        for ((claim, record), _) in ended.iter().zip(&replies).filter(|(_, r)| **r == FinishReply::Stored) {
            self.notifier.publish(Notification::Ended(claim.execution.clone()));
            let kind = record.outcome.failure_kind().map_or("", |kind| kind.as_str());
            METRICS.runs.add(&[record.outcome.status().as_str(), kind], 1);
            metrics::phase("environment", record.phases.environment);
            metrics::phase("sandbox", record.phases.sandbox);
            metrics::phase("script", record.phases.script);
            METRICS.output_bytes.add(&["stdout"], record.stdout.total);
            METRICS.output_bytes.add(&["stderr"], record.stderr.total);
        }
        Ok(replies)
    }
}

fn store_with_outputs(
    conn: &mut PgConnection,
    claim: &Claim,
    record: &ExecutionRecord,
) -> Result<FinishReply> {
    let reply = store_record(conn, claim, record)?;
    if reply == FinishReply::Stored && !record.outputs.is_empty() {
        files::insert_outputs(conn, &claim.execution, &record.outputs)?;
    }
    if reply == FinishReply::Stored && !record.outputs_left_out.is_empty() {
        diesel::update(executions::table.find(claim.execution.as_str()))
            .set(executions::outputs_left_out.eq(serde_json::json!(record.outputs_left_out)))
            .execute(conn)?;
    }
    Ok(reply)
}

fn store_record(conn: &mut PgConnection, claim: &Claim, record: &ExecutionRecord) -> Result<FinishReply> {
    let stored = statement(FINISH)
        .bind::<Text, _>(claim.execution.as_str())
        .bind::<Integer, _>(claim.attempt)
        .bind::<Text, _>(claim.worker.as_str())
        .bind::<Text, _>(record.outcome.status().as_str())
        .bind::<Nullable<Integer>, _>(record.exit_code)
        .bind::<Nullable<Text>, _>(record.outcome.failure_kind().map(|kind| kind.as_str()))
        .bind::<Nullable<Text>, _>(record.outcome.error())
        .bind::<Text, _>(&record.stdout.text)
        .bind::<Text, _>(&record.stderr.text)
        .bind::<Text, _>(&record.install.text)
        .bind::<BigInt, _>(signed(record.stdout.total))
        .bind::<BigInt, _>(signed(record.stderr.total))
        .bind::<Bool, _>(record.output_truncated())
        .bind::<Nullable<BigInt>, _>(record.usage.map(|usage| signed(usage.cpu_ms)))
        .bind::<Nullable<BigInt>, _>(record.usage.map(|usage| signed(usage.peak_memory_bytes)))
        .bind::<Nullable<BigInt>, _>(record.phases.environment.map(millis))
        .bind::<Nullable<BigInt>, _>(record.phases.sandbox.map(millis))
        .bind::<Nullable<BigInt>, _>(record.phases.script.map(millis))
        .bind::<Nullable<Text>, _>(record.image.as_deref())
        .bind::<Nullable<Jsonb>, _>(progress::cuts(record))
        .execute(conn)?;
    Ok(if stored == 0 { FinishReply::ClaimLost } else { FinishReply::Stored })
}
