//! One test for each row of the table in `docs/reliability.md`. The fault run injects the same faults at random.

mod clocks;
mod containers;
mod database;
mod docker;
mod fault_run;
mod kill_rounds;
mod killed;
mod killed_twice;
mod load;
mod lost_engine;
mod memory;
mod panics;
mod parking;
mod partition;
mod starts;
mod stopping;

use std::time::Duration;

use crate::support::{Daemon, sandboxes_of, touch, wait_until};

/// Prints a random number, then a line every tenth of a second.
fn counting(lines: u32) -> String {
    format!(
        "import random, time\nprint('run', random.randrange(10**12))\n\
         for n in range({lines}):\n    print('line', n); time.sleep(0.1)\n"
    )
}

/// Prints that it has started, and runs until [`end_scripts`].
const UNTIL_ENDED: &str = "\
import os, time
print('begun')
while not os.path.exists('/tmp/end'): time.sleep(0.05)
print('done')
";

/// Ends all scripts of a deployment that wait for it.
fn end_scripts(cluster: &str) {
    for sandbox in sandboxes_of(cluster) {
        touch(&sandbox, "/tmp/end");
    }
}

/// Checks that the script ran once from its first line to its last.
fn assert_counted_once(stdout: &str, lines: u32) {
    let said: Vec<&str> = stdout.lines().collect();
    assert!(said[0].starts_with("run "), "{stdout}");
    let expected: Vec<String> = (0..lines).map(|n| format!("line {n}")).collect();
    assert_eq!(said[1..], expected);
}

fn wait_for_log(daemon: &Daemon, words: &str) {
    wait_until(words, Duration::from_secs(60), || daemon.has_said(words).then_some(()));
}

fn wait_for_readiness(daemon: &Daemon, ready: bool) {
    let what = if ready { "it is ready" } else { "it says that it is not ready" };
    wait_until(what, Duration::from_secs(60), || (daemon.is_ready() == ready).then_some(()));
}
