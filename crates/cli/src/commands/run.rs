//! `rgrid run`: submits a script, and stays with it when asked to.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use rgrid_api::{Execution, Status};

use crate::batch::{self, BatchOptions, Split};
use crate::client::Submitted;
use crate::client::random;
use crate::context::Session;
use crate::download::destination::Destination;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::submit::{self, JobOptions, Prepared};
use crate::watch::interrupt::{Interrupt, Stage};
use crate::watch::wait_mode::{Attendance, Manner};
use crate::watch::waiting::Install;

const KEY_MAX: usize = 255;
const UNQUOTED: &str = "--batch goes to the script, since no pattern follows it; one in quotes makes a batch: --batch 'data/*.csv'";

/// Run a script
#[derive(Args)]
#[command(
    override_usage = "rgrid run [OPTIONS] SCRIPT [ARGS]...",
    after_help = "\
Examples:
  rgrid run -w hello.py                            run it, wait, print what it said
  rgrid run -f train.py data.csv model.bin         follow its output; data.csv goes along
  rgrid run -w -o results plot.py points.csv       save the files that it wrote in results/
  rgrid run -r python:3.12 -e LEVEL=debug s.py     another Python, a variable
  id=$(rgrid run -q s.py); rgrid wait \"$id\"        for scripts
  echo 'print(42)' | rgrid run -w -                from stdin
  rgrid run -o out sum.py --batch 'data/*.csv'     each of these files, its results in out/NAME/

An argument that names a file here is uploaded, and the script finds it under its base name in its
working directory. A requirements.txt beside the script is installed first; so are the dependencies
that the script itself names (`# /// script`, PEP 723)."
)]
pub struct RunArgs {
    #[command(flatten)]
    job: JobOptions,
    /// Show its output as it happens, and leave with its exit code
    #[arg(short, long, help_heading = "Waiting")]
    pub follow: bool,
    /// Wait for its end, print its output, and leave with its exit code
    #[arg(short, long, help_heading = "Waiting")]
    wait: bool,
    /// With -f, -w or --batch: save the files that it wrote; of a batch in a folder for each input
    #[arg(short, long, value_name = "DIR", help_heading = "Waiting")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    batch: BatchOptions,
    /// Print the id alone; with -f or -w, the script's output alone
    #[arg(short, long)]
    pub quiet: bool,
    /// The same key and the same job are one execution, however often they are submitted
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    idempotency_key: Option<String>,
    /// The script, or - for stdin; everything behind it is the script's own
    #[arg(required = true, trailing_var_arg = true, value_name = "SCRIPT")]
    pub command: Vec<OsString>,
}

impl RunArgs {
    fn manner(&self) -> Option<Manner> {
        match (self.follow, self.wait) {
            (true, _) => Some(Manner::Follow),
            (false, true) => Some(Manner::Wait),
            (false, false) => None,
        }
    }

    /// A key of its own, so that sending it again is safe.
    fn key(&self) -> Result<String, Failure> {
        if let Some(key) = &self.idempotency_key {
            return Ok(key.clone());
        }
        Ok(random::bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn idempotency_key(text: &str) -> Result<String, String> {
    if (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("a key has 1 to {KEY_MAX} visible ASCII characters"))
}

pub fn run(args: &RunArgs, session: &Session) -> Result<Exit, Failure> {
    if let Some(split) = batch::split(&args.batch, args.output_dir.as_deref(), &args.command) {
        return several(args, split, session);
    }
    one(args, session)
}

fn several(args: &RunArgs, split: Split, session: &Session) -> Result<Exit, Failure> {
    if args.follow {
        return Err(Failure::usage("--follow shows the output of one execution, and --batch makes several")
            .hint("leave it out; `rgrid logs -f ID` follows one of them"));
    }
    if args.idempotency_key.is_some() {
        return Err(Failure::usage("--idempotency-key is for one execution, and --batch makes several"));
    }
    let job = batch::Job { options: &args.job, quiet: args.quiet, wait: args.wait };
    batch::run(&job, split, session)
}

fn one(args: &RunArgs, session: &Session) -> Result<Exit, Failure> {
    let manner = args.manner();
    if manner.is_none() && args.output_dir.is_some() {
        return Err(Failure::usage(
            "--output-dir needs --wait or --follow: before its end there are no files",
        )
        .hint("afterwards, `rgrid download ID -o DIR` does it"));
    }
    let destination = args.output_dir.as_deref().map(Destination::new).transpose()?;
    let server = if manner.is_some() { session.patient_server()? } else { session.server()? };
    let Prepared { submission, mut hints, .. } = submit::prepare(&args.job, &args.command, &server)?;
    if batch::lost_its_pattern(&args.command) {
        hints.push(UNQUOTED.to_owned());
    }
    if let Some(option) = args.command.iter().skip(1).find(|word| manner.is_none() && is_staying(word)) {
        let option = option.to_string_lossy();
        hints.push(format!(
            "{option} goes to the script; for rgrid it has to come before: `rgrid run {option} …`"
        ));
    }
    if !args.quiet {
        hints.iter().for_each(|hint| session.console.hint(hint));
    }
    let install = if submission.requirements.is_some() { Install::IncrementalText } else { Install::None };
    let body = submit::body(&submission)?;

    let interrupt = Interrupt::watch(Stage::Submitting, &session.console)?;
    let submitted = server.submit(&body, &args.key()?)?;
    let Some(manner) = manner else {
        interrupt.now(Stage::Ended);
        return tell(args, &submitted, session);
    };
    let id = submitted.execution.id.clone();
    interrupt.now(Stage::Waiting(id.clone()));
    if !args.quiet {
        session.console.progress(&format!("Execution: {id}"));
    }
    let install = if args.quiet { Install::None } else { install };
    let attendance =
        Attendance { server: &server, console: &session.console, interrupt, install, quiet: args.quiet };
    attendance.until_end(&submitted.execution, manner, destination.as_ref())
}

/// What is likeliest to have been meant for rgrid.
fn is_staying(word: &OsString) -> bool {
    ["-w", "--wait", "-f", "--follow"].iter().any(|option| word == option)
}

fn tell(args: &RunArgs, submitted: &Submitted, session: &Session) -> Result<Exit, Failure> {
    let Execution { id, status, created_at, .. } = &submitted.execution;
    if args.quiet {
        return session.console.line(id).map(|()| Exit::Fine);
    }
    session.console.line(&format!("Execution: {id}"))?;
    // What was taken just now is queued, even if a worker was quicker than the server's answer.
    let status = if submitted.known { *status } else { Status::Queued };
    session.console.line(&format!("Status: {status}"))?;
    if submitted.known {
        let when = crate::output::times::relative(created_at);
        session.console.hint(&format!("its key was used before: this is what was submitted {when}"));
    }
    session.console.hint(&format!("follow it with `rgrid logs -f {id}`"));
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_and_not_too_long() {
        assert!(idempotency_key("nightly-2025-11-15").is_ok());
        for bad in ["", "a b", "ä", "a\n", &"k".repeat(256)] {
            assert!(idempotency_key(bad).is_err(), "{bad}");
        }
    }
}
