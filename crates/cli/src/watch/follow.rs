//! Output as it happens. The status alone says when it is over: a connection that ends says nothing, and is
//! made again behind the last event that was shown.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rgrid_api::{Execution, OutputEvent, StatusEvent, Stream};

use crate::client::{Event, ReceivedEvent, Server};
use crate::error::Failure;
use crate::output::console::{Channel, Console};
use crate::output::report;
use crate::watch::phases::Phases;

/// Before a connection that broke is made again; doubles while none brings anything new.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A script's own streams, each in its place; and what its install says, when there is one.
pub const OUTPUT: [(Stream, Channel); 2] = [(Stream::Stdout, Channel::Out), (Stream::Stderr, Channel::Err)];
pub const INSTALL_AND_OUTPUT: [(Stream, Channel); 3] =
    [(Stream::Install, Channel::Err), (Stream::Stdout, Channel::Out), (Stream::Stderr, Channel::Err)];

/// Shows these streams of an execution until it has ended, and warns of what was cut from them. Gives it as it is
/// then, without its output.
pub fn follow(
    server: &Server,
    id: &str,
    streams: &[(Stream, Channel)],
    phases: &mut Phases,
    console: &Console,
) -> Result<Execution, Failure> {
    let mut screen = Screen { streams, phases, console, is_empty: true, missing: BTreeMap::new() };
    let (mut behind, mut pause) = (None, FIRST_PAUSE);
    loop {
        for told in server.events(id, behind.as_deref())? {
            let ReceivedEvent { id, event } = told?;
            if let Some(ended) = screen.show(event)? {
                report::warn_of_missing(&ended, &screen.missing, console);
                return Ok(ended);
            }
            if behind.as_ref() != Some(&id) {
                pause = FIRST_PAUSE;
            }
            behind = Some(id);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What has been shown of the present attempt.
struct Screen<'a, 'b> {
    streams: &'a [(Stream, Channel)],
    phases: &'a mut Phases<'b>,
    console: &'a Console,
    is_empty: bool,
    /// Bytes of these streams that nobody kept.
    missing: BTreeMap<Stream, u64>,
}

impl Screen<'_, '_> {
    /// The execution, at its end.
    fn show(&mut self, event: Event) -> Result<Option<Execution>, Failure> {
        match event {
            Event::Status(status) => self.turn_to(&status),
            Event::Output(output) => self.say(&output)?,
            Event::End(ended) => return Ok(Some(*ended)),
            Event::Other => {}
        }
        Ok(None)
    }

    fn turn_to(&mut self, status: &StatusEvent) {
        if status.restarted {
            self.missing.clear();
        }
        if status.restarted && !std::mem::replace(&mut self.is_empty, true) {
            self.console.warning(&format!(
                "attempt {} begins, since the one before was lost; its output is shown from the start",
                status.attempt
            ));
        }
        self.phases.see(status);
    }

    fn say(&mut self, output: &OutputEvent) -> Result<(), Failure> {
        let Some((stream, channel)) = self.streams.iter().find(|(stream, _)| *stream == output.stream) else {
            return Ok(());
        };
        self.is_empty = false;
        if let Some(cut) = output.cut {
            *self.missing.entry(*stream).or_default() += cut;
        }
        self.console.said(*channel, &output.text)
    }
}
