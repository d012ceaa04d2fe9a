//! Output as it happens.
//!
//! Made of looks at the whole streams, until the server sends events. The status alone says when it is
//! over; the end of a stream says nothing.

use std::thread;
use std::time::Duration;

use rgrid_api::{Execution, Status, Stream};

use crate::console::{Channel, Console};
use crate::failure::Failure;
use crate::phases::Phases;
use crate::server::Server;
use crate::shown::Shown;

const PAUSE: Duration = Duration::from_millis(100);

/// A script's own streams, each in its place; and what its install says, when there is one.
pub const OUTPUT: [(Stream, Channel); 2] = [(Stream::Stdout, Channel::Out), (Stream::Stderr, Channel::Err)];
pub const INSTALL_AND_OUTPUT: [(Stream, Channel); 3] =
    [(Stream::Install, Channel::Err), (Stream::Stdout, Channel::Out), (Stream::Stderr, Channel::Err)];

/// Shows these streams of an execution until it has ended; gives it as it is then.
pub fn follow(
    server: &Server,
    id: &str,
    streams: &[(Stream, Channel)],
    phases: &mut Phases,
    console: &Console,
) -> Result<Execution, Failure> {
    let mut execution = server.execution(id)?;
    let mut screen = Screen::new(streams, console);
    phases.see(&execution);
    while !execution.status.is_final() {
        let texts = screen.look(server, &execution)?;
        let next = server.execution(id)?;
        // What is said between two looks at the same attempt belongs to it.
        if next.attempt == execution.attempt && !next.status.is_final() {
            screen.grow(&texts)?;
        } else if next.attempt != execution.attempt {
            screen.start_anew(&next);
        }
        phases.see(&next);
        execution = next;
        if !execution.status.is_final() {
            thread::sleep(PAUSE);
        }
    }
    screen.finish(server, &execution)?;
    Ok(execution)
}

/// What has been shown of the present attempt.
struct Screen<'a> {
    streams: Vec<Followed>,
    console: &'a Console,
}

struct Followed {
    stream: Stream,
    channel: Channel,
    shown: Shown,
}

impl<'a> Screen<'a> {
    fn new(streams: &[(Stream, Channel)], console: &'a Console) -> Self {
        let followed = |&(stream, channel)| Followed { stream, channel, shown: Shown::default() };
        Self { streams: streams.iter().map(followed).collect(), console }
    }

    /// One text a stream; none while nothing runs.
    fn look(&self, server: &Server, execution: &Execution) -> Result<Vec<String>, Failure> {
        if execution.status != Status::Running {
            return Ok(Vec::new());
        }
        self.streams.iter().map(|followed| server.logs(&execution.id, followed.stream)).collect()
    }

    fn grow(&mut self, texts: &[String]) -> Result<(), Failure> {
        for (followed, text) in self.streams.iter_mut().zip(texts) {
            self.console.said(followed.channel, followed.shown.grow(text))?;
        }
        Ok(())
    }

    fn start_anew(&mut self, next: &Execution) {
        if self.streams.iter().all(|followed| followed.shown.is_empty()) {
            return;
        }
        self.console.warning(&format!(
            "attempt {} begins, since the one before was lost; its output is shown from the start",
            next.attempt
        ));
        for followed in &mut self.streams {
            followed.shown = Shown::default();
        }
    }

    fn finish(&self, server: &Server, ended: &Execution) -> Result<(), Failure> {
        for followed in &self.streams {
            let (text, total) = kept(server, ended, followed.stream)?;
            self.console.said(followed.channel, &followed.shown.finish(&text, total))?;
        }
        Ok(())
    }
}

/// A stream of an execution that has ended, and the size of all that was written.
fn kept(server: &Server, ended: &Execution, stream: Stream) -> Result<(String, u64), Failure> {
    Ok(match stream {
        Stream::Stdout => (ended.stdout.clone().unwrap_or_default(), ended.stdout_bytes),
        Stream::Stderr => (ended.stderr.clone().unwrap_or_default(), ended.stderr_bytes),
        Stream::Install => {
            // The server does not tell how much was written in all: what is there counts as all.
            let text = server.logs(&ended.id, stream)?;
            let total = text.len() as u64;
            (text, total)
        }
    })
}
