//! `rgrid retry`: the same job once more.

use std::collections::BTreeMap;

use clap::Args;
use rgrid_api::Status;

use crate::cli::Id;
use crate::client::Server;
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::submit;
use crate::watch::interrupt::{Interrupt, Stage};
use crate::watch::wait_mode::{Attendance, Manner};
use crate::watch::waiting::Install;

/// Run the same job once more, as a new execution
#[derive(Args)]
#[command(after_help = "\
Example:
  rgrid retry -w exec_01jd3k

Values of secrets are not kept: they are taken from your environment again, or asked for.")]
pub struct RetryArgs {
    #[command(flatten)]
    which: Id,
    /// Show its output as it happens, and leave with its exit code
    #[arg(short, long)]
    follow: bool,
    /// Wait for its end, print its output, and leave with its exit code
    #[arg(short, long)]
    wait: bool,
    /// Print the new id alone; with -f or -w, the script's output alone
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: &RetryArgs, session: &Session) -> Result<Exit, Failure> {
    let console = &session.console;
    let manner = match (args.follow, args.wait) {
        (true, _) => Manner::Follow,
        (false, true) => Manner::Wait,
        (false, false) => {
            let server = session.server()?;
            let again = server.retry(&args.which.id, secrets(args, &server, session)?)?;
            if args.quiet {
                return console.line(&again.id).map(|()| Exit::Fine);
            }
            console.line(&format!("Execution: {}", again.id))?;
            // Even if a worker was quicker than the server's answer.
            console.line(&format!("Status: {}", Status::Queued))?;
            console.hint(&format!("follow it with `rgrid logs -f {}`", again.id));
            return Ok(Exit::Fine);
        }
    };
    let server = session.patient_server()?;
    // Before Ctrl-C is watched for: the prompt has its own way with it.
    let secrets = secrets(args, &server, session)?;
    let interrupt = Interrupt::watch(Stage::Submitting, console)?;
    let again = server.retry(&args.which.id, secrets)?;
    interrupt.now(Stage::Waiting(again.id.clone()));
    if !args.quiet {
        console.progress(&format!("Execution: {}", again.id));
    }
    // Whether it has requirements is not known here; asking for what they say costs little.
    let install = if args.quiet { Install::None } else { Install::IncrementalText };
    Attendance { server: &server, console, interrupt, install, quiet: args.quiet }
        .until_end(&again, manner, None)
}

/// The server keeps no values of secrets, so they are taken from here once more.
fn secrets(
    args: &RetryArgs,
    server: &Server,
    session: &Session,
) -> Result<BTreeMap<String, String>, Failure> {
    let names = server.execution(&args.which.id)?.secret_keys;
    if !names.is_empty() && !args.quiet {
        let names = names.join(", ");
        session.console.hint(&format!(
            "its secrets were not kept; they are taken from your environment, or asked for again: {names}"
        ));
    }
    submit::secrets(&names)
}
