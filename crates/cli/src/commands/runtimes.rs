//! `rgrid runtimes`: lists the server's runtimes.

use clap::{Args, Subcommand};

use crate::cli::{Context, Json};
use crate::error::{Exit, Result};

/// Show the runtimes that scripts can use
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RuntimesArgs {
    #[command(subcommand)]
    command: Option<RuntimesCommand>,
    #[command(flatten)]
    output: Json,
}

#[derive(Subcommand)]
enum RuntimesCommand {
    /// List their images and mark the default; `rgrid run -r` also accepts names like python:3.12
    List(Json),
}

pub fn run(args: &RuntimesArgs, context: &Context) -> Result<Exit> {
    let output = match &args.command {
        Some(RuntimesCommand::List(output)) => output,
        None => &args.output,
    };
    let (list, document) = context.client()?.runtimes()?;
    if output.json {
        return context.console.json(&document).map(|()| Exit::Success);
    }
    for runtime in &list.items {
        let mark = if runtime.default { " (default)" } else { "" };
        context.console.line(&format!("{}{mark}", runtime.image))?;
    }
    Ok(Exit::Success)
}
