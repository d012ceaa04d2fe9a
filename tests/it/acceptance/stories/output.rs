//! Story NEW-2: output is stored in separate columns, up to a limit.

use crate::acceptance::stories::{daemon, ended};
use crate::support::{DaemonBuilder, Database};

#[test]
fn new_2_stdout_and_stderr_have_separate_text_columns() {
    let (database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("both.py", "import sys; print('out'); print('err', file=sys.stderr)");
    cli.write("silent.py", "pass");
    let kinds = database.text(
        "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_name)
         FROM information_schema.columns
         WHERE table_name = 'executions' AND column_name IN ('stdout', 'stderr', 'output_truncated')",
    );
    assert_eq!(kinds, "output_truncated boolean, stderr text, stdout text");
    let kept = |id: &str| {
        database.text(&format!(
            "SELECT stdout || '|' || stderr || '|' || output_truncated FROM executions WHERE id = '{id}'"
        ))
    };
    assert_eq!(kept(&ended(&cli, &["both.py"])), "out\n|err\n|false");
    assert_eq!(kept(&ended(&cli, &["silent.py"])), "||false");
}

#[test]
fn new_2_output_is_cut_at_100_kib_with_a_warning_that_names_both_sizes() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("flood.py", "import sys\nfor s in (sys.stdout, sys.stderr): s.write('x' * 307200)");
    let said = cli.run(&["run", "-w", "flood.py"]);
    for stream in ["stdout", "stderr"] {
        let warning = format!("warning: {stream} was cut at 100 KiB (of 300 KiB)\n");
        assert!(said.stderr.contains(&warning), "{}", &said.stderr[said.stderr.len() - 300..]);
    }
    assert_eq!(said.code, 0);
}

#[test]
fn new_2_the_limit_is_a_setting() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_EXECUTION__OUTPUT_LIMIT", "1KiB").start();
    let cli = daemon.cli();
    cli.write("more.py", "import sys; sys.stdout.write('a' * 1024 + 'z' * 1024)");
    let said = cli.run(&["logs", "--stdout", &ended(&cli, &["more.py"])]);
    assert_eq!(said.stderr, "warning: stdout was cut at 1 KiB (of 2 KiB)\n");
    let (half, end) = ("a".repeat(512), "z".repeat(512));
    assert_eq!(said.stdout, format!("{half}\n[… 1 KiB cut by RGrid …]\n{end}"));
}
