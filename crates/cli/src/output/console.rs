//! Writes results to stdout, and progress, hints and errors to stderr.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Instant;

use console::{Alignment, measure_text_width, pad_str};
use rgrid_api::Status;

use crate::error::CliError;
use crate::output::escape;
use crate::watch::status_line::StatusLine;

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Success,
    Error,
    Warning,
    Dim,
}

impl Style {
    pub fn of(status: Status) -> Self {
        match status {
            Status::Queued => Style::Dim,
            Status::Running => Style::Warning,
            Status::Completed => Style::Success,
            Status::Failed | Status::Cancelled => Style::Error,
        }
    }
}

/// Where a script's output is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Stdout,
    Stderr,
}

/// Clones share the terminal's status line.
#[derive(Clone)]
pub struct Console {
    stdout: Sink,
    stderr: Sink,
    status_line: StatusLine,
}

#[derive(Debug, Clone, Copy)]
struct Sink {
    is_terminal: bool,
    has_colour: bool,
    can_move_cursor: bool,
}

impl Sink {
    fn new(is_terminal: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let has_colour = is_terminal && !no_colour && !is_dumb;
        Self { is_terminal, has_colour, can_move_cursor: is_terminal && !is_dumb }
    }

    fn escape<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_terminal { escape::visible(text) } else { text.into() }
    }

    fn paint(&self, text: &str, style: Style) -> String {
        let text = self.escape(text);
        let base = console::Style::new().force_styling(self.has_colour);
        match style {
            Style::Plain => text.into_owned(),
            Style::Success => base.green().apply_to(text).to_string(),
            Style::Error => base.red().apply_to(text).to_string(),
            Style::Warning => base.yellow().apply_to(text).to_string(),
            Style::Dim => base.dim().apply_to(text).to_string(),
        }
    }

    /// Left-aligned columns; the last one is not padded.
    fn table(&self, rows: &[Vec<(String, Style)>]) -> String {
        let cells = |row: &Vec<(String, Style)>| -> Vec<String> {
            row.iter().map(|(text, style)| self.paint(text, *style)).collect()
        };
        let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|text| measure_text_width(text)).max().unwrap_or(0)
        };
        let mut text = String::new();
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let padding = if column + 1 < row.len() { width(column) + 2 } else { 0 };
                text.push_str(&pad_str(cell, padding, Alignment::Left, None));
            }
            text.push('\n');
        }
        text
    }
}

impl Console {
    pub fn new() -> Self {
        Self {
            stdout: Sink::new(io::stdout().is_terminal()),
            stderr: Sink::new(io::stderr().is_terminal()),
            status_line: StatusLine::new(),
        }
    }

    pub fn stdout_is_terminal(&self) -> bool {
        self.stdout.is_terminal
    }

    /// One line of a result.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.styled_line(text, Style::Plain, "")
    }

    pub fn styled_line(&self, text: &str, style: Style, rest: &str) -> Result<(), CliError> {
        self.raw(&format!("{}{}\n", self.stdout.paint(text, style), self.stdout.escape(rest)))
    }

    /// `Name: value`.
    pub fn field(&self, name: &str, value: &str, style: Style) -> Result<(), CliError> {
        self.raw(&format!("{name}: {}\n", self.stdout.paint(value, style)))
    }

    pub fn table(&self, headings: &[&str], rows: Vec<Vec<(String, Style)>>) -> Result<(), CliError> {
        let headings = headings.iter().map(|text| ((*text).to_owned(), Style::Dim)).collect();
        let rows: Vec<_> = std::iter::once(headings).chain(rows).collect();
        self.raw(&self.stdout.table(&rows))
    }

    pub fn json(&self, value: &serde_json::Value) -> Result<(), CliError> {
        let text = format!("{value:#}\n");
        if self.stdout.is_terminal { self.raw(&escape::visible_json(&text)) } else { self.raw(&text) }
    }

    /// Prints a script's output byte for byte, but escaped on a terminal.
    pub fn script_output(&self, channel: Channel, text: &str) -> Result<(), CliError> {
        if text.is_empty() {
            return Ok(());
        }
        let sink = match channel {
            Channel::Stdout => self.stdout,
            Channel::Stderr => self.stderr,
        };
        let shown = sink.escape(text);
        self.status_line.suspend(|line_is_open| {
            match channel {
                Channel::Stdout => write_stdout(&shown)?,
                Channel::Stderr => write_stderr(&shown),
            }
            if sink.is_terminal {
                *line_is_open = !text.ends_with('\n');
            }
            Ok(())
        })
    }

    /// Whether there is a status line.
    pub fn is_interactive(&self) -> bool {
        self.stderr.can_move_cursor
    }

    /// Shows a status and the time since `start`. Requires an interactive console.
    pub fn show_status(&self, message: String, start: Instant) {
        self.status_line.show(message, start);
    }

    pub fn clear_status(&self) {
        self.status_line.clear();
    }

    /// Writes to stdout without escaping.
    pub fn raw(&self, text: &str) -> Result<(), CliError> {
        self.status_line.suspend(|_| write_stdout(text))
    }

    pub fn progress(&self, text: &str) {
        self.message(&self.stderr.paint(text, Style::Dim));
    }

    pub fn hint(&self, text: &str) {
        self.labelled("  ", "hint:", Style::Success, text);
    }

    pub fn warning(&self, text: &str) {
        self.labelled("", "warning:", Style::Warning, text);
    }

    pub fn error(&self, error: &CliError) {
        if error.is_silent() {
            return;
        }
        self.labelled("", "error:", Style::Error, &error.message);
        for detail in &error.details {
            self.message(&format!("  {}", self.stderr.escape(detail)));
        }
        if let Some(hint) = &error.hint {
            self.hint(hint);
        }
    }

    fn labelled(&self, indent: &str, label: &str, style: Style, text: &str) {
        let (label, text) = (self.stderr.paint(label, style), self.stderr.escape(text));
        self.message(&format!("{indent}{label} {text}"));
    }

    fn message(&self, line: &str) {
        self.status_line.suspend(|line_is_open| {
            let start = if self.stderr.is_terminal && std::mem::take(line_is_open) { "\n" } else { "" };
            write_stderr(&format!("{start}{line}\n"));
        });
    }
}

fn write_stdout(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => CliError::stdout_closed(),
        _ => CliError::failure(format!("cannot write to stdout: {error}")),
    })
}

/// An error is ignored, since there is no other place to report it.
fn write_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(is_terminal: bool, has_colour: bool) -> Sink {
        Sink { is_terminal, has_colour, can_move_cursor: is_terminal }
    }

    #[test]
    fn only_a_terminal_gets_colours_and_escapes() {
        assert_eq!(sink(false, false).paint("a\x1b", Style::Error), "a\x1b");
        assert_eq!(sink(true, false).paint("a\x1b", Style::Error), "a\\x1b");
        assert_eq!(sink(true, true).paint("a\x1b", Style::Error), "\x1b[31ma\\x1b\x1b[0m");
    }

    #[test]
    fn columns_are_aligned_by_display_width_and_the_last_one_is_not_padded() {
        let row = |first: &str, last: &str| {
            vec![(first.to_owned(), Style::Success), (last.to_owned(), Style::Plain)]
        };
        let rows = [row("é", "b"), row("日本", "c"), row("🦀!", "long")];
        assert_eq!(sink(false, false).table(&rows), "é     b\n日本  c\n🦀!   long\n");
        assert_eq!(sink(true, true).table(&rows[..1]), "\x1b[32mé\x1b[0m  b\n");
    }
}
