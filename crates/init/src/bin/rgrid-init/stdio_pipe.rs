//! A pipe from a program, read without waiting.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rgrid_init::{SecretPatterns, Stream, StreamEnd};

use crate::capture::Capture;
use crate::journal::Journal;

pub struct Intake {
    stream: Stream,
    /// Gone when all writers are.
    reader: Option<PipeReader>,
    capture: Capture,
}

impl Intake {
    pub fn open(stream: Stream, limit: u64, masks: &Arc<SecretPatterns>) -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(reader.as_fd())?;
        Ok((Self { stream, reader: Some(reader), capture: Capture::new(limit, masks) }, writer))
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there, but one buffer at most: a flood must not keep the init from its deadlines.
    pub fn read(&mut self, buffer: &mut [u8], journal: &mut Journal) {
        let Some(reader) = &mut self.reader else { return };
        match reader.read(buffer) {
            Ok(0) => self.reader = None,
            Ok(count) => {
                let text = self.capture.push(buffer.get(..count).unwrap_or_default());
                journal.append_text(self.stream, &text);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.reader = None,
        }
    }

    pub fn finish(mut self, journal: &mut Journal) -> (Stream, StreamEnd) {
        let text = self.capture.finish();
        journal.append_text(self.stream, &text);
        (self.stream, self.capture.end())
    }
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}
