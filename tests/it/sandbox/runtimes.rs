//! Every runtime of the table runs a script in its own image.

use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, Index};

/// Runtime, script name, content, and the beginning of the output.
const HELLO: [(&str, &str, &str, &str); 7] = [
    ("python:3.9", "a.py", "import sys; print('Hello from', sys.version)", "Hello from 3.9."),
    ("python:3.10", "a.py", "import sys; print('Hello from', sys.version)", "Hello from 3.10."),
    ("python:3.11", "a.py", "import sys; print('Hello from', sys.version)", "Hello from 3.11."),
    ("python:3.12", "a.py", "import sys; print('Hello from', sys.version)", "Hello from 3.12."),
    ("node:20", "a.js", "console.log('Hello from', process.version)", "Hello from v20."),
    ("ruby:3.3", "a.rb", "puts \"Hello from #{RUBY_VERSION}\"", "Hello from 3.3."),
    ("bash", "a.sh", "echo \"Hello from ${BASH_VERSION}\"", "Hello from 5."),
];

fn assert_image_exists(end: &Value) {
    assert_ne!(end["failure_kind"], "image", "an image is missing, run `make images`: {end}");
}

/// An unreachable registry would delay the test.
fn daemon_without_pulling(database: &Database) -> Daemon {
    let never = |(name, ..): &(&str, &str, &str, &str)| format!("[runtimes.\"{name}\"]\npull = \"never\"\n");
    DaemonBuilder::plain(database).with_config(&HELLO.iter().map(never).collect::<String>()).start()
}

#[test]
fn every_runtime_runs_a_script() {
    let database = Database::new();
    let daemon = daemon_without_pulling(&database);
    let http = daemon.http();
    for (runtime, name, content, hello) in HELLO {
        let script = json!({ "script": { "name": name, "content": content }, "runtime": runtime });
        let end = http.wait(&http.submit_with("", script));
        assert_image_exists(&end);
        assert_eq!(end["status"], "completed", "{end}");
        assert!(end["stdout"].as_str().unwrap().starts_with(hello), "{end}");
        assert_eq!(end["runtime"], runtime);
    }
}

#[test]
fn a_script_runs_even_if_its_name_looks_like_an_option() {
    let database = Database::new();
    let daemon = daemon_without_pulling(&database);
    let http = daemon.http();
    let options = HELLO.iter().flat_map(|runtime| ["-", "--help", "-V"].map(|name| (name, runtime)));
    // Names that are not options, but that one of the interpreters knows.
    let special = [("inspect", &HELLO[4]), ("+x", &HELLO[6])];
    for (name, (runtime, _, content, hello)) in options.chain(special) {
        let script = json!({ "script": { "name": name, "content": content }, "runtime": runtime });
        let end = http.wait(&http.submit_with("", script));
        assert_image_exists(&end);
        assert_eq!(end["status"], "completed", "{end}");
        assert!(end["stdout"].as_str().unwrap().starts_with(hello), "{name}: {end}");
    }
}

#[test]
fn the_extension_of_the_script_selects_its_runtime() {
    let database = Database::new();
    let daemon = daemon_without_pulling(&database);
    let http = daemon.http();
    for (name, content, runtime) in [
        ("a.js", "1", "node:20"),
        ("a.rb", "1", "ruby:3.3"),
        ("a.sh", "true", "bash"),
        ("a.py", "1", "python:3.11"),
    ] {
        let end = http.wait(&http.submit_with("", json!({ "script": { "name": name, "content": content } })));
        assert_image_exists(&end);
        assert_eq!(
            (end["status"].as_str(), end["runtime"].as_str()),
            (Some("completed"), Some(runtime)),
            "{end}"
        );
    }
}

#[test]
fn requirements_are_installed_for_the_python_that_runs() {
    let index = Index::new().with_module("hello", "1.0");
    let database = Database::new();
    let daemon = daemon_without_pulling(&database);
    let http = daemon.http();
    let script = "\
import hello, sys
print('python%d.%d' % sys.version_info[:2] in hello.__file__, sys.version_info[:2])
";
    for minor in [9, 10, 11, 12] {
        let more = json!({
            "runtime": format!("python:3.{minor}"), "requirements": index.requirements("hello"),
        });
        let end = http.wait(&http.submit_with(script, more));
        assert_image_exists(&end);
        assert_eq!(end["stdout"], format!("True (3, {minor})\n"), "{end}");
    }
    assert_eq!(database.number("SELECT count(*) FROM environments"), 4);
}
