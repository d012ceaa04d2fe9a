//! From what a client asks to what can be run: parsed once, with every mistake told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rgrid_api::units::format_size;
use rgrid_api::{FieldError, InputFile, Retry, Submission, names};

use crate::execution::{
    Caller, EnvVars, ExecutionId, FileContent, Limits, NewExecution, Requirements, Scope,
};
use crate::http::webhook;
use crate::settings::{Ecosystem, NetworkPolicy, RuntimeTable, Settings, UnknownRuntime};

const MIB: f64 = 1024.0 * 1024.0;
/// Below this the init and an interpreter have no room.
const MEMORY_MIN_MB: f64 = 16.0;
const CPUS_MIN: f64 = 0.05;

/// The execution without an idempotency key, or what is wrong, field by field.
pub(crate) fn admit(
    asked: Submission,
    caller: &Caller,
    settings: &Settings,
    runtimes: &RuntimeTable,
) -> Result<NewExecution, Vec<FieldError>> {
    let mut desk = Validator { settings, errors: Vec::new() };
    desk.script(&asked);
    desk.args(&asked.args);
    desk.environment("env", &asked.env);
    desk.environment("secrets", &asked.secrets);
    desk.no_name_twice(&asked);
    desk.labels("labels", &asked.labels, settings.submission.max_labels);
    desk.labels("on", &asked.on, names::WORKER_LABELS_MAX);
    let priority = desk.priority(asked.priority.unwrap_or(0), caller);
    let inputs = desk.files(&asked.script.name, &asked.files);
    let runtime = desk.runtime(&asked, runtimes);
    let limits = desk.limits(&asked);
    if let Some(webhook) = &asked.webhook {
        desk.check("webhook.url", webhook::check(&webhook.url, &settings.webhook));
    }
    if !desk.errors.is_empty() {
        return Err(desk.errors);
    }
    Ok(NewExecution {
        id: ExecutionId::generate(),
        runtime,
        script: FileContent { name: asked.script.name, content: asked.script.content.into_bytes() },
        args: asked.args,
        env: EnvVars(asked.env),
        secrets: EnvVars(asked.secrets),
        requirements: asked.requirements.filter(|text| !text.trim().is_empty()),
        inputs,
        limits,
        labels: asked.labels,
        on: asked.on,
        priority,
        idempotency: None,
        key: None,
        webhook: asked.webhook.map(|webhook| webhook.url),
    })
}

/// The values for the secrets of a run that is to be run again: all of them, since they were not kept.
pub(crate) fn secrets_again(
    wanted: &[String],
    asked: Retry,
    settings: &Settings,
) -> Result<EnvVars, Vec<FieldError>> {
    let mut desk = Validator { settings, errors: Vec::new() };
    desk.environment("secrets", &asked.secrets);
    for name in wanted.iter().filter(|name| !asked.secrets.contains_key(*name)) {
        desk.wrong(
            format!("secrets.{name}"),
            "is missing: secrets are not kept, so a retry needs their values again",
        );
    }
    for name in asked.secrets.keys().filter(|name| !wanted.contains(name)) {
        desk.wrong(format!("secrets.{name}"), "was no secret of the first run");
    }
    if desk.errors.is_empty() { Ok(EnvVars(asked.secrets)) } else { Err(desk.errors) }
}

/// Collects what is wrong.
struct Validator<'a> {
    settings: &'a Settings,
    errors: Vec<FieldError>,
}

