//! The last line of a terminal: it moves while somebody waits, and everything else is written above it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rgrid_api::units::format_duration;

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME: Duration = Duration::from_millis(100);
/// What was just written is read first; a script that speaks all the time has no such line below it.
const QUIET: Duration = Duration::from_millis(300);
const WIDTH: usize = 80;
const ERASE: &str = "\r\x1b[K";

/// Cloning shares it.
#[derive(Clone)]
pub struct StatusLine(Arc<Mutex<State>>);

struct State {
    /// What it says, and since when that is so.
    busy: Option<(String, Instant)>,
    drawn: bool,
    /// A script's text ended without a newline, and the cursor stands behind it.
    open_line: bool,
    written: Instant,
    ticks: bool,
}

impl StatusLine {
    pub fn new() -> Self {
        let state =
            State { busy: None, drawn: false, open_line: false, written: Instant::now(), ticks: false };
        Self(Arc::new(Mutex::new(state)))
    }

    /// From now on it says so, with the time that went by.
    pub fn show(&self, words: String, since: Instant) {
        let mut state = self.lock();
        state.busy = Some((words, since));
        if !std::mem::replace(&mut state.ticks, true) {
            let bottom = self.clone();
            thread::spawn(move || bottom.tick());
        }
    }

    pub fn clear(&self) {
        let mut state = self.lock();
        state.busy = None;
        state.erase();
    }

    /// Writes while it is out of the way. `write` is told whether a line is open, and tells it.
    pub fn above<T>(&self, write: impl FnOnce(&mut bool) -> T) -> T {
        let mut state = self.lock();
        state.erase();
        state.written = Instant::now();
        write(&mut state.open_line)
    }

    fn tick(&self) {
        for frame in FRAMES.iter().cycle() {
            self.lock().draw(*frame);
            thread::sleep(FRAME);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn draw(&mut self, frame: char) {
        let Some((words, since)) = &self.busy else { return };
        if self.open_line || self.written.elapsed() < QUIET {
            return;
        }
        let width = terminal_size::terminal_size_of(io::stderr()).map_or(WIDTH, |size| size.0.0.into());
        put(&format!("{ERASE}{}", line(frame, words, since.elapsed(), width)));
        self.drawn = true;
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            put(ERASE);
        }
    }
}

/// Shorter than the terminal is wide: a line that wraps can't be erased.
fn line(frame: char, words: &str, elapsed: Duration, width: usize) -> String {
    let time = Duration::from_secs(elapsed.as_secs());
    let time = if time.is_zero() { String::new() } else { format!("  {}", format_duration(time)) };
    format!("{frame} {words}{time}").chars().take(width.saturating_sub(1)).collect()
}

/// There is nobody to tell when a terminal can't be written.
fn put(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_long_and_never_wraps() {
        assert_eq!(line('⠋', "running", Duration::from_millis(900), 80), "⠋ running");
        assert_eq!(line('⠋', "running", Duration::from_millis(65_900), 80), "⠋ running  1m 5s");
        assert_eq!(line('⠋', "running", Duration::from_secs(5), 8), "⠋ runni");
    }
}
