//! `rgrid wait`: until an execution has ended.

use clap::Args;

use crate::batch::{self, BatchId, Watch};
use crate::cli::{IdOrBatch, Json};
use crate::client::{PAGE, Server};
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::Tone;
use crate::output::report::{self, Seen};
use crate::watch::interrupt::{Interrupt, Stage};
use crate::watch::waiting;

/// Wait for an execution's end, and leave with the script's exit code
#[derive(Args)]
#[command(after_help = "\
Examples:
  id=$(rgrid run -q s.py); rgrid wait \"$id\" && rgrid logs --stdout \"$id\"
  rgrid wait batch_k3m9                  all of a batch; 0 when all completed, else 1")]
pub struct WaitArgs {
    #[command(flatten)]
    which: IdOrBatch,
    #[command(flatten)]
    form: Json,
}

pub fn run(args: &WaitArgs, session: &Session) -> Result<Exit, Failure> {
    let server = session.patient_server()?;
    if let Some(batch) = BatchId::of(&args.which.id) {
        return all_of(batch, args, &server, session);
    }
    let id = server.execution(&args.which.id)?.id;
    let _interrupt = Interrupt::watch(Stage::Waiting(id.clone()), &session.console)?;
    let ended = waiting::for_end(&server, &id)?;
    if args.form.json {
        session.console.json(&server.execution_document(&id)?)?;
        return Ok(Exit::of(&ended));
    }
    session.console.field("Status", ended.status.as_str(), Tone::of(ended.status))?;
    Ok(report::conclude(&ended, Seen::Nothing, &session.console))
}

/// Leaves with 0 when all have completed.
fn all_of(batch: BatchId, args: &WaitArgs, server: &Server, session: &Session) -> Result<Exit, Failure> {
    let members = batch::members(server, &batch)?;
    let _interrupt = Interrupt::watch(Stage::Batch { id: batch.to_string(), left: 0 }, &session.console)?;
    let mut watch = Watch::of(batch, members, server, &session.console).quiet(args.form.json);
    watch.until_end()?;
    if !args.form.json {
        batch::summary(&watch, &session.console)?;
        return Ok(watch.exit());
    }
    let (_, document) = server.executions(&[("label", watch.label()), ("limit", PAGE.to_string())])?;
    session.console.json(&document)?;
    Ok(watch.exit())
}
