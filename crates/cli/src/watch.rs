//! Waits for executions: follows their output, reports their phases, and handles Ctrl-C.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rgrid_api::{Execution, OutputEvent, Phase, Status, StatusEvent, Stream};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::client::{Client, Event, ReceivedEvent};
use crate::download::{Destination, count_files, remove_partial_files, save_outputs};
use crate::error::{CliError, Exit, Result};
use crate::output::report::{self, Printed};
use crate::output::{Channel, Console};

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
    ) -> Result<Exit> {
        let id = &submitted.id;
        let mut phases = PhaseReporter::new((!self.quiet).then_some(self.console));
        phases.update(submitted);
        let ended = match mode {
            WaitMode::Follow => {
                follow(self.client, id, streams(self.show_install), &mut phases, self.console)
            }
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

    fn wait(&self, id: &str, phases: &mut PhaseReporter) -> Result<Execution> {
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

    fn save(&self, ended: &Execution, destination: Option<&Destination>) -> Result {
        let Some(destination) = destination else {
            if !ended.files().is_empty() && !self.quiet {
                let (count, id) = (count_files(ended.files().len()), &ended.id);
                self.console.hint(&format!("it wrote {count}; save them here with `rgrid download {id}`"));
            }
            return Ok(());
        };
        save_outputs(self.client, &ended.id, ended.files(), destination, self.console, |path| {
            if !self.quiet {
                self.console.progress(&format!("Saved: {path}"));
            }
            Ok(())
        })
    }
}

pub fn wait_for_end(client: &Client, id: &str) -> Result<Execution> {
    poll(client, id, LONG_POLL_SECONDS, |_| Ok(()))
}

fn poll(
    client: &Client,
    id: &str,
    seconds: u64,
    mut update: impl FnMut(&Execution) -> Result,
) -> Result<Execution> {
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

/// The pause before a reconnect doubles until an event arrives.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

const INSTALL_AND_OUTPUT: [(Stream, Channel); 3] = [
    (Stream::Install, Channel::Stderr),
    (Stream::Stdout, Channel::Stdout),
    (Stream::Stderr, Channel::Stderr),
];

/// Where a followed script's streams are printed.
pub fn streams(with_install: bool) -> &'static [(Stream, Channel)] {
    let [_, output @ ..] = &INSTALL_AND_OUTPUT;
    if with_install { &INSTALL_AND_OUTPUT } else { output }
}

/// Prints these streams until the execution has ended, and warns if a part of them is missing. Returns the
/// execution without its output.
pub fn follow(
    client: &Client,
    id: &str,
    streams: &[(Stream, Channel)],
    phases: &mut PhaseReporter,
    console: &Console,
) -> Result<Execution> {
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
                        if std::mem::take(&mut has_printed) {
                            console.warning(
                                "its worker was lost; the script starts again, and its output follows from the start",
                            );
                        }
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

/// The server does not count further.
const MAX_AHEAD: u64 = 10_000;

#[derive(Default)]
pub struct PhaseReporter<'a> {
    /// `None` if nothing is reported.
    console: Option<&'a Console>,
    /// `None` as the phase if it is queued.
    current: Option<(Option<Phase>, Instant)>,
    /// The values in the last line.
    ahead: Option<u64>,
    waits_for: Option<String>,
}

impl<'a> PhaseReporter<'a> {
    pub fn new(console: Option<&'a Console>) -> Self {
        Self { console, ..Self::default() }
    }

    pub fn update(&mut self, execution: &Execution) {
        let Execution { status, attempt, phase, queue_position, waits_for, .. } = execution.clone();
        let restarted = false;
        self.update_status(&StatusEvent { status, attempt, phase, queue_position, waits_for, restarted });
    }

    pub fn update_status(&mut self, event: &StatusEvent) {
        let Some(console) = self.console else { return };
        let phase = match event.status {
            Status::Queued => None,
            // A script whose phase is not known yet counts as running.
            Status::Running => Some(event.phase.unwrap_or(Phase::Script)),
            _ => return console.clear_status(),
        };
        let ahead = event.queue_position.map(|position| position.saturating_sub(1));
        let start = self.current.filter(|(current, _)| *current == phase).map(|(_, start)| start);
        let since = start.unwrap_or_else(Instant::now);
        self.current = Some((phase, since));
        let message = describe(phase, ahead, event.waits_for.as_deref());
        if console.is_interactive() {
            console.show_status(&message, since);
        } else if start.is_none() || self.is_worth_a_line(ahead) || self.waits_for != event.waits_for {
            self.ahead = ahead.or(self.ahead);
            self.waits_for.clone_from(&event.waits_for);
            console.progress(&format!("Status: {message}"));
        }
    }

    /// A long queue is reported each time it has halved.
    fn is_worth_a_line(&self, ahead: Option<u64>) -> bool {
        ahead.is_some_and(|now| match self.ahead {
            Some(reported) => now < reported && now <= reported / 2,
            None => now > 0,
        })
    }
}

fn describe(phase: Option<Phase>, ahead: Option<u64>, waits_for: Option<&str>) -> String {
    match (phase, waits_for, ahead) {
        (None, Some(missing), _) => format!("queued, {missing}"),
        (None, _, None | Some(0)) => "queued".to_owned(),
        (None, _, Some(MAX_AHEAD..)) => format!("queued, {MAX_AHEAD} or more ahead"),
        (None, _, Some(ahead)) => format!("queued, {ahead} ahead"),
        (Some(Phase::Environment), ..) => "installing requirements".to_owned(),
        (Some(Phase::Sandbox), ..) => "preparing the sandbox".to_owned(),
        (Some(Phase::Script), ..) => "running".to_owned(),
    }
}

/// What a signal interrupts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    Submitting,
    Waiting(String),
    /// Waiting for a batch, of which this many inputs are not submitted yet.
    Batch {
        id: String,
        unsubmitted: usize,
    },
    Downloading,
    /// Nothing is running on the server.
    Finished,
}

pub struct InterruptHandler(Arc<Mutex<Activity>>);

impl InterruptHandler {
    /// From now on, SIGINT, SIGTERM and SIGHUP end this process.
    pub fn install(activity: Activity, console: &Console) -> Result<Self> {
        let activity = Arc::new(Mutex::new(activity));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| CliError::failure(format!("cannot handle Ctrl-C: {error}")))?;
        let (shared, console) = (Arc::clone(&activity), console.clone());
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let _no_new_files = remove_partial_files();
                console.clear_status();
                if signal == SIGINT {
                    let activity = shared.lock().clone();
                    if let Some(hint) = hint(&activity) {
                        console.hint(&hint);
                    }
                }
                // The code that a shell reports for a process that was ended by a signal.
                std::process::exit(128 + signal);
            }
        });
        Ok(Self(activity))
    }

    pub fn set(&self, activity: Activity) {
        *self.0.lock() = activity;
    }
}

