//! `rgrid man`: writes man pages, for packages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::context::Context;
use crate::error::CliError;
use crate::exit_code::Exit;

/// Write the man pages: rgrid.1, rgrid-run.1, and so on
#[derive(Args)]
#[command(after_help = "\
Example:
  rgrid man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Write the pages to this folder, creating it if necessary
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(args: &ManArgs, context: &Context) -> Result<Exit, CliError> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| CliError::failure(format!("cannot write {}: {error}", folder.display())))?;
    let first = folder.join("rgrid.1");
    context.console.progress(&format!("Saved: {} and one page per command", first.display()));
    Ok(Exit::Success)
}
