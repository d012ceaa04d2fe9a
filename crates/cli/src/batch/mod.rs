//! Batches: one execution of a script per input, grouped by a label.

mod inputs;
mod progress;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use rgrid_api::{Execution, Status};

use crate::cli::Context;
use crate::client::Client;
use crate::commands::run::RunArgs;
use crate::download::count_files;
use crate::error::{CliError, Exit, Result};
use crate::output::Console;
use crate::submit::{self, PreparedJob, random_bytes};
use crate::watch::{Activity, InterruptHandler};
use inputs::is_pattern;
pub use inputs::{BatchOptions, Split, folder_names, split, was_pattern_expanded};
pub use progress::BatchProgress;

const BATCH_LABEL: &str = "rgrid.batch";
const INPUT_LABEL: &str = "rgrid.input";
const PREFIX: &str = "batch_";
/// Crockford's Base32, as in the IDs of executions: no letters that look alike.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchId(String);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BatchId {
    /// Returns `None` for the ID of an execution.
    pub fn parse(text: &str) -> Option<Self> {
        text.starts_with(PREFIX).then(|| Self(text.to_owned()))
    }

    fn generate() -> Result<Self> {
        let bytes = random_bytes::<8>()?;
        let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
        Ok(Self(PREFIX.chars().chain(letters.map(|letter| char::from(*letter))).collect()))
    }

    pub fn label(&self) -> (String, String) {
        (BATCH_LABEL.to_owned(), self.0.clone())
    }
}

pub fn input_of(execution: &Execution) -> &str {
    execution.labels.get(INPUT_LABEL).map_or(&execution.id, String::as_str)
}

/// The latest execution of each input, newest first.
pub fn executions(client: &Client, batch: &BatchId) -> Result<Vec<Execution>> {
    let mut executions = client.executions(&[batch.label()], None, usize::MAX)?.items;
    if executions.is_empty() {
        return Err(not_found(batch));
    }
    let mut inputs = BTreeSet::new();
    executions.retain(|execution| inputs.insert(input_of(execution).to_owned()));
    Ok(executions)
}

pub fn not_found(batch: &BatchId) -> CliError {
    CliError::new(Exit::NotFound, format!("no such batch: {batch}")).hint("list executions with `rgrid list`")
}

/// Queued executions come first, so that cancelling a running one does not start another.
pub fn unfinished(client: &Client, batch: &BatchId) -> Result<Vec<Execution>> {
    let with_status = |status| client.executions(&[batch.label()], Some(status), usize::MAX);
    let mut executions = with_status(Status::Queued)?.items;
    executions.extend(with_status(Status::Running)?.items);
    // An execution may have started between the two requests.
    let mut ids = BTreeSet::new();
    executions.retain(|execution| ids.insert(execution.id.clone()));
    Ok(executions)
}

/// An argument that is replaced with the input.
const PLACEHOLDER: &str = "{}";

pub fn run(args: &RunArgs, split: Split, context: &Context) -> Result<Exit> {
    let (console, quiet) = (&context.console, args.quiet);
    let Split { options, output_dir, command } = split;
    let (script, arguments) = command.split_first().ok_or_else(|| CliError::usage("no script was given"))?;
    check_quotes(&options, script)?;
    let files = inputs::find(&options.batch)?;
    let client = context.waiting_client()?;
    let id = BatchId::generate()?;
    let labels = files.iter().map(|file| inputs::label(file)).collect();
    let commands: Vec<_> = files.iter().map(|file| command_for(script, arguments, file)).collect();
    let first = commands.first().map(Vec::as_slice).unwrap_or_default();
    let mut job_template = submit::prepare(&args.job, first, &client)?;
    job_template.submission.labels.extend([id.label()]);

    let interrupt = InterruptHandler::install(Activity::Submitting, console)?;
    let mut progress =
        BatchProgress::new(id.clone(), labels, &client, console).save_in(output_dir.as_deref());
    progress.quiet = quiet;
    let mut batch = Batch { job: job_template, commands, client: &client, progress, interrupt, next: 0 };
    if !quiet {
        batch.job.hints.iter().for_each(|hint| console.hint(hint));
    }
    // An error of the first input most likely applies to all of them.
    batch.submit_next()?;
    if quiet {
        console.line(&id.to_string())?;
    } else {
        let count = batch.commands.len();
        let inputs = if count == 1 { "input" } else { "inputs" };
        console.progress(&format!("Batch: {id} ({count} {inputs})"));
    }
    batch.submit_rest(options.max_parallel.unwrap_or(usize::MAX))?;
    if quiet && !args.wait && output_dir.is_none() {
        return Ok(Exit::Success);
    }
    batch.progress.wait_for_end()?;
    batch.interrupt.set(Activity::Finished);
    if !quiet {
        batch.progress.print_summary()?;
        report_saved_files(&batch.progress, output_dir.as_deref(), console);
    }
    Ok(batch.progress.exit())
}

