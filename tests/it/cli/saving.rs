//! Output files: an interrupted download leaves no partial file, and files that were not kept are named.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Cli, DaemonBuilder, Database, wait_until};

/// Serves an execution, but only a part of each of its files.
fn serve_partial_files(execution: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let execution = execution.clone();
            std::thread::spawn(move || answer(stream, &execution));
        }
    });
    url
}

fn answer(mut stream: TcpStream, execution: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        while lines.next().is_some_and(|header| !header.is_empty()) {}
        let (kind, length, body) = match request.contains("/outputs/") {
            true => ("application/octet-stream", 1 << 20, "a part"),
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
    let cli = Cli::new(&serve_partial_files(execution));
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
