//! Executions as the API shows them.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Text;
use rgrid_api::{Execution, Phases, Status, Stream, Usage};

use crate::execution::{Caller, ExecutionId, KeyId};
use crate::store::schema::{executions, output_chunks};
use crate::store::sql::{concat_ws, elapsed, lower, millis, strpos};
use crate::store::{Result, Store, StoreError, executions::files::outputs};

/// The conditions and the page of a list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    /// It has all of these.
    pub labels: BTreeMap<String, String>,
    /// Part of the id, the script's name or a label, ignoring case.
    pub text: Option<String>,
    /// Only executions that were submitted before this one.
    pub before: Option<ExecutionId>,
    pub limit: usize,
    /// Only executions that this key submitted.
    pub owner: Option<KeyId>,
}

/// One page of a list, newest first.
#[derive(Debug, Clone)]
pub struct Page {
    pub items: Vec<Execution>,
    pub next: Option<ExecutionId>,
}

/// A stream of an execution so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamText {
    pub text: String,
    pub ended: bool,
}

impl Store {
    /// The id with this unique prefix, among the executions that the caller may see.
    pub async fn resolve(&self, prefix: &str, caller: &Caller) -> Result<ExecutionId> {
        let (prefix, owner) = (prefix.to_owned(), caller.restricted_to().cloned());
        self.run(move |conn| {
            // A prefix has only letters, digits and `_`, which is a wildcard of LIKE.
            let pattern = format!("{}%", prefix.replace('_', "\\_"));
            let mut query = executions::table.select(executions::id).into_boxed();
            if let Some(owner) = &owner {
                query = query.filter(executions::key_id.eq(owner.as_str()));
            }
            let mut found: Vec<String> =
                query.filter(executions::id.like(pattern)).order(executions::id).limit(20).load(conn)?;
            match found.len() {
                0 | 1 => found.pop().map(ExecutionId::from_stored).ok_or(StoreError::NotFound),
                many => Err(StoreError::Ambiguous(many)),
            }
        })
        .await
    }

    pub async fn execution(&self, id: &ExecutionId) -> Result<Execution> {
        let id = id.clone();
        self.run(move |conn| {
            let (row, stdout, stderr): (Row, String, String) = executions::table
                .find(id.as_str())
                .select((Row::as_select(), executions::stdout, executions::stderr))
                .first(conn)?;
            let execution = row.into_execution()?;
            // Outputs are stored in the transaction that ends the execution.
            let outputs = if execution.status.is_final() { outputs(conn, &id)? } else { Vec::new() };
            Ok(Execution { stdout: Some(stdout), stderr: Some(stderr), outputs: Some(outputs), ..execution })
        })
        .await
    }

    pub async fn execution_without_output(&self, id: &ExecutionId) -> Result<Execution> {
        let id = id.clone();
        self.run(move |conn| {
            let row: Row = executions::table.find(id.as_str()).select(Row::as_select()).first(conn)?;
            Ok(Execution { outputs: Some(outputs(conn, &id)?), ..row.into_execution()? })
        })
        .await
    }

    /// Never includes the values of variables.
    pub async fn job_definition(&self, id: &ExecutionId) -> Result<JobDefinition> {
        self.get(executions::table.find(id.to_string()).select(JobDefinition::as_select())).await
    }

    pub async fn status(&self, id: &ExecutionId) -> Result<Status> {
        let status = executions::table.find(id.to_string()).select(executions::status);
        self.run(|conn| parse_status(&status.get_result::<String>(conn)?)).await
    }

    pub async fn list(&self, filter: Filter) -> Result<Page> {
        self.run(move |conn| {
            let mut query = executions::table.select(Row::as_select()).into_boxed();
            if let Some(status) = filter.status {
                query = query.filter(executions::status.eq(status.as_str()));
            }
            if !filter.labels.is_empty() {
                query = query.filter(executions::labels.contains(serde_json::json!(filter.labels)));
            }
            if let Some(owner) = &filter.owner {
                query = query.filter(executions::key_id.eq(owner.as_str().to_owned()));
            }
            if let Some(text) = &filter.text {
                let labels = executions::labels.cast::<Text>();
                let searched = concat_ws(" ", executions::id, executions::script_name, labels);
                query = query.filter(strpos(lower(searched), lower(text)).gt(0));
            }
            if let Some(before) = &filter.before {
                query = query.filter(executions::id.lt(before.as_str().to_owned()));
            }
            let page = filter.limit;
            let rows: Vec<Row> = query.order(executions::id.desc()).limit(page as i64 + 1).load(conn)?;
            let more = rows.len() > page;
            let page = rows.into_iter().take(page).map(Row::into_execution);
            let items = page.collect::<Result<Vec<_>, _>>()?;
            let last = items.last().map(|item| ExecutionId::from_stored(item.id.clone()));
            Ok(Page { items, next: last.filter(|_| more) })
        })
        .await
    }

