//! Both directions of the conversation, without ever waiting.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::unistd::{read, write};
use rgrid_init::{Command, Decoder, Message, Received, Token, encode};

use crate::stdio_pipe::set_nonblocking;

/// Answers that wait to be sent; a daemon that asks on without reading is told no more.
const MAX_ANSWERS: usize = 64;

pub struct Wire {
    stdin: Option<io::Stdin>,
    stdout: Option<io::Stdout>,
    decoder: Decoder<Command>,
    token: Token,
    /// A daemon has said `Resume` on this connection.
    resumed: bool,
    answers: VecDeque<Vec<u8>>,
    /// The frame being written, and how much of it is.
    frame: Vec<u8>,
    written: usize,
}

impl Wire {
    pub fn new(token: Token) -> Result<Self, Errno> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        set_nonblocking(stdin.as_fd())?;
        set_nonblocking(stdout.as_fd())?;
        Ok(Self {
            stdin: Some(stdin),
            stdout: Some(stdout),
            decoder: Decoder::new(token.clone()),
            token,
            resumed: false,
            answers: VecDeque::new(),
            frame: Vec::new(),
            written: 0,
        })
    }

    /// No daemon can ever come again.
    pub fn is_deaf(&self) -> bool {
        self.stdin.is_none()
    }

    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    /// Only while there is something to write: a pipe nobody reads must not wake the init.
    pub fn writable(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref().filter(|_| !self.frame.is_empty()).map(AsFd::as_fd)
    }

    /// Reads once; did anything come?
    pub fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let Some(stdin) = &self.stdin else { return false };
        match read(stdin, buffer) {
            Ok(0) => self.stdin = None,
            Ok(count) => {
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                return true;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.stdin = None,
        }
        false
    }

    /// The next command. A torn frame is no news: whoever tore it connects again.
    pub fn next_command(&mut self) -> Option<Command> {
        loop {
            match self.decoder.next() {
                Ok(Some(Received::Frame(command))) => return Some(command),
                Ok(Some(Received::Connected)) => self.disconnect(),
                Ok(None) => return None,
                Err(_) => {}
            }
        }
    }

    /// Begins the answer to `Resume`. The rest of an older frame is dropped: its reader has gone.
    pub fn begin(&mut self, hello: &Message) {
        self.disconnect();
        self.resumed = true;
        self.frame = self.token.as_bytes().to_vec();
        self.say(hello);
    }

    pub fn say(&mut self, message: &Message) {
        if self.resumed && self.answers.len() < MAX_ANSWERS {
            // All messages are smaller than a frame may be, by the limits on what they hold.
            self.answers.extend(encode(message).ok());
        }
    }

    /// Writes answers, then what `more` gives, until nothing is left or the pipe is full.
    pub fn send(&mut self, mut more: impl FnMut() -> Option<Message>) {
        while self.resumed && self.stdout.is_some() {
            if self.frame.is_empty() {
                let next = self.answers.pop_front().or_else(|| encode(&more()?).ok());
                let Some(frame) = next else { return };
                self.frame = frame;
            }
            if !self.write_once() {
                return;
            }
        }
    }

    /// May more be written at once?
    fn write_once(&mut self) -> bool {
        let Some(stdout) = &self.stdout else { return false };
        match write(stdout, self.frame.get(self.written..).unwrap_or_default()) {
            Ok(count) => {
                self.written += count;
                if self.written >= self.frame.len() {
                    self.frame.clear();
                    self.written = 0;
                }
                true
            }
            Err(Errno::EINTR) => true,
            Err(Errno::EAGAIN) => false,
            Err(_) => {
                self.stdout = None;
                false
            }
        }
    }

    fn disconnect(&mut self) {
        self.resumed = false;
        self.answers.clear();
        self.frame.clear();
        self.written = 0;
    }
}
