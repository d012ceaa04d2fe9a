//! What a follower reads: the progress of an execution and the next bytes of its output.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Text};
use rgrid_api::names::format_labels;
use rgrid_api::{Phase, Status, Stream};
use serde::{Deserialize, Serialize};

use crate::execution::{Claim, Cut, ExecutionId, ExecutionRecord, StoredText};
use crate::store::executions::query::{parse_status, stored_stream};
use crate::store::schema::{executions, output_chunks};
use crate::store::sql::{byte_range, convert_to, signed, statement};
use crate::store::{Result, Store, StoreError, notify::Notification, queue::claimed_row};

/// The position counts the executions that the same workers may run, up to 10,000. A script whose start has not been
/// noted two seconds after the claim (see [`Store::script_started`]) has not started. An execution without network may
/// still need it to install its requirements.
///
/// SQL text: the DSL has no comparison of rows, which the order of the queue needs.
const PROGRESS: &str = "
    SELECT e.status, e.attempt, e.released, e.installing,
        e.script_attempt IS NOT DISTINCT FROM e.attempt
            OR EXISTS (SELECT FROM output_chunks c WHERE c.execution_id = e.id AND c.attempt = e.attempt
                AND c.stream <> 'install') AS script_started,
        coalesce(e.started_at < clock_timestamp() - interval '2 s', false) AS start_would_be_noted,
        CASE e.status WHEN 'queued' THEN (SELECT count(*) + 1 FROM (
            SELECT FROM executions q WHERE q.status = 'queued' AND q.on_labels = e.on_labels
                AND (- q.priority, q.turn, q.created_at, q.id) < (- e.priority, e.turn, e.created_at, e.id)
            LIMIT 10000) before) END AS position,
        CASE WHEN e.status = 'queued' AND e.on_labels <> '{}' AND NOT EXISTS (
            SELECT FROM workers w WHERE w.labels @> e.on_labels AND w.stopped_at IS NULL AND NOT w.draining
                AND w.last_seen > clock_timestamp() - interval '1 min') THEN e.on_labels END AS missing_labels,
        CASE WHEN e.status = 'queued' AND (e.network OR e.requirements IS NOT NULL) THEN (
            SELECT CASE WHEN bool_and(w.firewall IS NOT DISTINCT FROM 'failed')
                THEN min(w.name || ': ' || w.firewall_problem) END
            FROM workers w WHERE w.labels @> e.on_labels AND w.stopped_at IS NULL AND NOT w.draining
                AND w.last_seen > clock_timestamp() - interval '1 min') END AS no_firewall
    FROM executions e WHERE e.id = $1";

/// About 64 KiB, which is what a follower holds in memory.
///
/// SQL text: the DSL cannot select from a subquery, which the window function needs.
const NEXT_CHUNKS: &str = "
    SELECT seq, stream, text FROM (
        SELECT seq, stream, text, sum(octet_length(text)) OVER (ORDER BY seq) - octet_length(text) AS before
        FROM output_chunks WHERE execution_id = $1 AND attempt = $2 AND seq > $3
        ORDER BY seq LIMIT 1000) page
    WHERE before < 65536 ORDER BY seq";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub status: Status,
    /// The number of the claim, which the IDs of events contain.
    pub attempt: i32,
    /// The number of the attempt without claims that were released before the script started.
    pub counted: u32,
    pub phase: Option<Phase>,
    /// 1 is next. Only while it is queued.
    pub queue_position: Option<u64>,
    /// What is missing before it can start. Only while it is queued.
    pub waits_for: Option<String>,
}

/// A numbered piece of a stream. The numbers are those of the init's events, unique within an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub seq: u64,
    pub stream: Stream,
    pub text: String,
}

/// How a stream was truncated, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCut {
    /// Kept from the beginning.
    pub head: u64,
    /// Kept from the end.
    pub tail: u64,
    /// Length of the whole stream.
    pub total: u64,
}

impl Store {
    pub async fn progress(&self, id: &ExecutionId) -> Result<Progress> {
        let statement = statement(PROGRESS).bind::<Text, _>(id.to_string());
        self.run(|conn| statement.get_result::<ProgressRow>(conn)?.into_progress()).await
    }

    /// Notes that the attempt's script runs now, for followers.
    pub async fn script_started(&self, claim: &Claim) -> Result<()> {
        let started = executions::script_attempt.eq(claim.attempt);
        self.execute(diesel::update(claimed_row(claim)).set(started)).await?;
        self.notifier.publish(Notification::Changed(claim.execution.clone()));
        Ok(())
    }

    /// Notes whether the attempt is preparing its environment. False if the claim is lost.
    pub async fn set_installing(&self, claim: &Claim, installing: bool) -> Result<bool> {
        let noted = executions::installing.eq(installing);
        let rows = self.execute(diesel::update(claimed_row(claim)).set(noted)).await?;
        self.notifier.publish(Notification::Changed(claim.execution.clone()));
        Ok(rows > 0)
    }

