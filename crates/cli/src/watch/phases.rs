//! Reports the phases of an execution: in a terminal's status line, or line by line.

use std::time::Instant;

use rgrid_api::{Execution, Phase, Status, StatusEvent};

use crate::output::console::Console;

/// The server does not count further.
const MAX_AHEAD: u64 = 10_000;

/// A script whose phase is not known yet counts as running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShownPhase {
    Queued,
    Installing,
    Preparing,
    Running,
}

#[derive(Default)]
pub struct PhaseReporter<'a> {
    /// `None` if nothing is reported.
    console: Option<&'a Console>,
    current: Option<(ShownPhase, Instant)>,
    /// The values in the last line.
    ahead: Option<u64>,
    waits_for: Option<String>,
}

impl<'a> PhaseReporter<'a> {
    pub fn new(console: &'a Console) -> Self {
        Self { console: Some(console), ..Self::default() }
    }

    pub fn silent() -> Self {
        Self::default()
    }

    pub fn update(&mut self, execution: &Execution) {
        let Execution { status, attempt, phase, queue_position, waits_for, .. } = execution.clone();
        self.update_status(&StatusEvent {
            status,
            attempt,
            phase,
            queue_position,
            waits_for,
            restarted: false,
        });
    }

    pub fn update_status(&mut self, event: &StatusEvent) {
        let Some(console) = self.console else { return };
        let Some(phase) = shown_phase(event) else { return console.clear_status() };
        let ahead = event.queue_position.map(|position| position.saturating_sub(1));
        let start = match self.current {
            Some((current, start)) if current == phase => Some(start),
            _ => None,
        };
        let since = start.unwrap_or_else(Instant::now);
        self.current = Some((phase, since));
        let message = describe(phase, ahead, event.waits_for.as_deref());
        if console.is_interactive() {
            console.show_status(message, since);
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

/// `None` if the execution has ended.
fn shown_phase(event: &StatusEvent) -> Option<ShownPhase> {
    match (event.status, event.phase) {
        (Status::Queued, _) => Some(ShownPhase::Queued),
        (Status::Running, Some(Phase::Environment)) => Some(ShownPhase::Installing),
        (Status::Running, Some(Phase::Sandbox)) => Some(ShownPhase::Preparing),
        (Status::Running, _) => Some(ShownPhase::Running),
        _ => None,
    }
}

fn describe(phase: ShownPhase, ahead: Option<u64>, waits_for: Option<&str>) -> String {
    match (phase, waits_for, ahead) {
        (ShownPhase::Queued, Some(missing), _) => format!("queued, {missing}"),
        (ShownPhase::Queued, _, None | Some(0)) => "queued".to_owned(),
        (ShownPhase::Queued, _, Some(MAX_AHEAD..)) => format!("queued, {MAX_AHEAD} or more ahead"),
        (ShownPhase::Queued, _, Some(ahead)) => format!("queued, {ahead} ahead"),
        (ShownPhase::Installing, ..) => "installing requirements".to_owned(),
        (ShownPhase::Preparing, ..) => "preparing the sandbox".to_owned(),
        (ShownPhase::Running, ..) => "running".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_execution_shows_how_many_are_ahead_or_what_it_waits_for() {
        for (ahead, waits_for, expected) in [
            (0, None, "queued"),
            (1, None, "queued, 1 ahead"),
            (10_000, None, "queued, 10000 or more ahead"),
            (1, Some("no worker has gpu=true"), "queued, no worker has gpu=true"),
        ] {
            assert_eq!(describe(ShownPhase::Queued, Some(ahead), waits_for), expected);
        }
    }

    #[test]
    fn a_long_queue_is_reported_in_few_lines() {
        let mut reporter = PhaseReporter::silent();
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
}
