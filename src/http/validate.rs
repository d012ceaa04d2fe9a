//! Validates submissions: everything is parsed once, and all errors are reported together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use actix_web::http::Uri;
use base64::{Engine, prelude::BASE64_STANDARD};
use rgrid_api::units::format_size;
use rgrid_api::{FieldError, InputFile, Retry, Submission, names};

use crate::execution::{
    Caller, EnvVars, ExecutionId, FileContent, Limits, NewExecution, Requirements, Scope, ip_ranges,
};
use crate::settings::{Ecosystem, NetworkPolicy, RuntimeTable, Settings, Webhook};

const MIB: f64 = 1024.0 * 1024.0;
/// With less memory, the init and an interpreter cannot start.
const MEMORY_MIN_MB: f64 = 16.0;
const CPUS_MIN: f64 = 0.05;
const WEBHOOK_URL_MAX: usize = 2048;

/// Returns the execution without an idempotency key, or the errors of all fields.
pub(crate) fn submission(
    submission: Submission,
    caller: &Caller,
    settings: &Settings,
    runtimes: &RuntimeTable,
) -> Result<NewExecution, Vec<FieldError>> {
    let mut validator = Validator { settings, errors: Vec::new() };
    validator.script(&submission);
    validator.args(&submission.args);
    validator.variables("env", &submission.env);
    validator.variables("secrets", &submission.secrets);
    for name in submission.secrets.keys().filter(|name| submission.env.contains_key(*name)) {
        validator.error(format!("secrets.{name}"), "is also set in env; set it in only one of the two");
    }
    validator.labels("labels", &submission.labels, settings.submission.max_labels);
    validator.labels("on", &submission.on, names::WORKER_LABELS_MAX);
    let priority = validator.priority(submission.priority.unwrap_or(0), caller);
    let inputs = validator.files(&submission.script.name, &submission.files);
    let runtime = validator.runtime(&submission, runtimes);
    let limits = validator.limits(&submission);
    if let Some(webhook) = &submission.webhook {
        validator.check("webhook.url", check_webhook(&webhook.url, &settings.webhook));
    }
    if !validator.errors.is_empty() {
        return Err(validator.errors);
    }
    Ok(NewExecution {
        id: ExecutionId::generate(),
        runtime,
        script: FileContent { name: submission.script.name, content: submission.script.content.into_bytes() },
        args: submission.args,
        env: EnvVars(submission.env),
        secrets: EnvVars(submission.secrets),
        requirements: submission.requirements.filter(|text| !text.trim().is_empty()),
        inputs,
        limits,
        labels: submission.labels,
        on: submission.on,
        priority,
        idempotency: None,
        key: None,
        webhook: submission.webhook.map(|webhook| webhook.url),
    })
}

/// Validates the secrets of a retry: it needs all of them again, since RGrid does not keep them.
pub(crate) fn retry_secrets(
    required: &[String],
    retry: Retry,
    settings: &Settings,
) -> Result<EnvVars, Vec<FieldError>> {
    let mut validator = Validator { settings, errors: Vec::new() };
    validator.variables("secrets", &retry.secrets);
    for name in required.iter().filter(|name| !retry.secrets.contains_key(*name)) {
        let message = "is missing: secrets are not stored, so a retry needs their values again";
        validator.error(format!("secrets.{name}"), message);
    }
    for name in retry.secrets.keys().filter(|name| !required.contains(name)) {
        validator.error(format!("secrets.{name}"), "is not a secret of the original execution");
    }
    if validator.errors.is_empty() { Ok(EnvVars(retry.secrets)) } else { Err(validator.errors) }
}

