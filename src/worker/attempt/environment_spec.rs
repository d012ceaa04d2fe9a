//! What an environment depends on, the key derived from it, and the job that installs it.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use rgrid_init::{Job, Limits, Setup};
use sha2::{Digest, Sha256};

use crate::execution::{Claim, Requirements, exit_mapping::InstallLimits};
use crate::sandbox::{ENVIRONMENT, ENVIRONMENT_TEMPORARY, ImageId};
use crate::settings::{RuntimeEntry, Settings};
use crate::worker::attempt::job::{CA_BUNDLE_FILE, PATH, ca_bundle, millis, owned, python_home};

/// Incremented when a daemon installs a different environment from the same requirements.
const SPEC_VERSION: &str = "1";
const REQUIREMENTS_FILE: &str = "requirements.txt";
const CONSTRAINTS_FILE: &str = "constraints.txt";
/// The job writes the size of the environment to this file, in bytes.
pub(crate) const SIZE_FILE: &str = ".rgrid-size";
/// For cleaning up and measuring after the install.
const FINALIZE_TIMEOUT_MS: u64 = 120_000;

/// Creates the virtual environment in an empty directory and runs pip. Packages of the image stay importable.
const INSTALL: &str = "\
import os, sys, venv
home = sys.argv[1]
venv.create(home, with_pip=False, symlinks=True, system_site_packages=True)
pip = [sys.executable, '-I', '-m', 'pip', '--python', home + '/bin/python', 'install']
os.execv(sys.executable, pip + sys.argv[2:])
";

/// Runs after all processes of the install have ended. Without the sync, a power failure could leave an environment in
/// the database that is not on the disk.
const FINALIZE: &str = "\
import os, shutil, sys
root, temporary, result = sys.argv[1:]
for left in os.scandir(temporary):
    shutil.rmtree(left) if left.is_dir(follow_symlinks=False) else os.unlink(left)
size = 0
for folder, folders, files in os.walk(root):
    size += sum(os.lstat(os.path.join(folder, name)).st_blocks for name in folders + files)
os.sync()
with open(result, 'w') as target:
    target.write(str(size * 512))
";

/// Everything that determines the contents of an environment.
pub(crate) struct EnvironmentSpec {
    pub image: ImageId,
    pub requirements: Requirements,
    /// The server's constraints file; empty if there is none.
    constraints: String,
}

impl EnvironmentSpec {
    /// Reads the server's constraints file.
    pub async fn new(
        image: ImageId,
        requirements: Requirements,
        settings: &Settings,
    ) -> Result<Self, String> {
        let install = &settings.install;
        let constraints = read("install.constraints", &install.constraints).await?;
        let constraints =
            String::from_utf8(constraints).map_err(|_| "install.constraints is not UTF-8".to_owned())?;
        Ok(Self { image, requirements, constraints })
    }

    /// A digest of everything that determines the contents.
    pub fn key(&self, settings: &Settings) -> String {
        let install = &settings.install;
        let mut digest = Sha256::new();
        for part in [
            SPEC_VERSION,
            &self.image,
            self.requirements.as_str(),
            &install.index_url,
            &install.extra_index_url,
            &self.constraints,
        ] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        base16ct::lower::encode_string(&digest.finalize())
    }

    /// The files that the install needs. Certificates are not part of the key, because they do not change the
    /// contents.
    pub async fn files(&self, settings: &Settings) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
        let given = [
            (REQUIREMENTS_FILE, self.requirements.as_str().into()),
            (CONSTRAINTS_FILE, self.constraints.clone().into_bytes()),
            (CA_BUNDLE_FILE, read("install.ca_bundle", &settings.install.ca_bundle).await?),
        ];
        Ok(given.into_iter().filter(|(_, content): &(_, Vec<u8>)| !content.is_empty()).collect())
    }

    /// Installs in the job's setup step, and cleans up and measures in its script step.
    pub fn job(&self, claim: &Claim, runtime: &RuntimeEntry, settings: &Settings) -> Job {
        let temporary = format!("{ENVIRONMENT}/{ENVIRONMENT_TEMPORARY}");
        let env = environment(settings, &temporary);
        let mut finalize = python(runtime, FINALIZE);
        finalize.extend([python_home(), temporary, SIZE_FILE.to_owned()]);
        Job {
            id: claim.job_id(),
            setup: Some(Setup {
                argv: self.install(runtime),
                env: env.clone(),
                timeout_ms: millis(settings.install.timeout.0),
            }),
            argv: finalize,
            env,
            secrets: self.passwords(settings),
            limits: Limits {
                timeout_ms: FINALIZE_TIMEOUT_MS,
                grace_ms: millis(settings.execution.grace.0),
                output_limit: settings.execution.output_limit.0,
                // Files that a build left in its working directory are collected too.
                max_outputs: settings.execution.max_outputs,
                max_output_bytes: settings.execution.max_output_size.0,
            },
        }
    }

    /// The passwords in the server's URLs. They are secrets of the job, so that they are masked in its output, because a
    /// package can print them while it is built.
    fn passwords(&self, settings: &Settings) -> Vec<(String, String)> {
        let install = &settings.install;
        let texts = [&install.index_url, &install.extra_index_url, &self.constraints];
        let passwords: BTreeSet<String> =
            texts.into_iter().flat_map(|text| text.split_whitespace()).flat_map(passwords_in).collect();
        (1..).zip(passwords).map(|(number, value)| (format!("RGRID_PASSWORD_{number}"), value)).collect()
    }

    fn install(&self, runtime: &RuntimeEntry) -> Vec<String> {
        let mut argv = python(runtime, INSTALL);
        argv.push(python_home());
        argv.extend(["--no-input", "--disable-pip-version-check", "--no-cache-dir"].map(str::to_owned));
        if !self.constraints.is_empty() {
            argv.extend(["-c", CONSTRAINTS_FILE].map(str::to_owned));
        }
        argv.extend(["-r", REQUIREMENTS_FILE].map(str::to_owned));
        argv
    }
}

