//! `rgrid receipt`: shows what an execution consisted of, and a command line that repeats it.

use std::time::Duration;

use clap::Args;
use rgrid_api::units::{format_duration, format_size};
use rgrid_api::{OutputFile, Receipt};

use crate::cli::{Context, Id, Json};
use crate::error::{Exit, Result};
use crate::output::Style;

/// Show what an execution consisted of, and a `docker run` line that repeats it
#[derive(Args)]
#[command(after_help = "\
Examples:
  rgrid receipt exec_01jd3k
  rgrid receipt --json 01jd3k | jq -r .docker_run

Run the line in a folder that contains the script and its files. To write files there, the script
needs a folder that user 1000 can write to. Variables take their values from your shell, since
RGrid shows only their names.")]
pub struct ReceiptArgs {
    #[command(flatten)]
    target: Id,
    #[command(flatten)]
    output: Json,
}

pub fn run(args: &ReceiptArgs, context: &Context) -> Result<Exit> {
    let console = &context.console;
    let (receipt, document) = context.client()?.receipt(&args.target.id)?;
    if args.output.json {
        return console.json(&document).map(|()| Exit::Success);
    }
    for (name, value) in fields(&receipt) {
        console.field(name, &value, Style::Plain)?;
    }
    console.line("")?;
    console.line(&receipt.docker_run)?;
    if !receipt.env_keys.is_empty() {
        let names = receipt.env_keys.join(", ");
        console.hint(&format!("export {names} first; the line takes the values from your shell"));
    }
    Ok(Exit::Success)
}

fn fields(receipt: &Receipt) -> Vec<(&'static str, String)> {
    let digest = receipt.image_digest.as_deref().unwrap_or("not known before it runs");
    let mut fields = vec![("Execution", receipt.id.clone()), ("Runtime", receipt.runtime.clone())];
    fields.extend(receipt.image.clone().map(|image| ("Image", image)));
    fields.extend([("Digest", digest.to_owned()), ("Script", describe_file(&receipt.script))]);
    fields.extend(receipt.files.iter().map(|file| ("File", describe_file(file))));
    fields.extend(receipt.args.iter().map(|argument| ("Argument", argument.clone())));
    fields.extend(receipt.env_keys.iter().map(|name| ("Variable", name.clone())));
    let requirements = receipt.requirements.as_deref().unwrap_or_default().lines().map(str::trim);
    let requirements = requirements.filter(|line| !line.is_empty() && !line.starts_with('#'));
    fields.extend(requirements.map(|line| ("Requires", line.to_owned())));
    let limits = &receipt.limits;
    let timeout = Duration::try_from_secs_f64(limits.timeout_seconds).unwrap_or_default();
    fields.extend([
        ("Timeout", format_duration(timeout)),
        ("Memory", format_size(limits.memory_bytes)),
        ("CPUs", limits.cpus.to_string()),
        ("Processes", limits.pids.to_string()),
        ("Network", if limits.network { "internet" } else { "none" }.to_owned()),
        ("Output", format!("{} of each stream", format_size(limits.output_limit))),
        ("Attempts", limits.max_attempts.to_string()),
    ]);
    fields
}

fn describe_file(file: &OutputFile) -> String {
    format!("{} ({}, sha256:{})", file.name, format_size(file.size), file.sha256)
}
