//! Merges the settings from all sources and checks them.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use config::{Config, FileFormat, Format, Map, Source, Value, ValueKind};
use rgrid_api::names::PRIORITIES;

use crate::settings::{AuthMode, DEFAULTS, Settings};

/// Merges the defaults, `file`, the environment and `flags` (dotted names and values). Each source overrides the
/// ones before it. The error has one line per invalid setting: its name, the source of the value, and the allowed values.
pub fn load<'a>(
    file: Option<&Path>,
    flags: impl IntoIterator<Item = (&'a str, Value)>,
) -> anyhow::Result<Settings> {
    let parse = |name: Option<&String>, text: &str| FileFormat::Toml.parse(name, text);
    let defaults = parse(None, DEFAULTS).map_err(|error| anyhow!("config/default.toml: {error}"))?;
    let mut builder = Config::builder().add_source(Layer(defaults));
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| anyhow!("cannot read the settings file {name}: {error}"))?;
        let values = parse(Some(&name), &text)
            .map_err(|error| anyhow!("cannot parse the settings file {name}: {error}"))?;
        builder = builder.add_source(Layer(values));
    }
    let flags = flags
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::new(Some(&"the command line".to_owned()), value.kind)));
    let merged = builder.add_source(Layer(environment())).add_source(Layer(flags.collect())).build()?.cache;

    // Through JSON, because its deserializer is strict and lists the allowed values; the one of `Value` converts
    // silently, for example 1.5 to 2.
    let json: serde_json::Value = merged.clone().try_deserialize()?;
    let settings =
        serde_path_to_error::deserialize(json).map_err(|error: serde_path_to_error::Error<_>| {
            let name = error.path().to_string();
            let keys = error.path().iter().filter_map(|segment| match segment {
                serde_path_to_error::Segment::Map { key } => Some(key.as_str()),
                _ => None,
            });
            anyhow!(message(&name, origin(&merged, keys), &error.inner().to_string()))
        })?;
    let settings = with_host_defaults(settings);
    let mut mistakes = settings.runtimes().mistakes();
    for (name, allowed) in contradictions(&settings) {
        mistakes.push(message(name, origin(&merged, name.split('.')), &allowed));
    }
    if mistakes.is_empty() { Ok(settings) } else { bail!(mistakes.join("\n")) }
}

/// The values of one source, under their dotted names.
#[derive(Debug, Clone)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Reads `RGRID_WORKER__SLOTS` as `worker.slots`. Variables without a section, such as `RGRID_API_URL`, belong to
/// the CLI; the only setting without a section is `data_dir`.
fn environment() -> Map<String, Value> {
    let mut values = Map::new();
    for (variable, text) in std::env::vars_os() {
        let (Some(variable), Some(text)) = (variable.to_str(), text.to_str()) else { continue };
        let name = match variable.strip_prefix("RGRID_") {
            Some(name) if name.contains("__") || name == "DATA_DIR" => name.to_lowercase().replace("__", "."),
            // `RGRID_DATABASE__URL` takes precedence.
            None if variable == "DATABASE_URL" && std::env::var_os("RGRID_DATABASE__URL").is_none() => {
                "database.url".to_owned()
            }
            _ => continue,
        };
        values.insert(name, Value::new(Some(&variable.to_owned()), parse(text)));
    }
    values
}

/// Parses the text of an environment variable: a boolean, a number, a quoted text, a list or a table as in TOML;
/// anything else is text. The items of a list need no quotes.
fn parse(text: &str) -> ValueKind {
    let text = text.trim();
    if let Ok(value) = text.parse::<bool>() {
        return value.into();
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    if let Some(number) = text.parse::<f64>().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit()))
    {
        return number.into();
    }
    if text.starts_with(['[', '{', '"'])
        && let Ok(mut parsed) = FileFormat::Toml.parse(None, &format!("value = {text}"))
        && parsed.len() == 1
        && let Some(value) = parsed.remove("value")
    {
        return value.kind;
    }
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(items) => items.split(',').map(parse).collect::<Vec<_>>().into(),
        None => text.into(),
    }
}

