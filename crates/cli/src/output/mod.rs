//! Writes results to stdout, and progress, hints and errors to stderr. The last line of a terminal shows a spinner and
//! the current status; everything else is written above it.

pub mod report;
pub mod times;

use std::borrow::Cow;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};
use parking_lot::Mutex;
use rgrid_api::Status;
use rgrid_api::names::is_display_control;
use rgrid_api::units::format_duration;

use crate::error::{CliError, Result};

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
    state: Arc<Mutex<State>>,
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

    /// For RGrid's own messages, in which names may come from others.
    fn escape<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_terminal { escape_text(text, is_display_control) } else { text.into() }
    }

    fn escape_output<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_terminal { escape_text(text, char::is_control) } else { text.into() }
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
            state: Arc::new(Mutex::new(State {
                status: None,
                is_drawn: false,
                line_is_open: false,
                last_output: Instant::now(),
                has_ticker: false,
            })),
        }
    }

    pub fn stdout_is_terminal(&self) -> bool {
        self.stdout.is_terminal
    }

    /// One line of a result.
    pub fn line(&self, text: &str) -> Result {
        self.styled_line(text, Style::Plain, "")
    }

    pub fn styled_line(&self, text: &str, style: Style, rest: &str) -> Result {
        self.raw(&format!("{}{}\n", self.stdout.paint(text, style), self.stdout.escape(rest)))
    }

    /// `Name: value`.
    pub fn field(&self, name: &str, value: &str, style: Style) -> Result {
        self.raw(&format!("{name}: {}\n", self.stdout.paint(value, style)))
    }

    pub fn table(&self, headings: &[&str], rows: Vec<Vec<(String, Style)>>) -> Result {
        let headings = headings.iter().map(|text| ((*text).to_owned(), Style::Dim)).collect();
        let rows: Vec<_> = std::iter::once(headings).chain(rows).collect();
        self.raw(&self.stdout.table(&rows))
    }

    pub fn json(&self, value: &serde_json::Value) -> Result {
        let text = format!("{value:#}\n");
        if self.stdout.is_terminal { self.raw(&escape_json(&text)) } else { self.raw(&text) }
    }

    /// Prints a script's output byte for byte, but escaped on a terminal.
    pub fn script_output(&self, channel: Channel, text: &str) -> Result {
        if text.is_empty() {
            return Ok(());
        }
        let sink = match channel {
            Channel::Stdout => self.stdout,
            Channel::Stderr => self.stderr,
        };
        let shown = sink.escape_output(text);
        self.suspend(|line_is_open| {
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
    pub fn show_status(&self, message: &str, start: Instant) {
        let message = self.stderr.escape(message).into_owned();
        let mut state = self.state.lock();
        state.status = Some((message, start));
        if !std::mem::replace(&mut state.has_ticker, true) {
            let console = self.clone();
            thread::spawn(move || {
                for frame in FRAMES.iter().cycle() {
                    console.state.lock().draw(*frame);
                    thread::sleep(FRAME_TIME);
                }
            });
        }
    }

    pub fn clear_status(&self) {
        let mut state = self.state.lock();
        state.status = None;
        state.erase();
    }

    /// Asks a question that is answered with yes or no. Without a terminal, the answer is no.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        if !io::stdin().is_terminal() || !self.stderr.is_terminal {
            return Ok(false);
        }
        self.clear_status();
        self.message_without_newline(&format!("{} [y/N] ", self.stderr.escape(question)));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        read.map_err(|error| CliError::failure(format!("cannot read the answer: {error}")))?;
        Ok(["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes)))
    }

    /// Erases the status and writes to the terminal. `write` receives and updates whether a line is open.
    fn suspend<T>(&self, write: impl FnOnce(&mut bool) -> T) -> T {
        let mut state = self.state.lock();
        state.erase();
        state.last_output = Instant::now();
        write(&mut state.line_is_open)
    }

    /// Writes to stdout without escaping.
    pub fn raw(&self, text: &str) -> Result {
        self.suspend(|_| write_stdout(text))
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
        self.message_without_newline(&format!("{line}\n"));
    }

    fn message_without_newline(&self, text: &str) {
        self.suspend(|line_is_open| {
            let start = if self.stderr.is_terminal && std::mem::take(line_is_open) { "\n" } else { "" };
            write_stderr(&format!("{start}{text}"));
        });
    }
}

fn write_stdout(text: &str) -> Result {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => CliError::stdout_closed(),
        _ => CliError::failure(format!("cannot write to stdout: {error}")),
    })
}

