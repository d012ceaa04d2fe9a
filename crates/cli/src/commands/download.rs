//! `rgrid download`: the files that a script left.

use std::path::PathBuf;

use clap::Args;
use rgrid_api::units::format_size;
use rgrid_api::{Execution, OutputFile};

use crate::batch::{self, BatchId};
use crate::cli::IdOrBatch;
use crate::client::Server;
use crate::context::Session;
use crate::download::destination::{Destination, Existing};
use crate::download::outputs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::Console;
use crate::output::report;
use crate::watch::interrupt::{Interrupt, Stage};

/// Save the files that a script left
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid download exec_01jd3k -o results             all of them
  rgrid download exec_01jd3k totals.csv plots/a.png
  rgrid download batch_k3m9 -o results              of a batch, a folder for each input

Nothing is written outside of that folder, and no file that is there is replaced without --force.")]
pub struct DownloadArgs {
    #[command(flatten)]
    which: IdOrBatch,
    /// These alone; all, when none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Where to; made when it is not there
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output_dir: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl DownloadArgs {
    fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Keep }
    }
}

pub fn run(args: &DownloadArgs, session: &Session) -> Result<Exit, Failure> {
    let console = &session.console;
    let server = session.server()?;
    let _interrupt = Interrupt::watch(Stage::Saving, console)?;
    if let Some(batch) = BatchId::of(&args.which.id) {
        return all_of(&batch, args, &server, console);
    }
    let destination = Destination::new(&args.output_dir)?;
    let execution = server.execution(&args.which.id)?;
    let files = wanted(&execution, &args.names)?;
    if !execution.status.is_final() {
        let what = format!("{} has not ended yet; its files come at the end", execution.id);
        return Err(Failure::failed(what).hint(format!("`rgrid wait {}` waits for it", execution.id)));
    }
    if files.is_empty() {
        console.progress(match execution.outputs_left_out.is_empty() {
            true => "It left no files.",
            false => "None of its files was kept.",
        });
        report::warn_of_left_out(&execution, console);
        return Ok(Exit::Fine);
    }
    outputs::save(&server, &execution.id, &files, &destination, args.existing(), |path| console.line(path))?;
    let size = format_size(files.iter().map(|file| file.size).sum());
    console.progress(&format!("{}, {size}", outputs::counted(&files)));
    if args.names.is_empty() {
        report::warn_of_left_out(&execution, console);
    }
    Ok(Exit::Fine)
}

/// A folder for each input. What is in the way of one keeps the others' files not back.
fn all_of(batch: &BatchId, args: &DownloadArgs, server: &Server, console: &Console) -> Result<Exit, Failure> {
    let members = batch::members(server, batch)?;
    let folders = batch::folder_names(&members.iter().map(batch::input_of).collect::<Vec<_>>());
    let (mut saved, mut unsaved, mut open) = (Vec::new(), None, 0);
    for (member, folder) in members.iter().zip(folders) {
        open += usize::from(!member.status.is_final());
        let mut files = server.execution(&member.id)?.outputs.unwrap_or_default();
        files.retain(|file| args.names.is_empty() || args.names.contains(&file.name));
        let destination = Destination::new(&args.output_dir.join(folder))?;
        let done = outputs::save(server, &member.id, &files, &destination, args.existing(), |path| {
            console.line(path)
        });
        if let Err(failure) = done {
            console.error(&failure);
            unsaved.get_or_insert(failure.exit);
        }
        saved.extend(files);
    }
    let size = format_size(saved.iter().map(|file| file.size).sum());
    console.progress(&format!("{} of {} inputs, {size}", outputs::counted(&saved), members.len()));
    if open > 0 {
        console.hint(&format!("{open} have not ended yet; `rgrid wait {batch}` tells when they have"));
    }
    Ok(unsaved.unwrap_or(Exit::Fine))
}

fn wanted(execution: &Execution, names: &[String]) -> Result<Vec<OutputFile>, Failure> {
    if names.is_empty() {
        return Ok(execution.files().to_vec());
    }
    let find = |name: &String| {
        let found = execution.files().iter().find(|file| file.name == *name);
        found.cloned().ok_or_else(|| unknown(execution, name))
    };
    names.iter().map(find).collect()
}

fn unknown(execution: &Execution, name: &str) -> Failure {
    let there: Vec<&str> = execution.files().iter().map(|file| file.name.as_str()).collect();
    let hint = match there.as_slice() {
        [] => "it left no files".to_owned(),
        there => format!("it left {}", there.join(", ")),
    };
    Failure::new(Exit::NotFound, format!("{} left no file {name:?}", execution.id)).hint(hint)
}

#[cfg(test)]
mod tests {
    use rgrid_api::Status;

    use super::*;
    use crate::output::report::tests::execution;

    #[test]
    fn a_name_that_is_not_there_is_told_with_those_that_are() {
        let file = |name: &str| OutputFile { name: name.to_owned(), size: 1, sha256: String::new() };
        let outputs = Some(vec![file("a"), file("b/c")]);
        let ended = Execution { outputs, ..execution("exec_1", Status::Completed) };
        assert_eq!(wanted(&ended, &[]).unwrap().len(), 2);
        assert_eq!(wanted(&ended, &["b/c".to_owned()]).unwrap()[0].name, "b/c");
        let failure = wanted(&ended, &["c".to_owned()]).unwrap_err();
        assert_eq!((failure.exit, failure.hint.as_deref()), (Exit::NotFound, Some("it left a, b/c")));
    }
}
