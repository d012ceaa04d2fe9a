//! What is installed for a claimed execution, what it is known by, and the job that does it.

use rgrid_init::{Job, Limits, Setup};
use sha2::{Digest, Sha256};

use crate::execution::exit_mapping::InstallLimits;
use crate::execution::{Claim, Requirements};
use crate::sandbox::{ENVIRONMENT, ENVIRONMENT_TEMPORARY, ImageId};
use crate::settings::{RuntimeEntry, Settings};
use crate::worker::attempt::job::{CA_BUNDLE_FILE, PATH, ca_bundle, millis, owned, python_home};

/// Changes when the same ingredients would give another environment than an earlier daemon made of them.
const EDITION: &str = "1";
const REQUIREMENTS_FILE: &str = "requirements.txt";
const CONSTRAINTS_FILE: &str = "constraints.txt";
/// Where the job leaves the size of what it installed, in bytes.
pub(crate) const SIZE_FILE: &str = ".rgrid-size";
/// For clearing up and measuring, behind the install.
const SEAL_TIMEOUT_MS: u64 = 120_000;

/// Makes the virtual environment in a folder that is there and empty, and becomes pip. What the image has
/// installed itself can be imported too.
const INSTALL: &str = "\
import os, sys, venv
home = sys.argv[1]
venv.create(home, with_pip=False, symlinks=True, system_site_packages=True)
pip = [sys.executable, '-I', '-m', 'pip', '--python', home + '/bin/python', 'install']
os.execv(sys.executable, pip + sys.argv[2:])
";

/// Nothing of the install is alive any more. The sync: a host that loses its power must not have an environment
/// written down that is not on its disk.
const SEAL: &str = "\
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

/// Everything that decides what is in an environment.
pub(crate) struct Recipe {
    pub image: ImageId,
    pub requirements: Requirements,
    /// The server's, empty without.
    constraints: String,
}

impl Recipe {
    /// Reads the server's own files; an error is a sentence.
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

    /// A digest of all ingredients.
    pub fn key(&self, settings: &Settings) -> String {
        let install = &settings.install;
        let mut digest = Sha256::new();
        for part in [
            EDITION,
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

    /// What lies beside the install, by name. Reads the server's certificates, which decide about nothing that is
    /// installed.
    pub async fn files(&self, settings: &Settings) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
        let given = [
            (REQUIREMENTS_FILE, self.requirements.as_str().into()),
            (CONSTRAINTS_FILE, self.constraints.clone().into_bytes()),
            (CA_BUNDLE_FILE, read("install.ca_bundle", &settings.install.ca_bundle).await?),
        ];
        Ok(given.into_iter().filter(|(_, content): &(_, Vec<u8>)| !content.is_empty()).collect())
    }

    /// Installs in the setup, clears up and measures in what is the script of other jobs.
    pub fn job(&self, claim: &Claim, runtime: &RuntimeEntry, settings: &Settings) -> Job {
        let temporary = format!("{ENVIRONMENT}/{ENVIRONMENT_TEMPORARY}");
        let env = environment(settings, &temporary);
        let mut seal = python(runtime, SEAL);
        seal.extend([python_home(), temporary, SIZE_FILE.to_owned()]);
        Job {
            id: claim.job_id(),
            setup: Some(Setup {
                argv: self.install(runtime),
                env: env.clone(),
                timeout_ms: millis(settings.install.timeout.0),
            }),
            argv: seal,
            env,
            secrets: Vec::new(),
            limits: Limits {
                timeout_ms: SEAL_TIMEOUT_MS,
                grace_ms: millis(settings.execution.grace.0),
                output_limit: settings.execution.output_limit.0,
                // Whatever a build has left in its working directory comes beside it.
                max_outputs: settings.execution.max_outputs,
                max_output_bytes: settings.execution.max_output_size.0,
            },
        }
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

/// The image's own Python, which nothing of what is installed can change.
fn python(runtime: &RuntimeEntry, code: &str) -> Vec<String> {
    let program = runtime.command.iter().take(1).cloned();
    program.chain(["-I", "-c", code].map(str::to_owned)).collect()
}

/// Indexes go in here, because a URL may hold a password and a command line is shown.
fn environment(settings: &Settings, temporary: &str) -> Vec<(String, String)> {
    let install = &settings.install;
    let mut env = ca_bundle(settings);
    // A downloaded wheel and what is built lie on the disk, not in the sandbox's memory.
    env.extend([("PATH", PATH), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("TMPDIR", temporary)].map(owned));
    env.extend([("PYTHONUNBUFFERED", "1")].map(owned));
    let indexes = [("PIP_INDEX_URL", &install.index_url), ("PIP_EXTRA_INDEX_URL", &install.extra_index_url)];
    let given = indexes.into_iter().filter(|(_, url)| !url.is_empty());
    env.extend(given.map(|(name, url)| (name.to_owned(), url.clone())));
    env.into_iter().collect()
}

async fn read(setting: &str, path: &std::path::Path) -> Result<Vec<u8>, String> {
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let content = tokio::fs::read(path).await;
    content.map_err(|error| format!("the server's {setting} {} can't be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::{ExecutionId, WorkerId};

    fn recipe(image: &str, requirements: &str, constraints: &str) -> Recipe {
        Recipe {
            image: image.to_owned(),
            requirements: Requirements::parse(requirements).unwrap().unwrap(),
            constraints: constraints.to_owned(),
        }
    }

    #[test]
    fn the_key_changes_with_each_ingredient_and_with_nothing_else() {
        let settings = crate::settings::load(None, []).unwrap();
        let other = crate::settings::load(None, [("install.index_url", "https://a.example".into())]).unwrap();
        let key = recipe("sha256:a", "six", "").key(&settings);
        assert_eq!(recipe("sha256:a", "six # pinned later", "").key(&settings), key);
        let others = [
            recipe("sha256:b", "six", "").key(&settings),
            recipe("sha256:a", "six==1", "").key(&settings),
            recipe("sha256:a", "six", "six<2").key(&settings),
            recipe("sha256:a", "six", "").key(&other),
        ];
        assert!(others.iter().all(|one| *one != key));
    }

    #[test]
    fn no_index_stands_in_the_command_line() {
        let url = "https://user:secret@pypi.example/simple";
        let settings = crate::settings::load(None, [("install.index_url", url.into())]).unwrap();
        let claim = Claim { execution: ExecutionId::generate(), attempt: 1, worker: WorkerId::generate() };
        let table = settings.runtimes();
        let job = recipe("a", "six", "six<2").job(&claim, table.get("python:3.11").unwrap(), &settings);
        let setup = job.setup.unwrap();
        assert!(setup.env.contains(&("PIP_INDEX_URL".to_owned(), url.to_owned())));
        assert!(setup.argv.iter().all(|argument| !argument.contains("secret")));
        assert!(
            setup.argv.ends_with(&["-c", "constraints.txt", "-r", "requirements.txt"].map(str::to_owned))
        );
    }
}
