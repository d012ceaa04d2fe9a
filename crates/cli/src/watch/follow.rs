//! Prints output as it arrives. Only the execution's status ends the command: after a lost connection, it
//! reconnects and continues after the last event.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rgrid_api::{Execution, OutputEvent, Stream};

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
    let (mut last_event_id, mut pause, mut has_printed) = (None, MIN_PAUSE, false);
    // Bytes of each stream that the server no longer had.
    let mut missing: BTreeMap<Stream, u64> = BTreeMap::new();
    loop {
        for event in client.events(id, last_event_id.as_deref())? {
            let ReceivedEvent { id, event } = event?;
            match event {
                Event::Status(status) => {
                    if status.restarted {
                        missing.clear();
                    }
                    if status.restarted && std::mem::take(&mut has_printed) {
                        console.warning(&format!(
                            "starting attempt {}, since the previous one was lost; its output follows from the start",
                            status.attempt
                        ));
                    }
                    phases.update_status(&status);
                }
                Event::Output(OutputEvent { stream, text, cut }) => {
                    if let Some((_, channel)) = streams.iter().find(|(shown, _)| *shown == stream) {
                        has_printed = true;
                        if let Some(cut) = cut {
                            *missing.entry(stream).or_default() += cut;
                        }
                        console.script_output(*channel, &text)?;
                    }
                }
                Event::End(ended) => {
                    report::warn_about_missing(&ended, &missing, console);
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
