//! Compares the output of each command with a snapshot: its help, a success and at least three failures, against a
//! real server. To update `tests/it/cli/snapshots/`, run `INSTA_UPDATE=always scripts/with-postgres cargo test
//! --test it cli::command_line` and review the difference.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::{Cli, Daemon, DaemonBuilder, Database, Session};

const NO_SERVER: (&str, &str) = ("RGRID_API_URL", "http://127.0.0.1:1");
const UNKNOWN: &str = "exec_zzz";

/// A server with a few executions, and one that requires an API key.
struct World {
    cli: Cli,
    protected_url: String,
    completed: String,
    failed: String,
    secret: String,
    _daemons: [Daemon; 2],
    _database: Database,
}

impl World {
    fn new() -> Self {
        let database = Database::new();
        let daemon = DaemonBuilder::on(&database).named("worker-a").start();
        let protected = DaemonBuilder::on(&database).role("api").with("RGRID_AUTH__MODE", "keys").start();
        let cli = daemon.cli();
        cli.write("hello.py", "print('hello')\nopen('greeting.txt', 'w').write('hello')\n");
        cli.write("three.py", "import sys; print('out'); sys.exit(3)");
        cli.write("token.py", "import os; print(os.environ['TOKEN'])");
        cli.write("long.py", "import time; time.sleep(60)");
        cli.write("check.py", "import sys; assert open(sys.argv[1]).read() == 'good'");
        cli.write("good.csv", "good");
        cli.write("bad.csv", "bad");
        let run_to_end = |line: &[&str]| {
            let submitted = cli.command(line).env("TOKEN", "geheimnis").output().unwrap();
            let id = String::from_utf8(submitted.stdout).unwrap().trim().to_owned();
            cli.run(&["wait", &id]);
            id
        };
        let completed = run_to_end(&["run", "-q", "-e", "NAME=x", "hello.py"]);
        let failed = run_to_end(&["run", "-q", "three.py"]);
        let secret = run_to_end(&["run", "-q", "--secret", "TOKEN", "token.py"]);
        let protected_url = protected.url();
        let _daemons = [daemon, protected];
        Self { cli, protected_url, completed, failed, secret, _daemons, _database: database }
    }

    fn session(&self) -> Session<'_> {
        Session::new(&self.cli)
    }

    /// Variables that select the server that requires a key.
    fn without_key(&self) -> [(&str, &str); 1] {
        [("RGRID_API_URL", &self.protected_url)]
    }
}

