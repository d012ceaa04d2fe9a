//! `rgrid status`: where an execution stands.

use clap::Args;
use rgrid_api::Execution;

use crate::cli::{Id, Json};
use crate::client::Server;
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::describe;
use crate::watch::interrupt::{Interrupt, Stage};

/// How long a change may go unseen.
const LOOK_SECONDS: u64 = 1;

/// Show where an execution stands
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid status exec_01jd3k
  rgrid status --json 01jd3k | jq -r .status")]
pub struct StatusArgs {
    #[command(flatten)]
    which: Id,
    /// Show it anew whenever it changes, until its end
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    form: Json,
}

pub fn run(args: &StatusArgs, session: &Session) -> Result<Exit, Failure> {
    if args.watch {
        let server = session.patient_server()?;
        return watch(&server, &args.which.id, session);
    }
    let server = session.server()?;
    if args.form.json {
        session.console.json(&server.execution_document(&args.which.id)?)?;
    } else {
        describe::show(&server.execution(&args.which.id)?, &session.console)?;
    }
    Ok(Exit::Fine)
}

fn watch(server: &Server, id: &str, session: &Session) -> Result<Exit, Failure> {
    let mut execution = server.execution(id)?;
    let _interrupt = Interrupt::watch(Stage::Waiting(execution.id.clone()), &session.console)?;
    describe::show(&execution, &session.console)?;
    while !execution.status.is_final() {
        let next = server.execution_within(id, LOOK_SECONDS)?;
        if describe::lines(&next) != describe::lines(&execution) {
            replace(&execution, &next, session)?;
        }
        execution = next;
    }
    Ok(Exit::Fine)
}

/// On a terminal the new lines take the place of the old ones.
fn replace(old: &Execution, new: &Execution, session: &Session) -> Result<(), Failure> {
    if session.console.out_is_terminal() {
        let height = describe::lines(old).len();
        session.console.raw(&format!("\x1b[{height}A\x1b[J"))?;
    } else {
        session.console.line("")?;
    }
    describe::show(new, &session.console)
}