fn report_saved_files(progress: &BatchProgress, folder: Option<&Path>, console: &Console) {
    match folder {
        None => {
            let id = &progress.id;
            console.hint(&format!("download output files with `rgrid download {id} -o DIR`"));
        }
        // Errors were reported when they happened.
        Some(_) if progress.save_failed => {}
        Some(_) if progress.saved_files == 0 => console.progress("Saved: nothing, there are no output files"),
        Some(folder) => {
            let count = count_files(progress.saved_files);
            console.progress(&format!("Saved: {} ({count})", folder.display()));
        }
    }
}

struct Batch<'a> {
    /// The first input's job, of which the others differ in their arguments and files.
    job: PreparedJob,
    commands: Vec<Vec<OsString>>,
    client: &'a Client<'a>,
    progress: BatchProgress<'a>,
    interrupt: InterruptHandler,
    /// The index of the first input that is not submitted.
    next: usize,
}

impl Batch<'_> {
    fn submit_rest(&mut self, max_parallel: usize) -> Result {
        while self.next < self.commands.len() {
            if self.progress.active() >= max_parallel || self.progress.is_poll_due() {
                self.progress.poll()?;
            }
            if self.progress.active() < max_parallel {
                let index = self.next;
                match self.submit_next() {
                    Err(error) if error.exit == Exit::Unreachable => return Err(error),
                    Err(error) => self.progress.reject(index, error),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    fn submit_next(&mut self) -> Result {
        let index = self.next;
        self.next += 1;
        let (Some(command), Some(item)) = (self.commands.get(index), self.progress.items.get_mut(index))
        else {
            return Ok(());
        };
        let mut submission = self.job.with_command(command)?;
        submission.labels.insert(INPUT_LABEL.to_owned(), item.input.clone());
        let id = self.progress.id.to_string();
        let submitted = self.client.submit(&submit::to_json(&submission)?, &format!("{id}-{index}"))?;
        item.id = Some(submitted.execution.id);
        self.interrupt.set(Activity::Batch { id, unsubmitted: self.commands.len() - self.next });
        Ok(())
    }
}

fn command_for(script: &OsString, arguments: &[OsString], input: &Path) -> Vec<OsString> {
    // Otherwise it could be taken for an option.
    let is_option = input.as_os_str().as_encoded_bytes().starts_with(b"-");
    let input = if is_option { Path::new(".").join(input) } else { input.to_owned() }.into_os_string();
    let mut command = vec![script.clone()];
    if !arguments.iter().any(|argument| argument == PLACEHOLDER) {
        command.push(input.clone());
    }
    let replace = |argument: &OsString| if argument == PLACEHOLDER { &input } else { argument }.clone();
    command.extend(arguments.iter().map(replace));
    command
}

/// Detects an unquoted pattern: the shell has expanded it, so that a matching file takes the script's place.
fn check_quotes(options: &BatchOptions, script: &OsStr) -> Result {
    let extension = |path: &OsStr| Path::new(path).extension().map(OsStr::to_owned);
    let looks_expanded =
        |input: &String| !is_pattern(input) && extension(OsStr::new(input)) == extension(script);
    if options.batch.iter().any(looks_expanded) {
        let message = format!("{} looks like an input, not like the script", Path::new(script).display());
        return Err(CliError::usage(message).hint("quote the pattern: --batch 'data/*.csv'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_ids_are_distinguished_from_execution_ids() {
        let id = BatchId::generate().unwrap();
        assert_eq!(BatchId::parse(&id.to_string()), Some(id.clone()));
        assert_eq!(id.to_string().len(), "batch_".len() + 8);
        assert_eq!(BatchId::parse("exec_01jd3k"), None);
        assert!(rgrid_api::names::check_label_key(&id.label().0).is_ok());
    }

    #[test]
    fn the_input_is_the_first_argument_or_replaces_the_placeholder() {
        let command = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            command_for(&"s.py".into(), &arguments, Path::new("d/a.csv"))
        };
        assert_eq!(command(&["x"]), ["s.py", "d/a.csv", "x"]);
        assert_eq!(command(&["-i", "{}", "x{}"]), ["s.py", "-i", "d/a.csv", "x{}"]);
        assert_eq!(command_for(&"s.py".into(), &[], Path::new("-a.csv")), ["s.py", "./-a.csv"]);
    }

    #[test]
    fn an_unquoted_pattern_is_detected() {
        for (input, script, expected) in [
            ("d/*.csv", "s.py", true),
            ("d/a.csv", "s.py", true),
            ("*.py", "s.py", true),
            ("d/a.csv", "d/b.csv", false),
        ] {
            let options = BatchOptions { batch: vec![input.to_owned()], max_parallel: None };
            assert_eq!(check_quotes(&options, OsStr::new(script)).is_ok(), expected, "{input} {script}");
        }
    }
}
