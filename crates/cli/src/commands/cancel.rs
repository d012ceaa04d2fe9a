//! `rgrid cancel`: ends an execution before its time.

use clap::Args;

use crate::cli::Id;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// A running script is told to end, and killed when it does not.
const GRACE_SECONDS: u64 = 10;

/// End an execution: one that waits does not run, one that runs is stopped
#[derive(Args)]
pub struct CancelArgs {
    #[command(flatten)]
    which: Id,
}

pub fn run(args: &CancelArgs, session: &Session) -> Result<Exit, Failure> {
    let server = session.server()?;
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
