//! What is said where: results to stdout; progress, hints and errors to stderr.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Instant;

use rgrid_api::{Status, Stream};

use crate::error::Failure;
use crate::output::escape;
use crate::watch::status_line::StatusLine;

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Bad,
    Busy,
    Dim,
}

impl Tone {
    pub fn of(status: Status) -> Self {
        match status {
            Status::Queued => Tone::Dim,
            Status::Running => Tone::Busy,
            Status::Completed => Tone::Good,
            Status::Failed | Status::Cancelled => Tone::Bad,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Good => "\x1b[32m",
            Tone::Bad => "\x1b[31m",
            Tone::Busy => "\x1b[33m",
            Tone::Dim => "\x1b[2m",
        }
    }
}

/// Where a script's text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Out,
    Err,
}

impl Channel {
    /// What an install says is no part of the script's own output.
    pub fn of(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Channel::Out,
            Stream::Stderr | Stream::Install => Channel::Err,
        }
    }
}

/// Cloning shares the terminal's last line.
#[derive(Clone)]
pub struct Console {
    out: Place,
    err: Place,
    bottom: StatusLine,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    terminal: bool,
    colour: bool,
    /// It can move its cursor.
    obeys: bool,
}

impl Place {
    fn new(terminal: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { terminal, colour: terminal && !unwanted && !dumb, obeys: !dumb }
    }

    fn shown<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        if self.terminal { escape::visible(text) } else { text.into() }
    }

    fn coloured(&self, text: &str, tone: Tone) -> String {
        let text = self.shown(text);
        match tone {
            Tone::Plain => text.into_owned(),
            tone if self.colour => format!("{}{text}\x1b[0m", tone.code()),
            _ => text.into_owned(),
        }
    }
}

impl Console {
    pub fn new() -> Self {
        Self {
            out: Place::new(io::stdout().is_terminal()),
            err: Place::new(io::stderr().is_terminal()),
            bottom: StatusLine::new(),
        }
    }

    pub fn out_is_terminal(&self) -> bool {
        self.out.terminal
    }

    /// One line of a result.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.toned_line(text, Tone::Plain)
    }

    pub fn toned_line(&self, text: &str, tone: Tone) -> Result<(), Failure> {
        self.write_out(&format!("{}\n", self.out.coloured(text, tone)))
    }

    /// `Name: value`.
    pub fn field(&self, name: &str, value: &str, tone: Tone) -> Result<(), Failure> {
        self.write_out(&format!("{name}: {}\n", self.out.coloured(value, tone)))
    }

    /// A coloured word and what it is about.
    pub fn marked(&self, mark: &str, tone: Tone, rest: &str) -> Result<(), Failure> {
        self.write_out(&format!("{}{}\n", self.out.coloured(mark, tone), self.out.shown(rest)))
    }

    /// Rows below their headings, each column as wide as its widest cell.
    pub fn table(&self, headings: &[&str], rows: &[Vec<(String, Tone)>]) -> Result<(), Failure> {
        let headings = headings.iter().map(|text| ((*text).to_owned(), Tone::Dim)).collect();
        let rows: Vec<&Vec<(String, Tone)>> = std::iter::once(&headings).chain(rows).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|(text, _)| self.out.shown(text).chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        for row in rows {
            self.write_out(&self.row(row, &widths))?;
        }
        Ok(())
    }

    fn row(&self, cells: &[(String, Tone)], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, ((text, tone), width)) in cells.iter().zip(widths).enumerate() {
            line.push_str(&self.out.coloured(text, *tone));
            if at + 1 < cells.len() {
                let taken = self.out.shown(text).chars().count();
                line.push_str(&" ".repeat(width.saturating_sub(taken) + 2));
            }
        }
        line.push('\n');
        line
    }

    /// One document.
    pub fn json(&self, value: &serde_json::Value) -> Result<(), Failure> {
        let text = format!("{value:#}\n");
        if self.out.terminal { self.write_out(&escape::visible_json(&text)) } else { self.write_out(&text) }
    }

    /// What a script said: byte for byte, unless a terminal would obey it.
    pub fn said(&self, channel: Channel, text: &str) -> Result<(), Failure> {
        let Some(last) = text.chars().next_back() else { return Ok(()) };
        let place = match channel {
            Channel::Out => self.out,
            Channel::Err => self.err,
        };
        let text = place.shown(text);
        self.bottom.above(|open_line| {
            match channel {
                Channel::Out => write_out(&text)?,
                Channel::Err => write_err(&text),
            }
            if place.terminal {
                *open_line = last != '\n';
            }
            Ok(())
        })
    }

    /// Whether there is a last line that can move.
    pub fn is_lively(&self) -> bool {
        self.err.terminal && self.err.obeys
    }

    /// What goes on meanwhile, and since when; for a console that is lively.
    pub fn busy(&self, words: String, since: Instant) {
        self.bottom.show(words, since);
    }

    /// Nothing goes on any more.
    pub fn settle(&self) {
        self.bottom.clear();
    }

    /// `text` as it is, for one who knows what it does to a terminal.
    pub fn raw(&self, text: &str) -> Result<(), Failure> {
        self.write_out(text)
    }

    pub fn progress(&self, text: &str) {
        self.say(&self.err.coloured(text, Tone::Dim));
    }

    pub fn hint(&self, text: &str) {
        let (hint, text) = (self.err.coloured("hint:", Tone::Good), self.err.shown(text));
        self.say(&format!("  {hint} {text}"));
    }

    pub fn warning(&self, text: &str) {
        let (warning, text) = (self.err.coloured("warning:", Tone::Busy), self.err.shown(text));
        self.say(&format!("{warning} {text}"));
    }

    pub fn error(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        let (error, what) = (self.err.coloured("error:", Tone::Bad), self.err.shown(&failure.what));
        self.say(&format!("{error} {what}"));
        for detail in &failure.details {
            self.say(&format!("  {}", self.err.shown(detail)));
        }
        if let Some(hint) = &failure.hint {
            self.hint(hint);
        }
    }

    fn say(&self, line: &str) {
        self.bottom.above(|open_line| {
            let begin = if self.err.terminal && std::mem::take(open_line) { "\n" } else { "" };
            write_err(&format!("{begin}{line}\n"));
        });
    }

    fn write_out(&self, text: &str) -> Result<(), Failure> {
        self.bottom.above(|_| write_out(text))
    }
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::output_closed(),
        _ => Failure::failed(format!("stdout can't be written: {error}")),
    })
}

/// There is nobody left to tell when stderr can't be written.
fn write_err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(terminal: bool, colour: bool) -> Place {
        Place { terminal, colour, obeys: true }
    }

    #[test]
    fn only_a_terminal_gets_colours_and_escapes() {
        assert_eq!(place(false, false).coloured("a\x1b", Tone::Bad), "a\x1b");
        assert_eq!(place(true, false).coloured("a\x1b", Tone::Bad), "a\\x1b");
        assert_eq!(place(true, true).coloured("a\x1b", Tone::Bad), "\x1b[31ma\\x1b\x1b[0m");
    }

    #[test]
    fn columns_are_aligned_and_the_last_one_is_not_filled_up() {
        let out = place(false, false);
        let console = Console { out, err: out, bottom: StatusLine::new() };
        let cells = [("é".to_owned(), Tone::Good), ("b".to_owned(), Tone::Plain)];
        assert_eq!(console.row(&cells, &[4, 9]), "é     b\n");
    }
}
