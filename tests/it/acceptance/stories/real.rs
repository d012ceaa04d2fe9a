//! Example scripts of packages. `make report` runs all of them on two Python versions.

use std::path::Path;
use std::process::Command;

use crate::support::{Cli, DaemonBuilder, Database};

/// Examples with small requirements: directory, script, expected output.
const LIGHT: [(&str, &str, &str); 2] =
    [("csv", "petl_csv.py", "foo,bar\na,1\n"), ("json", "petl_json.py", "{\"bar\": 1, \"foo\": \"a\"}")];

/// The directory with an example and its requirements.
fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let got = Command::new(root.join("scripts/examples")).arg(name).output().unwrap();
    assert!(got.status.success(), "scripts/examples needs python3 and PyPI: {got:?}");
    String::from_utf8(got.stdout).unwrap().trim().to_owned()
}

fn assert_says(cli: &Cli, runtime: &str, script: &str, words: &str) {
    let said = cli.run(&["run", "-w", "-r", runtime, script]);
    let stdout = said.stdout.replace("\r\n", "\n");
    assert!(said.code == 0 && stdout.contains(words), "{script} on {runtime}: {said:?}");
}

#[test]
fn real_scripts_run_on_two_pythons() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with_certificates().start();
    let cli = daemon.cli();
    for (folder, name, words) in LIGHT {
        let script = format!("{}/{name}", example(folder));
        for runtime in ["python:3.11", "python:3.12"] {
            assert_says(&cli, runtime, &script, words);
        }
    }
}
