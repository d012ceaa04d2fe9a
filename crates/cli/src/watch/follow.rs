//! Prints output as it arrives. Only the execution's status ends the command: after a lost connection, it
//! reconnects and continues after the last event.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rgrid_api::{Execution, OutputEvent, StatusEvent, Stream};

use crate::client::{Client, Event, ReceivedEvent};
use crate::error::CliError;
use crate::output::console::{Channel, Console};
use crate::output::report;
use crate::watch::phases::PhaseReporter;

/// The pause before a reconnect doubles until an event arrives.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

pub const OUTPUT: [(Stream, Channel); 2] =
    [(Stream::Stdout, Channel::Stdout), (Stream::Stderr, Channel::Stderr)];
pub const INSTALL_AND_OUTPUT: [(Stream, Channel); 3] = [
    (Stream::Install, Channel::Stderr),
    (Stream::Stdout, Channel::Stdout),
    (Stream::Stderr, Channel::Stderr),
];

/// Prints these streams until the execution has ended, and warns if a part of them is missing. Returns the
/// execution without its output.
pub fn follow(
    client: &Client,
    id: &str,
    streams: &[(Stream, Channel)],
    phases: &mut PhaseReporter,
    console: &Console,
) -> Result<Execution, CliError> {
    let mut printer = Printer { streams, phases, console, has_printed: false, missing: BTreeMap::new() };
    let (mut last_event_id, mut pause) = (None, MIN_PAUSE);
    loop {
        for event in client.events(id, last_event_id.as_deref())? {
            let ReceivedEvent { id, event } = event?;
            match event {
                Event::Status(status) => printer.status(&status),
                Event::Output(output) => printer.output(&output)?,
                Event::End(ended) => {
                    report::warn_about_missing(&ended, &printer.missing, console);
                    return Ok(*ended);
                }
                Event::Unknown => {}
            }
            if last_event_id.as_ref() != Some(&id) {
                pause = MIN_PAUSE;
            }
            last_event_id = Some(id);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Prints the output of the current attempt.
struct Printer<'a, 'b> {
    streams: &'a [(Stream, Channel)],
    phases: &'a mut PhaseReporter<'b>,
    console: &'a Console,
    has_printed: bool,
    /// Bytes of each stream that the server no longer had.
    missing: BTreeMap<Stream, u64>,
}

impl Printer<'_, '_> {
    fn status(&mut self, status: &StatusEvent) {
        if status.restarted {
            self.missing.clear();
            if std::mem::take(&mut self.has_printed) {
                self.console.warning(&format!(
                    "starting attempt {}, since the previous one was lost; its output follows from the start",
                    status.attempt
                ));
            }
        }
        self.phases.update_status(status);
    }

    fn output(&mut self, output: &OutputEvent) -> Result<(), CliError> {
        let Some((stream, channel)) = self.streams.iter().find(|(stream, _)| *stream == output.stream) else {
            return Ok(());
        };
        self.has_printed = true;
        if let Some(cut) = output.cut {
            *self.missing.entry(*stream).or_default() += cut;
        }
        self.console.script_output(*channel, &output.text)
    }
}
