//! Tracks the executions of a batch until they end, then prints a summary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::{Execution, Status};

use crate::batch::{BatchId, folder_names, input_of};
use crate::client::Client;
use crate::download::{Destination, save_outputs};
use crate::error::{CliError, Exit, Result};
use crate::output::{Console, Style, report, times};

/// The pause between two polls doubles, and is at least `POLL_SHARE` times as long as a poll.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);
const POLL_SHARE: u32 = 5;
const BAR_WIDTH: usize = 24;
/// The summary lists at most this many completed executions.
const MAX_COMPLETED: usize = 20;

pub struct BatchItem {
    pub input: String,
    /// `None` until it is submitted.
    pub id: Option<String>,
    ended: Option<Execution>,
    /// Why it could not be submitted.
    rejected: Option<CliError>,
}

impl BatchItem {
    fn has_ended(&self) -> bool {
        self.ended.is_some() || self.rejected.is_some()
    }

    fn has_completed(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.status == Status::Completed)
    }

    fn status(&self) -> (&'static str, Style) {
        match &self.ended {
            Some(ended) => (ended.status.as_str(), Style::of(ended.status)),
            None => ("rejected", Style::Error),
        }
    }

    /// The duration or the error.
    fn result(&self) -> String {
        match (&self.ended, &self.rejected) {
            (Some(ended), _) if ended.status == Status::Completed => {
                ended.duration_ms.map(times::milliseconds).unwrap_or_default()
            }
            (Some(ended), _) => ended.execution_error.clone().unwrap_or_else(|| ended.status.to_string()),
            (None, Some(error)) => error.message.clone(),
            (None, None) => String::new(),
        }
    }
}

pub struct BatchProgress<'a> {
    pub id: BatchId,
    pub items: Vec<BatchItem>,
    client: &'a Client<'a>,
    console: &'a Console,
    pub quiet: bool,
    /// Where the output files of each input are saved.
    folders: Option<(PathBuf, Vec<String>)>,
    pub save_failed: bool,
    pub saved_files: usize,
    running: usize,
    start: Instant,
    last_poll: Instant,
    pause: Duration,
}

impl<'a> BatchProgress<'a> {
    pub fn new(id: BatchId, inputs: Vec<String>, client: &'a Client, console: &'a Console) -> Self {
        let item = |input| BatchItem { input, id: None, ended: None, rejected: None };
        Self {
            id,
            items: inputs.into_iter().map(item).collect(),
            client,
            console,
            quiet: false,
            folders: None,
            save_failed: false,
            saved_files: 0,
            running: 0,
            start: Instant::now(),
            last_poll: Instant::now(),
            pause: MIN_PAUSE,
        }
    }

    /// For a batch that was submitted earlier; `executions` are sorted from new to old.
    pub fn resume(id: BatchId, executions: Vec<Execution>, client: &'a Client, console: &'a Console) -> Self {
        let inputs = executions.iter().rev().map(|execution| input_of(execution).to_owned()).collect();
        let mut progress = Self::new(id, inputs, client, console);
        for (item, execution) in progress.items.iter_mut().zip(executions.into_iter().rev()) {
            item.id = Some(execution.id.clone());
            item.ended = Some(execution).filter(|execution| execution.status.is_final());
        }
        progress
    }

    pub fn save_in(mut self, folder: Option<&Path>) -> Self {
        let inputs: Vec<&str> = self.items.iter().map(|item| item.input.as_str()).collect();
        self.folders = folder.map(|folder| (folder.to_owned(), folder_names(&inputs)));
        self
    }

    /// The number of executions that are submitted and have not ended.
    pub fn active(&self) -> usize {
        self.items.iter().filter(|item| item.id.is_some() && !item.has_ended()).count()
    }

    pub fn reject(&mut self, index: usize, error: CliError) {
        if let Some(item) = self.items.get_mut(index) {
            item.rejected = Some(error);
        }
        self.report(index);
    }

    pub fn exit(&self) -> Exit {
        let success = !self.save_failed && self.items.iter().all(BatchItem::has_completed);
        if success { Exit::Success } else { Exit::Failure }
    }

    pub fn is_poll_due(&self) -> bool {
        self.last_poll.elapsed() > self.pause
    }

    pub fn wait_for_end(&mut self) -> Result {
        self.draw();
        while self.active() > 0 {
            self.poll()?;
        }
        self.console.clear_status();
        Ok(())
    }