/// Where the value was set; `None` for a default.
fn origin<'a>(merged: &'a Value, keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut value = merged;
    for key in keys {
        let ValueKind::Table(table) = &value.kind else { break };
        match table.get(key) {
            Some(inner) => value = inner,
            None => break,
        }
    }
    value.origin()
}

fn message(name: &str, origin: Option<&str>, cause: &str) -> String {
    match origin {
        Some(origin) => format!("{name} (from {origin}): {cause}"),
        None => format!("{name}: {cause}"),
    }
}

/// Fills in the defaults that depend on the host.
fn with_host_defaults(mut settings: Settings) -> Settings {
    if settings.data_dir.as_os_str().is_empty() {
        settings.data_dir = default_data_dir();
    }
    if settings.worker.name.is_empty() {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        settings.worker.name = if name.trim().is_empty() { "localhost" } else { name.trim() }.to_owned();
    }
    if settings.worker.slots == 0 {
        settings.worker.slots = std::thread::available_parallelism().map_or(1, usize::from);
    }
    settings
}

fn default_data_dir() -> PathBuf {
    if let Some(state) = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()) {
        return PathBuf::from(state).join("rgrid");
    }
    match std::env::var_os("HOME").map(PathBuf::from) {
        Some(home) if !home.starts_with("/root") => home.join(".local/state/rgrid"),
        _ => PathBuf::from("/var/lib/rgrid"),
    }
}