    /// The next chunks after number `after`. Empty if there are none yet, or when the attempt has ended.
    pub async fn next_chunks(&self, id: &ExecutionId, attempt: i32, after: u64) -> Result<Vec<Chunk>> {
        let statement = statement(NEXT_CHUNKS)
            .bind::<Text, _>(id.to_string())
            .bind::<Integer, _>(attempt)
            .bind::<BigInt, _>(signed(after));
        self.run(|conn| statement.load(conn)?.into_iter().map(ChunkRow::into_chunk).collect()).await
    }

    /// The truncated streams of an execution that has ended.
    pub async fn output_cuts(&self, id: &ExecutionId) -> Result<BTreeMap<Stream, StreamCut>> {
        let row = executions::table.find(id.to_string()).select(executions::output_cuts);
        self.run(|conn| {
            let cuts: Option<serde_json::Value> = row.get_result(conn)?;
            Ok(cuts.map(serde_json::from_value).transpose()?.unwrap_or_default())
        })
        .await
    }

    /// Up to `bytes` bytes of a stream of an execution that has ended, from offset `from` of the stored text. Fewer, so
    /// that no character is cut; empty at the end.
    pub async fn stored_text(
        &self,
        id: &ExecutionId,
        stream: Stream,
        from: u64,
        bytes: u64,
    ) -> Result<String> {
        let id = id.clone();
        self.query(move |conn| {
            // Postgres counts from 1, in 32 bits; no text is longer than 1 GB.
            let from = i32::try_from(from.saturating_add(1)).unwrap_or(i32::MAX);
            let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
            let part = executions::table
                .find(id.as_str())
                .select(byte_range(convert_to(stored_stream(stream), "UTF8"), from, bytes))
                .first(conn)?;
            Ok(whole_characters(part))
        })
        .await
    }
}

/// The offsets may lie within a character, which is left out.
fn whole_characters(mut bytes: Vec<u8>) -> String {
    let torn = bytes.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    bytes.drain(..torn);
    let whole = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    whole.to_owned()
}

/// The column `output_cuts`; NULL if no stream was truncated.
pub(crate) fn cuts(record: &ExecutionRecord) -> Option<serde_json::Value> {
    let streams = [
        (Stream::Stdout, &record.stdout),
        (Stream::Stderr, &record.stderr),
        (Stream::Install, &record.install),
    ];
    let cut = |(stream, text): (Stream, &StoredText)| {
        let Cut { head, tail } = text.cut?;
        Some((stream.as_str(), StreamCut { head, tail, total: text.total }))
    };
    let found: BTreeMap<&str, StreamCut> = streams.into_iter().filter_map(cut).collect();
    (!found.is_empty()).then(|| serde_json::json!(found))
}

/// All chunks of an attempt, in order.
pub(crate) fn all_chunks(conn: &mut PgConnection, claim: &Claim) -> Result<Vec<Chunk>> {
    let chunks = output_chunks::table
        .filter(output_chunks::execution_id.eq(claim.execution.as_str()))
        .filter(output_chunks::attempt.eq(claim.attempt));
    let rows = chunks.order(output_chunks::seq).select(ChunkRow::as_select()).load(conn)?;
    rows.into_iter().map(ChunkRow::into_chunk).collect()
}

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = output_chunks, check_for_backend(diesel::pg::Pg))]
struct ChunkRow {
    seq: i64,
    stream: String,
    text: String,
}

impl ChunkRow {
    fn into_chunk(self) -> Result<Chunk> {
        let stream = self.stream.parse().map_err(StoreError::Internal)?;
        Ok(Chunk { seq: self.seq.unsigned_abs(), stream, text: self.text })
    }
}

#[derive(QueryableByName)]
#[diesel(table_name = executions)]
struct ProgressRow {
    status: String,
    attempt: i32,
    released: i32,
    installing: bool,
    #[diesel(sql_type = Bool)]
    script_started: bool,
    #[diesel(sql_type = Bool)]
    start_would_be_noted: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    position: Option<i64>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    missing_labels: Option<serde_json::Value>,
    #[diesel(sql_type = Nullable<Text>)]
    no_firewall: Option<String>,
}

impl ProgressRow {
    fn into_progress(self) -> Result<Progress> {
        let status = parse_status(&self.status)?;
        let phase = match status {
            Status::Running if self.script_started => Some(Phase::Script),
            Status::Running if self.installing => Some(Phase::Environment),
            Status::Running if !self.start_would_be_noted => None,
            Status::Running => Some(Phase::Sandbox),
            _ => None,
        };
        let queue_position = self.position.map(i64::unsigned_abs);
        let missing = self.missing_labels.map(serde_json::from_value).transpose()?;
        let no_labels = missing.map(|labels| format!("no worker has {}", format_labels(&labels)));
        let no_firewall = || Some(format!("no worker has a working firewall: {}", self.no_firewall?));
        let waits_for = no_labels.or_else(no_firewall);
        let counted = (self.attempt - self.released).unsigned_abs();
        Ok(Progress { status, attempt: self.attempt, counted, phase, queue_position, waits_for })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_character_is_left_out() {
        assert_eq!(whole_characters("aä".as_bytes()[..2].to_vec()), "a");
        assert_eq!(whole_characters("äb".as_bytes()[1..].to_vec()), "b");
        assert_eq!(whole_characters(Vec::new()), "");
    }
}
