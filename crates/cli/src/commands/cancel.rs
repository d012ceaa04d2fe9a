//! `rgrid cancel`: cancels an execution or a batch.

use clap::Args;

use crate::batch::{self, BatchId};
use crate::cli::{Context, IdOrBatch};
use crate::client::Client;
use crate::error::{Exit, Result};

/// How long a running script has to stop before it is killed.
const GRACE_SECONDS: u64 = 10;

/// Cancel an execution: stop it if it is running, do not start it if it is queued
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid cancel exec_01jd3k
  rgrid cancel batch_k3m9                all executions of a batch that have not ended")]
pub struct CancelArgs {
    #[command(flatten)]
    target: IdOrBatch,
}

pub fn run(args: &CancelArgs, context: &Context) -> Result<Exit> {
    let (client, console) = (context.client()?, &context.console);
    if let Some(batch) = BatchId::parse(&args.target.id) {
        let total = batch::executions(&client, &batch)?.len();
        let mut cancelled = 0;
        for execution in batch::unfinished(&client, &batch)? {
            cancelled += usize::from(cancel_unless_ended(&client, &execution.id)?);
        }
        console.line(&format!("Batch: {batch}"))?;
        console.line(&format!("Cancelled: {cancelled} of {total}"))?;
        return Ok(Exit::Success);
    }
    let mut execution = client.cancel(&args.target.id)?;
    let id = execution.id.clone();
    if !execution.status.is_final() {
        execution = client.execution_within(&id, GRACE_SECONDS)?;
    }
    console.line(&format!("Execution: {id}"))?;
    console.line(&format!("Status: {}", execution.status))?;
    if !execution.status.is_final() {
        console.hint(&format!("it is still stopping; wait for it with `rgrid wait {id}`"));
    }
    Ok(Exit::Success)
}

/// Returns false if the execution has ended in the meantime.
fn cancel_unless_ended(client: &Client, id: &str) -> Result<bool> {
    match client.cancel(id) {
        Ok(_) => Ok(true),
        Err(_) if client.execution(id)?.status.is_final() => Ok(false),
        Err(error) => Err(error),
    }
}