/// Collects the names of all snapshots that differ.
#[derive(Default)]
struct Differences(Vec<&'static str>);

impl Differences {
    fn compare(&mut self, name: &'static str, session: &Session) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/cli/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let text = session.text().to_owned();
        let compare = || settings.bind(|| insta::assert_snapshot!(name, text.as_str()));
        let compared = catch_unwind(AssertUnwindSafe(compare));
        if compared.is_err() {
            self.0.push(name);
        }
    }
}

#[test]
fn each_commands_output_matches_its_snapshot() {
    let world = World::new();
    let mut differences = Differences::default();
    for (name, record) in COMMANDS {
        let mut session = world.session();
        record(&world, &mut session);
        differences.compare(name, &session);
    }
    let update = "INSTA_UPDATE=always scripts/with-postgres cargo test --test it cli::command_line";
    assert!(
        differences.0.is_empty(),
        "these snapshots differ: {:?}; to update them: {update}",
        differences.0
    );
}

type Record = fn(&World, &mut Session);

const COMMANDS: [(&str, Record); 16] = [
    ("rgrid", rgrid),
    ("run", run),
    ("run_batch", run_batch),
    ("status", status),
    ("logs", logs),
    ("list", list),
    ("wait", wait),
    ("cancel", cancel),
    ("retry", retry),
    ("why", why),
    ("receipt", receipt),
    ("download", download),
    ("runtimes", runtimes),
    ("init", init),
    ("doctor", doctor),
    ("completions_and_man", completions_and_man),
];

fn rgrid(_: &World, session: &mut Session) {
    session.help(&[]).run(&[]).run(&["--version"]);
    session.run(&["rnu"]).run(&["--api-url"]).run(&["--api-url", "localhost:8080", "list"]);
}

fn run(world: &World, session: &mut Session) {
    session.help(&["run"]);
    session.run(&["run", "hello.py"]).run(&["run", "-w", "hello.py"]).run(&["run", "-f", "-q", "hello.py"]);
    session
        .run(&["run", "-w", "three.py"])
        .run(&["run", "missing.py"])
        .run(&["run", "-r", "cobol", "hello.py"]);
    session.run(&["run", "-e", "1X=y", "hello.py"]).run(&["run", "-o", "here", "hello.py"]);
    session.run(&["run", "--folow", "hello.py"]).run_with(&["run", "hello.py"], &[NO_SERVER]);
    session.run_with(&["run", "hello.py"], &world.without_key());
}

fn run_batch(_: &World, session: &mut Session) {
    session.run(&["run", "check.py", "--batch", "good*.csv"]);
    session.run(&["run", "--max-parallel", "1", "--batch", "*.csv", "check.py"]);
    session
        .run(&["run", "check.py", "--batch", "*.json"])
        .run(&["run", "-f", "check.py", "--batch", "*.csv"]);
    session.run(&["run", "--batch", "bad.csv", "good.csv", "check.py"]);
}

fn status(world: &World, session: &mut Session) {
    session.help(&["status"]).run(&["status", &world.completed]).run(&["status", &world.failed]);
    session.run(&["status", UNKNOWN]).run(&["status"]).run(&["status", "batch_none"]);
    session.run_with(&["status", UNKNOWN], &[NO_SERVER]);
}

fn logs(world: &World, session: &mut Session) {
    session.help(&["logs"]).run(&["logs", &world.completed]).run(&["logs", "--stdout", &world.failed]);
    session.run(&["logs", "-f", &world.failed]).run(&["logs", UNKNOWN]);
    session
        .run(&["logs", "--stdout", "--stderr", UNKNOWN])
        .run_with(&["logs", UNKNOWN], &world.without_key());
}

fn list(_: &World, session: &mut Session) {
    session
        .help(&["list"])
        .run(&["list", "--status", "failed", "--limit", "1"])
        .run(&["list", "--label", "team=x"]);
    session
        .run(&["list", "--status", "asleep"])
        .run(&["list", "--label", "team"])
        .run(&["list", "batch_none"]);
    session.run(&["list", UNKNOWN]).run(&["list", "-n", "0"]);
}

fn wait(world: &World, session: &mut Session) {
    session.help(&["wait"]).run(&["wait", &world.completed]);
    session.run(&["wait", &world.failed]).run(&["wait", UNKNOWN]).run(&["wait"]);
    session.run_with(&["wait", UNKNOWN], &world.without_key());
}

fn cancel(world: &World, session: &mut Session) {
    let id = world.cli.ok(&["run", "-q", "long.py"]).trim().to_owned();
    session.help(&["cancel"]).run(&["cancel", &id]).run(&["cancel", &world.completed]);
    session.run(&["cancel", UNKNOWN]).run(&["cancel"]).run_with(&["cancel", UNKNOWN], &[NO_SERVER]);
}

fn retry(world: &World, session: &mut Session) {
    session.help(&["retry"]).run(&["retry", &world.completed]).run(&["retry", "-w", &world.completed]);
    session.run_with(&["retry", "-w", "-q", &world.secret], &[("TOKEN", "geheimnis")]);
    session.run(&["retry", &world.secret]).run(&["retry", UNKNOWN]);
    session.run_with(&["retry", UNKNOWN], &world.without_key());
}

fn why(world: &World, session: &mut Session) {
    session.help(&["why"]).run(&["why", &world.completed]).run(&["why", &world.failed]);
    session.run(&["why", UNKNOWN]).run(&["why"]).run_with(&["why", UNKNOWN], &[NO_SERVER]);
}

fn receipt(world: &World, session: &mut Session) {
    session.help(&["receipt"]).run(&["receipt", &world.completed]);
    session
        .run(&["receipt", UNKNOWN])
        .run(&["receipt"])
        .run_with(&["receipt", UNKNOWN], &world.without_key());
}

fn download(world: &World, session: &mut Session) {
    session.help(&["download"]).run(&["download", "-o", "results", &world.completed]);
    world.cli.write("results/greeting.txt", "another");
    session.run(&["download", "-o", "results", &world.completed]);
    session.run(&["download", &world.completed, "nothing.txt"]).run(&["download", UNKNOWN]);
    session.run(&["download", "-o", "hello.py", &world.completed]).run(&["download", &world.failed]);
}

fn runtimes(world: &World, session: &mut Session) {
    session.help(&["runtimes"]).help(&["runtimes", "list"]).run(&["runtimes", "list"]);
    session.run(&["runtimes", "add"]).run_with(&["runtimes"], &[NO_SERVER]);
    session.run_with(&["runtimes"], &world.without_key());
}

fn init(world: &World, session: &mut Session) {
    let url = world._daemons[0].url();
    session.help(&["init"]).run(&["init", "--api-url", &url]);
    session.run(&["init"]).run(&["init", "--api-url", "localhost"]);
    session.run(&["init", "--api-url", NO_SERVER.1]).run(&["init", "--api-url", &world.protected_url]);
}

fn doctor(world: &World, session: &mut Session) {
    session.help(&["doctor"]).run(&["doctor"]);
    session.run_with(&["doctor"], &[NO_SERVER]).run_with(&["doctor"], &world.without_key());
    session.run_with(&["doctor", "--json"], &[NO_SERVER]).run(&["doctor", "--api-key", "two words"]);
}

fn completions_and_man(_: &World, session: &mut Session) {
    session.help(&["completions"]).help(&["man"]).run(&["man", "pages"]);
    session.run(&["completions", "tcsh"]).run(&["completions"]).run(&["completions", "bash", "zsh"]);
    session.run(&["man", "hello.py"]).run(&["man"]).run(&["man", "/proc/man"]);
}

#[test]
fn each_shell_has_completions_and_each_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let cli = Cli::new(NO_SERVER.1);
    for (shell, word) in
        [("bash", "complete -F _rgrid"), ("zsh", "#compdef rgrid"), ("fish", "complete -c rgrid")]
    {
        let script = cli.ok(&["completions", shell]);
        assert!(script.contains(word) && script.contains("max-parallel"), "{shell}");
    }
    cli.ok(&["man", folder.path().to_str().unwrap()]);
    for (name, _) in &COMMANDS[3..15] {
        let page = std::fs::read_to_string(folder.path().join(format!("rgrid-{name}.1"))).unwrap();
        assert!(page.contains(&format!("rgrid\\-{name}")), "{name}:\n{page}");
    }
}
