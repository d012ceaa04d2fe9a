//! The job that a sandbox runs: the script's command line, variables and limits.

use std::collections::BTreeMap;
use std::time::Duration;

use rgrid_init::{Job, Limits};

use crate::execution::{Claimed, script_path};
use crate::sandbox::{ENVIRONMENT, ENVIRONMENT_PYTHON, NetworkMode, Profile};
use crate::settings::{Ecosystem, RuntimeEntry, Settings};

/// The path of a configured CA bundle in the sandbox's workspace.
pub(crate) const CA_BUNDLE_FILE: &str = ".rgrid-ca-bundle.pem";
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `environment` is the volume with the requirements.
pub(crate) fn profile(claimed: &Claimed, image: String, environment: Option<String>) -> Profile {
    Profile {
        image,
        memory_bytes: claimed.memory_bytes,
        cpus_milli: claimed.cpus_milli,
        network: if claimed.network { NetworkMode::Internet } else { NetworkMode::None },
        environment,
    }
}

pub(crate) fn job(claimed: &Claimed, runtime: &RuntimeEntry, settings: &Settings, environment: bool) -> Job {
    let mut argv = runtime.command.clone();
    if let Some(program) = argv.first_mut().filter(|_| environment) {
        *program = format!("{}/bin/python", python_home());
    }
    argv.push(script_path(&claimed.script_name));
    argv.extend(claimed.args.iter().cloned());
    Job {
        id: claimed.claim.job_id(),
        setup: None,
        argv,
        env: script_env(claimed, runtime, settings, environment).into_iter().collect(),
        secrets: claimed.secrets.0.clone().into_iter().collect(),
        limits: limits(claimed, settings),
    }
}

pub(crate) fn limits(claimed: &Claimed, settings: &Settings) -> Limits {
    Limits {
        timeout_ms: millis(claimed.timeout),
        grace_ms: millis(settings.execution.grace.0),
        output_limit: settings.execution.output_limit.0,
        max_outputs: settings.execution.max_outputs,
        max_output_bytes: settings.execution.max_output_size.0,
    }
}

/// The virtual environment with the requirements.
pub(crate) fn python_home() -> String {
    format!("{ENVIRONMENT}/{ENVIRONMENT_PYTHON}")
}

/// The time after which a script is killed from outside. The init enforces the script's own deadline; this one is for
/// an init that cannot.
pub(crate) fn outer_deadline(claimed: &Claimed, settings: &Settings) -> Duration {
    const EXTRA_TIME: Duration = Duration::from_secs(30);
    claimed.timeout + 2 * settings.execution.grace.0 + EXTRA_TIME
}

/// The submission's variables override the defaults.
fn script_env(
    claimed: &Claimed,
    runtime: &RuntimeEntry,
    settings: &Settings,
    environment: bool,
) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
    set("PATH", PATH);
    set("HOME", "/tmp");
    set("LANG", "C.UTF-8");
    set("RGRID_EXECUTION_ID", claimed.claim.execution.as_str());
    if runtime.ecosystem() == Ecosystem::Python {
        set("PYTHONUNBUFFERED", "1");
        set("PYTHONDONTWRITEBYTECODE", "1");
    }
    if environment {
        set("VIRTUAL_ENV", &python_home());
        set("PATH", &format!("{}/bin:{PATH}", python_home()));
    }
    env.extend(ca_bundle(settings));
    env.extend(claimed.env.0.clone());
    // The init adds the secrets, and a variable must not be set twice.
    env.retain(|name, _| !claimed.secrets.0.contains_key(name));
    env
}

/// The variables in which programs look for trusted certificates.
pub(crate) fn ca_bundle(settings: &Settings) -> BTreeMap<String, String> {
    if settings.install.ca_bundle.as_os_str().is_empty() {
        return BTreeMap::new();
    }
    let path = format!("/workspace/{CA_BUNDLE_FILE}");
    ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
        .map(|name| (name.to_owned(), path.clone()))
        .into()
}

pub(crate) fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::{Claim, EnvVars, ExecutionId, WorkerId};

    fn claimed(env: &[(&str, &str)]) -> Claimed {
        Claimed {
            claim: Claim { execution: ExecutionId::generate(), attempt: 1, worker: WorkerId::generate() },
            runtime: "python:3.11".to_owned(),
            script_name: "a.py".to_owned(),
            script: Vec::new(),
            args: vec!["--follow".to_owned()],
            env: EnvVars(env.iter().copied().map(owned).collect()),
            secrets: EnvVars::default(),
            requirements: None,
            timeout: Duration::from_secs(5),
            memory_bytes: 1 << 29,
            cpus_milli: 1000,
            network: false,
            has_inputs: false,
            owner: None,
            waited: Duration::ZERO,
        }
    }

    fn made(claimed: &Claimed, environment: bool) -> Job {
        let settings = crate::settings::load(None, []).unwrap();
        let table = settings.runtimes();
        job(claimed, table.get(&claimed.runtime).unwrap(), &settings, environment)
    }

    #[test]
    fn variables_of_the_submission_override_the_defaults() {
        let job = made(&claimed(&[("LANG", "de_DE"), ("EMPTY", "")]), false);
        assert!(job.env.contains(&owned(("LANG", "de_DE"))));
        assert!(job.env.contains(&owned(("EMPTY", ""))));
        assert!(job.env.contains(&owned(("PYTHONUNBUFFERED", "1"))));
    }

    #[test]
    fn arguments_follow_the_script() {
        assert_eq!(made(&claimed(&[]), false).argv, ["python3", "./a.py", "--follow"]);
    }

    #[test]
    fn the_python_of_its_environment_runs_the_script() {
        let job = made(&claimed(&[]), true);
        assert_eq!(job.argv[0], "/rgrid-env/python/bin/python");
        let path = job.env.iter().find(|(name, _)| name == "PATH").unwrap();
        assert!(path.1.starts_with("/rgrid-env/python/bin:"), "{path:?}");
    }
}
