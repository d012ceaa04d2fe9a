//! How far a follower has come: the id of a Server-Sent Event.

use std::fmt;
use std::str::FromStr;

use rgrid_api::Stream;

/// The attempt, and how many bytes of each of its streams are behind.
///
/// Bytes, not numbers of chunks: chunks are folded into the row when the run ends, and a byte of a stream
/// stays at its place. Bytes that were not kept count too, so a place is the same before and after the cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOffsets {
    /// 0: nothing of any attempt.
    pub attempt: i32,
    pub install: u64,
    pub stdout: u64,
    pub stderr: u64,
    /// Everything was told, the end too.
    pub ended: bool,
}

impl StreamOffsets {
    /// Before the first byte of an attempt.
    pub fn start_of(attempt: i32) -> Self {
        Self { attempt, ..Self::default() }
    }

    pub fn of(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Install => self.install,
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    pub fn set(&mut self, stream: Stream, bytes: u64) {
        match stream {
            Stream::Install => self.install = bytes,
            Stream::Stdout => self.stdout = bytes,
            Stream::Stderr => self.stderr = bytes,
        }
    }
}

/// `1-0-4096-12`, at the end `1-0-4096-12-end`.
impl fmt::Display for StreamOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.attempt, self.install, self.stdout, self.stderr)?;
        if self.ended { f.write_str("-end") } else { Ok(()) }
    }
}

impl FromStr for StreamOffsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || -> Option<Self> {
            let (numbers, ended) = match text.strip_suffix("-end") {
                Some(numbers) => (numbers, true),
                None => (text, false),
            };
            let mut parts = numbers.split('-');
            let mut next = || -> Option<u64> {
                let part = parts.next()?;
                let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                // Offsets travel to the database as signed numbers.
                part.parse::<i64>().ok().filter(|_| plain)?.try_into().ok()
            };
            let attempt = i32::try_from(next()?).ok()?;
            let (install, stdout, stderr) = (next()?, next()?, next()?);
            parts.next().is_none().then_some(Self { attempt, install, stdout, stderr, ended })
        };
        read().ok_or_else(|| "is not an id that this server gave".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let position = StreamOffsets { attempt: 2, install: 7, stdout: 102_400, stderr: 0, ended: false };
        assert_eq!(position.to_string(), "2-7-102400-0");
        for position in [position, StreamOffsets { ended: true, ..position }, StreamOffsets::default()] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn garbage_is_refused() {
        let bad =
            ["", "1", "1-2-3", "1-2-3-4-5", "1-2-3-4-End", "-1-2-3-4", "1-+2-3-4", "1- 2-3-4", "a-b-c-d"];
        for bad in
            bad.into_iter().chain(["9999999999-0-0-0", "1-99999999999999999999-0-0", "1-0-0-0-end-end"])
        {
            assert!(bad.parse::<StreamOffsets>().is_err(), "{bad}");
        }
    }
}
