//! `rgrid wait`: waits until executions have ended.

use clap::Args;
use serde_json::json;

use crate::batch::{self, BatchId, BatchProgress};
use crate::cli::{Context, IdOrBatch, Json};
use crate::client::{Client, Executions};
use crate::error::{Exit, Result};
use crate::output::report::{self, Printed};
use crate::output::{Console, Style};
use crate::watch::{Activity, InterruptHandler, wait_for_end};

/// Wait until an execution has ended, then exit with the script's exit code
#[derive(Args)]
#[command(after_help = "\
Examples:
  id=$(rgrid run -q s.py); rgrid wait \"$id\" && rgrid logs --stdout \"$id\"
  rgrid wait batch_k3m9                  wait for a batch; exit with 0 if all completed, else with 1")]
pub struct WaitArgs {
    #[command(flatten)]
    target: IdOrBatch,
    #[command(flatten)]
    output: Json,
}

pub fn run(args: &WaitArgs, context: &Context) -> Result<Exit> {
    let (client, console) = (context.waiting_client()?, &context.console);
    if let Some(batch) = BatchId::parse(&args.target.id) {
        return wait_for_batch(batch, args.output.json, &client, console);
    }
    let id = client.execution(&args.target.id)?.id;
    let _interrupt = InterruptHandler::install(Activity::Waiting(id.clone()), console)?;
    let ended = wait_for_end(&client, &id)?;
    if args.output.json {
        console.json(&client.execution_document(&id)?)?;
        return Ok(Exit::of(&ended));
    }
    console.field("Status", ended.status.as_str(), Style::of(ended.status))?;
    Ok(report::report(&ended, Printed::Nothing, console))
}

fn wait_for_batch(batch: BatchId, json: bool, client: &Client, console: &Console) -> Result<Exit> {
    let executions = batch::executions(client, &batch)?;
    let activity = Activity::Batch { id: batch.to_string(), unsubmitted: 0 };
    let _interrupt = InterruptHandler::install(activity, console)?;
    let labels = [batch.label()];
    let mut progress = BatchProgress::resume(batch, executions, client, console);
    progress.quiet = json;
    progress.wait_for_end()?;
    if json {
        let Executions { documents, next_cursor, .. } = client.executions(&labels, None, usize::MAX)?;
        console.json(&json!({ "items": documents, "next_cursor": next_cursor }))?;
    } else {
        progress.print_summary()?;
    }
    Ok(progress.exit())
}
