//! Where an execution stands, told as it changes: in the last line of a terminal, elsewhere line by line.

use std::time::Instant;

use rgrid_api::{Execution, Phase, Status, StatusEvent};

use crate::output::console::Console;

/// Beyond this the server does not count.
const FAR_BEHIND: u64 = 10_000;

/// As far as somebody who waits cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub status: Status,
    pub phase: Option<Phase>,
    /// 1 is next.
    pub queue_position: Option<u64>,
    /// `no worker has gpu=true`.
    pub waits_for: Option<String>,
}

impl From<&Execution> for Standing {
    fn from(execution: &Execution) -> Self {
        let Execution { status, phase, queue_position, ref waits_for, .. } = *execution;
        Self { status, phase, queue_position, waits_for: waits_for.clone() }
    }
}

impl From<&StatusEvent> for Standing {
    fn from(event: &StatusEvent) -> Self {
        let StatusEvent { status, phase, queue_position, ref waits_for, .. } = *event;
        Self { status, phase, queue_position, waits_for: waits_for.clone() }
    }
}

/// What is told apart. A script that runs is not told from one whose phase is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Installing,
    Preparing,
    Running,
}

pub struct Phases<'a> {
    /// None: nobody wants to know.
    console: Option<&'a Console>,
    last: Option<(Stage, Instant)>,
    /// How many were before it when that was told last.
    before: Option<u64>,
    waits_for: Option<String>,
}

impl<'a> Phases<'a> {
    pub fn told_on(console: &'a Console) -> Self {
        Self { console: Some(console), ..Self::untold() }
    }

    pub fn untold() -> Self {
        Self { console: None, last: None, before: None, waits_for: None }
    }

    /// An end is told by what comes of it.
    pub fn see(&mut self, standing: impl Into<Standing>) {
        let standing = standing.into();
        let Some(console) = self.console else { return };
        let Some(stage) = stage(&standing) else { return console.settle() };
        let before = standing.queue_position.map(|position| position.saturating_sub(1));
        let is_new = self.last.is_none_or(|(last, _)| last != stage);
        if is_new {
            self.last = Some((stage, Instant::now()));
        }
        let words = words(stage, before, standing.waits_for.as_deref());
        if let (true, Some((_, since))) = (console.is_lively(), self.last) {
            console.busy(words, since);
        } else if is_new || self.is_news(before) || self.waits_for != standing.waits_for {
            self.before = before.or(self.before);
            self.waits_for = standing.waits_for;
            console.progress(&format!("Status: {words}"));
        }
    }

    /// Not each step of a long queue is worth a line.
    fn is_news(&self, before: Option<u64>) -> bool {
        before.is_some_and(|now| match self.before {
            Some(told) => now < told && now <= told / 2,
            None => now > 0,
        })
    }
}

fn stage(standing: &Standing) -> Option<Stage> {
    match (standing.status, standing.phase) {
        (Status::Queued, _) => Some(Stage::Queued),
        (Status::Running, Some(Phase::Environment)) => Some(Stage::Installing),
        (Status::Running, Some(Phase::Sandbox)) => Some(Stage::Preparing),
        (Status::Running, _) => Some(Stage::Running),
        _ => None,
    }
}

fn words(stage: Stage, before: Option<u64>, waits_for: Option<&str>) -> String {
    if let (Stage::Queued, Some(missing)) = (stage, waits_for) {
        return format!("queued, {missing}");
    }
    match (stage, before) {
        (Stage::Queued, None | Some(0)) => "queued".to_owned(),
        (Stage::Queued, Some(FAR_BEHIND..)) => format!("queued, {FAR_BEHIND} or more before it"),
        (Stage::Queued, Some(before)) => format!("queued, {before} before it"),
        (Stage::Installing, _) => "installing its requirements".to_owned(),
        (Stage::Preparing, _) => "making its sandbox".to_owned(),
        (Stage::Running, _) => "running".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(before: u64) -> String {
        words(Stage::Queued, Some(before), None)
    }

    #[test]
    fn a_place_in_the_queue_is_told_as_how_many_come_first() {
        assert_eq!([queued(0), queued(1)], ["queued", "queued, 1 before it"]);
        assert_eq!(queued(10_000), "queued, 10000 or more before it");
        let waits = words(Stage::Queued, Some(1), Some("no worker has gpu=true"));
        assert_eq!(waits, "queued, no worker has gpu=true");
    }

    #[test]
    fn a_long_queue_is_told_in_few_lines() {
        let mut phases = Phases::untold();
        let mut told = Vec::new();
        for before in (0..=100).rev() {
            if phases.is_news(Some(before)) {
                phases.before = Some(before);
                told.push(before);
            }
        }
        assert_eq!(told, [100, 50, 25, 12, 6, 3, 1, 0]);
        assert!(!phases.is_news(None) && !phases.is_news(Some(7)));
    }
}