fn hint(activity: &Activity) -> Option<String> {
    Some(match activity {
        Activity::Submitting => {
            "it may have been submitted; list the latest executions with `rgrid list`".to_owned()
        }
        Activity::Waiting(id) => {
            format!(
                "the execution continues; follow it with `rgrid logs -f {id}`, cancel it with `rgrid cancel {id}`"
            )
        }
        Activity::Batch { id, unsubmitted } => {
            let state = match unsubmitted {
                0 => "the batch continues".to_owned(),
                1 => "1 input was not submitted; the others continue".to_owned(),
                count => format!("{count} inputs were not submitted; the others continue"),
            };
            format!(
                "{state}: wait with `rgrid wait {id}`, list them with `rgrid list {id}`, cancel them with `rgrid cancel {id}`"
            )
        }
        Activity::Downloading => {
            "saved files are complete; run the command again to save the rest".to_owned()
        }
        Activity::Finished => return None,
    })
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

    #[test]
    fn a_queued_execution_shows_how_many_are_ahead_or_what_it_waits_for() {
        for (ahead, waits_for, expected) in [
            (0, None, "queued"),
            (1, None, "queued, 1 ahead"),
            (10_000, None, "queued, 10000 or more ahead"),
            (1, Some("no worker has gpu=true"), "queued, no worker has gpu=true"),
        ] {
            assert_eq!(describe(None, Some(ahead), waits_for), expected);
        }
    }

    #[test]
    fn a_long_queue_is_reported_in_few_lines() {
        let mut reporter = PhaseReporter::default();
        let mut reported = Vec::new();
        for ahead in (0..=100).rev() {
            if reporter.is_worth_a_line(Some(ahead)) {
                reporter.ahead = Some(ahead);
                reported.push(ahead);
            }
        }
        assert_eq!(reported, [100, 50, 25, 12, 6, 3, 1, 0]);
        assert!(!reporter.is_worth_a_line(None) && !reporter.is_worth_a_line(Some(7)));
    }

    #[test]
    fn the_hint_names_the_execution_that_continues() {
        let hint_text = hint(&Activity::Waiting("exec_1".to_owned())).unwrap();
        assert!(hint_text.contains("`rgrid logs -f exec_1`") && hint_text.contains("`rgrid cancel exec_1`"));
        assert_eq!(hint(&Activity::Finished), None);
    }
}
