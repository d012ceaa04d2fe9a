//! `rgrid receipt`: what an execution was made of, and the line that does the same by hand.

use std::time::Duration;

use clap::Args;
use rgrid_api::units::{format_duration, format_size};
use rgrid_api::{OutputFile, Receipt, ReceiptLimits};

use crate::cli::{Id, Json};
use crate::context::Session;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::{Console, Tone};

/// Show what an execution was made of, and the `docker run` line that does the same by hand
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid receipt exec_01jd3k
  rgrid receipt --json 01jd3k | jq -r .docker_run

The line wants to be run in a folder that holds the script and its files. What the script writes there
needs a folder that user 1000 may write to. Variables keep the values that they have in your shell;
RGrid shows their names alone.")]
pub struct ReceiptArgs {
    #[command(flatten)]
    which: Id,
    #[command(flatten)]
    form: Json,
}

pub fn run(args: &ReceiptArgs, session: &Session) -> Result<Exit, Failure> {
    let (receipt, document) = session.server()?.receipt(&args.which.id)?;
    if args.form.json {
        session.console.json(&document)?;
    } else {
        show(&receipt, &session.console)?;
    }
    Ok(Exit::Fine)
}

fn show(receipt: &Receipt, console: &Console) -> Result<(), Failure> {
    let field = |name: &str, value: &str| console.field(name, value, Tone::Plain);
    field("Execution", &receipt.id)?;
    field("Runtime", &receipt.runtime)?;
    if let Some(image) = &receipt.image {
        field("Image", image)?;
    }
    field("Digest", receipt.image_digest.as_deref().unwrap_or("not known before it runs"))?;
    field("Script", &described(&receipt.script))?;
    receipt.files.iter().try_for_each(|file| field("File", &described(file)))?;
    receipt.args.iter().try_for_each(|argument| field("Argument", argument))?;
    receipt.env_keys.iter().try_for_each(|name| field("Variable", name))?;
    receipt
        .requirements
        .iter()
        .flat_map(|text| required(text))
        .try_for_each(|line| field("Requires", line))?;
    limits(&receipt.limits).iter().try_for_each(|(name, value)| field(name, value))?;
    console.line("")?;
    console.line(&receipt.docker_run)?;
    if !receipt.env_keys.is_empty() {
        let names = receipt.env_keys.join(", ");
        console.hint(&format!(
            "export {names} first: the line takes the values from your shell, RGrid shows none"
        ));
    }
    Ok(())
}

fn described(file: &OutputFile) -> String {
    format!("{} ({}, sha256:{})", file.name, format_size(file.size), file.sha256)
}

/// The lines that say something.
fn required(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn limits(limits: &ReceiptLimits) -> [(&'static str, String); 7] {
    let timeout = Duration::try_from_secs_f64(limits.timeout_seconds).unwrap_or_default();
    [
        ("Timeout", format_duration(timeout)),
        ("Memory", format_size(limits.memory_bytes)),
        ("CPUs", limits.cpus.to_string()),
        ("Processes", limits.pids.to_string()),
        ("Network", if limits.network { "internet" } else { "none" }.to_owned()),
        ("Output", format!("{} of each stream", format_size(limits.output_limit))),
        ("Attempts", limits.max_attempts.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_require_nothing() {
        let lines: Vec<_> = required("# for the plots\n\nnumpy==2.0\n  pillow\n").collect();
        assert_eq!(lines, ["numpy==2.0", "pillow"]);
    }
}
