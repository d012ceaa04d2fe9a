//! A batch on its way: how many have ended, and what became of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::{Execution, Status};

use crate::batch::{BatchId, folder_names, input_of, summary};
use crate::client::Server;
use crate::download::destination::{Destination, Existing};
use crate::download::outputs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::Console;
use crate::output::report;

/// From one look at the list to the next: soon at first, and never so often that looking is most of it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const SHARE: u32 = 5;
const BAR: usize = 24;

/// One input.
pub struct Member {
    pub input: String,
    /// None while it is not submitted.
    pub id: Option<String>,
    pub ended: Option<Execution>,
    /// Why it could not be submitted.
    pub refused: Option<Failure>,
}

impl Member {
    pub fn is_over(&self) -> bool {
        self.ended.is_some() || self.refused.is_some()
    }

    pub fn completed(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.status == Status::Completed)
    }

    pub fn result(&self) -> String {
        let refused = self.refused.as_ref().map(|failure| failure.what.clone());
        self.ended.as_ref().map(summary::result).or(refused).unwrap_or_default()
    }
}

pub struct Watch<'a> {
    pub id: BatchId,
    pub members: Vec<Member>,
    server: &'a Server<'a>,
    console: &'a Console,
    /// Nothing is told on the way.
    quiet: bool,
    /// A folder for each input, where its files are saved.
    folders: Option<Vec<PathBuf>>,
    /// That of the first file that could not be saved.
    pub unsaved: Option<Failure>,
    /// How many files were saved.
    pub saved: usize,
    running: usize,
    begun: Instant,
    looked: Instant,
    pause: Duration,
}

impl<'a> Watch<'a> {
    pub fn new(id: BatchId, inputs: Vec<String>, server: &'a Server, console: &'a Console) -> Self {
        let member = |input| Member { input, id: None, ended: None, refused: None };
        Self {
            id,
            members: inputs.into_iter().map(member).collect(),
            server,
            console,
            quiet: false,
            folders: None,
            unsaved: None,
            saved: 0,
            running: 0,
            begun: Instant::now(),
            looked: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    /// One that was submitted before.
    pub fn of(id: BatchId, members: Vec<Execution>, server: &'a Server, console: &'a Console) -> Self {
        // The list has the newest first.
        let inputs = members.iter().rev().map(|execution| input_of(execution).to_owned()).collect();
        let mut watch = Self::new(id, inputs, server, console);
        for (member, execution) in watch.members.iter_mut().zip(members.into_iter().rev()) {
            member.id = Some(execution.id.clone());
            // What ended before is no news, and stands in the summary.
            member.ended = Some(execution).filter(|execution| execution.status.is_final());
        }
        watch
    }

    pub fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    pub fn saving_in(self, folder: Option<&Path>) -> Self {
        let names =
            || folder_names(&self.members.iter().map(|member| member.input.as_str()).collect::<Vec<_>>());
        let folders = folder.map(|folder| names().iter().map(|name| folder.join(name)).collect());
        Self { folders, ..self }
    }

    /// As the list takes it.
    pub fn label(&self) -> String {
        let (key, value) = self.id.label();
        format!("{key}={value}")
    }

    /// Submitted, and not at its end.
    pub fn open(&self) -> usize {
        self.members.iter().filter(|member| member.id.is_some() && !member.is_over()).count()
    }

    pub fn refuse(&mut self, at: usize, failure: Failure) {
        if let Some(member) = self.members.get_mut(at) {
            member.refused = Some(failure);
        }
        self.tell(at);
    }

    /// Waits until it is time for the next look, and looks.
    pub fn look(&mut self) -> Result<(), Failure> {
        thread::sleep(self.pause.saturating_sub(self.looked.elapsed()));
        let begun = Instant::now();
        let list = self.server.all_executions(&[self.id.label()], None)?;
        self.running = list.iter().filter(|execution| execution.status == Status::Running).count();
        let places: BTreeMap<String, usize> = self.places();
        for ended in list.into_iter().filter(|execution| execution.status.is_final()) {
            if let Some(&at) = places.get(&ended.id) {
                self.end(at, ended);
            }
        }
        self.draw();
        self.looked = Instant::now();
        self.pause = (self.pause * 2).min(LONGEST_PAUSE).max(begun.elapsed() * SHARE);
        Ok(())
    }

    /// What to leave with.
    pub fn exit(&self) -> Exit {
        let well = self.unsaved.is_none() && self.members.iter().all(Member::completed);
        if well { Exit::Fine } else { Exit::Failed }
    }

    pub fn is_due(&self) -> bool {
        self.looked.elapsed() > self.pause
    }

    /// Until all that were submitted have ended.
    pub fn until_end(&mut self) -> Result<(), Failure> {
        self.draw();
        while self.open() > 0 {
            self.look()?;
        }
        self.console.settle();
        Ok(())
    }

    /// Where those stand that go on.
    fn places(&self) -> BTreeMap<String, usize> {
        let open = self.members.iter().enumerate().filter(|(_, member)| !member.is_over());
        open.filter_map(|(at, member)| Some((member.id.clone()?, at))).collect()
    }

    fn end(&mut self, at: usize, ended: Execution) {
        self.save(at, &ended);
        if let Some(member) = self.members.get_mut(at) {
            member.ended = Some(ended);
        }
        self.tell(at);
    }

    /// A file that can't be saved holds nothing else up.
    fn save(&mut self, at: usize, ended: &Execution) {
        let Some(folder) = self.folders.as_ref().and_then(|folders| folders.get(at)) else { return };
        match save(self.server, &ended.id, folder, self.console) {
            Ok(saved) => self.saved += saved,
            Err(failure) => {
                self.console.error(&failure);
                self.unsaved.get_or_insert(failure);
            }
        }
    }

    fn tell(&self, at: usize) {
        let Some(member) = self.members.get(at).filter(|_| !self.quiet && !self.console.is_lively()) else {
            return;
        };
        let status = member.ended.as_ref().map_or("not taken", |ended| ended.status.as_str());
        self.console.progress(&format!("{status}: {} ({})", member.input, member.result()));
    }

    pub fn draw(&self) {
        if self.quiet || !self.console.is_lively() {
            return;
        }
        let over = self.members.iter().filter(|member| member.is_over()).count();
        let failed = self.members.iter().filter(|member| member.is_over() && !member.completed()).count();
        let words = words(over, failed, self.running, self.members.len());
        self.console.busy(words, self.begun);
    }
}

/// How many files there were.
fn save(server: &Server, id: &str, folder: &Path, console: &Console) -> Result<usize, Failure> {
    let ended = server.execution(id)?;
    report::warn_of_left_out(&ended, console);
    let files = ended.files();
    if !files.is_empty() {
        outputs::save(server, id, files, &Destination::new(folder)?, Existing::Keep, |_| Ok(()))?;
    }
    Ok(files.len())
}

/// `██████░░░░ 12 of 40, 1 failed, 4 running`.
fn words(over: usize, failed: usize, running: usize, all: usize) -> String {
    let full = (over * BAR).checked_div(all).unwrap_or(BAR);
    let bar: String = std::iter::repeat_n('█', full).chain(std::iter::repeat_n('░', BAR - full)).collect();
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let running = if running > 0 { format!(", {running} running") } else { String::new() };
    format!("{bar} {over} of {all}{failed}{running}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end() {
        assert_eq!(words(0, 0, 2, 40), format!("{} 0 of 40, 2 running", "░".repeat(24)));
        assert_eq!(words(40, 1, 0, 40), format!("{} 40 of 40, 1 failed", "█".repeat(24)));
    }
}