    /// Waits until a poll is due, then updates all items.
    pub fn poll(&mut self) -> Result {
        thread::sleep(self.pause.saturating_sub(self.last_poll.elapsed()));
        let start = Instant::now();
        let executions = self.client.executions(&[self.id.label()], None, usize::MAX)?.items;
        self.running = executions.iter().filter(|execution| execution.status == Status::Running).count();
        let active = self.items.iter().enumerate().filter(|(_, item)| !item.has_ended());
        let indexes: BTreeMap<String, usize> =
            active.filter_map(|(index, item)| Some((item.id.clone()?, index))).collect();
        for ended in executions.into_iter().filter(|execution| execution.status.is_final()) {
            if let Some(&index) = indexes.get(&ended.id) {
                self.save(index, &ended.id);
                if let Some(item) = self.items.get_mut(index) {
                    item.ended = Some(ended);
                }
                self.report(index);
            }
        }
        self.draw();
        self.last_poll = Instant::now();
        self.pause = (self.pause * 2).min(MAX_PAUSE).max(start.elapsed() * POLL_SHARE);
        Ok(())
    }

    /// An error does not stop the batch.
    fn save(&mut self, index: usize, id: &str) {
        let Some((folder, names)) = &self.folders else { return };
        let Some(name) = names.get(index) else { return };
        let destination = Destination::new(folder).and_then(|folder| folder.subfolder(name));
        match destination.and_then(|folder| download(self.client, id, &folder, self.console)) {
            Ok(count) => self.saved_files += count,
            Err(error) => {
                self.console.error(&error);
                self.save_failed = true;
            }
        }
    }

    fn report(&self, index: usize) {
        if let Some(item) = self.items.get(index)
            && !self.quiet
            && !self.console.is_interactive()
        {
            self.console.progress(&format!("{}: {} ({})", item.status().0, item.input, item.result()));
        }
    }

    fn draw(&self) {
        if self.quiet || !self.console.is_interactive() {
            return;
        }
        let ended = self.items.iter().filter(|item| item.has_ended()).count();
        let completed = self.items.iter().filter(|item| item.has_completed()).count();
        let message = render(ended, ended - completed, self.running, self.items.len());
        self.console.show_status(&message, self.start);
    }

    /// Prints a table, failures first, and the number of completed executions.
    pub fn print_summary(&self) -> Result {
        let (completed, failed): (Vec<&BatchItem>, Vec<&BatchItem>) =
            self.items.iter().partition(|item| item.has_completed());
        let row = |item: &&BatchItem| {
            let ((status, style), id) = (item.status(), item.id.as_deref().unwrap_or("-"));
            let plain = [item.input.clone(), id.to_owned(), item.result()].map(|text| (text, Style::Plain));
            std::iter::once((status.to_owned(), style)).chain(plain).collect()
        };
        let rows = failed.iter().chain(completed.iter().take(MAX_COMPLETED)).map(row).collect();
        self.console.table(&["STATUS", "INPUT", "ID", "RESULT"], rows)?;
        if completed.len() > MAX_COMPLETED {
            let (more, id) = (completed.len() - MAX_COMPLETED, &self.id);
            self.console.line(&format!("… and {more} more completed; list all with `rgrid list {id}`"))?;
        }
        self.console.line(&count_results(completed.len(), failed.len()))?;
        if let Some(id) = failed.iter().find_map(|item| item.id.as_ref()) {
            self.console.hint(&format!(
                "see the output of one with `rgrid logs {id}`, run it again with `rgrid retry {id}`"
            ));
        }
        Ok(())
    }
}

/// Returns the number of saved files.
fn download(client: &Client, id: &str, folder: &Destination, console: &Console) -> Result<usize> {
    let ended = client.execution(id)?;
    report::warn_about_files(&ended, console);
    let files = ended.files();
    save_outputs(client, id, files, folder, console, |_| Ok(()))?;
    Ok(files.len())
}

/// `██████░░░░ 12 of 40, 1 failed, 4 running`.
fn render(ended: usize, failed: usize, running: usize, total: usize) -> String {
    let filled = (ended * BAR_WIDTH).checked_div(total).unwrap_or(BAR_WIDTH);
    let mut line = format!("{}{} {ended} of {total}", "█".repeat(filled), "░".repeat(BAR_WIDTH - filled));
    for (count, name) in [(failed, "failed"), (running, "running")] {
        if count > 0 {
            line.push_str(&format!(", {count} {name}"));
        }
    }
    line
}

fn count_results(completed: usize, failed: usize) -> String {
    let total = completed + failed;
    match failed {
        0 if total == 1 => "1 completed".to_owned(),
        0 => format!("all {total} completed"),
        failed => format!("{completed} of {total} completed, {failed} did not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end() {
        assert_eq!(render(0, 0, 2, 40), format!("{} 0 of 40, 2 running", "░".repeat(24)));
        assert_eq!(render(40, 1, 0, 40), format!("{} 40 of 40, 1 failed", "█".repeat(24)));
    }

    #[test]
    fn the_summary_counts_the_results() {
        assert_eq!([count_results(1, 0), count_results(3, 0)], ["1 completed", "all 3 completed"]);
        assert_eq!(count_results(2, 1), "2 of 3 completed, 1 did not");
    }
}