/// The host's addresses are checked again for each call, because its DNS records may change.
fn check_webhook(url: &str, settings: &Webhook) -> Result<(), String> {
    if settings.secret.is_empty() {
        return Err("webhooks are disabled: this server's webhook.secret is not set".to_owned());
    }
    let invalid = || {
        format!(
            "must be a URL like https://example.org/ended, of at most {WEBHOOK_URL_MAX} bytes and without a user name"
        )
    };
    let uri: Uri = url.parse().map_err(|_| invalid())?;
    let authority = uri.authority().ok_or_else(invalid)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = authority.host();
    if !is_http || url.len() > WEBHOOK_URL_MAX || authority.as_str().contains('@') || host.is_empty() {
        return Err(invalid());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if !settings.allow_internal && !ip_ranges::is_public(address) => {
            Err(format!("{host} is not a public address; the server can allow it (webhook.allow_internal)"))
        }
        _ => Ok(()),
    }
}

/// Collects the errors of all fields.
struct Validator<'a> {
    settings: &'a Settings,
    errors: Vec<FieldError>,
}

impl Validator<'_> {
    fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
    }

    fn check(&mut self, field: impl Into<String>, result: Result<(), String>) {
        if let Err(message) = result {
            self.error(field, message);
        }
    }

    fn at_most(&mut self, field: &str, count: usize, max: usize, what: &str) {
        if count > max {
            self.error(field, format!("{count} {what}, at most {max} are allowed"));
        }
    }

    fn size_at_most(&mut self, field: &str, size: usize, max: u64) {
        if size as u64 > max {
            let (shown, limit) = (format_size(size as u64), format_size(max));
            // A size just above the limit is rounded to the limit.
            let shown = if shown == limit { format!("{size} bytes") } else { shown };
            self.error(field, format!("{shown} in total, at most {limit} are allowed"));
        }
    }

    fn no_nul(&mut self, field: impl Into<String>, text: &str) {
        if text.contains('\0') {
            self.error(field, "contains a NUL byte");
        }
    }

    fn script(&mut self, submission: &Submission) {
        let content = &submission.script.content;
        self.check("script.name", names::check_file_name(&submission.script.name));
        self.no_nul("script.content", content);
        self.size_at_most("script.content", content.len(), self.settings.submission.max_script.0);
        if content.trim().is_empty() {
            self.error("script.content", "is empty");
        }
    }

    fn args(&mut self, args: &[String]) {
        let limits = &self.settings.submission;
        self.at_most("args", args.len(), limits.max_args, "arguments");
        self.size_at_most("args", args.iter().map(String::len).sum(), limits.max_args_size.0);
        for (index, arg) in args.iter().enumerate() {
            self.no_nul(format!("args[{index}]"), arg);
        }
    }

    /// The same limits apply to variables and to secrets, each on its own.
    fn variables(&mut self, field: &str, variables: &BTreeMap<String, String>) {
        let limits = &self.settings.submission;
        let size = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.at_most(field, variables.len(), limits.max_env, "variables");
        self.size_at_most(field, size, limits.max_env_size.0);
        for (name, value) in variables {
            let field = format!("{field}.{}", name.chars().take(63).collect::<String>());
            self.check(field.clone(), names::check_env_name(name));
            self.no_nul(field, value);
        }
    }

    fn labels(&mut self, field: &str, labels: &BTreeMap<String, String>, max: usize) {
        self.at_most(field, labels.len(), max, "labels");
        for (key, value) in labels {
            let field = format!("{field}.{}", key.chars().take(63).collect::<String>());
            self.check(field.clone(), names::check_label_key(key));
            self.check(field, names::check_label_value(value));
        }
    }

    /// Only keys with the scope admin may exceed the setting, so that no other key can overtake everyone else.
    fn priority(&mut self, priority: i32, caller: &Caller) -> i16 {
        let (min, max) = (*names::PRIORITIES.start(), *names::PRIORITIES.end());
        let limit = i32::from(self.settings.queue.max_priority);
        if !names::PRIORITIES.contains(&priority) {
            self.error("priority", format!("must be between {min} and {max}"));
        } else if priority > limit && !caller.may(Scope::Admin) {
            let message = format!(
                "must be between {min} and {limit} for a key without the scope admin (queue.max_priority)"
            );
            self.error("priority", message);
        }
        i16::try_from(priority).unwrap_or_default()
    }

    fn files(&mut self, script: &str, files: &[InputFile]) -> Vec<FileContent> {
        let limits = &self.settings.submission;
        self.at_most("files", files.len(), limits.max_files, "files");
        let mut names = BTreeSet::new();
        let mut contents = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let field = format!("files[{index}].name");
            self.check(field.clone(), names::check_file_name(&file.name));
            if file.name == script {
                self.error(field, format!("{:?} is also the name of the script", file.name));
            } else if !names.insert(&file.name) {
                self.error(field, format!("two files are named {:?}", file.name));
            }
            match BASE64_STANDARD.decode(&file.content_base64) {
                Ok(content) => contents.push(FileContent { name: file.name.clone(), content }),
                Err(error) => {
                    self.error(format!("files[{index}].content_base64"), format!("is not base64: {error}"));
                }
            }
        }
        let size = contents.iter().map(|file| file.content.len()).sum();
        self.size_at_most("files", size, limits.max_files_size.0);
        contents
    }

    fn runtime(&mut self, submission: &Submission, runtimes: &RuntimeTable) -> String {
        let resolved = match &submission.runtime {
            None => Ok(runtimes.for_script(&submission.script.name, &submission.script.content)),
            Some(name) => runtimes.resolve(name),
        };
        let name = match resolved {
            Ok(name) => name,
            Err(message) => {
                self.error("runtime", message);
                return String::new();
            }
        };
        if let Some(requirements) = submission.requirements.as_deref().filter(|text| !text.trim().is_empty())
        {
            let max = self.settings.submission.max_requirements.0;
            self.size_at_most("requirements", requirements.len(), max);
            for message in Requirements::parse(requirements).err().unwrap_or_default().into_iter().take(10) {
                self.error("requirements", message);
            }
            if runtimes.get(name).is_none_or(|entry| entry.ecosystem() != Ecosystem::Python) {
                let message = "can be installed only for a Python runtime, and this script runs in";
                self.error("requirements", format!("{message} {name}"));
            }
        }
        name.to_owned()
    }

    fn limits(&mut self, submission: &Submission) -> Limits {
        let settings = self.settings;
        let (execution, sandbox) = (&settings.execution, &settings.sandbox);
        let max_seconds = execution.max_timeout.0.as_secs_f64();
        let seconds = submission.timeout_seconds.unwrap_or(execution.timeout.0.as_secs_f64());
        if !(seconds > 0.0 && seconds <= max_seconds) {
            self.error("timeout_seconds", format!("must be above 0 and at most {max_seconds} s"));
        }
        let max_mb = sandbox.max_memory.0 as f64 / MIB;
        let memory_mb = submission.memory_mb.unwrap_or(sandbox.memory.0 as f64 / MIB);
        if !(MEMORY_MIN_MB..=max_mb).contains(&memory_mb) {
            self.error("memory_mb", format!("must be between {MEMORY_MIN_MB} and {max_mb} MiB"));
        }
        let cpus = submission.cpus.unwrap_or(sandbox.cpus);
        if !(CPUS_MIN..=sandbox.max_cpus).contains(&cpus) {
            self.error("cpus", format!("must be between {CPUS_MIN} and {}", sandbox.max_cpus));
        }
        let network = sandbox.network == NetworkPolicy::Internet;
        if submission.network == Some(true) && !network {
            let message = "is not allowed: this server runs scripts without network access (sandbox.network)";
            self.error("network", message);
        }
        let max_attempts = submission.max_attempts.unwrap_or(execution.max_attempts);
        let most_attempts = settings.submission.max_attempts;
        if !(1..=most_attempts.max(execution.max_attempts)).contains(&max_attempts) {
            self.error("max_attempts", format!("must be between 1 and {most_attempts}"));
        }
        Limits {
            timeout: Duration::try_from_secs_f64(seconds).unwrap_or_default().max(Duration::from_millis(1)),
            memory_bytes: (memory_mb * MIB) as u64,
            cpus_milli: (cpus * 1000.0) as u32,
            network: submission.network.unwrap_or(network),
            max_attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use rgrid_api::Script;

    use super::*;

    fn validate(change: impl FnOnce(&mut Submission)) -> Result<NewExecution, Vec<FieldError>> {
        let settings = crate::settings::load(None, []).unwrap();
        let script = Script { name: "s.py".to_owned(), content: "print(1)".to_owned() };
        let mut new = Submission { script, ..Submission::default() };
        change(&mut new);
        submission(new, &Caller::unauthenticated(), &settings, &settings.runtimes())
    }

    #[test]
    fn omitted_fields_get_the_servers_defaults() {
        let new = validate(|_| {}).unwrap();
        assert_eq!(new.runtime, "python:3.11");
        assert_eq!(new.limits.timeout, Duration::from_secs(600));
        assert_eq!((new.limits.memory_bytes, new.limits.cpus_milli), (512 << 20, 1000));
        assert!(new.limits.network && new.limits.max_attempts == 2);
    }

    #[test]
    fn all_errors_are_reported_together() {
        let errors = validate(|new| {
            new.env.insert("1X".to_owned(), String::new());
            new.timeout_seconds = Some(f64::NAN);
            new.args = vec!["a\0".to_owned()];
        })
        .unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["args[0]", "env.1X", "timeout_seconds"]);
    }

    #[test]
    fn requirements_need_a_python_runtime() {
        let errors = validate(|new| {
            new.runtime = Some("bash".to_owned());
            new.requirements = Some("requests".to_owned());
        })
        .unwrap_err();
        assert_eq!(errors[0].field, "requirements");
    }

    #[test]
    fn a_retry_needs_exactly_the_secrets_of_the_original_execution() {
        let settings = crate::settings::load(None, []).unwrap();
        let fields = |names: &[&str]| {
            let secrets = names.iter().map(|name| ((*name).to_owned(), "v".to_owned())).collect();
            let errors = retry_secrets(&["A".to_owned(), "B".to_owned()], Retry { secrets }, &settings).err();
            errors.unwrap_or_default().into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(&["A", "B"]), [""; 0]);
        assert_eq!(fields(&["A", "C"]), ["secrets.B", "secrets.C"]);
    }

    #[test]
    fn a_name_is_a_variable_or_a_secret() {
        let errors = validate(|new| {
            new.env.insert("A".to_owned(), String::new());
            new.secrets.insert("A".to_owned(), "value".to_owned());
        });
        assert_eq!(errors.unwrap_err()[0].field, "secrets.A");
    }

    #[test]
    fn an_empty_file_is_accepted() {
        let new = validate(|new| {
            new.files = vec![InputFile { name: "a".to_owned(), content_base64: String::new() }];
        });
        assert_eq!(new.unwrap().inputs[0].content, b"");
    }

    #[test]
    fn webhooks_must_be_public_http_urls() {
        let mut settings = crate::settings::load(None, []).unwrap().webhook;
        assert!(check_webhook("https://example.org/x", &settings).unwrap_err().contains("webhook.secret"));
        settings.secret = "s".to_owned();
        for good in ["https://example.org/x?y=z", "http://1.1.1.1:8080/"] {
            assert_eq!(check_webhook(good, &settings), Ok(()), "{good}");
        }
        let bad = [
            "",
            "example.org",
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://u:p@example.org/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://169.254.169.254/latest",
        ];
        for bad in bad {
            assert!(check_webhook(bad, &settings).is_err(), "{bad}");
        }
        settings.allow_internal = true;
        assert_eq!(check_webhook("http://127.0.0.1/", &settings), Ok(()));
    }
}
