//! The connection to the daemon over stdin and stdout. No call blocks.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::unistd::{read, write};
use rgrid_init::{Command, Decoder, Message, Received, Token, encode};

use crate::stdio_pipe::set_nonblocking;

/// Further replies are dropped if the daemon sends commands without reading.
const MAX_REPLIES: usize = 64;

pub struct Connection {
    /// `None` after end of file or an error.
    stdin: Option<io::Stdin>,
    stdout: Option<io::Stdout>,
    decoder: Decoder<Command>,
    token: Token,
    /// The daemon has sent `Resume`; nothing is sent before that.
    resumed: bool,
    replies: VecDeque<Vec<u8>>,
    /// The frame being written, and how many of its bytes are written.
    frame: Vec<u8>,
    written: usize,
}

impl Connection {
    pub fn new(token: Token) -> Result<Self, String> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        set_nonblocking(stdin.as_fd())
            .and_then(|()| set_nonblocking(stdout.as_fd()))
            .map_err(|error| format!("cannot use stdin and stdout: {error}"))?;
        Ok(Self {
            stdin: Some(stdin),
            stdout: Some(stdout),
            decoder: Decoder::new(token.clone()),
            token,
            resumed: false,
            replies: VecDeque::new(),
            frame: Vec::new(),
            written: 0,
        })
    }

    /// Stdin has ended, so no daemon can connect any more.
    pub fn is_closed(&self) -> bool {
        self.stdin.is_none()
    }

    pub fn input_fd(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    /// Stdout while a frame is incomplete. Otherwise a pipe with free space would wake the init all the time.
    pub fn output_fd(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref().filter(|_| !self.frame.is_empty()).map(AsFd::as_fd)
    }

    /// Reads once and reports whether anything arrived.
    pub fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let Some(stdin) = &self.stdin else { return false };
        match read(stdin, buffer) {
            Ok(count) if count > 0 => {
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                return true;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(_) | Err(_) => self.stdin = None,
        }
        false
    }

    /// The next command. Torn frames are ignored: the daemon that sent one has lost its connection.
    pub fn next_command(&mut self) -> Option<Command> {
        loop {
            match self.decoder.next() {
                Ok(Some(Received::Frame(command))) => return Some(command),
                Ok(Some(Received::Connected)) => self.reset(),
                Ok(None) => return None,
                Err(_) => {}
            }
        }
    }

    /// Starts the answer to `Resume`. The rest of an older frame is dropped, because its reader is gone.
    pub fn resume(&mut self, hello: &Message) {
        self.reset();
        self.resumed = true;
        self.frame = self.token.as_bytes().to_vec();
        self.reply(hello);
    }

    pub fn reply(&mut self, message: &Message) {
        if self.resumed && self.replies.len() < MAX_REPLIES {
            // Encoding cannot fail: the limits on the contents keep every message smaller than a frame.
            self.replies.extend(encode(message).ok());
        }
    }

    /// Writes replies, then the messages of `next`, until there are no more or the pipe is full.
    pub fn send(&mut self, mut next: impl FnMut() -> Option<Message>) {
        while self.resumed
            && let Some(stdout) = &self.stdout
        {
            if self.frame.is_empty() {
                let frame = self.replies.pop_front().or_else(|| encode(&next()?).ok());
                let Some(frame) = frame else { return };
                self.frame = frame;
            }
            match write(stdout, self.frame.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.stdout = None,
            }
            if self.written >= self.frame.len() {
                self.frame.clear();
                self.written = 0;
            }
        }
    }

    fn reset(&mut self) {
        self.resumed = false;
        self.replies.clear();
        self.frame.clear();
        self.written = 0;
    }
}
