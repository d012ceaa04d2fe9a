//! Story 2-7: environment variables.

use crate::acceptance::stories::{assert_refused, daemon};

const SHOW: &str = "import os\nfor k in 'A', 'B', 'C', 'D', 'E': print(k, repr(os.environ.get(k)))";
const RULE: &str = "is not a valid environment variable name: use letters, digits and _, not starting with a digit, as in API_KEY";

#[test]
fn story_2_7_values_may_contain_anything_and_options_override_files() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("show.py", SHOW);
    cli.write("one.env", "# comment\nA=file\n\nB=from file\nC=x=y # z\nE=\"quoted\"\n");
    let shown = cli.ok(&[
        "run",
        "-w",
        "-q",
        "--env-file",
        "one.env",
        "-e",
        "A=k=v==",
        "--env",
        "D=",
        "-e",
        "B=two\nlines",
        "show.py",
    ]);
    assert_eq!(shown, "A 'k=v=='\nB 'two\\nlines'\nC 'x=y # z'\nD ''\nE '\"quoted\"'\n");
}

#[test]
fn story_2_7_a_name_without_a_value_takes_it_from_the_callers_environment() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("show.py", SHOW);
    let mut command = cli.command(&["run", "-w", "-q", "-e", "A", "show.py"]);
    let output = command.env("A", "mine").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("A 'mine'\nB None\n"));
    let words = "error: RGRID_UNSET has no value and is not set in your environment\n  hint: use RGRID_UNSET=value, or RGRID_UNSET= for an empty value\n";
    assert_refused(&cli, &["run", "-e", "RGRID_UNSET", "show.py"], 2, words);
}

#[test]
fn story_2_7_an_invalid_variable_is_rejected_with_the_rule() {
    let (database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("show.py", SHOW);
    cli.write("bad.env", "A=1\n1B=2\n");
    for (given, name) in [("1X=2", "1X"), ("A B=1", "A B"), ("=x", ""), ("A-B=1", "A-B")] {
        let words = format!(
            "error: invalid value '{given}' for '--env <KEY=value>': {name:?} {RULE}\n\nFor more information, try '--help'.\n"
        );
        assert_refused(&cli, &["run", "-e", given, "show.py"], 2, &words);
    }
    let in_file = format!("error: bad.env: line 2: \"1B\" {RULE}\n");
    assert_refused(&cli, &["run", "--env-file", "bad.env", "show.py"], 2, &in_file);
    assert_refused(
        &cli,
        &["run", "--env-file", "no.env", "show.py"],
        2,
        "error: cannot read no.env: no such file\n",
    );
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
}
