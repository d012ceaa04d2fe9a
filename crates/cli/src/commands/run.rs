//! `rgrid run`: submits a script and optionally waits for it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use rgrid_api::{Execution, Status};

use crate::batch::{self, BatchOptions, Split};
use crate::cli::Context;
use crate::client::Submitted;
use crate::download::Destination;
use crate::error::{CliError, Exit, Result};
use crate::output::times;
use crate::submit::{self, JobOptions, PreparedJob};
use crate::watch::{Activity, InterruptHandler, WaitMode, Waiter};

const MAX_KEY: usize = 255;

/// Run a script
#[derive(Args)]
#[command(
    override_usage = "rgrid run [OPTIONS] SCRIPT [ARGS]...",
    after_help = "\
Examples:
  rgrid run -w hello.py                            wait and print the output
  rgrid run -f train.py data.csv model.bin         follow the output; data.csv is uploaded
  rgrid run -w -o results plot.py points.csv       save the files that it writes in results/
  rgrid run -r python:3.12 -e LEVEL=debug s.py     select a Python version, set a variable
  id=$(rgrid run -q s.py); rgrid wait \"$id\"        in shell scripts
  echo 'print(42)' | rgrid run -w -                read the script from stdin
  rgrid run -o out sum.py --batch 'data/*.csv'     run once per file, save in out/NAME/

An argument that names a local file is uploaded, and the script receives its base name, which it can
open in its working directory. A requirements.txt next to the script is installed first, and so are
the dependencies in the script's inline metadata (`# /// script`, PEP 723)."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub job: JobOptions,
    /// Follow the output, then exit with the script's exit code
    #[arg(short, long, help_heading = "Waiting")]
    pub follow: bool,
    /// Wait until the end, print the output, and exit with the script's exit code
    #[arg(short, long, help_heading = "Waiting")]
    pub wait: bool,
    /// With -f, -w or --batch: save output files in this folder; a batch uses one subfolder per input
    #[arg(short, long, value_name = "DIR", help_heading = "Waiting")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    batch: BatchOptions,
    /// Print only the ID; with -f or -w, only the script's output
    #[arg(short, long)]
    pub quiet: bool,
    /// Run a job with this key only once, however often it is submitted
    #[arg(long, value_name = "KEY", value_parser = parse_idempotency_key)]
    idempotency_key: Option<String>,
    /// The script, or - for stdin; everything after it is passed to the script
    #[arg(required = true, trailing_var_arg = true, value_name = "SCRIPT")]
    pub command: Vec<OsString>,
}

fn parse_idempotency_key(text: &str) -> Result<String, String> {
    if (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("a key has 1 to {MAX_KEY} visible ASCII characters"))
}

pub fn run(args: &RunArgs, context: &Context) -> Result<Exit> {
    match batch::split(&args.batch, args.output_dir.as_deref(), &args.command) {
        Some(split) => run_batch(args, split, context),
        None => run_one(args, context),
    }
}

fn run_batch(args: &RunArgs, split: Split, context: &Context) -> Result<Exit> {
    if args.follow {
        return Err(CliError::usage("--follow cannot be used with --batch, which starts several executions")
            .hint("omit it; follow one execution with `rgrid logs -f ID`"));
    }
    if args.idempotency_key.is_some() {
        let message = "--idempotency-key cannot be used with --batch, which starts several executions";
        return Err(CliError::usage(message));
    }
    batch::run(args, split, context)
}

fn run_one(args: &RunArgs, context: &Context) -> Result<Exit> {
    let (console, quiet) = (&context.console, args.quiet);
    let mode = WaitMode::from_flags(args.follow, args.wait);
    if mode.is_none() && args.output_dir.is_some() {
        let message = "--output-dir requires --wait or --follow, since files are available at the end";
        return Err(CliError::usage(message).hint("download them later with `rgrid download ID -o DIR`"));
    }
    let destination = args.output_dir.as_deref().map(Destination::new).transpose()?;
    let client = if mode.is_some() { context.waiting_client()? } else { context.client()? };
    let PreparedJob { submission, mut hints, .. } = submit::prepare(&args.job, &args.command, &client)?;
    if batch::was_pattern_expanded(&args.command) {
        hints.push(
            "--batch is passed to the script; to run a batch, quote the pattern: --batch 'data/*.csv'"
                .to_owned(),
        );
    }
    let is_wait_option =
        |word: &&OsString| ["-w", "--wait", "-f", "--follow"].iter().any(|option| word == option);
    if let Some(option) = args.command.iter().skip(1).find(is_wait_option)
        && mode.is_none()
    {
        let option = option.to_string_lossy();
        hints.push(format!(
            "{option} is passed to the script; an option of rgrid goes before it: `rgrid run {option} …`"
        ));
    }
    if !quiet {
        hints.iter().for_each(|hint| console.hint(hint));
    }
    let key = match &args.idempotency_key {
        Some(key) => key.clone(),
        // Makes it safe to repeat the request.
        None => submit::random_bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let body = submit::to_json(&submission)?;

    let interrupt = InterruptHandler::install(Activity::Submitting, console)?;
    let submitted = client.submit(&body, &key)?;
    let show_install = submission.requirements.is_some() && !quiet;
    let waiter = Waiter { client: &client, console, interrupt, show_install, quiet };
    finish(&submitted, mode, &waiter, destination.as_ref())
}

/// Prints the new execution, and waits for it if there is a mode.
pub fn finish(
    submitted: &Submitted,
    mode: Option<WaitMode>,
    waiter: &Waiter,
    destination: Option<&Destination>,
) -> Result<Exit> {
    let (console, quiet) = (waiter.console, waiter.quiet);
    let Execution { id, status, created_at, .. } = &submitted.execution;
    if let Some(mode) = mode {
        waiter.interrupt.set(Activity::Waiting(id.clone()));
        if !quiet {
            console.progress(&format!("Execution: {id}"));
        }
        return waiter.run(&submitted.execution, mode, destination);
    }
    waiter.interrupt.set(Activity::Finished);
    if quiet {
        return console.line(id).map(|()| Exit::Success);
    }
    console.line(&format!("Execution: {id}"))?;
    // A new execution is always `queued`, even if a worker has already started it.
    let status = if submitted.existing { *status } else { Status::Queued };
    console.line(&format!("Status: {status}"))?;
    if submitted.existing {
        let when = times::relative(created_at);
        console.hint(&format!("the key was used before; this execution was submitted {when}"));
    }
    console.hint(&format!("follow it with `rgrid logs -f {id}`"));
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_visible_and_not_too_long() {
        assert!(parse_idempotency_key("nightly-2025-11-15").is_ok());
        for bad in ["", "a b", "ä", "a\n", &"k".repeat(256)] {
            assert!(parse_idempotency_key(bad).is_err(), "{bad}");
        }
    }
}
