//! Starting a program as the script's user.

use std::fs;
use std::io::{self, PipeWriter};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::Pid;

use crate::host::Host;

/// What is started: program and arguments, and all of its environment.
pub struct Program {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// Leads a process group of its own. The error is a sentence for the user.
pub fn spawn(program: &Program, host: &Host, stdout: PipeWriter, stderr: PipeWriter) -> Result<Pid, String> {
    let Some((name, arguments)) = program.argv.split_first() else {
        return Err("There is no program to start.".to_owned());
    };
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&host.workspace)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    if let Some(user) = host.user {
        // As root this drops the supplementary groups as well.
        command.uid(user).gid(user);
    }
    let child = first_choice_of_the_oom_killer(|| command.spawn()).map_err(|error| why(name, &error))?;
    // Not waited for through std: PID 1 takes leave of everybody in one place.
    i32::try_from(child.id()).map(Pid::from_raw).map_err(|_| "The process has no usable id.".to_owned())
}

/// A child inherits the score, so that the script is chosen before the init that must tell of it. Where the
/// score can't be changed the choice is the kernel's.
fn first_choice_of_the_oom_killer<T>(start: impl FnOnce() -> T) -> T {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let former = fs::read_to_string(SCORE);
    let _ = fs::write(SCORE, "500");
    let started = start();
    if let Ok(former) = former {
        let _ = fs::write(SCORE, former.trim());
    }
    started
}

fn why(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("The program `{name}` was not found in this runtime (or its interpreter is missing).")
        }
        io::ErrorKind::PermissionDenied => format!("The program `{name}` may not be executed."),
        io::ErrorKind::ArgumentListTooLong => {
            format!("The arguments and environment of `{name}` are larger than Linux allows.")
        }
        _ => format!("The program `{name}` could not be started: {error}."),
    }
}
