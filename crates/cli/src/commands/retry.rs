//! `rgrid retry`: runs the same job again.

use clap::Args;

use crate::cli::{Context, Id};
use crate::client::Submitted;
use crate::commands::run::finish;
use crate::error::{Exit, Result};
use crate::submit;
use crate::watch::{Activity, InterruptHandler, WaitMode, Waiter};

/// Run the same job again, as a new execution
#[derive(Args)]
#[command(after_help = "\
Example:
  rgrid retry -w exec_01jd3k

The values of secrets are not kept, so they are read from your environment or asked for again.")]
pub struct RetryArgs {
    #[command(flatten)]
    target: Id,
    /// Follow the output, then exit with the script's exit code
    #[arg(short, long)]
    follow: bool,
    /// Wait until the end, print the output, and exit with the script's exit code
    #[arg(short, long)]
    wait: bool,
    /// Print only the new ID; with -f or -w, only the script's output
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: &RetryArgs, context: &Context) -> Result<Exit> {
    let console = &context.console;
    let mode = WaitMode::from_flags(args.follow, args.wait);
    let client = if mode.is_some() { context.waiting_client()? } else { context.client()? };
    let names = client.execution(&args.target.id)?.secret_keys;
    if !names.is_empty() && !args.quiet {
        let names = names.join(", ");
        console.hint(&format!(
            "its secrets were not kept; reading them from your environment or asking again: {names}"
        ));
    }
    // Before signals are handled, since the prompt handles Ctrl-C itself.
    let secrets = submit::read_secrets(&names, &[])?;
    let interrupt = InterruptHandler::install(Activity::Submitting, console)?;
    let submitted = Submitted { execution: client.retry(&args.target.id, secrets)?, existing: false };
    // It is not known whether there is an install; asking for its output is cheap.
    let waiter = Waiter { client: &client, console, interrupt, show_install: !args.quiet, quiet: args.quiet };
    finish(&submitted, mode, &waiter, None)
}