impl Validator<'_> {
    fn wrong(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
    }

    fn check(&mut self, field: impl Into<String>, result: Result<(), String>) {
        if let Err(message) = result {
            self.wrong(field, message);
        }
    }

    fn at_most(&mut self, field: &str, count: usize, most: usize, what: &str) {
        if count > most {
            self.wrong(field, format!("{count} {what}, at most {most} are allowed"));
        }
    }

    fn size_at_most(&mut self, field: &str, size: usize, most: u64) {
        if size as u64 > most {
            let (shown, limit) = (format_size(size as u64), format_size(most));
            // A little too much looks the same when it is rounded.
            let shown = if shown == limit { format!("{size} bytes") } else { shown };
            self.wrong(field, format!("{shown} in all, at most {limit} are allowed"));
        }
    }

    fn no_nul(&mut self, field: impl Into<String>, text: &str) {
        if text.contains('\0') {
            self.wrong(field, "holds a NUL byte");
        }
    }

    fn script(&mut self, asked: &Submission) {
        let content = &asked.script.content;
        self.check("script.name", names::check_file_name(&asked.script.name));
        self.no_nul("script.content", content);
        self.size_at_most("script.content", content.len(), self.settings.submission.max_script.0);
        if content.trim().is_empty() {
            self.wrong("script.content", "is empty; there is nothing to run");
        }
    }

    fn args(&mut self, args: &[String]) {
        let limits = &self.settings.submission;
        let (most, most_size) = (limits.max_args, limits.max_args_size.0);
        self.at_most("args", args.len(), most, "arguments");
        self.size_at_most("args", args.iter().map(String::len).sum(), most_size);
        for (at, arg) in args.iter().enumerate() {
            self.no_nul(format!("args[{at}]"), arg);
        }
    }

    /// Variables and secrets have the same rules, each the same room.
    fn environment(&mut self, field: &str, env: &BTreeMap<String, String>) {
        let limits = &self.settings.submission;
        let (most, most_size) = (limits.max_env, limits.max_env_size.0);
        self.at_most(field, env.len(), most, "variables");
        self.size_at_most(field, env.iter().map(|(name, value)| name.len() + value.len()).sum(), most_size);
        for (name, value) in env {
            let field = format!("{field}.{}", name.chars().take(63).collect::<String>());
            self.check(field.clone(), names::check_env_name(name));
            self.no_nul(field, value);
        }
    }

    fn no_name_twice(&mut self, asked: &Submission) {
        for name in asked.secrets.keys().filter(|name| asked.env.contains_key(*name)) {
            self.wrong(format!("secrets.{name}"), "stands in env too; which of the two is meant?");
        }
    }

    fn labels(&mut self, field: &str, labels: &BTreeMap<String, String>, most: usize) {
        self.at_most(field, labels.len(), most, "labels");
        for (key, value) in labels {
            let field = format!("{field}.{}", key.chars().take(63).collect::<String>());
            self.check(field.clone(), names::check_label_key(key));
            self.check(field, names::check_label_value(value));
        }
    }

    /// Of those without the scope admin the setting bounds it, so that no key can push itself before all others.
    fn priority(&mut self, asked: i32, caller: &Caller) -> i16 {
        let (lowest, highest) = (*names::PRIORITIES.start(), *names::PRIORITIES.end());
        let bound = i32::from(self.settings.queue.max_priority);
        if !names::PRIORITIES.contains(&asked) {
            self.wrong("priority", format!("must be from {lowest} to {highest}"));
        } else if asked > bound && !caller.may(Scope::Admin) {
            let words = format!(
                "must be from {lowest} to {bound} for a key without the scope admin (queue.max_priority)"
            );
            self.wrong("priority", words);
        }
        i16::try_from(asked).unwrap_or_default()
    }

    fn files(&mut self, script: &str, files: &[InputFile]) -> Vec<FileContent> {
        let limits = &self.settings.submission;
        let (most, most_size) = (limits.max_files, limits.max_files_size.0);
        self.at_most("files", files.len(), most, "files");
        let mut seen = BTreeSet::new();
        let mut contents = Vec::new();
        for (at, file) in files.iter().enumerate() {
            let field = format!("files[{at}].name");
            self.check(field.clone(), names::check_file_name(&file.name));
            if file.name == script {
                self.wrong(field, format!("{:?} is the script's own name", file.name));
            } else if !seen.insert(&file.name) {
                self.wrong(field, format!("two files are called {:?}", file.name));
            }
            match BASE64_STANDARD.decode(&file.content_base64) {
                Ok(content) => contents.push(FileContent { name: file.name.clone(), content }),
                Err(error) => {
                    self.wrong(format!("files[{at}].content_base64"), format!("is not base64: {error}"))
                }
            }
        }
        self.size_at_most("files", contents.iter().map(|file| file.content.len()).sum(), most_size);
        contents
    }

    fn runtime(&mut self, asked: &Submission, runtimes: &RuntimeTable) -> String {
        let chosen = match &asked.runtime {
            None => Ok(runtimes.for_script(&asked.script.name, &asked.script.content)),
            Some(name) => runtimes.resolve(name),
        };
        let name = match chosen {
            Ok(name) => name.to_owned(),
            Err(unknown) => {
                self.wrong("runtime", words_for(&unknown));
                return String::new();
            }
        };
        if let Some(requirements) = asked.requirements.as_deref().filter(|text| !text.trim().is_empty()) {
            self.size_at_most(
                "requirements",
                requirements.len(),
                self.settings.submission.max_requirements.0,
            );
            for message in Requirements::parse(requirements).err().unwrap_or_default().into_iter().take(10) {
                self.wrong("requirements", message);
            }
            if runtimes.get(&name).is_none_or(|entry| entry.ecosystem() != Ecosystem::Python) {
                self.wrong("requirements", format!("are installed for Python only, and this runs in {name}"));
            }
        }
        name
    }

    fn limits(&mut self, asked: &Submission) -> Limits {
        let settings = self.settings;
        let (execution, sandbox) = (&settings.execution, &settings.sandbox);
        let most_seconds = execution.max_timeout.0.as_secs_f64();
        let seconds = asked.timeout_seconds.unwrap_or(execution.timeout.0.as_secs_f64());
        if !(seconds > 0.0 && seconds <= most_seconds) {
            self.wrong("timeout_seconds", format!("must be above 0 and at most {most_seconds} s"));
        }
        let most_mb = sandbox.max_memory.0 as f64 / MIB;
        let memory_mb = asked.memory_mb.unwrap_or(sandbox.memory.0 as f64 / MIB);
        if !(MEMORY_MIN_MB..=most_mb).contains(&memory_mb) {
            self.wrong("memory_mb", format!("must be from {MEMORY_MIN_MB} to {most_mb} MiB"));
        }
        let cpus = asked.cpus.unwrap_or(sandbox.cpus);
        if !(CPUS_MIN..=sandbox.max_cpus).contains(&cpus) {
            self.wrong("cpus", format!("must be from {CPUS_MIN} to {}", sandbox.max_cpus));
        }
        Limits {
            timeout: Duration::try_from_secs_f64(seconds).unwrap_or_default().max(Duration::from_millis(1)),
            memory_bytes: (memory_mb * MIB) as u64,
            cpus_milli: (cpus * 1000.0) as u32,
            network: self.network(asked.network),
            max_attempts: self.max_attempts(asked.max_attempts),
        }
    }

    fn network(&mut self, asked: Option<bool>) -> bool {
        let allowed = self.settings.sandbox.network == NetworkPolicy::Internet;
        if asked == Some(true) && !allowed {
            self.wrong("network", "this server runs scripts without network only");
        }
        asked.unwrap_or(allowed)
    }

    fn max_attempts(&mut self, asked: Option<u32>) -> u32 {
        let most = self.settings.submission.max_attempts;
        let attempts = asked.unwrap_or(self.settings.execution.max_attempts);
        if !(1..=most.max(self.settings.execution.max_attempts)).contains(&attempts) {
            self.wrong("max_attempts", format!("must be from 1 to {most}"));
        }
        attempts
    }
}

