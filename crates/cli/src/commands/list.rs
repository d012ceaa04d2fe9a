//! `rgrid list`: lists executions.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rgrid_api::{Execution, Status};
use serde_json::json;

use crate::batch::{self, BatchId};
use crate::cli::{Context, Json};
use crate::client::Executions;
use crate::error::{Exit, Result};
use crate::output::{Style, times};
use crate::submit::parse_label;

const DEFAULT_LIMIT: usize = 20;

/// List executions, newest first
#[derive(Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  rgrid list --status failed
  rgrid list --label team=data --limit 5
  rgrid list batch_k3m9                   all executions of a batch, with their inputs
  rgrid list --json | jq -r '.items[].id'"
)]
pub struct ListArgs {
    /// List all executions of this batch
    #[arg(value_name = "BATCH", value_parser = parse_batch)]
    batch: Option<BatchId>,
    /// Filter by status
    #[arg(long, value_name = "STATUS", value_parser = status_parser())]
    status: Option<Status>,
    /// Filter by label; if repeated, all labels must match
    #[arg(long, value_name = "KEY=value", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// List at most this many executions [default: 20]
    #[arg(short = 'n', long, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    limit: Option<usize>,
    #[command(flatten)]
    output: Json,
}

fn parse_batch(text: &str) -> Result<BatchId, String> {
    BatchId::parse(text)
        .ok_or_else(|| format!("not the ID of a batch; show an execution with `rgrid status {text}`"))
}

fn status_parser() -> impl TypedValueParser<Value = Status> {
    PossibleValuesParser::new(Status::ALL.map(Status::as_str)).try_map(|text| {
        let status = Status::ALL.into_iter().find(|status| status.as_str() == text);
        status.ok_or_else(|| format!("unknown status {text:?}"))
    })
}

pub fn run(args: &ListArgs, context: &Context) -> Result<Exit> {
    let console = &context.console;
    let default_limit = if args.batch.is_some() { usize::MAX } else { DEFAULT_LIMIT };
    let limit = args.limit.unwrap_or(default_limit);
    let labels: Vec<_> = args.label.iter().cloned().chain(args.batch.as_ref().map(BatchId::label)).collect();
    let Executions { items: executions, documents, next_cursor } =
        context.client()?.executions(&labels, args.status, limit)?;
    if args.output.json {
        console.json(&json!({ "items": documents, "next_cursor": next_cursor }))?;
        return Ok(Exit::Success);
    }
    if executions.is_empty() {
        match &args.batch {
            _ if args.status.is_some() || !args.label.is_empty() => {
                console.progress("No matching executions.");
            }
            Some(batch) => return Err(batch::not_found(batch)),
            None => {
                console.progress("No executions yet.");
                console.hint("submit a script with `rgrid run SCRIPT`");
            }
        }
        return Ok(Exit::Success);
    }
    let (heading, name): (_, fn(&Execution) -> &str) = match args.batch {
        Some(_) => ("INPUT", batch::input_of),
        None => ("SCRIPT", |execution| &execution.script),
    };
    let rows = executions.iter().map(|execution| row(execution, name(execution))).collect();
    console.table(&["ID", "STATUS", "RUNTIME", heading, "CREATED", "DURATION"], rows)?;
    if next_cursor.is_some() {
        console.hint(&format!("there are more; list more with --limit {}", limit.saturating_mul(5)));
    }
    Ok(Exit::Success)
}

fn row(execution: &Execution, name: &str) -> Vec<(String, Style)> {
    let duration = execution.duration_ms.map(times::milliseconds);
    let plain = |text: &str| (text.to_owned(), Style::Plain);
    vec![
        plain(&execution.id),
        (execution.status.to_string(), Style::of(execution.status)),
        plain(&execution.runtime),
        plain(name),
        plain(&times::relative(&execution.created_at)),
        plain(duration.as_deref().unwrap_or("-")),
    ]
}
