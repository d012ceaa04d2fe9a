//! What a follower asks for: how an execution stands, and the next bytes of what it says.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text};
use rgrid_api::names::format_labels;
use rgrid_api::{Phase, Status, Stream};
use serde::{Deserialize, Serialize};

use crate::execution::{Claim, ExecutionId, ExecutionRecord, StoredText};
use crate::store::executions::outputs::chunk;
use crate::store::executions::query::parse_status;
use crate::store::notify::Notification;
use crate::store::statement::statement;
use crate::store::{Chunk, Store, StoreError};

/// Its place is the one among those that the same workers may run. Who is farther behind than 10,000 need not know how
/// far. A script that has not been noted as begun by now (see `SCRIPT_BEGAN`) has not begun.
const PROGRESS: &str = "
    SELECT e.status, e.attempt, e.installing AS installs,
        e.script_attempt IS NOT DISTINCT FROM e.attempt
            OR EXISTS (SELECT FROM output_chunks c WHERE c.execution_id = e.id AND c.attempt = e.attempt
                AND c.stream <> 'install') AS began,
        coalesce(e.started_at < clock_timestamp() - interval '2 s', false) AS settled,
        CASE e.status WHEN 'queued' THEN (SELECT count(*) + 1 FROM (
            SELECT FROM executions q WHERE q.status = 'queued' AND q.on_labels = e.on_labels
                AND (- q.priority, q.turn, q.created_at, q.id) < (- e.priority, e.turn, e.created_at, e.id)
            LIMIT 10000) before) END AS position,
        CASE WHEN e.status = 'queued' AND e.on_labels <> '{}' AND NOT EXISTS (
            SELECT FROM workers w WHERE w.labels @> e.on_labels AND w.stopped_at IS NULL AND NOT w.draining
                AND w.last_seen > clock_timestamp() - interval '1 min') THEN e.on_labels END AS missing
    FROM executions e WHERE e.id = $1";

const SCRIPT_BEGAN: &str = "
    UPDATE executions SET script_attempt = attempt
    WHERE id = $1 AND attempt = $2 AND worker_id = $3 AND status = 'running'";

/// About so many bytes at a time: what a follower holds in memory.
const PAGE: &str = "
    SELECT seq, stream, text FROM (
        SELECT seq, stream, text, sum(octet_length(text)) OVER (ORDER BY seq) - octet_length(text) AS before
        FROM output_chunks WHERE execution_id = $1 AND attempt = $2 AND seq > $3
        ORDER BY seq LIMIT 1000) page
    WHERE before < 65536 ORDER BY seq";

/// How an execution stands, in so far as a follower sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub status: Status,
    pub attempt: i32,
    pub phase: Option<Phase>,
    /// 1 is next. Of what is queued only.
    pub queue_position: Option<u64>,
    /// What is missing for it to begin. Of what is queued only.
    pub waits_for: Option<String>,
}

/// Where one stream was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCut {
    /// Bytes that were kept of its beginning and of its end.
    pub head: u64,
    pub tail: u64,
    /// Bytes of it in all.
    pub total: u64,
}

impl Store {
    pub async fn progress(&self, id: &ExecutionId) -> Result<Progress, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let row: ProgressRow = statement(PROGRESS).bind::<Text, _>(id.as_str()).get_result(conn)?;
            row.into_progress()
        })
        .await
    }

    /// The attempt's script runs now; followers are told.
    pub async fn script_started(&self, claim: &Claim) -> Result<(), StoreError> {
        let noted = claim.clone();
        self.run(move |conn| {
            statement(SCRIPT_BEGAN)
                .bind::<Text, _>(noted.execution.as_str())
                .bind::<Integer, _>(noted.attempt)
                .bind::<Text, _>(noted.worker.as_str())
                .execute(conn)?;
            Ok(())
        })
        .await?;
        self.news.publish(Notification::Changed(claim.execution.clone()));
        Ok(())
    }

    /// The chunks behind the one with that number, not many at a time. None while there are no more, or when
    /// the attempt has ended.
    pub async fn next_chunks(
        &self,
        id: &ExecutionId,
        attempt: i32,
        after: u64,
    ) -> Result<Vec<Chunk>, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let rows: Vec<ChunkRow> = statement(PAGE)
                .bind::<Text, _>(id.as_str())
                .bind::<Integer, _>(attempt)
                .bind::<BigInt, _>(i64::try_from(after).unwrap_or(i64::MAX))
                .load(conn)?;
            rows.into_iter().map(|row| chunk((row.seq, row.stream, row.text))).collect()
        })
        .await
    }

    /// The streams of an ended execution that were cut.
    pub async fn output_cuts(&self, id: &ExecutionId) -> Result<BTreeMap<Stream, StreamCut>, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let row: CutsRow = statement("SELECT output_cuts AS cuts FROM executions WHERE id = $1")
                .bind::<Text, _>(id.as_str())
                .get_result(conn)?;
            let cuts = row.cuts.map_or_else(|| Ok(BTreeMap::new()), serde_json::from_value);
            cuts.map_err(|error| StoreError::Internal(format!("stored cuts: {error}")))
        })
        .await
    }

    /// So many bytes of a stream of an ended execution, as it is kept; fewer where a character would be torn,
    /// none at its end.
    pub async fn stored_text(
        &self,
        id: &ExecutionId,
        stream: Stream,
        from: u64,
        bytes: u64,
    ) -> Result<String, StoreError> {
        let id = id.clone();
        let kept = match stream {
            Stream::Stdout => KEPT_STDOUT,
            Stream::Stderr => KEPT_STDERR,
            Stream::Install => KEPT_INSTALL,
        };
        self.run(move |conn| {
            // Postgres counts from 1, in 32 bits; no text is longer than 1 GB.
            let row: PieceRow = statement(kept)
                .bind::<Text, _>(id.as_str())
                .bind::<Integer, _>(i32::try_from(from.saturating_add(1)).unwrap_or(i32::MAX))
                .bind::<Integer, _>(i32::try_from(bytes).unwrap_or(i32::MAX))
                .get_result(conn)?;
            Ok(whole_characters(row.piece))
        })
        .await
    }
}

