//! The position of a client in the output of an execution, which is the ID of a Server-Sent Event.

use std::fmt;
use std::str::FromStr;

use rgrid_api::Stream;

/// An attempt, and the number of bytes received of each of its streams.
///
/// Offsets count bytes instead of chunks, because chunks are merged into the row when the execution ends. They include
/// bytes that were not stored, so an offset stays valid when the text is truncated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOffsets {
    /// 0: before the first attempt.
    pub attempt: i32,
    pub install: u64,
    pub stdout: u64,
    pub stderr: u64,
    /// The end was received, too.
    pub ended: bool,
}

impl StreamOffsets {
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

/// Formats as `1-0-4096-12`, or `1-0-4096-12-end` after the end.
impl fmt::Display for StreamOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.attempt, self.install, self.stdout, self.stderr)?;
        if self.ended { f.write_str("-end") } else { Ok(()) }
    }
}

impl FromStr for StreamOffsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (numbers, ended) = match text.strip_suffix("-end") {
            Some(numbers) => (numbers, true),
            None => (text, false),
        };
        // The database's integers are signed, so larger numbers are invalid.
        let number = |part: &str| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| digits)?.try_into().ok()
        };
        let numbers: Option<Vec<u64>> = numbers.split('-').map(number).collect();
        let offsets = match numbers.as_deref() {
            Some(&[attempt, install, stdout, stderr]) => {
                i32::try_from(attempt).ok().map(|attempt| Self { attempt, install, stdout, stderr, ended })
            }
            _ => None,
        };
        offsets.ok_or_else(|| "is not an event ID of this server".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_id_parses_to_the_same_offsets() {
        let offsets = StreamOffsets { attempt: 2, install: 7, stdout: 102_400, stderr: 0, ended: false };
        assert_eq!(offsets.to_string(), "2-7-102400-0");
        for offsets in [offsets, StreamOffsets { ended: true, ..offsets }, StreamOffsets::default()] {
            assert_eq!(offsets.to_string().parse(), Ok(offsets));
        }
    }

    #[test]
    fn malformed_ids_are_rejected() {
        let bad =
            ["", "1", "1-2-3", "1-2-3-4-5", "1-2-3-4-End", "-1-2-3-4", "1-+2-3-4", "1- 2-3-4", "a-b-c-d"];
        for bad in
            bad.into_iter().chain(["9999999999-0-0-0", "1-99999999999999999999-0-0", "1-0-0-0-end-end"])
        {
            assert!(bad.parse::<StreamOffsets>().is_err(), "{bad}");
        }
    }
}