pub(crate) fn limits(settings: &Settings) -> InstallLimits {
    let install = &settings.install;
    InstallLimits { timeout: install.timeout.0, memory: install.memory.0, size: install.max_size.0 }
}

/// The image's own Python, which installed packages cannot change.
fn python(runtime: &RuntimeEntry, code: &str) -> Vec<String> {
    let program = runtime.command.iter().take(1).cloned();
    program.chain(["-I", "-c", code].map(str::to_owned)).collect()
}

/// Index URLs are passed as variables, because they may contain a password and command lines are visible.
fn environment(settings: &Settings, temporary: &str) -> Vec<(String, String)> {
    let install = &settings.install;
    let mut env = ca_bundle(settings);
    // Downloads and builds go to the disk, because /tmp is in the sandbox's memory.
    env.extend([("PATH", PATH), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("TMPDIR", temporary)].map(owned));
    env.extend([("PYTHONUNBUFFERED", "1")].map(owned));
    let indexes = [("PIP_INDEX_URL", &install.index_url), ("PIP_EXTRA_INDEX_URL", &install.extra_index_url)];
    let given = indexes.into_iter().filter(|(_, url)| !url.is_empty());
    env.extend(given.map(|(name, url)| (name.to_owned(), url.clone())));
    env.into_iter().collect()
}

/// The password of a URL, as it is written and decoded. Without a password, the user name may be a token.
fn passwords_in(url: &str) -> Vec<String> {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let Some((user, _)) = authority.and_then(|authority| authority.rsplit_once('@')) else {
        return Vec::new();
    };
    let written = match user.split_once(':') {
        Some((_, password)) if !password.is_empty() => password,
        Some((name, _)) => name,
        None => user,
    };
    let decoded = percent_decode_str(written).decode_utf8_lossy().into_owned();
    vec![written.to_owned(), decoded]
}

async fn read(setting: &str, path: &std::path::Path) -> Result<Vec<u8>, String> {
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    tokio::fs::read(path)
        .await
        .map_err(|error| format!("the server's {setting} {} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::{ExecutionId, WorkerId};

    fn spec(image: &str, requirements: &str, constraints: &str) -> EnvironmentSpec {
        EnvironmentSpec {
            image: image.to_owned(),
            requirements: Requirements::parse(requirements).unwrap().unwrap(),
            constraints: constraints.to_owned(),
        }
    }

    #[test]
    fn the_key_changes_with_each_dependency_and_with_nothing_else() {
        let settings = crate::settings::load(None, []).unwrap();
        let other = crate::settings::load(None, [("install.index_url", "https://a.example".into())]).unwrap();
        let key = spec("sha256:a", "six", "").key(&settings);
        assert_eq!(spec("sha256:a", "six # pinned later", "").key(&settings), key);
        let others = [
            spec("sha256:b", "six", "").key(&settings),
            spec("sha256:a", "six==1", "").key(&settings),
            spec("sha256:a", "six", "six<2").key(&settings),
            spec("sha256:a", "six", "").key(&other),
        ];
        assert!(others.iter().all(|other| *other != key));
    }

    #[test]
    fn the_passwords_of_all_urls_are_secrets_of_the_job() {
        let cases: [(&str, &[&str]); 7] = [
            ("https://pypi.example/simple", &[]),
            ("https://user:p%40ss@pypi.example/simple", &["p%40ss", "p@ss"]),
            ("https://token@pypi.example/simple", &["token"]),
            ("https://token:@pypi.example/simple", &["token"]),
            ("https://a@b:c@pypi.example?q=x:y@z", &["c"]),
            ("https://pypi.example/x:y@z", &[]),
            ("https://a:first@one.example/ https://b:second@two.example/", &["first", "second"]),
        ];
        for (url, expected) in cases {
            for name in ["install.index_url", "install.extra_index_url"] {
                let settings = crate::settings::load(None, [(name, url.into())]).unwrap();
                let passwords = spec("a", "six", "").passwords(&settings);
                let values: Vec<&str> = passwords.iter().map(|(_, value)| value.as_str()).collect();
                assert_eq!(values, expected, "{url}");
            }
        }
        let settings = crate::settings::load(None, []).unwrap();
        let constraints = "six @ https://user:password@files.example/six-1.16.0.tar.gz\n";
        assert_eq!(spec("a", "six", constraints).passwords(&settings)[0].1, "password");
    }

    #[test]
    fn the_command_line_contains_no_index_url() {
        let url = "https://user:secret@pypi.example/simple";
        let settings = crate::settings::load(None, [("install.index_url", url.into())]).unwrap();
        let claim = Claim { execution: ExecutionId::generate(), attempt: 1, worker: WorkerId::generate() };
        let table = settings.runtimes();
        let job = spec("a", "six", "six<2").job(&claim, table.get("python:3.11").unwrap(), &settings);
        let setup = job.setup.unwrap();
        assert!(setup.env.contains(&("PIP_INDEX_URL".to_owned(), url.to_owned())));
        assert!(setup.argv.iter().all(|argument| !argument.contains("secret")));
        assert!(
            setup.argv.ends_with(&["-c", "constraints.txt", "-r", "requirements.txt"].map(str::to_owned))
        );
    }
}