/// The rules that a value's type cannot express: the setting that breaks one, and what is allowed.
fn contradictions(settings: &Settings) -> Vec<(&'static str, String)> {
    let Settings { http, database, worker, execution, queue, sandbox, install, auth, .. } = settings;
    let priority = i32::from(queue.max_priority);
    let rules = [
        ("http.workers", http.workers > 0, "must be at least 1"),
        ("http.max_connections", http.max_connections > 0, "must be at least 1"),
        // Above this size actix-web closes the connection without a response.
        ("http.max_header", http.max_header.0 <= 96 * 1024, "must be at most 96KiB"),
        ("http.rate_limit", http.rate_limit >= 0.0, "must be at least 0 (no limit)"),
        ("database.connections", database.connections >= 2, "must be at least 2"),
        ("worker.slots", worker.slots <= 1024, "must be at most 1024"),
        ("queue.max_priority", PRIORITIES.contains(&priority), "must be between -100 and 100"),
        ("worker.lease", worker.lease.0.as_millis() >= 1000, "must be at least 1s"),
        (
            "execution.timeout",
            execution.timeout <= execution.max_timeout,
            "must be at most execution.max_timeout",
        ),
        ("execution.max_attempts", execution.max_attempts > 0, "must be at least 1"),
        ("execution.max_claims", execution.max_claims > 0, "must be at least 1"),
        ("sandbox.memory", sandbox.memory <= sandbox.max_memory, "must be at most sandbox.max_memory"),
        (
            "sandbox.cpus",
            sandbox.cpus > 0.0 && sandbox.cpus <= sandbox.max_cpus,
            "must be above 0 and at most sandbox.max_cpus",
        ),
        ("sandbox.parked", sandbox.parked <= 1, "must be 0 or 1"),
        ("sandbox.reuse_runs", sandbox.reuse_runs > 0, "must be at least 1"),
        (
            "http.listen",
            auth.mode != AuthMode::None || http.listen.is_loopback() || auth.i_know_this_is_open,
            "anyone who can reach this address could run scripts; listen on 127.0.0.1, set auth.mode = \"keys\", \
             or set auth.i_know_this_is_open = true",
        ),
    ];
    let files = [("install.ca_bundle", &install.ca_bundle), ("install.constraints", &install.constraints)];
    let missing = files.into_iter().filter(|(_, file)| !file.as_os_str().is_empty() && !file.is_file());
    let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
    broken
        .map(|(name, _, allowed)| (name, allowed.to_owned()))
        .chain(missing.map(|(name, file)| (name, format!("the file {} does not exist", file.display()))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(flags: &[(&str, Value)]) -> String {
        load(None, flags.iter().cloned()).unwrap_err().to_string()
    }

    fn with_file(text: &str, flags: &[(&str, Value)]) -> Result<Settings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        load(Some(file.path()), flags.iter().cloned())
            .map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn the_shipped_defaults_are_valid() {
        let settings = load(None, []).unwrap();
        assert_eq!(settings.worker.poll_interval.0.as_secs(), 5);
        assert_eq!(settings.execution.output_limit.0, 100 * 1024);
        assert!(settings.worker.slots > 0 && !settings.worker.name.is_empty());
    }

    #[test]
    fn a_flag_overrides_the_file_and_the_file_overrides_the_default() {
        let file = "[worker]\nslots = 3\nlease = \"40s\"\n[runtimes.\"python:3.9\"]\nimage = \"mine\"\n";
        let settings = with_file(file, &[("worker.slots", 5.into())]).unwrap();
        assert_eq!((settings.worker.slots, settings.worker.lease.0.as_secs()), (5, 40));
        assert_eq!(settings.worker.drain_timeout.0.as_secs(), 30);
        let runtimes = settings.runtimes();
        let python = runtimes.get("python:3.9").unwrap();
        assert_eq!((python.image.as_str(), python.command.as_slice()), ("mine", &["python3".to_owned()][..]));
    }

    #[test]
    fn an_error_names_the_setting_its_source_and_the_allowed_values() {
        let cases = [
            ("[worker]\nlease = \"soon\"", "worker.lease (from FILE): invalid duration \"soon\""),
            ("[worker]\nlease = \"10ms\"", "worker.lease (from FILE): must be at least 1s"),
            ("[worker]\nslots = 1.5", "worker.slots (from FILE): invalid type: floating point `1.5`"),
            (
                "[auth]\nmode = \"oidc\"",
                "auth.mode (from FILE): unknown variant `oidc`, expected `none` or `keys`",
            ),
            (
                "[worker]\nslot = 3",
                "worker.slot (from FILE): unknown field `slot`, expected one of `name`, `slots`",
            ),
            ("[worker]\nlabels = { \"a b\" = 1 }", "worker.labels"),
            ("[runtimes.perl]\nimage = \"perl\"", "runtimes.perl"),
            ("worker = 3", "worker (from FILE): invalid type: integer `3`"),
            (
                "[install]\nconstraints = \"/no/such\"",
                "install.constraints (from FILE): the file /no/such does",
            ),
            ("worker", "cannot parse the settings file FILE: "),
        ];
        for (text, expected) in cases {
            let error = with_file(text, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let error = error(&[("sandbox.pids", "many".into())]);
        assert!(error.starts_with("sandbox.pids (from the command line): invalid type: string"), "{error}");
        assert!(
            load(Some(Path::new("/no/such.toml")), []).unwrap_err().to_string().contains("/no/such.toml")
        );
    }

    #[test]
    fn environment_variables_hold_scalars_lists_and_tables() {
        let text = |text: &str| ValueKind::from(text);
        for (variable, expected) in [
            ("true", true.into()),
            ("8", 8.into()),
            ("-8", (-8).into()),
            ("1.5", 1.5.into()),
            ("5m", text("5m")),
            ("inf", text("inf")),
            ("\"5\"", text("5")),
            ("[]", Vec::<ValueKind>::new().into()),
            ("[80, 443]", vec![ValueKind::from(80), ValueKind::from(443)].into()),
            ("[10.0.0.1, ::1]", vec![text("10.0.0.1"), text("::1")].into()),
            ("gpu=true", text("gpu=true")),
            ("[::]:80", text("[::]:80")),
        ] {
            assert_eq!(parse(variable), expected, "{variable}");
        }
    }

    #[test]
    fn an_open_address_without_keys_is_refused() {
        let open = ("http.listen", Value::from("0.0.0.0:8080"));
        assert!(error(std::slice::from_ref(&open)).starts_with("http.listen (from the command line): "));
        load(None, [open.clone(), ("auth.mode", "keys".into())]).unwrap();
        load(None, [open, ("auth.i_know_this_is_open", true.into())]).unwrap();
    }
}
