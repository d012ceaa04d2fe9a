//! Executions as the API shows them.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::dsl::sql;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Jsonb, Text};
use rgrid_api::{Execution, OutputFile, Phases, Status, Stream, Usage};
use serde::Deserialize;

use crate::execution::{Caller, ExecutionId, KeyId};
use crate::store::executions::files::Role;
use crate::store::schema::{execution_files, executions, output_chunks};
use crate::store::{Store, StoreError};

/// What a list is narrowed down to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    /// All of these must be there.
    pub labels: BTreeMap<String, String>,
    /// Part of the id, the script's name or a label, in whatever case.
    pub text: Option<String>,
    /// Only what was submitted before this one.
    pub before: Option<ExecutionId>,
    pub limit: usize,
    /// Only what this key submitted.
    pub owner: Option<KeyId>,
}

/// One page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page {
    pub items: Vec<Execution>,
    pub next: Option<ExecutionId>,
}

/// A stream as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamText {
    pub text: String,
    pub ended: bool,
}

impl Store {
    /// The one execution whose id begins so, among those that the caller may see.
    pub async fn resolve(&self, prefix: &str, caller: &Caller) -> Result<ExecutionId, StoreError> {
        let (prefix, owner) = (prefix.to_owned(), caller.restricted_to().cloned());
        self.run(move |conn| {
            // The prefix has letters and digits alone, so nothing in it is a wildcard but `_`, escaped.
            let pattern = format!("{}%", prefix.replace('_', "\\_"));
            let mut query = executions::table.select(executions::id).into_boxed();
            if let Some(owner) = &owner {
                query = query.filter(executions::key_id.eq(owner.as_str()));
            }
            let found: Vec<String> =
                query.filter(executions::id.like(pattern)).order(executions::id).limit(20).load(conn)?;
            match found.len() {
                0 => Err(StoreError::NotFound),
                1 => found.into_iter().next().map(ExecutionId::from_stored).ok_or(StoreError::NotFound),
                many => Err(StoreError::Ambiguous(many)),
            }
        })
        .await
    }

    pub async fn execution(&self, id: &ExecutionId) -> Result<Execution, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let (row, more, stdout, stderr): (Row, More, String, String) = executions::table
                .find(id.as_str())
                .select((Row::as_select(), more(), executions::stdout, executions::stderr))
                .first(conn)?;
            let mut execution = row.into_execution(more)?;
            execution.stdout = Some(stdout);
            execution.stderr = Some(stderr);
            execution.outputs = Some(Vec::new());
            // They are stored in the transaction that ends it.
            if execution.status.is_final() {
                execution.outputs = Some(outputs(conn, &id)?);
            }
            Ok(execution)
        })
        .await
    }

    /// The execution without what it said.
    pub async fn execution_without_output(&self, id: &ExecutionId) -> Result<Execution, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let found = executions::table.find(id.as_str()).select((Row::as_select(), more()));
            let (row, more): (Row, More) = found.first(conn)?;
            let outputs = Some(outputs(conn, &id)?);
            Ok(Execution { outputs, ..row.into_execution(more)? })
        })
        .await
    }

    pub async fn status(&self, id: &ExecutionId) -> Result<Status, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let text: String = executions::table.find(id.as_str()).select(executions::status).first(conn)?;
            parse_status(&text)
        })
        .await
    }

    pub async fn list(&self, filter: Filter) -> Result<Page, StoreError> {
        self.run(move |conn| {
            let mut query = executions::table.select((Row::as_select(), more())).into_boxed();
            if let Some(status) = filter.status {
                query = query.filter(executions::status.eq(status.as_str()));
            }
            if !filter.labels.is_empty() {
                let labels = serde_json::json!(filter.labels).to_string();
                query = query.filter(sql::<Bool>("labels @> ").bind::<Text, _>(labels).sql("::jsonb"));
            }
            if let Some(owner) = &filter.owner {
                query = query.filter(executions::key_id.eq(owner.as_str().to_owned()));
            }
            if let Some(text) = &filter.text {
                let found = "strpos(lower(concat_ws(' ', id, script_name, labels::text)), lower(";
                query = query.filter(sql::<Bool>(found).bind::<Text, _>(text.clone()).sql(")) > 0"));
            }
            if let Some(before) = &filter.before {
                query = query.filter(executions::id.lt(before.as_str().to_owned()));
            }
            let page = filter.limit;
            let rows: Vec<(Row, More)> =
                query.order(executions::id.desc()).limit(page as i64 + 1).load(conn)?;
            let more = rows.len() > page;
            let page = rows.into_iter().take(page).map(|(row, more)| row.into_execution(more));
            let items = page.collect::<Result<Vec<_>, _>>()?;
            let last = items.last().map(|item| ExecutionId::from_stored(item.id.clone()));
            Ok(Page { items, next: last.filter(|_| more) })
        })
        .await
    }

    /// A stream of the current attempt: from its chunks while it runs, from its row when it has ended.
    pub async fn stream(&self, id: &ExecutionId, stream: Stream) -> Result<StreamText, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            conn.build_transaction().read_only().repeatable_read().run(|conn| {
                let (status, attempt): (String, i32) = executions::table
                    .find(id.as_str())
                    .select((executions::status, executions::attempt))
                    .first(conn)?;
                let ended = parse_status(&status)?.is_final();
                let text = if ended {
                    ended_text(conn, &id, stream)?
                } else {
                    output_chunks::table
                        .filter(output_chunks::execution_id.eq(id.as_str()))
                        .filter(output_chunks::attempt.eq(attempt))
                        .filter(output_chunks::stream.eq(stream.as_str()))
                        .order(output_chunks::seq)
                        .select(output_chunks::text)
                        .load::<String>(conn)?
                        .concat()
                };
                Ok(StreamText { text, ended })
            })
        })
        .await
    }

    pub async fn outputs(&self, id: &ExecutionId) -> Result<Vec<OutputFile>, StoreError> {
        let id = id.clone();
        self.run(move |conn| outputs(conn, &id)).await
    }
}

