//! Protects the daemon from the kernel's OOM killer, so that scripts are killed first.

use std::fs;
use std::io;

use slog::{Logger, debug};

const FILE: &str = "/proc/self/oom_score_adj";
/// The init of a sandbox has 500 and its script 1000.
const SCORE: i32 = -500;

/// Child processes inherit the score, so call it before the private Postgres starts. Only root may lower it; systemd
/// can do that for other users.
pub(crate) fn lower(log: &Logger) {
    if let Err(error) = try_lower() {
        debug!(log, "cannot lower the OOM score of the daemon"; "error" => %error);
    }
}

fn try_lower() -> io::Result<()> {
    let current = fs::read_to_string(FILE)?;
    // An even lower score was set on purpose.
    if current.trim().parse().is_ok_and(|score: i32| score <= SCORE) {
        return Ok(());
    }
    fs::write(FILE, SCORE.to_string())
}
