//! A pipe from stdout or stderr of a program: decoded, masked, truncated and appended to the journal.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rgrid_init::{MAX_TAIL, SecretMasker, SecretPatterns, Stream, StreamEnd, TextDecoder, char_floor};

use crate::journal::Journal;

pub struct StdioPipe {
    stream: Stream,
    /// `None` once all writers have closed the pipe.
    reader: Option<PipeReader>,
    output: StreamOutput,
}

impl StdioPipe {
    pub fn open(
        stream: Stream,
        limit: u64,
        patterns: &Arc<SecretPatterns>,
    ) -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(reader.as_fd())?;
        Ok((Self { stream, reader: Some(reader), output: StreamOutput::new(limit, patterns) }, writer))
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// Reads at most one buffer, so that a flood of output does not delay deadlines.
    pub fn read(&mut self, buffer: &mut [u8], journal: &mut Journal) {
        let Some(reader) = &mut self.reader else { return };
        match reader.read(buffer) {
            Ok(count) if count > 0 => {
                let text = self.output.push(buffer.get(..count).unwrap_or_default());
                journal.append_text(self.stream, &text);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => self.reader = None,
        }
    }

    pub fn finish(mut self, journal: &mut Journal) -> (Stream, StreamEnd) {
        let text = self.output.finish();
        journal.append_text(self.stream, &text);
        (self.stream, self.output.end())
    }
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// The text of one stream: sent up to the limit; beyond it only the size and the tail are kept.
struct StreamOutput {
    decoder: TextDecoder,
    masker: SecretMasker,
    limit: u64,
    /// Bytes that may still be sent; stays 0 once anything was withheld.
    remaining: usize,
    total: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
}

impl StreamOutput {
    fn new(limit: u64, patterns: &Arc<SecretPatterns>) -> Self {
        let remaining = usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            decoder: TextDecoder::new(),
            masker: SecretMasker::new(Arc::clone(patterns)),
            limit,
            remaining,
            total: 0,
            tail: VecDeque::new(),
            tail_limit: (remaining / 2).min(MAX_TAIL),
        }
    }

    /// Returns the part of the new text to send.
    fn push(&mut self, bytes: &[u8]) -> String {
        let text = self.decoder.push(bytes);
        let text = self.masker.push(text);
        self.truncate(text)
    }

    /// Returns the rest to send after the last byte.
    fn finish(&mut self) -> String {
        let mut text = self.masker.push(self.decoder.finish());
        text.push_str(&self.masker.finish());
        self.truncate(text)
    }

    fn end(mut self) -> StreamEnd {
        if self.total <= self.limit {
            return StreamEnd { total: self.total, tail: String::new() };
        }
        let partial_character = self.tail.iter().take_while(|&&byte| byte & 0xc0 == 0x80).count();
        self.tail.drain(..partial_character);
        let tail = String::from_utf8(self.tail.into()).unwrap_or_default();
        StreamEnd { total: self.total, tail }
    }

    /// Must come after masking: a secret that is split by the limit could not be found.
    fn truncate(&mut self, mut text: String) -> String {
        self.total = self.total.saturating_add(text.len() as u64);
        let newest = text.as_bytes().get(text.len().saturating_sub(self.tail_limit)..).unwrap_or_default();
        let excess = (self.tail.len() + newest.len()).saturating_sub(self.tail_limit);
        self.tail.drain(..excess);
        self.tail.extend(newest);
        let sent = char_floor(&text, self.remaining);
        // A shorter character after one that did not fit would leave a gap.
        self.remaining = if sent < text.len() { 0 } else { self.remaining - sent };
        text.truncate(sent);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rgrid_init::assemble;

    use super::*;

    fn truncate(text: &str, limit: u64, chunk: usize) -> (String, StreamEnd) {
        truncate_masked(&[], text, limit, chunk)
    }

    fn truncate_masked(secrets: &[&str], text: &str, limit: u64, chunk: usize) -> (String, StreamEnd) {
        let patterns = Arc::new(SecretPatterns::new(secrets.iter().copied()).unwrap());
        let mut output = StreamOutput::new(limit, &patterns);
        let mut live: String = text.as_bytes().chunks(chunk).map(|piece| output.push(piece)).collect();
        live.push_str(&output.finish());
        (live, output.end())
    }

    #[test]
    fn output_up_to_the_limit_is_sent_and_has_no_tail() {
        let end = StreamEnd { total: 8, tail: String::new() };
        assert_eq!(truncate("12345678", 8, 3), ("12345678".to_owned(), end));
    }

    #[test]
    fn output_beyond_the_limit_has_a_tail_of_half_the_limit() {
        let end = StreamEnd { total: 9, tail: "6789".to_owned() };
        assert_eq!(truncate("123456789", 8, 2), ("12345678".to_owned(), end));
    }

    #[test]
    fn nothing_is_sent_after_a_character_that_did_not_fit() {
        assert_eq!(truncate("1234567äb", 8, 1).0, "1234567");
    }

    #[test]
    fn a_secret_at_the_limit_is_masked_before_it_is_truncated() {
        for chunk in 1..10 {
            let (live, end) = truncate_masked(&["hunter2"], "xxhunter2yyyy", 4, chunk);
            assert_eq!((live.as_str(), end.total, end.tail.as_str()), ("xx**", 9, "yy"));
        }
    }

    proptest! {
        #[test]
        fn the_assembled_text_has_the_start_and_the_end_of_the_output(
            text in "[aä€😀]{0,60}", limit in 0u64..80, chunk in 1usize..20,
        ) {
            let (live, end) = truncate(&text, limit, chunk);
            prop_assert!(text.starts_with(&live) && live.len() as u64 <= limit);
            prop_assert!(text.ends_with(&end.tail) && end.tail.len() as u64 <= limit / 2);
            let (shown, truncated) = assemble(&live, &end, limit);
            prop_assert_eq!(truncated, text.len() as u64 > limit);
            if !truncated {
                prop_assert_eq!(shown, text);
            }
        }
    }
}
