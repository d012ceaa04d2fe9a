//! The example clients work.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Cli, DaemonBuilder, Database};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TOTALS: &str = "region,total (EUR)\r\neast,450.00\r\nnorth,2000.75\r\nsouth,439.75\r\nwest,99.90\r\n";

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs a client with a script and a file, with a script that fails, and with an invalid key.
fn assert_works(client: &str) {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).slots(1).with("RGRID_AUTH__MODE", "keys");
    let daemon = builder.start();
    let folder = tempfile::tempdir().unwrap();
    let client = |key: &str, arguments: &[&str]| {
        let mut command = Command::new(Path::new(ROOT).join("examples/clients").join(client));
        let arguments = arguments.iter().map(|name| Path::new(ROOT).join("examples").join(name));
        command
            .args(arguments)
            .current_dir(&folder)
            .env("RGRID_API_URL", daemon.url())
            .env("RGRID_API_KEY", key);
        output(&mut command)
    };
    let key = builder.key("client", "read,run");
    let (code, stdout, stderr) = client(&key, &["sales.py", "sales.csv"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.starts_with("4 regions in sales.csv\n") && stderr.contains("wrote totals.csv\n"),
        "{stdout}{stderr}"
    );
    assert_eq!(std::fs::read_to_string(folder.path().join("totals.csv")).unwrap(), TOTALS);
    let (code, _, stderr) = client(&key, &["broken.py"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("KeyError") && stderr.contains("error: the script ended with exit code 1"),
        "{stderr}"
    );
    let (code, stdout, stderr) = client("rg_0123456789ab_nothing", &["sales.py"]);
    assert_ne!(code, Some(0));
    assert!(format!("{stdout}{stderr}").contains("key"), "{stdout}{stderr}");
}

#[test]
fn the_curl_client_runs_a_script() {
    assert_works("curl.sh");
}

#[test]
fn the_python_client_runs_a_script() {
    assert_works("client.py");
}

/// The names and commands of the steps in a workflow.
fn steps(workflow: &str) -> Vec<(String, String)> {
    let steps = workflow.split("      - name: ").skip(1).map(|step| {
        let (name, rest) = step.split_once('\n').unwrap();
        let commands = rest.split_once("run: |\n").unwrap().1;
        let commands = commands.lines().take_while(|line| line.starts_with("          "));
        (name.to_owned(), commands.collect::<Vec<_>>().join("\n"))
    });
    steps.collect()
}

#[test]
fn a_retried_pipeline_step_runs_the_script_once() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let cli: Cli = daemon.cli();
    let results = cli.folder().join("results");
    std::os::unix::fs::symlink(Path::new(ROOT).join("examples"), cli.folder().join("examples")).unwrap();
    let steps = steps(include_str!("../../../examples/clients/github-actions.yml"));
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Run the report", "Say why it failed"]);
    let programs = Path::new(env!("CARGO_BIN_EXE_rgridd")).parent().unwrap().display().to_string();
    let step = |commands: &str| {
        let command = cli.command(&[]);
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", commands]).current_dir(cli.folder());
        for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            bash.env(name, value);
        }
        bash.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
        output(bash.env_remove("RGRID_API_KEY").env("GITHUB_RUN_ID", "7").env("GITHUB_RUN_ATTEMPT", "1"))
    };
    for _ in 0..2 {
        let (code, stdout, stderr) = step(&steps[0].1);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("4 regions in sales.csv"), "{stdout}{stderr}");
        assert_eq!(std::fs::read_to_string(results.join("totals.csv")).unwrap(), TOTALS);
        std::fs::remove_dir_all(&results).unwrap();
    }
    assert_eq!(database.number("SELECT count(*) FROM executions"), 1);
    let (code, stdout, stderr) = step(&steps[1].1);
    assert_eq!(
        (code, stdout.contains("completed") || stdout.contains("ended well")),
        (Some(0), true),
        "{stdout}{stderr}"
    );
}
