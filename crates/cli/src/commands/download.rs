//! `rgrid download`: saves output files.

use std::path::PathBuf;

use clap::Args;
use rgrid_api::units::format_size;
use rgrid_api::{Execution, OutputFile};

use crate::batch::{self, BatchId};
use crate::cli::{Context, IdOrBatch};
use crate::client::Client;
use crate::download::{Destination, Dotfiles, Existing, count_files, save_outputs};
use crate::error::{CliError, Exit, Result};
use crate::output::{Console, report};
use crate::watch::{Activity, InterruptHandler};

/// Download output files
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid download exec_01jd3k -o results             all files
  rgrid download exec_01jd3k totals.csv plots/a.png
  rgrid download batch_k3m9 -o results              one folder per input of a batch

Nothing is written outside the folder. Existing files are replaced only with --force. In a home
directory, hidden files are saved only with --dotfiles or if you confirm it.")]
pub struct DownloadArgs {
    #[command(flatten)]
    target: IdOrBatch,
    /// Download only these files
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Save the files in this folder, creating it if necessary
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output_dir: PathBuf,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
    /// Save hidden files in a home directory without asking
    #[arg(long)]
    dotfiles: bool,
}

pub fn run(args: &DownloadArgs, context: &Context) -> Result<Exit> {
    let (client, console) = (context.client()?, &context.console);
    let _interrupt = InterruptHandler::install(Activity::Downloading, console)?;
    let mut destination = Destination::new(&args.output_dir)?;
    destination.existing = if args.force { Existing::Replace } else { Existing::Keep };
    destination.dotfiles = if args.dotfiles { Dotfiles::Save } else { Dotfiles::Ask };
    if let Some(batch) = BatchId::parse(&args.target.id) {
        return download_batch(&batch, args, &destination, &client, console);
    }
    let execution = client.execution(&args.target.id)?;
    let id = &execution.id;
    let files = select(&execution, &args.names)?;
    if !execution.status.is_final() {
        let message = format!("{id} has not ended; its files are available at its end");
        return Err(CliError::failure(message).hint(format!("wait for it with `rgrid wait {id}`")));
    }
    if files.is_empty() {
        console.progress(match execution.outputs_left_out.is_empty() {
            true => "No output files.",
            false => "No output files were kept.",
        });
    } else {
        save_outputs(&client, id, &files, &destination, console, |path| console.line(path))?;
        console.progress(&format!("{}, {}", count_files(files.len()), total_size(&files)));
    }
    if args.names.is_empty() {
        report::warn_about_files(&execution, console);
    }
    Ok(Exit::Success)
}

/// Uses one folder per input. An error of one input does not stop the others.
fn download_batch(
    batch: &BatchId,
    args: &DownloadArgs,
    destination: &Destination,
    client: &Client,
    console: &Console,
) -> Result<Exit> {
    let executions = batch::executions(client, batch)?;
    let folders = batch::folder_names(&executions.iter().map(batch::input_of).collect::<Vec<_>>());
    let (mut saved, mut exit, mut unfinished) = (Vec::new(), Exit::Success, 0);
    for (execution, folder) in executions.iter().zip(folders) {
        unfinished += usize::from(!execution.status.is_final());
        let mut files = client.execution(&execution.id)?.outputs.unwrap_or_default();
        files.retain(|file| args.names.is_empty() || args.names.contains(&file.name));
        let print = |path: &str| console.line(path);
        let saving = destination
            .subfolder(&folder)
            .and_then(|inner| save_outputs(client, &execution.id, &files, &inner, console, print));
        if let Err(error) = saving {
            console.error(&error);
            exit = if exit == Exit::Success { error.exit } else { exit };
        }
        saved.extend(files);
    }
    let (count, inputs) = (count_files(saved.len()), executions.len());
    console.progress(&format!("{count} of {inputs} inputs, {}", total_size(&saved)));
    if unfinished > 0 {
        console.hint(&format!("{unfinished} have not ended; wait for them with `rgrid wait {batch}`"));
    }
    Ok(exit)
}

fn total_size(files: &[OutputFile]) -> String {
    format_size(files.iter().map(|file| file.size).sum())
}

fn select(execution: &Execution, names: &[String]) -> Result<Vec<OutputFile>> {
    if names.is_empty() {
        return Ok(execution.files().to_vec());
    }
    let find = |name: &String| {
        let file = execution.files().iter().find(|file| file.name == *name);
        file.cloned().ok_or_else(|| {
            let existing: Vec<&str> = execution.files().iter().map(|file| file.name.as_str()).collect();
            let hint = match existing.as_slice() {
                [] => "it has no output files".to_owned(),
                existing => format!("its output files are {}", existing.join(", ")),
            };
            let message = format!("{} has no output file {name:?}", execution.id);
            CliError::new(Exit::NotFound, message).hint(hint)
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use rgrid_api::Status;

    use super::*;
    use crate::output::report::tests::execution;

    #[test]
    fn the_error_for_an_unknown_file_lists_the_existing_ones() {
        let file = |name: &str| OutputFile { name: name.to_owned(), size: 1, sha256: String::new() };
        let outputs = Some(vec![file("a"), file("b/c")]);
        let ended = Execution { outputs, ..execution("exec_1", Status::Completed) };
        assert_eq!(select(&ended, &[]).unwrap().len(), 2);
        assert_eq!(select(&ended, &["b/c".to_owned()]).unwrap()[0].name, "b/c");
        let error = select(&ended, &["c".to_owned()]).unwrap_err();
        let hint = error.hint.as_deref();
        assert_eq!((error.exit, hint), (Exit::NotFound, Some("its output files are a, b/c")));
    }
}
