//! `rgrid man`: the help as man pages, for whoever packages it.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Write the man pages: rgrid.1, rgrid-run.1, and so on
#[derive(Args)]
#[command(after_help = "\
Example:
  rgrid man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Where to; made when it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(args: &ManArgs, session: &Session) -> Result<Exit, Failure> {
    let folder = &args.folder;
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| Failure::failed(format!("{} can't be written: {error}", folder.display())))?;
    session
        .console
        .progress(&format!("Saved: {}, and a page for each command", folder.join("rgrid.1").display()));
    Ok(Exit::Fine)
}