fn ended_text(conn: &mut PgConnection, id: &ExecutionId, stream: Stream) -> Result<String, StoreError> {
    let row = executions::table.find(id.as_str());
    Ok(match stream {
        Stream::Stdout => row.select(executions::stdout).first(conn)?,
        Stream::Stderr => row.select(executions::stderr).first(conn)?,
        Stream::Install => row.select(executions::install_output).first(conn)?,
    })
}

fn outputs(conn: &mut PgConnection, id: &ExecutionId) -> Result<Vec<OutputFile>, StoreError> {
    let rows: Vec<(String, i64, Vec<u8>)> = execution_files::table
        .filter(execution_files::execution_id.eq(id.as_str()))
        .filter(execution_files::role.eq(Role::Output.as_str()))
        .order(execution_files::name)
        .select((execution_files::name, execution_files::size, execution_files::sha256))
        .load(conn)?;
    Ok(rows.into_iter().map(output_file).collect())
}

/// From its row: name, size, SHA-256.
pub(crate) fn output_file((name, size, sha256): (String, i64, Vec<u8>)) -> OutputFile {
    OutputFile { name, size: size.unsigned_abs(), sha256: base16ct::lower::encode_string(&sha256) }
}

pub(crate) fn parse_status(text: &str) -> Result<Status, StoreError> {
    Status::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| StoreError::Internal(format!("unknown status {text:?}")))
}

const MIB: u64 = 1 << 20;

/// What is read for show alone, in one column: diesel's tables end at 32.
#[derive(Debug, Default, Deserialize, FromSqlRow)]
struct More {
    environment_ms: Option<u64>,
    sandbox_ms: Option<u64>,
    script_ms: Option<u64>,
    pruned_at: Option<DateTime<Utc>>,
    on: BTreeMap<String, String>,
    priority: i32,
    memory_bytes: u64,
    outputs_left_out: Option<Vec<String>>,
}

fn more() -> diesel::expression::SqlLiteral<Jsonb> {
    sql("jsonb_build_object('environment_ms', environment_ms, 'sandbox_ms', sandbox_ms, 'script_ms', script_ms,
        'pruned_at', pruned_at, 'on', on_labels, 'priority', priority, 'memory_bytes', memory_bytes,
        'outputs_left_out', outputs_left_out)")
}