fn words_for(unknown: &UnknownRuntime) -> String {
    let asked: String = unknown.asked.chars().take(60).collect();
    let nearest = unknown.nearest.as_ref().map(|name| format!("did you mean {name}? ")).unwrap_or_default();
    format!("{asked:?} is no runtime here; {nearest}there are {}", unknown.known.join(", "))
}

#[cfg(test)]
mod tests {
    use rgrid_api::Script;

    use super::*;

    fn admitted(change: impl FnOnce(&mut Submission)) -> Result<NewExecution, Vec<FieldError>> {
        let settings = crate::settings::load(None, []).unwrap();
        let script = Script { name: "s.py".to_owned(), content: "print(1)".to_owned() };
        let mut submission = Submission { script, ..Submission::default() };
        change(&mut submission);
        admit(submission, &Caller::unauthenticated(), &settings, &settings.runtimes())
    }

    #[test]
    fn what_is_not_asked_for_gets_the_servers_defaults() {
        let new = admitted(|_| {}).unwrap();
        assert_eq!(new.runtime, "python:3.11");
        assert_eq!(new.limits.timeout, Duration::from_secs(600));
        assert_eq!((new.limits.memory_bytes, new.limits.cpus_milli), (512 << 20, 1000));
        assert!(new.limits.network && new.limits.max_attempts == 2);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let errors = admitted(|asked| {
            asked.env.insert("1X".to_owned(), String::new());
            asked.timeout_seconds = Some(f64::NAN);
            asked.args = vec!["a\0".to_owned()];
        })
        .unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["args[0]", "env.1X", "timeout_seconds"]);
    }

    #[test]
    fn requirements_are_for_python() {
        let errors = admitted(|asked| {
            asked.runtime = Some("bash".to_owned());
            asked.requirements = Some("requests".to_owned());
        })
        .unwrap_err();
        assert_eq!(errors[0].field, "requirements");
    }

    #[test]
    fn a_retry_needs_exactly_the_secrets_of_the_first_run() {
        let settings = crate::settings::load(None, []).unwrap();
        let again = |names: &[&str]| {
            let secrets = names.iter().map(|name| ((*name).to_owned(), "v".to_owned())).collect();
            let errors = secrets_again(&["A".to_owned(), "B".to_owned()], Retry { secrets }, &settings).err();
            errors.unwrap_or_default().into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(again(&["A", "B"]), [""; 0]);
        assert_eq!(again(&["A", "C"]), ["secrets.B", "secrets.C"]);
    }

    #[test]
    fn a_name_is_a_variable_or_a_secret() {
        let errors = admitted(|asked| {
            asked.env.insert("A".to_owned(), String::new());
            asked.secrets.insert("A".to_owned(), "value".to_owned());
        });
        assert_eq!(errors.unwrap_err()[0].field, "secrets.A");
    }

    #[test]
    fn an_empty_file_is_a_file() {
        let new = admitted(|asked| {
            asked.files = vec![InputFile { name: "a".to_owned(), content_base64: String::new() }];
        });
        assert_eq!(new.unwrap().inputs[0].content, b"");
    }
}
