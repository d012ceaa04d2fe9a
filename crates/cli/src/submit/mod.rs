//! Turns a command line into a submission. Errors are reported before anything is sent.

mod arguments;
mod options;
mod requirements;
mod script;

use std::ffi::OsString;

use rgrid_api::Submission;

use crate::client::Client;
use crate::error::{CliError, Result};
use crate::python::{ImportContext, metadata, packages};
use arguments::Arguments;
pub use options::{JobOptions, parse_label, read_secrets};
use requirements::JobRequirements;
use script::ScriptSource;

pub struct PreparedJob {
    pub submission: Submission,
    pub hints: Vec<String>,
    source: ScriptSource,
}

impl PreparedJob {
    /// The same script with other arguments.
    pub fn with_command(&self, command: &[OsString]) -> Result<Submission> {
        let Arguments { args, files } = Arguments::read(command.get(1..).unwrap_or_default(), &self.source)?;
        Ok(Submission { args, files, ..self.submission.clone() })
    }
}

pub fn to_json(submission: &Submission) -> Result<Vec<u8>> {
    serde_json::to_vec(submission)
        .map_err(|error| CliError::failure(format!("cannot write the submission as JSON: {error}")))
}

/// For IDs and keys that must be unique.
pub fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes)
        .map_err(|error| CliError::failure(format!("cannot get random bytes from the system: {error}")))?;
    Ok(bytes)
}

/// `command` contains the script and its arguments.
pub fn prepare(options: &JobOptions, command: &[OsString], client: &Client) -> Result<PreparedJob> {
    let (script, args) = command.split_first().ok_or_else(|| CliError::usage("no script was given"))?;
    let source = ScriptSource::read(script, options.runtime.as_deref())?;
    let is_python = script::is_python(options.runtime.as_deref(), &source.script);
    let requirements = JobRequirements::find(options, &source, is_python)?;
    let arguments = Arguments::read(args, &source)?;
    let env = options::read_env(&options.env_file, &options.env)?;
    let secrets = read_secrets(&options.secret, &options.env)?;
    let runtime = match (&options.runtime, &requirements.python) {
        (None, Some(version)) => Some(script::choose(client, version, &source.script.name)?),
        (chosen, _) => chosen.clone(),
    };
    let hints = if is_python {
        python_hints(&source, runtime.as_deref(), &requirements, &arguments)
    } else {
        Vec::new()
    };
    let submission = Submission {
        runtime,
        args: arguments.args,
        files: arguments.files,
        env,
        secrets,
        requirements: requirements.text,
        timeout_seconds: options.timeout.map(|timeout| timeout.as_secs_f64()),
        memory_mb: options.memory.map(|bytes| bytes as f64 / f64::from(1 << 20)),
        cpus: options.cpus,
        network: options.no_network.then_some(false),
        labels: options.label.iter().cloned().collect(),
        on: options.on.iter().cloned().collect(),
        priority: options.priority,
        max_attempts: options.max_attempts,
        webhook: None,
        script: source.script.clone(),
    };
    Ok(PreparedJob { submission, hints, source })
}

fn python_hints(
    source: &ScriptSource,
    runtime: Option<&str>,
    requirements: &JobRequirements,
    arguments: &Arguments,
) -> Vec<String> {
    let name = source.script.name.as_str();
    let mut hints = Vec::new();
    let minor = runtime.and_then(metadata::minor_of);
    if let (Some(specifier), Some(minor)) = (&requirements.python, minor)
        && metadata::allows(specifier, minor) == Ok(false)
    {
        hints.push(format!("{name} requires Python {specifier} but runs with 3.{minor}"));
    }
    if let Some(place) = &requirements.place {
        let uploaded = arguments.files.iter().map(|file| file.name.clone());
        let context = ImportContext {
            minor,
            packages: requirements.packages.as_deref(),
            place,
            files: &std::iter::once(name.to_owned()).chain(uploaded).collect::<Vec<_>>(),
            folder: source.folder.as_deref(),
        };
        hints.extend(packages::suggestions(name, &source.script.content, &context));
    }
    hints
}