    /// A stream of the current attempt: from the chunks while it runs, from the row when it has ended.
    pub async fn stream(&self, id: &ExecutionId, stream: Stream) -> Result<StreamText> {
        let id = id.clone();
        self.run(move |conn| {
            conn.build_transaction().read_only().repeatable_read().run(|conn| {
                let (status, attempt): (String, i32) = executions::table
                    .find(id.as_str())
                    .select((executions::status, executions::attempt))
                    .first(conn)?;
                let ended = parse_status(&status)?.is_final();
                let text = if ended {
                    executions::table.find(id.as_str()).select(stored_stream(stream)).first(conn)?
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
}

/// The column that holds a stream of an execution that has ended.
pub(crate) fn stored_stream(
    stream: Stream,
) -> Box<dyn BoxableExpression<executions::table, Pg, SqlType = Text>> {
    match stream {
        Stream::Stdout => Box::new(executions::stdout),
        Stream::Stderr => Box::new(executions::stderr),
        Stream::Install => Box::new(executions::install_output),
    }
}

pub(crate) fn parse_status(text: &str) -> Result<Status> {
    Status::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| StoreError::Internal(format!("unknown status {text:?}")))
}

const MIB: u64 = 1 << 20;

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
    released: i32,
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
    environment_ms: Option<i64>,
    sandbox_ms: Option<i64>,
    script_ms: Option<i64>,
    pruned_at: Option<DateTime<Utc>>,
    on_labels: serde_json::Value,
    priority: i16,
    memory_bytes: i64,
    outputs_left_out: Option<serde_json::Value>,
}

impl Row {
    fn phases(&self) -> (Phases, Option<u64>) {
        let between = |start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>| {
            Some(millis(elapsed(start?, end?)).unsigned_abs())
        };
        let [environment_ms, sandbox_ms, script_ms] =
            [self.environment_ms, self.sandbox_ms, self.script_ms].map(|ms| ms.map(i64::unsigned_abs));
        let duration = between(self.started_at, self.completed_at);
        let phases = Phases {
            queued_ms: between(Some(self.created_at), self.started_at),
            environment_ms,
            sandbox_ms,
            script_ms,
            // The remaining time, which is known only if the script's time is.
            recorded_ms: duration.filter(|_| script_ms.is_some()).map(|whole| {
                whole.saturating_sub([environment_ms, sandbox_ms, script_ms].iter().flatten().sum())
            }),
        };
        (phases, duration)
    }

    fn into_execution(self) -> Result<Execution> {
        use serde_json::from_value;
        let (phases, duration_ms) = self.phases();
        let usage = self
            .cpu_ms
            .zip(self.peak_memory_bytes)
            .map(|(cpu, peak)| Usage { cpu_ms: cpu.unsigned_abs(), peak_memory_bytes: peak.unsigned_abs() });
        Ok(Execution {
            status: parse_status(&self.status)?,
            failure_kind: self
                .failure_kind
                .and_then(|text| rgrid_api::FailureKind::ALL.into_iter().find(|k| k.as_str() == text)),
            id: self.id,
            runtime: self.runtime,
            script: self.script_name,
            args: from_value(self.args)?,
            env_keys: keys(&self.env),
            secret_keys: from_value(self.secret_names)?,
            created_at: rfc3339(self.created_at),
            started_at: self.started_at.map(rfc3339),
            completed_at: self.completed_at.map(rfc3339),
            duration_ms,
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
            pruned_at: self.pruned_at.map(rfc3339),
            execution_error: self.execution_error,
            attempt: (self.attempt - self.released).unsigned_abs(),
            max_attempts: self.max_attempts.unsigned_abs(),
            worker: self.worker_name,
            timeout_seconds: self.timeout_ms as f64 / 1000.0,
            memory_mb: self.memory_bytes.unsigned_abs() / MIB,
            next_try: None,
            labels: from_value(self.labels)?,
            on: from_value(self.on_labels)?,
            priority: self.priority.into(),
            outputs: None,
            outputs_left_out: self.outputs_left_out.map(from_value).transpose()?.unwrap_or_default(),
            usage,
        })
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn keys(object: &serde_json::Value) -> Vec<String> {
    object.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// The submission of an execution, for its receipt.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = executions, check_for_backend(diesel::pg::Pg))]
pub struct JobDefinition {
    pub runtime: String,
    args: serde_json::Value,
    env: serde_json::Value,
    pub requirements: Option<String>,
    pub timeout_ms: i64,
    pub memory_bytes: i64,
    pub cpus_milli: i32,
    pub network: bool,
    pub max_attempts: i32,
    /// The image's digest.
    pub image: Option<String>,
}

impl JobDefinition {
    pub fn args(&self) -> Vec<String> {
        serde_json::from_value(self.args.clone()).unwrap_or_default()
    }

    /// Names of the variables, in order.
    pub fn env_keys(&self) -> Vec<String> {
        let mut keys = keys(&self.env);
        keys.sort();
        keys
    }
}
