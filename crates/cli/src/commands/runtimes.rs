//! `rgrid runtimes`: what a script can run in.

use clap::{Args, Subcommand};

use crate::cli::Json;
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Show what scripts can run in
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RuntimesArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    form: Json,
}

#[derive(Subcommand)]
enum What {
    /// List their images, the default marked; each is also known as in `rgrid run -r python:3.12`
    List(Json),
}

pub fn run(args: &RuntimesArgs, session: &Session) -> Result<Exit, Failure> {
    let json = match &args.what {
        Some(What::List(form)) => form.json,
        None => args.form.json,
    };
    let (list, document) = session.server()?.runtimes()?;
    if json {
        return session.console.json(&document).map(|()| Exit::Fine);
    }
    for runtime in &list.items {
        let mark = if runtime.default { " (default)" } else { "" };
        session.console.line(&format!("{}{mark}", runtime.image))?;
    }
    Ok(Exit::Fine)
}
