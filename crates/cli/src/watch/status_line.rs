//! The last line of a terminal shows a spinner and the current status; everything else is written above it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use console::{Term, truncate_str};
use rgrid_api::units::format_duration;

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_TIME: Duration = Duration::from_millis(100);
/// The line is hidden while a script prints without pause.
const HIDE_AFTER_OUTPUT: Duration = Duration::from_millis(300);
const ERASE: &str = "\r\x1b[K";

/// Clones share the line.
#[derive(Clone)]
pub struct StatusLine(Arc<Mutex<State>>);

struct State {
    /// The message, and since when it applies.
    status: Option<(String, Instant)>,
    is_drawn: bool,
    /// The script's output ended without a newline, so the cursor is not at the start of a line.
    line_is_open: bool,
    last_output: Instant,
    has_ticker: bool,
}

impl StatusLine {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            status: None,
            is_drawn: false,
            line_is_open: false,
            last_output: Instant::now(),
            has_ticker: false,
        })))
    }

    pub fn show(&self, message: String, start: Instant) {
        let mut state = self.lock();
        state.status = Some((message, start));
        if !std::mem::replace(&mut state.has_ticker, true) {
            let line = self.clone();
            thread::spawn(move || {
                for frame in FRAMES.iter().cycle() {
                    line.lock().draw(*frame);
                    thread::sleep(FRAME_TIME);
                }
            });
        }
    }

    pub fn clear(&self) {
        let mut state = self.lock();
        state.status = None;
        state.erase();
    }

    /// Erases the line and writes to the terminal. `write` receives and updates whether a line is open.
    pub fn suspend<T>(&self, write: impl FnOnce(&mut bool) -> T) -> T {
        let mut state = self.lock();
        state.erase();
        state.last_output = Instant::now();
        write(&mut state.line_is_open)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
