//! From a command line to what is submitted. Everything that is wrong with it is told before anything
//! is sent, in the words that the server would use.

mod arguments;
mod environment;
mod language;
mod options;
mod requirements;
mod runtime;
mod script;
mod secrets;

use std::collections::BTreeMap;
use std::ffi::OsString;

use rgrid_api::Submission;

use crate::client::Server;
use crate::error::Failure;
use crate::python::suggestions::{self, Surroundings};
use crate::python::versions;
use arguments::Arguments;
use language::Language;
pub use options::{JobOptions, label};
use requirements::Requirements;
use script::Source;

pub struct Prepared {
    pub submission: Submission,
    /// What the user should know before it runs.
    pub hints: Vec<String>,
    source: Source,
}

impl Prepared {
    /// The same script with other arguments.
    pub fn with(&self, command: &[OsString]) -> Result<Submission, Failure> {
        let arguments = Arguments::read(command.get(1..).unwrap_or_default(), &self.source)?;
        Ok(Submission { args: arguments.args, files: arguments.files, ..self.submission.clone() })
    }
}

/// The values of these, from the caller's environment or asked for.
pub fn secrets(names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    secrets::of(names, &[])
}

/// As it is sent.
pub fn body(submission: &Submission) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(submission)
        .map_err(|error| Failure::failed(format!("the submission can't be written as JSON: {error}")))
}

/// `command` is the script and its arguments.
pub fn prepare(options: &JobOptions, command: &[OsString], server: &Server) -> Result<Prepared, Failure> {
    let (script, args) = command.split_first().ok_or_else(|| Failure::usage("there is no script to run"))?;
    let source = Source::read(script, options.runtime.as_deref())?;
    let language = Language::guess(options.runtime.as_deref(), &source.script);
    let requirements = Requirements::find(options, &source, language)?;
    let arguments = Arguments::read(args, &source)?;
    let env = environment::of(&options.env_file, &options.env)?;
    let secrets = secrets::of(&options.secret, &options.env)?;
    let runtime = match (&options.runtime, &requirements.python) {
        (None, Some(wanted)) => Some(runtime::choose(server, wanted, &source.script.name)?),
        (chosen, _) => chosen.clone(),
    };
    let hints = hints(&source, language, runtime.as_deref(), &requirements, &arguments);
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
    Ok(Prepared { submission, hints, source })
}

fn hints(
    source: &Source,
    language: Language,
    runtime: Option<&str>,
    requirements: &Requirements,
    arguments: &Arguments,
) -> Vec<String> {
    let name = source.script.name.as_str();
    let mut hints = requirements.hints.clone();
    if language != Language::Python {
        return hints;
    }
    let minor = runtime.and_then(versions::minor_of);
    if let (Some(wanted), Some(minor)) = (&requirements.python, minor)
        && versions::allows(wanted, minor) == Ok(false)
    {
        hints.push(format!("{name} wants Python {wanted}, and runs with 3.{minor}"));
    }
    if let Some(place) = &requirements.place {
        let own = std::iter::once(name.to_owned());
        let files: Vec<String> = own.chain(arguments.files.iter().map(|file| file.name.clone())).collect();
        let required = &requirements.required;
        let around = Surroundings { minor, required, place, files: &files, folder: source.folder.as_deref() };
        hints.extend(suggestions::of(name, &source.script.content, &around));
    }
    hints
}
