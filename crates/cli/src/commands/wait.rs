//! `rgrid wait`: until an execution has ended.

use clap::Args;

use crate::cli::{Id, Json};
use crate::console::Tone;
use crate::ending::{self, Seen};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::{Interrupt, Stage};
use crate::session::Session;
use crate::waiting;

/// Wait for an execution's end, and leave with the script's exit code
#[derive(Args)]
#[command(after_help = "\
Example:
  id=$(rgrid run -q s.py); rgrid wait \"$id\" && rgrid logs --stdout \"$id\"")]
pub struct WaitArgs {
    #[command(flatten)]
    which: Id,
    #[command(flatten)]
    form: Json,
}

pub fn run(args: &WaitArgs, session: &Session) -> Result<Exit, Failure> {
    let server = session.patient_server()?;
    let id = server.execution(&args.which.id)?.id;
    let _interrupt = Interrupt::watch(Stage::Waiting(id.clone()), &session.console)?;
    let ended = waiting::for_end(&server, &id)?;
    if args.form.json {
        session.console.json(&server.execution_document(&id)?)?;
        return Ok(Exit::of(&ended));
    }
    session.console.field("Status", ended.status.as_str(), Tone::of(ended.status))?;
    Ok(ending::conclude(&ended, Seen::Nothing, &session.console))
}