const KEPT_STDOUT: &str =
    "SELECT substring(convert_to(stdout, 'UTF8') FROM $2 FOR $3) AS piece FROM executions WHERE id = $1";
const KEPT_STDERR: &str =
    "SELECT substring(convert_to(stderr, 'UTF8') FROM $2 FOR $3) AS piece FROM executions WHERE id = $1";
const KEPT_INSTALL: &str = "SELECT substring(convert_to(install_output, 'UTF8') FROM $2 FOR $3) AS piece FROM executions WHERE id = $1";

/// A place that somebody made up may lie within a character: that one is left out.
fn whole_characters(mut bytes: Vec<u8>) -> String {
    let torn = bytes.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    bytes.drain(..torn);
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let whole = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            bytes.truncate(whole);
            String::from_utf8(bytes).unwrap_or_default()
        }
    }
}

/// What is stored of where the streams were cut; none when all are whole.
pub(crate) fn cuts(end: &ExecutionRecord) -> Option<serde_json::Value> {
    let streams =
        [(Stream::Stdout, &end.stdout), (Stream::Stderr, &end.stderr), (Stream::Install, &end.install)];
    let cut = |text: &StoredText| {
        text.cut.map(|cut| StreamCut { head: cut.head, tail: cut.tail, total: text.total })
    };
    let found: BTreeMap<&str, StreamCut> =
        streams.into_iter().filter_map(|(stream, text)| Some((stream.as_str(), cut(text)?))).collect();
    (!found.is_empty()).then(|| serde_json::json!(found))
}

#[derive(QueryableByName)]
struct ProgressRow {
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Bool)]
    installs: bool,
    #[diesel(sql_type = Bool)]
    began: bool,
    #[diesel(sql_type = Bool)]
    settled: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    position: Option<i64>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    missing: Option<serde_json::Value>,
}

impl ProgressRow {
    fn into_progress(self) -> Result<Progress, StoreError> {
        let status = parse_status(&self.status)?;
        let phase = match status {
            Status::Running if self.began => Some(Phase::Script),
            Status::Running if self.installs => Some(Phase::Environment),
            // Too early to tell: a script that began just now is not noted yet.
            Status::Running if !self.settled => None,
            Status::Running => Some(Phase::Sandbox),
            _ => None,
        };
        let queue_position = self.position.map(i64::unsigned_abs);
        let missing = self.missing.map(serde_json::from_value).transpose();
        let missing = missing.map_err(|error| StoreError::Internal(format!("stored labels: {error}")))?;
        let waits_for = missing.map(|labels| format!("no worker has {}", format_labels(&labels)));
        Ok(Progress { status, attempt: self.attempt, phase, queue_position, waits_for })
    }
}

#[derive(QueryableByName)]
struct ChunkRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    stream: String,
    #[diesel(sql_type = Text)]
    text: String,
}

#[derive(QueryableByName)]
struct CutsRow {
    #[diesel(sql_type = Nullable<Jsonb>)]
    cuts: Option<serde_json::Value>,
}

#[derive(QueryableByName)]
struct PieceRow {
    #[diesel(sql_type = Binary)]
    piece: Vec<u8>,
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
