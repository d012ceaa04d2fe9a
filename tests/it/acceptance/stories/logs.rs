//! Story 8-2: `rgrid logs` shows the output of a script.

use crate::acceptance::stories::{daemon, ended};
use crate::support::Index;

#[test]
fn story_8_2_each_stream_has_a_heading_and_an_empty_one_is_marked() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("hello.py", "print('Hello from RGrid!')");
    cli.write("silent.py", "pass");
    cli.write("open_end.py", "import sys; sys.stdout.write('a'); sys.stderr.write('b')");
    let logs = |script: &str| cli.ok(&["logs", &ended(&cli, &[script])]);
    let hello = "=== STDOUT ===\nHello from RGrid!\n\n=== STDERR ===\n(empty)\n\nExit Code: 0\n";
    assert_eq!(logs("hello.py"), hello);
    let silent = "=== STDOUT ===\n(empty)\n\n=== STDERR ===\n(empty)\n\nExit Code: 0\n";
    assert_eq!(logs("silent.py"), silent);
    let open_end = "=== STDOUT ===\na\n\n=== STDERR ===\nb\n\nExit Code: 0\n";
    assert_eq!(logs("open_end.py"), open_end);
}

#[test]
fn story_8_2_a_single_stream_is_printed_unchanged() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("both.py", "import sys; sys.stdout.write('out\\x1b[1m'); sys.stderr.write('err\\n\\n')");
    let id = ended(&cli, &["both.py"]);
    // Including control characters, because stdout is not a terminal.
    assert_eq!(cli.ok(&["logs", "--stdout", &id]), "out\x1b[1m");
    assert_eq!(cli.ok(&["logs", &id, "--stderr"]), "err\n\n");
    assert_eq!(cli.ok(&["logs", "--install", &id]), "");
    assert_eq!(cli.run(&["logs", "--stdout", "--stderr", &id]).code, 2);
}

#[test]
fn story_8_2_install_shows_the_output_of_pip() {
    let index = Index::new().with_module("hello", "1.0");
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("requirements.txt", index.requirements("hello"));
    cli.write("show.py", "import hello; print(hello.VERSION)");
    let id = ended(&cli, &["show.py"]);
    let install = cli.ok(&["logs", "--install", &id]);
    assert!(install.contains("Successfully installed hello-1.0"), "{install}");
    assert_eq!(cli.ok(&["logs", "--stdout", &id]), "1.0\n");
}

#[test]
fn story_8_2_logs_of_a_running_script_show_its_output_so_far() {
    let (_database, daemon) = daemon();
    let (cli, http) = (daemon.cli(), daemon.http());
    let id = http.submit("import sys, time; print('first'); print('!', file=sys.stderr); time.sleep(60)");
    http.wait_for_output(&id, "first");
    let stderr = format!("/api/v1/executions/{id}/logs?stream=stderr");
    crate::support::wait_until("its stderr", std::time::Duration::from_secs(30), || {
        (http.get(&stderr).body == "!\n").then_some(())
    });
    let said = cli.run(&["logs", &id]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "=== STDOUT ===\nfirst\n\n=== STDERR ===\n!\n"));
    assert_eq!(said.stderr, format!("  hint: it is still running; follow it with `rgrid logs -f {id}`\n"));
    assert_eq!(cli.ok(&["logs", "--stdout", &id]), "first\n");
    cli.ok(&["cancel", &id]);
}

#[test]
fn story_8_2_following_shows_all_output_and_exits_with_the_scripts_code() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    let id =
        daemon.http().submit("import time; print('one'); time.sleep(1); print('two'); raise SystemExit(9)");
    let said = cli.run(&["logs", "-f", &id]);
    assert_eq!((said.code, said.stdout.as_str()), (9, "one\ntwo\n"), "{said:?}");
    // Each change of the status is printed as well.
    let rest: String =
        said.stderr.split_inclusive('\n').filter(|line| !line.starts_with("Status: ")).collect();
    assert!(rest.starts_with("error: the script ended with exit code 9\n  hint: "), "{said:?}");
}
