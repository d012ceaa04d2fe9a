//! `rgrid cancel`: ends an execution before its time.

use clap::Args;

use crate::batch::{self, BatchId};
use crate::cli::IdOrBatch;
use crate::client::Server;
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;

/// A running script is told to end, and killed when it does not.
const GRACE_SECONDS: u64 = 10;

/// End an execution: one that waits does not run, one that runs is stopped
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid cancel exec_01jd3k
  rgrid cancel batch_k3m9                all of a batch that have not ended")]
pub struct CancelArgs {
    #[command(flatten)]
    which: IdOrBatch,
}

pub fn run(args: &CancelArgs, session: &Session) -> Result<Exit, Failure> {
    let server = session.server()?;
    if let Some(batch) = BatchId::of(&args.which.id) {
        return all_of(&batch, &server, session);
    }
    let mut execution = server.cancel(&args.which.id)?;
    let id = execution.id.clone();
    if !execution.status.is_final() {
        execution = server.execution_within(&id, GRACE_SECONDS)?;
    }
    session.console.line(&format!("Execution: {id}"))?;
    session.console.line(&format!("Status: {}", execution.status))?;
    if !execution.status.is_final() {
        session.console.hint(&format!("it was told to end; `rgrid wait {id}` tells when it has"));
    }
    Ok(Exit::Fine)
}

fn all_of(batch: &BatchId, server: &Server, session: &Session) -> Result<Exit, Failure> {
    let all = batch::members(server, batch)?.len();
    let mut cancelled = 0;
    for execution in batch::unfinished(server, batch)? {
        cancelled += usize::from(is_cancelled(server, &execution.id)?);
    }
    session.console.line(&format!("Batch: {batch}"))?;
    session.console.line(&format!("Cancelled: {cancelled} of {all}"))?;
    Ok(Exit::Fine)
}

/// False when it has come to its own end just before.
fn is_cancelled(server: &Server, id: &str) -> Result<bool, Failure> {
    match server.cancel(id) {
        Ok(_) => Ok(true),
        Err(_) if server.execution(id)?.status.is_final() => Ok(false),
        Err(failure) => Err(failure),
    }
}
