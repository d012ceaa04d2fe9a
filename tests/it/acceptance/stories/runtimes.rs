//! Story 2-3: runtimes are selected by name or alias, and added with four lines.

use crate::acceptance::stories::{assert_refused, daemon};
use crate::support::{DaemonBuilder, Database};

const AVAILABLE: &str =
    "available: python:3.9, python:3.10, python:3.11, python:3.12, bash, node:20, ruby:3.3";

#[test]
fn story_2_3_the_list_contains_all_images_and_marks_the_default() {
    let (_database, daemon) = daemon();
    let expected = "\
python:3.9-slim
python:3.10-slim
python:3.11-slim (default)
python:3.12-slim
debian:bookworm-slim
node:20-slim
ruby:3.3-slim
";
    assert_eq!(daemon.cli().ok(&["runtimes", "list"]), expected);
}

#[test]
fn story_2_3_an_alias_selects_its_runtime() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("version.py", "import sys; print('%d.%d' % sys.version_info[:2])");
    for (alias, version) in [
        ("python3.12", "3.12"),
        ("3.12", "3.12"),
        ("python", "3.11"),
        ("python:3.12-slim", "3.12"),
        ("python3.9", "3.9"),
        ("3.10", "3.10"),
    ] {
        let said = cli.run(&["run", "-w", "-r", alias, "version.py"]);
        assert_eq!((said.code, said.stdout.trim()), (0, version), "{alias}: {said:?}");
    }
    assert_eq!(cli.ok(&["run", "-w", "-q", "version.py"]), "3.11\n");
}

#[test]
fn story_2_3_an_unknown_name_is_rejected_with_the_closest_match_and_the_list() {
    let (database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("a.py", "1");
    for (name, nearest) in
        [("pyton", "python"), ("pythn3.12", "python3.12"), ("rubi", "ruby"), ("python:3.13", "python:3.12")]
    {
        let words =
            format!("error: --runtime: unknown runtime \"{name}\"; did you mean {nearest}? ({AVAILABLE})\n");
        assert_refused(&cli, &["run", "-r", name, "a.py"], 2, &words);
        let body = serde_json::json!({ "script": { "name": "a.py", "content": "1" }, "runtime": name });
        let answer = daemon.http().post("/api/v1/executions", &body);
        assert_eq!((answer.status, &answer.json()["errors"][0]["field"]), (422, &"runtime".into()));
    }
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
}

#[test]
fn story_2_3_four_lines_of_toml_add_a_runtime() {
    let four = "\
[runtimes.sed]
image = \"debian:bookworm-slim\"
command = [\"sed\", \"-n\", \"-f\"]
extensions = [\"sed\"]
";
    assert_eq!(four.lines().count(), 4);
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with_config(four).start();
    let cli = daemon.cli();
    cli.write("last.sed", "$p\n");
    cli.write("lines.txt", "one\ntwo\n");
    let said = cli.run(&["run", "-w", "last.sed", "lines.txt"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "two\n"), "{said:?}");
}
