//! Waiting for an execution's end.

use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::{Execution, Stream};

use crate::client::Server;
use crate::error::Failure;
use crate::output::console::{Channel, Console};
use crate::watch::incremental::IncrementalText;
use crate::watch::phases::Phases;

/// The end is told at once; a change before it is seen after at most that long.
const LOOK_SECONDS: u64 = 1;
/// While nothing but the end is of interest.
const PATIENT_SECONDS: u64 = 30;
/// At least this long from one look to the next, also when something in between cuts the wait short.
const PAUSE: Duration = Duration::from_millis(100);

/// The execution when it has ended.
pub fn for_end(server: &Server, id: &str) -> Result<Execution, Failure> {
    loop {
        let begun = Instant::now();
        let execution = server.execution_within(id, PATIENT_SECONDS)?;
        if execution.status.is_final() {
            return Ok(execution);
        }
        thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
    }
}

/// Whether requirements are installed before the script, and what that says is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Install {
    IncrementalText,
    None,
}

/// The execution when it has ended; meanwhile its phases are told, and what its install says.
pub fn with_phases(
    server: &Server,
    id: &str,
    install: Install,
    phases: &mut Phases,
    console: &Console,
) -> Result<Execution, Failure> {
    let mut shown = IncrementalText::default();
    loop {
        let begun = Instant::now();
        let execution = server.execution_within(id, LOOK_SECONDS)?;
        phases.see(&execution);
        if install == Install::IncrementalText {
            let text = server.logs(id, Stream::Install)?;
            console.said(Channel::of(Stream::Install), shown.grow(&text))?;
        }
        if execution.status.is_final() {
            return Ok(execution);
        }
        thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
    }
}