impl FromSql<Jsonb, Pg> for More {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        Ok(serde_json::from_value(FromSql::<Jsonb, Pg>::from_sql(value)?)?)
    }
}

fn phases(more: &More, queued: Option<u64>, duration: Option<u64>) -> Phases {
    let known = [more.environment_ms, more.sandbox_ms, more.script_ms];
    let spent: u64 = known.iter().flatten().sum();
    // Where the script's own time is not known, neither is what is left of it.
    let recorded = duration.filter(|_| more.script_ms.is_some()).map(|whole| whole.saturating_sub(spent));
    Phases {
        queued_ms: queued,
        environment_ms: more.environment_ms,
        sandbox_ms: more.sandbox_ms,
        script_ms: more.script_ms,
        recorded_ms: recorded,
    }
}

fn millis_between(start: DateTime<Utc>, end: DateTime<Utc>) -> u64 {
    (end - start).num_milliseconds().max(0).unsigned_abs()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = executions, check_for_backend(diesel::pg::Pg))]
struct Row {
    id: String,
    status: String,
    runtime: String,
    script_name: String,
    args: serde_json::Value,
    env: serde_json::Value,
    secret_names: serde_json::Value,
    labels: serde_json::Value,
    timeout_ms: i64,
    attempt: i32,
    max_attempts: i32,
    worker_name: Option<String>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    exit_code: Option<i32>,
    failure_kind: Option<String>,
    execution_error: Option<String>,
    stdout_bytes: i64,
    stderr_bytes: i64,
    output_truncated: bool,
    cpu_ms: Option<i64>,
    peak_memory_bytes: Option<i64>,
}

impl Row {
    fn into_execution(self, more: More) -> Result<Execution, StoreError> {
        let unreadable = |error: serde_json::Error| StoreError::Internal(format!("stored row: {error}"));
        let env_keys = match self.env {
            serde_json::Value::Object(map) => map.into_iter().map(|(key, _)| key).collect(),
            _ => Vec::new(),
        };
        let usage = match (self.cpu_ms, self.peak_memory_bytes) {
            (Some(cpu), Some(peak)) => {
                Some(Usage { cpu_ms: cpu.unsigned_abs(), peak_memory_bytes: peak.unsigned_abs() })
            }
            _ => None,
        };
        let duration = match (self.started_at, self.completed_at) {
            (Some(start), Some(end)) => Some(millis_between(start, end)),
            _ => None,
        };
        let phases =
            phases(&more, self.started_at.map(|start| millis_between(self.created_at, start)), duration);
        Ok(Execution {
            status: parse_status(&self.status)?,
            failure_kind: self
                .failure_kind
                .and_then(|text| rgrid_api::FailureKind::ALL.into_iter().find(|k| k.as_str() == text)),
            id: self.id,
            runtime: self.runtime,
            script: self.script_name,
            args: serde_json::from_value(self.args).map_err(unreadable)?,
            env_keys,
            secret_keys: serde_json::from_value(self.secret_names).map_err(unreadable)?,
            created_at: rfc3339(self.created_at),
            started_at: self.started_at.map(rfc3339),
            completed_at: self.completed_at.map(rfc3339),
            duration_ms: duration,
            phase: None,
            queue_position: None,
            waits_for: None,
            phases,
            exit_code: self.exit_code,
            stdout: None,
            stderr: None,
            stdout_bytes: self.stdout_bytes.unsigned_abs(),
            stderr_bytes: self.stderr_bytes.unsigned_abs(),
            output_truncated: self.output_truncated,
            pruned_at: more.pruned_at.map(rfc3339),
            execution_error: self.execution_error,
            attempt: self.attempt.unsigned_abs(),
            max_attempts: self.max_attempts.unsigned_abs(),
            worker: self.worker_name,
            timeout_seconds: self.timeout_ms as f64 / 1000.0,
            memory_mb: more.memory_bytes / MIB,
            next_try: None,
            labels: serde_json::from_value(self.labels).map_err(unreadable)?,
            on: more.on,
            priority: more.priority,
            outputs: None,
            outputs_left_out: more.outputs_left_out.unwrap_or_default(),
            usage,
        })
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
