//! `rgrid completions` and `rgrid man`: files that are generated from the command line's definition.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::{Cli, Context};
use crate::error::{CliError, Exit, Result};

/// Print the completion script for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid completions bash > ~/.local/share/bash-completion/completions/rgrid
  rgrid completions zsh > ~/.zfunc/_rgrid
  rgrid completions fish > ~/.config/fish/completions/rgrid.fish")]
pub struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

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

pub fn completions(args: &CompletionsArgs, context: &Context) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rgrid", &mut script);
    context.console.raw(&String::from_utf8_lossy(&script)).map(|()| Exit::Success)
}

pub fn man(args: &ManArgs, context: &Context) -> Result<Exit> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| CliError::unwritable(folder, &error))?;
    let first = folder.join("rgrid.1");
    context.console.progress(&format!("Saved: {} and one page per command", first.display()));
    Ok(Exit::Success)
}
