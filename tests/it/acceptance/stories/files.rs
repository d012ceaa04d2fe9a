//! Story 2-5: input and output files.

use crate::acceptance::stories::{assert_refused, daemon, ended};

#[test]
fn story_2_5_inputs_are_read_only_under_their_base_names_and_outputs_are_returned() {
    let (database, daemon) = daemon();
    let cli = daemon.cli();
    std::fs::create_dir_all(cli.folder().join("in/deep")).unwrap();
    cli.write("in/deep/data.csv", "1,2\n");
    let script = "\
import os, pathlib, sys
print(sys.argv[1:], os.getcwd(), open('data.csv').read().strip())
try:
    open('data.csv', 'w')
except OSError as error:
    print(type(error).__name__)
pathlib.Path('plots').mkdir()
pathlib.Path('plots/a.txt').write_text('plot')
pathlib.Path(sys.argv[2]).write_bytes(bytes(range(256)))
";
    cli.write("copy.py", script);
    let said = cli.run(&["run", "-w", "-o", "results", "copy.py", "in/deep/data.csv", "output.bin"]);
    let expected = "['data.csv', 'output.bin'] /workspace 1,2\nPermissionError\n";
    assert_eq!((said.code, said.stdout.as_str()), (0, expected), "{said:?}");
    let result = |name: &str| std::fs::read(cli.folder().join("results").join(name)).unwrap();
    assert_eq!((result("plots/a.txt"), result("output.bin")), (b"plot".to_vec(), (0..=255).collect()));

    // Identical contents are stored once.
    let blobs = database.number("SELECT count(*) FROM blobs");
    let id = ended(&cli, &["copy.py", "in/deep/data.csv", "output.bin"]);
    assert_eq!(database.number("SELECT count(*) FROM blobs"), blobs);
    cli.ok(&["download", &id, "-o", "later", "plots/a.txt"]);
    assert_eq!(std::fs::read(cli.folder().join("later/plots/a.txt")).unwrap(), b"plot");
    assert!(!cli.folder().join("later/output.bin").exists());
}

#[test]
fn story_2_5_invalid_inputs_are_named_and_nothing_is_submitted() {
    let (database, daemon) = daemon();
    let cli = daemon.cli();
    for folder in ["x", "y"] {
        std::fs::create_dir(cli.folder().join(folder)).unwrap();
        cli.write(&format!("{folder}/a"), folder);
    }
    cli.write("s.py", "1");
    let two = "error: two files have the name \"a\": x/a and y/a\n  hint: the script would find only one of them; rename one\n";
    assert_refused(&cli, &["run", "s.py", "x/a", "y/a"], 2, two);
    let folder = "error: x is a folder; only files are uploaded\n  hint: name the files in it, or pack it: `tar cf files.tar FOLDER`\n";
    assert_refused(&cli, &["run", "s.py", "x"], 2, folder);
    assert_refused(&cli, &["run", "none.py"], 2, "error: cannot read none.py: no such file\n");
    assert_refused(&cli, &["run", "x"], 2, "error: x is a folder; name a script in it\n");
    // Root ignores file modes, but even root cannot read memory at address 0.
    std::os::unix::fs::symlink("/proc/self/mem", cli.folder().join("mem")).unwrap();
    let said = cli.run(&["run", "s.py", "mem"]);
    assert!(said.code == 2 && said.stderr.starts_with("error: cannot read mem: "), "{said:?}");
    assert_eq!(database.number("SELECT count(*) FROM executions"), 0);
}

#[test]
fn story_2_5_an_argument_that_names_no_file_is_passed_unchanged() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("args.py", "import sys; print(sys.argv)");
    let said = cli.ok(&["run", "-w", "-q", "args.py", "--follow", "", "a b", "no.txt", "-e"]);
    assert_eq!(said, "['./args.py', '--follow', '', 'a b', 'no.txt', '-e']\n");
}
