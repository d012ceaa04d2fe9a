//! A script that says as much as it can, and what it says.

/// As fast as it can, but in bursts, so that a daemon is killed in the midst of it.
pub const FLOOD: &str = "\
import sys, time
for n in range(100_000):
    sys.stdout.write(f'line {n}\\n')
    if n % 2_500 == 0:
        sys.stdout.flush(); time.sleep(0.05)
";

pub fn flood_said() -> String {
    (0..100_000).map(|n| format!("line {n}\n")).collect()
}