/// Unsafe characters other than newline and tab become `\x1b`, `\r` or `\u{202e}`: they could move the cursor, change
/// colours or the title, make the terminal send input, or reorder the text.
fn escape_text(text: &str, is_unsafe: fn(char) -> bool) -> Cow<'_, str> {
    escape_chars(text, is_unsafe, |c, out| match c {
        '\r' => out.push_str("\\r"),
        c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
    })
}

/// As JSON escapes, so that the document stays valid.
fn escape_json(json: &str) -> Cow<'_, str> {
    escape_chars(json, is_display_control, |c, out| out.push_str(&format!("\\u{:04x}", u32::from(c))))
}

fn escape_chars(text: &str, is_unsafe: fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let must_escape = |c: char| is_unsafe(c) && c != '\n' && c != '\t';
    if !text.chars().any(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if must_escape(c) { escape(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_TIME: Duration = Duration::from_millis(100);
/// The line is hidden while a script prints without pause.
const HIDE_AFTER_OUTPUT: Duration = Duration::from_millis(300);
const ERASE: &str = "\r\x1b[K";

/// What the terminal shows.
struct State {
    /// The message, and since when it applies.
    status: Option<(String, Instant)>,
    is_drawn: bool,
    /// The script's output ended without a newline, so the cursor is not at the start of a line.
    line_is_open: bool,
    last_output: Instant,
    has_ticker: bool,
}

impl State {
    fn draw(&mut self, frame: char) {
        let Some((message, start)) = &self.status else { return };
        if self.line_is_open || self.last_output.elapsed() < HIDE_AFTER_OUTPUT {
            return;
        }
        let width = usize::from(Term::stderr().size().1);
        write_stderr(&format!("{ERASE}{}", render(frame, message, start.elapsed(), width)));
        self.is_drawn = true;
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            write_stderr(ERASE);
        }
    }
}

/// Shorter than the terminal is wide, since a wrapped line could not be erased.
fn render(frame: char, message: &str, elapsed: Duration, width: usize) -> String {
    let elapsed = Duration::from_secs(elapsed.as_secs());
    let time = if elapsed.is_zero() { String::new() } else { format!("  {}", format_duration(elapsed)) };
    truncate_str(&format!("{frame} {message}{time}"), width.saturating_sub(1), "").into_owned()
}

/// An error is ignored, since there is no other place to report it.
fn write_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(is_terminal: bool, has_colour: bool) -> Sink {
        Sink { is_terminal, has_colour, can_move_cursor: is_terminal }
    }

    fn terminal() -> Sink {
        sink(true, false)
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

    #[test]
    fn control_characters_are_escaped() {
        let text = "\x1b[2Jgone\x07 50%\r\u{9b}1m\x7f";
        let escaped = "\\x1b[2Jgone\\x07 50%\\r\\x9b1m\\x7f";
        assert_eq!(
            (terminal().escape(text), terminal().escape_output(text)),
            (escaped.into(), escaped.into())
        );
    }

    #[test]
    fn characters_that_reorder_text_are_escaped_except_in_the_output_of_a_script() {
        let name = "\u{202e}fdp.sh\u{2066}\u{200f}";
        assert_eq!(terminal().escape(name), "\\u{202e}fdp.sh\\u{2066}\\u{200f}");
        assert_eq!(terminal().escape_output(name), name);
        let json = serde_json::to_string(name).unwrap();
        let shown = escape_json(&json);
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), name);
    }

    #[test]
    fn plain_text_is_unchanged() {
        let text = "naïve\tline\n日本語 🦀\n";
        assert!(matches!(terminal().escape(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn escaped_json_is_still_valid() {
        let json = serde_json::to_string("\u{9b}1m\x7f\x1b").unwrap();
        let shown = escape_json(&json);
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), "\u{9b}1m\x7f\x1b");
    }

    #[test]
    fn the_line_shows_the_elapsed_time_and_never_wraps() {
        for (message, milliseconds, width, expected) in [
            ("running", 900, 80, "⠋ running"),
            ("running", 65_900, 80, "⠋ running  1m 5s"),
            ("running", 5_000, 8, "⠋ runni"),
            ("日本語", 0, 8, "⠋ 日本"),
        ] {
            assert_eq!(render('⠋', message, Duration::from_millis(milliseconds), width), expected);
        }
    }
}
