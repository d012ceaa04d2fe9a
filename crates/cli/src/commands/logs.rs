//! `rgrid logs`: prints a script's output.

use clap::Args;
use rgrid_api::{Execution, Phase, Stream};
use serde_json::Value;

use crate::cli::{Context, Id, Json};
use crate::client::Client;
use crate::error::{Exit, Result};
use crate::output::report::{self, Printed};
use crate::output::{Channel, Console, Style};
use crate::watch::{Activity, InterruptHandler, PhaseReporter, follow, streams};

/// Print a script's output
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid logs exec_01jd3k
  rgrid logs -f exec_01jd3k               follow the output, then exit with the script's exit code
  rgrid logs --stdout 01jd3k > out.txt    the bytes of that stream only")]
pub struct LogsArgs {
    #[command(flatten)]
    target: Id,
    /// Follow the output until the end, then exit with the script's exit code
    #[arg(short, long, conflicts_with = "json")]
    follow: bool,
    /// Print stdout only, with nothing added
    #[arg(long, group = "stream")]
    stdout: bool,
    /// Print stderr only, with nothing added
    #[arg(long, group = "stream")]
    stderr: bool,
    /// Print the output of the dependency install
    #[arg(long, group = "stream")]
    install: bool,
    #[command(flatten)]
    output: Json,
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

pub fn run(args: &LogsArgs, context: &Context) -> Result<Exit> {
    let (id, console) = (&args.target.id, &context.console);
    if args.follow {
        return follow_logs(args, &context.waiting_client()?, console);
    }
    let client = context.client()?;
    if args.output.json {
        return print_document(&client, id, args.install, console);
    }
    match args.stream() {
        Some(Stream::Install) => {
            console.script_output(Channel::Stdout, &client.logs(id, Stream::Install)?)?
        }
        Some(stream) => {
            let execution = with_output(&client, id)?;
            let text = if stream == Stream::Stdout { &execution.stdout } else { &execution.stderr };
            console.script_output(Channel::Stdout, text.as_deref().unwrap_or_default())?;
            report::warn_about_cuts(&execution, &[stream], console);
        }
        None => print_sections(&with_output(&client, id)?, console)?,
    }
    Ok(Exit::Success)
}

fn follow_logs(args: &LogsArgs, client: &Client, console: &Console) -> Result<Exit> {
    let execution = client.execution(&args.target.id)?;
    let _interrupt = InterruptHandler::install(Activity::Waiting(execution.id.clone()), console)?;
    let selected = args.stream().map(|stream| [(stream, Channel::Stdout)]);
    let install_has_ended = execution.status.is_final() || execution.phase == Some(Phase::Script);
    let mut phases = PhaseReporter::new(selected.is_none().then_some(console));
    let streams = selected.as_ref().map_or(streams(!install_has_ended), |selected| selected.as_slice());
    let ended = follow(client, &execution.id, streams, &mut phases, console)?;
    Ok(report::report(&ended, Printed::Output, console))
}

/// The execution with its output so far, which the API includes only at the end.
fn with_output(client: &Client, id: &str) -> Result<Execution> {
    let mut execution = client.execution(id)?;
    if !execution.status.is_final() {
        execution.stdout = Some(client.logs(&execution.id, Stream::Stdout)?);
        execution.stderr = Some(client.logs(&execution.id, Stream::Stderr)?);
    }
    Ok(execution)
}

fn print_document(client: &Client, id: &str, install: bool, console: &Console) -> Result<Exit> {
    let mut document = client.execution_document(id)?;
    let execution = with_output(client, id)?;
    if let Value::Object(fields) = &mut document {
        fields.insert("stdout".to_owned(), execution.stdout.into());
        fields.insert("stderr".to_owned(), execution.stderr.into());
        if install {
            fields.insert("install".to_owned(), client.logs(id, Stream::Install)?.into());
        }
    }
    console.json(&document).map(|()| Exit::Success)
}

fn print_sections(execution: &Execution, console: &Console) -> Result {
    print_section("STDOUT", execution.stdout.as_deref().unwrap_or_default(), console)?;
    console.line("")?;
    print_section("STDERR", execution.stderr.as_deref().unwrap_or_default(), console)?;
    if let Some(code) = execution.exit_code {
        console.line("")?;
        console.field("Exit Code", &code.to_string(), if code == 0 { Style::Plain } else { Style::Error })?;
    } else if let Some(error) = &execution.execution_error {
        console.line("")?;
        console.field("Error", error, Style::Error)?;
    }
    report::warn_about_cuts(execution, &[Stream::Stdout, Stream::Stderr], console);
    if !execution.status.is_final() {
        let (status, id) = (execution.status, &execution.id);
        console.hint(&format!("it is still {status}; follow it with `rgrid logs -f {id}`"));
    }
    Ok(())
}

fn print_section(title: &str, text: &str, console: &Console) -> Result {
    console.styled_line(&format!("=== {title} ==="), Style::Dim, "")?;
    if text.is_empty() {
        return console.styled_line("(empty)", Style::Dim, "");
    }
    console.script_output(Channel::Stdout, text)?;
    // The next heading starts on its own line.
    if text.ends_with('\n') { Ok(()) } else { console.script_output(Channel::Stdout, "\n") }
}
