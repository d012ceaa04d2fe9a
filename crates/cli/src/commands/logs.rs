//! `rgrid logs`: what a script said.

use clap::Args;
use rgrid_api::{Execution, Phase, Stream};
use serde_json::Value;

use crate::cli::{Id, Json};
use crate::client::Server;
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::{Channel, Console, Tone};
use crate::output::report::{self, Seen};
use crate::watch::follow::{self, follow};
use crate::watch::interrupt::{Interrupt, Stage};
use crate::watch::phases::Phases;

/// Show what a script said
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid logs exec_01jd3k
  rgrid logs -f exec_01jd3k               as it happens, then leave with the script's exit code
  rgrid logs --stdout 01jd3k > out.txt    that stream's bytes, and nothing else")]
pub struct LogsArgs {
    #[command(flatten)]
    which: Id,
    /// Show it as it happens, until the end, and leave with the script's exit code
    #[arg(short, long, conflicts_with = "json")]
    follow: bool,
    /// Its stdout alone, nothing added
    #[arg(long, group = "stream")]
    stdout: bool,
    /// Its stderr alone, nothing added
    #[arg(long, group = "stream")]
    stderr: bool,
    /// What the install of its requirements said
    #[arg(long, group = "stream")]
    install: bool,
    #[command(flatten)]
    form: Json,
}

impl LogsArgs {
    fn stream(&self) -> Option<Stream> {
        match (self.stdout, self.stderr, self.install) {
            (true, _, _) => Some(Stream::Stdout),
            (_, true, _) => Some(Stream::Stderr),
            (_, _, true) => Some(Stream::Install),
            _ => None,
        }
    }
}

pub fn run(args: &LogsArgs, session: &Session) -> Result<Exit, Failure> {
    let (id, console) = (&args.which.id, &session.console);
    if args.follow {
        return live(args, &session.patient_server()?, console);
    }
    let server = session.server()?;
    if args.form.json {
        return document(&server, id, args.install, console);
    }
    match args.stream() {
        Some(Stream::Install) => console.said(Channel::Out, &server.logs(id, Stream::Install)?)?,
        Some(stream) => alone(&with_output(&server, id)?, stream, console)?,
        None => sections(&with_output(&server, id)?, console)?,
    }
    Ok(Exit::Fine)
}

fn live(args: &LogsArgs, server: &Server, console: &Console) -> Result<Exit, Failure> {
    let execution = server.execution(&args.which.id)?;
    let id = execution.id.clone();
    let _interrupt = Interrupt::watch(Stage::Waiting(id.clone()), console)?;
    let one = args.stream().map(|stream| [(stream, Channel::Out)]);
    let (streams, mut phases) = match &one {
        Some(one) => (one.as_slice(), Phases::untold()),
        None if is_past_its_install(&execution) => (follow::OUTPUT.as_slice(), Phases::told_on(console)),
        None => (follow::INSTALL_AND_OUTPUT.as_slice(), Phases::told_on(console)),
    };
    let ended = follow(server, &id, streams, &mut phases, console)?;
    Ok(report::conclude(&ended, Seen::Output, console))
}

/// What the install said is of no interest any more.
fn is_past_its_install(execution: &Execution) -> bool {
    execution.status.is_final() || execution.phase == Some(Phase::Script)
}

/// The execution with its output so far; the API gives that with the execution only at the end.
fn with_output(server: &Server, id: &str) -> Result<Execution, Failure> {
    let mut execution = server.execution(id)?;
    if !execution.status.is_final() {
        execution.stdout = Some(server.logs(&execution.id, Stream::Stdout)?);
        execution.stderr = Some(server.logs(&execution.id, Stream::Stderr)?);
    }
    Ok(execution)
}

fn document(server: &Server, id: &str, install: bool, console: &Console) -> Result<Exit, Failure> {
    let mut document = server.execution_document(id)?;
    let execution = with_output(server, id)?;
    if let Value::Object(fields) = &mut document {
        fields.insert("stdout".to_owned(), execution.stdout.into());
        fields.insert("stderr".to_owned(), execution.stderr.into());
        if install {
            fields.insert("install".to_owned(), server.logs(id, Stream::Install)?.into());
        }
    }
    console.json(&document).map(|()| Exit::Fine)
}

fn alone(execution: &Execution, stream: Stream, console: &Console) -> Result<(), Failure> {
    let text = if stream == Stream::Stdout { &execution.stdout } else { &execution.stderr };
    console.said(Channel::Out, text.as_deref().unwrap_or_default())?;
    report::warn_of_cuts(execution, &[stream], console);
    Ok(())
}

fn sections(execution: &Execution, console: &Console) -> Result<(), Failure> {
    section("STDOUT", execution.stdout.as_deref().unwrap_or_default(), console)?;
    console.line("")?;
    section("STDERR", execution.stderr.as_deref().unwrap_or_default(), console)?;
    if let Some(code) = execution.exit_code {
        console.line("")?;
        console.field("Exit Code", &code.to_string(), if code == 0 { Tone::Plain } else { Tone::Bad })?;
    } else if let Some(error) = &execution.execution_error {
        console.line("")?;
        console.field("Error", error, Tone::Bad)?;
    }
    report::warn_of_cuts(execution, &[Stream::Stdout, Stream::Stderr], console);
    if !execution.status.is_final() {
        let (status, id) = (execution.status, &execution.id);
        console.hint(&format!("it is still {status}; follow it with `rgrid logs -f {id}`"));
    }
    Ok(())
}

fn section(title: &str, text: &str, console: &Console) -> Result<(), Failure> {
    console.toned_line(&format!("=== {title} ==="), Tone::Dim)?;
    if text.is_empty() {
        return console.toned_line("(empty)", Tone::Dim);
    }
    console.said(Channel::Out, text)?;
    // The next heading stands on a line of its own.
    if text.ends_with('\n') { Ok(()) } else { console.said(Channel::Out, "\n") }
}
