//! `rgrid list`: what was submitted, the newest first.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rgrid_api::{Execution, Status};
use serde_json::{Value, json};

use crate::cli::Json;
use crate::console::Tone;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::server::Server;
use crate::session::Session;
use crate::submission::label;
use crate::times;

/// The most that the server gives at once.
const PAGE_MAX: usize = 1000;

/// List executions, the newest first
#[derive(Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  rgrid list --status failed
  rgrid list --label team=data --limit 5
  rgrid list --json | jq -r '.items[].id'"
)]
pub struct ListArgs {
    /// Only those that stand so
    #[arg(long, value_name = "STATUS", value_parser = status())]
    status: Option<Status>,
    /// Only those with this label; repeated, with all of them
    #[arg(long, value_name = "KEY=value", value_parser = label)]
    label: Vec<(String, String)>,
    /// How many at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    #[command(flatten)]
    form: Json,
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
        console.progress(if all { "Nothing was submitted yet." } else { "None is like that." });
        if all {
            console.hint("submit something with `rgrid run SCRIPT`");
        }
        return Ok(Exit::Fine);
    }
    let rows: Vec<_> = found.executions.iter().map(row).collect();
    console.table(&["ID", "STATUS", "RUNTIME", "SCRIPT", "CREATED", "DURATION"], &rows)?;
    if found.next_cursor.is_some() {
        console.hint(&format!("there are more; --limit {} shows them", args.limit.saturating_mul(5)));
    }
    Ok(Exit::Fine)
}

fn find(args: &ListArgs, server: &Server) -> Result<Found, Failure> {
    let mut found = Found::default();
    loop {
        let left = args.limit.saturating_sub(found.executions.len());
        let (page, mut document) =
            server.executions(&query(args, left.min(PAGE_MAX), found.next_cursor.take()))?;
        if let Some(Value::Array(items)) = document.get_mut("items").map(Value::take) {
            found.documents.extend(items);
        }
        found.executions.extend(page.items);
        found.next_cursor = page.next_cursor;
        if found.next_cursor.is_none() || found.executions.len() >= args.limit {
            return Ok(found);
        }
    }
}

fn query(args: &ListArgs, limit: usize, cursor: Option<String>) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(args.status.map(|status| ("status", status.to_string())));
    query.extend(args.label.iter().map(|(key, value)| ("label", format!("{key}={value}"))));
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    query
}

fn row(execution: &Execution) -> Vec<(String, Tone)> {
    let duration = execution.duration_ms.map(times::milliseconds);
    let plain = |text: String| (text, Tone::Plain);
    vec![
        plain(execution.id.clone()),
        (execution.status.to_string(), Tone::of(execution.status)),
        plain(execution.runtime.clone()),
        plain(execution.script.clone()),
        plain(times::relative(&execution.created_at)),
        plain(duration.unwrap_or_else(|| "-".to_owned())),
    ]
}
