//! `rgrid completions`: prints completion scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::CliError;
use crate::exit_code::Exit;

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

pub fn run(args: &CompletionsArgs, context: &Context) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rgrid", &mut script);
    context.console.raw(&String::from_utf8_lossy(&script)).map(|()| Exit::Success)
}
