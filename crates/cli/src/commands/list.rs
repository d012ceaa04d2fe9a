//! `rgrid list`: what was submitted, the newest first.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rgrid_api::{Execution, Status};
use serde_json::{Value, json};

use crate::batch::{self, BatchId};
use crate::cli::Json;
use crate::client::{PAGE, Server};
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::Tone;
use crate::output::times;
use crate::submit::label;

const LIMIT: usize = 20;

/// List executions, the newest first
#[derive(Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  rgrid list --status failed
  rgrid list --label team=data --limit 5
  rgrid list batch_k3m9                   all of a batch, by their inputs
  rgrid list --json | jq -r '.items[].id'"
)]
pub struct ListArgs {
    /// Those of this batch alone, and all of them
    #[arg(value_name = "BATCH", value_parser = batch)]
    batch: Option<BatchId>,
    /// Only those that stand so
    #[arg(long, value_name = "STATUS", value_parser = status())]
    status: Option<Status>,
    /// Only those with this label; repeated, with all of them
    #[arg(long, value_name = "KEY=value", value_parser = label)]
    label: Vec<(String, String)>,
    /// How many at most [default: 20]
    #[arg(short = 'n', long, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    limit: Option<usize>,
    #[command(flatten)]
    form: Json,
}

impl ListArgs {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(if self.batch.is_some() { usize::MAX } else { LIMIT })
    }
}

fn batch(text: &str) -> Result<BatchId, String> {
    BatchId::of(text)
        .ok_or_else(|| format!("that is no batch; one execution is shown by `rgrid status {text}`"))
}

fn status() -> impl TypedValueParser<Value = Status> {
    let known = PossibleValuesParser::new(Status::ALL.map(Status::as_str));
    known.try_map(|text| {
        let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no status"))
    })
}

/// Some of the list, and where it goes on.
#[derive(Default)]
struct Found {
    executions: Vec<Execution>,
    documents: Vec<Value>,
    next_cursor: Option<String>,
}

pub fn run(args: &ListArgs, session: &Session) -> Result<Exit, Failure> {
    let found = find(args, &session.server()?)?;
    let console = &session.console;
    if args.form.json {
        console.json(&json!({ "items": found.documents, "next_cursor": found.next_cursor }))?;
        return Ok(Exit::Fine);
    }
    if found.executions.is_empty() {
        let all = args.status.is_none() && args.label.is_empty();
        if let (true, Some(batch)) = (all, &args.batch) {
            return Err(batch::unknown(batch));
        }
        console.progress(if all { "Nothing was submitted yet." } else { "None is like that." });
        if all {
            console.hint("submit something with `rgrid run SCRIPT`");
        }
        return Ok(Exit::Fine);
    }
    let (what, name): (_, fn(&Execution) -> &str) = match args.batch {
        Some(_) => ("INPUT", batch::input_of),
        None => ("SCRIPT", |execution| &execution.script),
    };
    let rows: Vec<_> = found.executions.iter().map(|execution| row(execution, name(execution))).collect();
    console.table(&["ID", "STATUS", "RUNTIME", what, "CREATED", "DURATION"], &rows)?;
    if found.next_cursor.is_some() {
        console
            .hint(&format!("there are more; --limit {} shows more of them", args.limit().saturating_mul(5)));
    }
    Ok(Exit::Fine)
}

fn find(args: &ListArgs, server: &Server) -> Result<Found, Failure> {
    let mut found = Found::default();
    loop {
        let left = args.limit().saturating_sub(found.executions.len());
        let (page, mut document) =
            server.executions(&query(args, left.min(PAGE), found.next_cursor.take()))?;
        if let Some(Value::Array(items)) = document.get_mut("items").map(Value::take) {
            found.documents.extend(items);
        }
        found.executions.extend(page.items);
        found.next_cursor = page.next_cursor;
        if found.next_cursor.is_none() || found.executions.len() >= args.limit() {
            return Ok(found);
        }
    }
}

fn query(args: &ListArgs, limit: usize, cursor: Option<String>) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(args.status.map(|status| ("status", status.to_string())));
    let labels = args.label.iter().cloned().chain(args.batch.as_ref().map(BatchId::label));
    query.extend(labels.map(|(key, value)| ("label", format!("{key}={value}"))));
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    query
}

fn row(execution: &Execution, name: &str) -> Vec<(String, Tone)> {
    let duration = execution.duration_ms.map(times::milliseconds);
    let plain = |text: String| (text, Tone::Plain);
    vec![
        plain(execution.id.clone()),
        (execution.status.to_string(), Tone::of(execution.status)),
        plain(execution.runtime.clone()),
        plain(name.to_owned()),
        plain(times::relative(&execution.created_at)),
        plain(duration.unwrap_or_else(|| "-".to_owned())),
    ]
}
