//! `rgrid status`: shows the state of an execution.

use clap::Args;
use rgrid_api::{Execution, Status};

use crate::cli::{Context, Id, Json};
use crate::client::Client;
use crate::error::{Exit, Result};
use crate::output::{Console, Style, times};
use crate::watch::{Activity, InterruptHandler};

const POLL_SECONDS: u64 = 1;

/// Show the status of an execution
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid status exec_01jd3k
  rgrid status --json 01jd3k | jq -r .status")]
pub struct StatusArgs {
    #[command(flatten)]
    target: Id,
    /// Redraw the status until the execution ends
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    output: Json,
}

pub fn run(args: &StatusArgs, context: &Context) -> Result<Exit> {
    let (id, console) = (&args.target.id, &context.console);
    if args.watch {
        watch(&context.waiting_client()?, id, console)?;
    } else if args.output.json {
        console.json(&context.client()?.execution_document(id)?)?;
    } else {
        print(&fields(&context.client()?.execution(id)?), console)?;
    }
    Ok(Exit::Success)
}

fn watch(client: &Client, id: &str, console: &Console) -> Result {
    let mut execution = client.execution(id)?;
    let _interrupt = InterruptHandler::install(Activity::Waiting(execution.id.clone()), console)?;
    let mut shown = fields(&execution);
    print(&shown, console)?;
    while !execution.status.is_final() {
        execution = client.execution_within(id, POLL_SECONDS)?;
        let fields = fields(&execution);
        if fields != shown {
            let lines = shown.len();
            let rewind =
                if console.stdout_is_terminal() { format!("\x1b[{lines}A\x1b[J") } else { "\n".into() };
            console.raw(&rewind)?;
            print(&fields, console)?;
            shown = fields;
        }
    }
    Ok(())
}

type Field = (&'static str, String, Style);

fn print(fields: &[Field], console: &Console) -> Result {
    fields.iter().try_for_each(|(name, value, style)| console.field(name, value, *style))
}

/// Omits values that do not exist yet.
fn fields(execution: &Execution) -> Vec<Field> {
    let mut fields = vec![
        ("Execution", execution.id.clone(), Style::Plain),
        ("Status", execution.status.to_string(), Style::of(execution.status)),
        ("Runtime", execution.runtime.clone(), Style::Plain),
        ("Created", times::local(&execution.created_at), Style::Plain),
    ];
    let optional = [
        ("Waiting", execution.waits_for.clone()),
        ("Started", execution.started_at.as_deref().map(times::local)),
        ("Completed", execution.completed_at.as_deref().map(times::local)),
        ("Duration", execution.duration_ms.map(times::milliseconds)),
        ("Exit Code", execution.exit_code.map(|code| code.to_string())),
        ("Attempt", (execution.attempt > 1).then(|| execution.attempt_label())),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?, Style::Plain))));
    let left_out = execution.outputs_left_out.iter();
    fields.extend(left_out.map(|message| ("Left out", message.clone(), Style::Error)));
    if execution.status == Status::Failed {
        fields.extend(execution.execution_error.clone().map(|error| ("Error", error, Style::Error)));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::report::tests::execution;

    fn names(execution: &Execution) -> Vec<&'static str> {
        fields(execution).iter().map(|(name, ..)| *name).collect()
    }

    #[test]
    fn values_that_do_not_exist_yet_are_omitted() {
        let queued = execution("exec_1", Status::Queued);
        assert_eq!(names(&queued), ["Execution", "Status", "Runtime", "Created"]);
    }

    #[test]
    fn an_ended_execution_has_all_lines_in_order() {
        let ended = Execution {
            started_at: Some("2025-11-15T16:30:05Z".to_owned()),
            completed_at: Some("2025-11-15T16:30:10Z".to_owned()),
            duration_ms: Some(5012),
            exit_code: Some(1),
            execution_error: Some("because".to_owned()),
            ..execution("exec_1", Status::Failed)
        };
        let expected = [
            "Execution",
            "Status",
            "Runtime",
            "Created",
            "Started",
            "Completed",
            "Duration",
            "Exit Code",
            "Error",
        ];
        assert_eq!(names(&ended), expected);
        assert!(fields(&ended).iter().any(|(name, value, _)| *name == "Duration" && value == "5s"));
    }
}
