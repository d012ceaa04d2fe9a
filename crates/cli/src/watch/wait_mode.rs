//! Waits until an execution has ended, then prints its output, saves its files and returns its exit code.

use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::{Execution, Stream};

use crate::client::Client;
use crate::download::destination::{Destination, Existing};
use crate::download::{count_files, save_outputs};
use crate::error::CliError;
use crate::exit_code::Exit;
use crate::output::console::{Channel, Console};
use crate::output::report::{self, Printed};
use crate::watch::follow::{INSTALL_AND_OUTPUT, OUTPUT, follow};
use crate::watch::interrupt::{Activity, InterruptHandler};
use crate::watch::phases::PhaseReporter;

/// The server responds at once when the execution ends; this is the delay of other changes.
const POLL_SECONDS: u64 = 1;
/// Used if only the end matters.
const LONG_POLL_SECONDS: u64 = 30;
/// The shortest time between two requests, in case a proxy ends the wait early.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitMode {
    /// Print output as it arrives.
    Follow,
    /// Print output at the end.
    Wait,
}

impl WaitMode {
    pub fn from_flags(follow: bool, wait: bool) -> Option<Self> {
        match (follow, wait) {
            (true, _) => Some(WaitMode::Follow),
            (false, true) => Some(WaitMode::Wait),
            (false, false) => None,
        }
    }
}

pub struct Waiter<'a> {
    pub client: &'a Client<'a>,
    pub console: &'a Console,
    pub interrupt: InterruptHandler,
    /// Print the installer's output.
    pub show_install: bool,
    /// Print the script's output only.
    pub quiet: bool,
}

impl Waiter<'_> {
    pub fn run(
        &self,
        submitted: &Execution,
        mode: WaitMode,
        destination: Option<&Destination>,
    ) -> Result<Exit, CliError> {
        let id = &submitted.id;
        let mut phases = if self.quiet { PhaseReporter::silent() } else { PhaseReporter::new(self.console) };
        phases.update(submitted);
        let streams = if self.show_install { INSTALL_AND_OUTPUT.as_slice() } else { OUTPUT.as_slice() };
        let ended = match mode {
            WaitMode::Follow => follow(self.client, id, streams, &mut phases, self.console),
            WaitMode::Wait => self.wait(id, &mut phases),
        };
        let ended = ended.map_err(|error| match error.exit {
            Exit::Unreachable => error.hint(format!(
                "{id} was submitted and continues; when the server is back, follow it with `rgrid logs -f {id}`"
            )),
            _ => error,
        })?;
        self.interrupt.set(Activity::Finished);
        let exit = report::report(&ended, Printed::Output, self.console);
        match self.save(&ended, destination) {
            Ok(()) => Ok(exit),
            // The script's own exit code matters more than files that could not be saved.
            Err(error) if exit != Exit::Success => {
                self.console.error(&error);
                Ok(exit)
            }
            Err(error) if error.hint.is_some() => Err(error),
            Err(error) => Err(error.hint(format!("save them elsewhere with `rgrid download {id} -o DIR`"))),
        }
    }

    fn wait(&self, id: &str, phases: &mut PhaseReporter) -> Result<Execution, CliError> {
        let mut installed = IncrementalText::default();
        let ended = poll(self.client, id, POLL_SECONDS, |execution| {
            phases.update(execution);
            if self.show_install {
                let text = self.client.logs(id, Stream::Install)?;
                self.console.script_output(Channel::Stderr, installed.append(&text))?;
            }
            Ok(())
        })?;
        let printed =
            self.console.script_output(Channel::Stdout, ended.stdout.as_deref().unwrap_or_default());
        // The exit code still matters if the reader of stdout has exited.
        if let Err(error) = printed
            && !error.is_silent()
        {
            return Err(error);
        }
        self.console.script_output(Channel::Stderr, ended.stderr.as_deref().unwrap_or_default())?;
        Ok(ended)
    }

    fn save(&self, ended: &Execution, destination: Option<&Destination>) -> Result<(), CliError> {
        let Some(destination) = destination else {
            if !ended.files().is_empty() && !self.quiet {
                let (count, id) = (count_files(ended.files().len()), &ended.id);
                self.console.hint(&format!("it wrote {count}; save them here with `rgrid download {id}`"));
            }
            return Ok(());
        };
        save_outputs(self.client, &ended.id, ended.files(), destination, Existing::Keep, |path| {
            if !self.quiet {
                self.console.progress(&format!("Saved: {path}"));
            }
            Ok(())
        })
    }
}

pub fn wait_for_end(client: &Client, id: &str) -> Result<Execution, CliError> {
    poll(client, id, LONG_POLL_SECONDS, |_| Ok(()))
}

/// Calls `update` with each state of the execution until it has ended.
fn poll(
    client: &Client,
    id: &str,
    seconds: u64,
    mut update: impl FnMut(&Execution) -> Result<(), CliError>,
) -> Result<Execution, CliError> {
    loop {
        let start = Instant::now();
        let execution = client.execution_within(id, seconds)?;
        update(&execution)?;
        if execution.status.is_final() {
            return Ok(execution);
        }
        thread::sleep(MIN_INTERVAL.saturating_sub(start.elapsed()));
    }
}

/// A growing stream, of which each part is printed once.
#[derive(Debug, Default)]
struct IncrementalText(String);

impl IncrementalText {
    /// Returns the new part. Text that does not continue the printed text belongs to another attempt, which
    /// is reported separately.
    fn append<'a>(&mut self, text: &'a str) -> &'a str {
        let Some(new) = text.strip_prefix(self.0.as_str()) else { return "" };
        self.0.push_str(new);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_growing_text_is_returned_once() {
        let mut text = IncrementalText::default();
        assert_eq!((text.append("a\n"), text.append("a\n"), text.append("a\nbé\n")), ("a\n", "", "bé\n"));
    }

    #[test]
    fn the_text_of_another_attempt_is_not_appended() {
        let mut text = IncrementalText::default();
        text.append("first attempt");
        assert_eq!((text.append("second attempt, longer"), text.append("")), ("", ""));
    }
}
