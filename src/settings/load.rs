//! Reading the settings from all their places.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Value;
use thiserror::Error;

use crate::settings::{AuthMode, DEFAULTS, Settings};

/// Names its setting, where the value stands, and what is allowed.
#[derive(Debug, Error)]
pub enum SettingsError {
    #[error("{0}")]
    Wrong(String),
    #[error("the settings file {0} can't be read")]
    NoFile(PathBuf),
}

/// Reads defaults, `file`, the environment and `flags` (dotted names and values), the last one wins.
pub fn load<'a>(
    file: Option<&Path>,
    flags: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<Settings, SettingsError> {
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(SettingsError::NoFile(path.to_owned()));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    if let Ok(url) = std::env::var("DATABASE_URL") {
        figment = figment.merge(Serialized::default("database.url", url));
    }
    figment = figment.merge(environment());
    for (name, value) in flags {
        figment = figment.merge(Serialized::default(name, value));
    }
    let settings: Settings = figment.extract().map_err(|error| SettingsError::Wrong(describe(error)))?;
    completed(settings)
}

/// `RGRID_WORKER__SLOTS` is `worker.slots`. What has no section is none of the daemon's, such as the
/// client's `RGRID_API_URL`; the one setting without a section is `data_dir`.
fn environment() -> Env {
    Env::prefixed("RGRID_").filter(|name| name.as_str().contains("__") || name == "data_dir").split("__")
}

/// Fills in what depends on the host, and checks what depends on several settings.
fn completed(mut settings: Settings) -> Result<Settings, SettingsError> {
    if settings.data_dir.as_os_str().is_empty() {
        settings.data_dir = default_data_dir();
    }
    if settings.worker.name.is_empty() {
        settings.worker.name = host_name();
    }
    if settings.worker.slots == 0 {
        settings.worker.slots = std::thread::available_parallelism().map_or(1, usize::from);
    }
    let mut mistakes = settings.runtimes().mistakes();
    mistakes.extend(contradictions(&settings));
    if mistakes.is_empty() { Ok(settings) } else { Err(SettingsError::Wrong(mistakes.join("\n"))) }
}

fn contradictions(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |fine: bool, words: &str| {
        if !fine {
            found.push(words.to_owned());
        }
    };
    must(settings.http.workers > 0, "http.workers: must be 1 or more");
    must(settings.http.max_connections > 0, "http.max_connections: must be 1 or more");
    // Beyond it actix-web itself hangs up, without words.
    must(settings.http.max_header.0 <= 96 * 1024, "http.max_header: must be 96KiB or less");
    must(settings.http.rate_limit >= 0.0, "http.rate_limit: must be 0 (no limit) or more");
    must(settings.database.connections >= 2, "database.connections: must be 2 or more");
    must(settings.worker.slots <= 1024, "worker.slots: must be 1024 or less");
    must(
        rgrid_api::names::PRIORITIES.contains(&i32::from(settings.queue.max_priority)),
        "queue.max_priority: must be from -100 to 100",
    );
    must(settings.worker.lease.0.as_millis() >= 1000, "worker.lease: must be 1s or longer");
    must(
        settings.execution.timeout <= settings.execution.max_timeout,
        "execution.timeout: must not be longer than execution.max_timeout",
    );
    must(settings.execution.max_attempts > 0, "execution.max_attempts: must be 1 or more");
    must(
        settings.sandbox.memory <= settings.sandbox.max_memory,
        "sandbox.memory: must not be larger than sandbox.max_memory",
    );
    must(
        settings.sandbox.cpus > 0.0 && settings.sandbox.cpus <= settings.sandbox.max_cpus,
        "sandbox.cpus: must be above 0 and at most sandbox.max_cpus",
    );
    must(settings.sandbox.parked <= 1, "sandbox.parked: must be 0 or 1");
    must(settings.sandbox.reuse_runs > 0, "sandbox.reuse_runs: must be 1 or more");
    for (name, file) in
        [("ca_bundle", &settings.install.ca_bundle), ("constraints", &settings.install.constraints)]
    {
        must(
            file.as_os_str().is_empty() || file.is_file(),
            &format!("install.{name}: there is no file {}", file.display()),
        );
    }
    let open = settings.auth.mode == AuthMode::None && !settings.http.listen.is_loopback();
    must(
        !open || settings.auth.i_know_this_is_open,
        "http.listen: anybody who reaches this address could run scripts; listen on 127.0.0.1, set \
         auth.mode = \"keys\", or set auth.i_know_this_is_open = true",
    );
    found
}

/// figment names key and source; this puts them in front.
fn describe(error: figment::Error) -> String {
    let lines = error.into_iter().map(|one| {
        let name = one.path.join(".");
        let place = one.metadata.as_ref().map_or_else(String::new, |metadata| match &metadata.source {
            Some(source) if metadata.name.contains("TOML file") => format!(" (in {source})"),
            _ if metadata.name.contains("environment") => " (in the environment)".to_owned(),
            _ => String::new(),
        });
        let what = one.kind.to_string();
        if name.is_empty() { format!("{what}{place}") } else { format!("{name}: {what}{place}") }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn default_data_dir() -> PathBuf {
    if let Some(state) = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()) {
        return PathBuf::from(state).join("rgrid");
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home {
        Some(home) if !home.starts_with("/root") => home.join(".local/state/rgrid"),
        _ => PathBuf::from("/var/lib/rgrid"),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_defaults_are_valid() {
        let settings = load(None, []).unwrap();
        assert_eq!(settings.worker.poll_interval.0.as_secs(), 5);
        assert_eq!(settings.execution.output_limit.0, 100 * 1024);
        assert!(settings.worker.slots > 0 && !settings.worker.name.is_empty());
    }

    #[test]
    fn a_wrong_value_is_told_with_its_name() {
        let error = load(None, [("worker.lease", "soon".into())]).unwrap_err().to_string();
        assert!(error.contains("worker.lease") && error.contains("90s"), "{error}");
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let error = load(None, [("worker.slot", "3".into())]).unwrap_err().to_string();
        assert!(error.contains("slot"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_at_the_start() {
        let error = load(None, [("install.constraints", "/no/such.txt".into())]).unwrap_err().to_string();
        assert!(error.contains("install.constraints") && error.contains("/no/such.txt"), "{error}");
    }

    #[test]
    fn an_open_address_without_keys_is_refused() {
        let open = ("http.listen", Value::from("0.0.0.0:8080"));
        assert!(load(None, [open.clone()]).unwrap_err().to_string().contains("http.listen"));
        load(None, [open.clone(), ("auth.mode", "keys".into())]).unwrap();
        load(None, [open, ("auth.i_know_this_is_open", true.into())]).unwrap();
    }
}
