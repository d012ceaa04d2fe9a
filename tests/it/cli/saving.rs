//! Output files: an interrupted download leaves no partial file, and files that were not kept are named.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::{Cli, DaemonBuilder, Database, wait_until};

const CONTENT: &str = "a part";

/// Serves an execution and its files, each of which consists of [`CONTENT`] and is announced as this long.
fn serve(execution: String, length: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let execution = execution.clone();
            std::thread::spawn(move || answer(stream, &execution, length));
        }
    });
    url
}

fn answer(mut stream: TcpStream, execution: &str, length: usize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        while lines.next().is_some_and(|header| !header.is_empty()) {}
        let (kind, length, body) = match request.contains("/outputs/") {
            true => ("application/octet-stream", length, CONTENT),
            false => ("application/json", execution.len(), execution),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn names(cli: &Cli, folder: &str) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(cli.folder().join(folder)) else { return Vec::new() };
    found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_interrupted_download_leaves_no_partial_file() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let id = daemon.http().submit("open('large.bin', 'w').write('x' * (1 << 20))");
    daemon.http().wait(&id);
    let execution = daemon.http().execution(&id).to_string();
    let cli = Cli::new(&serve(execution, 1 << 20));
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = cli
            .command(&["download", "-o", "here", &id])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until("a part of it is there", Duration::from_secs(30), || {
            names(&cli, "here").iter().any(|name| name.ends_with(".part")).then_some(())
        });
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let ended = wait_until("it ends", Duration::from_secs(30), || child.try_wait().unwrap());
        let output = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!((ended.code(), names(&cli, "here")), (Some(code), Vec::new()), "{output}");
    }
}

#[test]
fn files_that_are_not_kept_are_named_by_every_command() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let cli = daemon.cli();
    cli.write("large.py", "import os; open('large.bin', 'w').truncate(40 << 20); os.symlink('/etc/passwd', 'link'); open('a', 'w').write('x')");
    let output = cli.run(&["run", "-w", "-o", "out", "large.py"]);
    assert_eq!((output.code, names(&cli, "out")), (0, vec!["a".to_owned()]), "{output:?}");
    for left_out in ["warning: files: `large.bin` (40 MiB)", "warning: files: `link` was not kept"] {
        assert!(output.stderr.contains(left_out), "{left_out}: {output:?}");
    }
    let id = output.stderr.split_whitespace().find(|word| word.starts_with("exec_")).unwrap();
    let status = cli.ok(&["status", id]);
    assert!(status.contains("Left out: `large.bin` (40 MiB)"), "{status}");
    let why = cli.ok(&["why", id]);
    assert!(why.contains("but some of its files were not kept. `link` was not kept"), "{why}");
    let shown = daemon.http().execution(id);
    assert_eq!(shown["outputs_left_out"].as_array().unwrap().len(), 2, "{shown}");
    let page = daemon.http().get(&format!("/executions/{id}")).body;
    assert!(page.contains("`large.bin` (40 MiB)"), "{page}");
    // A batch of which no file is kept.
    cli.write("one.csv", "1");
    cli.write("nothing.py", "open('large.bin', 'w').truncate(40 << 20)");
    let output = cli.run(&["run", "-o", "all", "nothing.py", "--batch", "*.csv"]);
    assert!(
        output.stderr.contains("warning: files: `large.bin`") && output.stderr.contains("Saved: nothing"),
        "{output:?}"
    );
    let output = cli.run(&["download", "-o", "all", id, "a"]);
    assert_eq!((output.code, names(&cli, "all")), (0, vec!["a".to_owned()]), "{output:?}");
}

#[test]
fn hidden_files_are_saved_in_a_home_directory_only_if_that_is_allowed() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let script = "import os; os.mkdir('.ssh')\nfor name in ['.bashrc', '.ssh/authorized_keys', 'a', 'b/.c']:\n    \
        os.makedirs('b', exist_ok=True); open(name, 'w').write(name)";
    let id = daemon.http().submit(script);
    daemon.http().wait(&id);
    let cli = daemon.cli();
    let at_home = |line: &[&str]| cli.command(line).env("HOME", cli.folder()).output().unwrap();
    let is_saved = |name: &str| cli.folder().join(name).exists();

    let refused = at_home(&["download", &id]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("  .bashrc is a hidden file in a home directory; not saved\n"), "{told}");
    assert!(told.contains("save hidden files with `rgrid download --dotfiles exec_"), "{told}");
    assert_eq!(["a", "b/.c", ".bashrc", ".ssh"].map(is_saved), [true, true, false, false]);

    cli.write("s.py", "open('.profile', 'w').write('x')");
    let refused = at_home(&["run", "-w", "-o", ".", "s.py"]);
    assert_eq!((refused.status.code(), is_saved(".profile")), (Some(1), false), "{refused:?}");

    assert_eq!(at_home(&["download", "-o", "results", &id]).status.code(), Some(0));
    assert!(is_saved("results/.ssh/authorized_keys"));
    assert_eq!(at_home(&["download", "--dotfiles", &id]).status.code(), Some(0));
    assert!(is_saved(".bashrc") && is_saved(".ssh/authorized_keys"));
}

#[test]
fn an_invalid_name_does_not_keep_later_files_from_being_saved() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let id = daemon.http().submit("print()");
    let mut execution = daemon.http().wait(&id);
    let file = |name: &str| json!({ "name": name, "size": CONTENT.len(), "sha256": "" });
    execution["outputs"] = json!(["a", "../b", "c\u{1b}[2J", "d"].map(file));
    let cli = Cli::new(&serve(execution.to_string(), CONTENT.len()));
    let output = cli.run(&["download", "-o", "here", &id]);
    let mut saved = names(&cli, "here");
    saved.sort();
    assert_eq!((output.code, saved), (1, vec!["a".to_owned(), "d".to_owned()]), "{output:?}");
    for error in [
        "2 files were not saved:",
        "cannot save the output \"../b\": ",
        "cannot save the output \"c\\u{1b}[2J\": ",
    ] {
        assert!(output.stderr.contains(error), "{error}: {output:?}");
    }
}
