//! Frames, and the search for the start of a connection in a stream that may be torn anywhere.

use std::collections::VecDeque;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::token::Token;

/// Maximum payload of a frame, in bytes. The largest message is [`crate::Event::Exit`], with three tails of
/// [`crate::MAX_TAIL`] and up to [`crate::MAX_OUTPUTS`] names of 1 KiB.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

const HEADER: usize = 4;

/// Ends each frame. It is not a hexadecimal digit, so a torn frame that is followed by the token of a new connection is
/// never mistaken for a complete one.
const TRAILER: u8 = b'\n';

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes exceeds the limit of {MAX_FRAME} bytes")]
    TooLarge(usize),
    #[error("cannot encode the message")]
    Encode(#[source] postcard::Error),
    #[error("cannot decode a frame")]
    Decode(#[source] postcard::Error),
    #[error("a frame of {0} bytes was torn")]
    Torn(usize),
}

/// Encodes a message as a frame: length of the payload (`u32`, little endian), payload (postcard), trailer (`\n`).
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; HEADER]).map_err(FrameError::Encode)?;
    let length = frame.len() - HEADER;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    let header = u32::try_from(length).map_err(|_| FrameError::TooLarge(length))?;
    frame.splice(..HEADER, header.to_le_bytes());
    frame.push(TRAILER);
    Ok(frame)
}

#[derive(Clone, Debug, PartialEq)]
pub enum Received<T> {
    /// The token: a new connection has started.
    Connected,
    Frame(T),
}

/// Decodes messages from arbitrary chunks of bytes. Everything before the token is dropped. After an error everything is
/// dropped until the next token, because the boundaries of frames are unknown.
///
/// ```
/// # use rgrid_init::{Command, Decoder, Received, Token, encode};
/// let token = Token::from_random([7; 16]);
/// let mut decoder = Decoder::<Command>::new(token.clone());
/// decoder.push(b"torn rest of an older connection");
/// decoder.push(token.as_bytes());
/// decoder.push(&encode(&Command::Cancel)?);
/// assert_eq!(decoder.next()?, Some(Received::Connected));
/// assert_eq!(decoder.next()?, Some(Received::Frame(Command::Cancel)));
/// assert_eq!(decoder.next()?, None);
/// # Ok::<(), rgrid_init::FrameError>(())
/// ```
pub struct Decoder<T> {
    token: Token,
    /// The last bytes received, in which a token may start.
    recent: Vec<u8>,
    /// The bytes after the last complete frame.
    partial: Vec<u8>,
    /// False before the first token and after an error.
    synchronized: bool,
    ready: VecDeque<Result<Received<T>, FrameError>>,
}

impl<T: DeserializeOwned> Decoder<T> {
    pub fn new(token: Token) -> Self {
        Self { token, recent: Vec::new(), partial: Vec::new(), synchronized: false, ready: VecDeque::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((before, after)) = self.split_at_token(rest) {
            self.read_frames(before);
            self.partial.clear();
            self.synchronized = true;
            self.ready.push_back(Ok(Received::Connected));
            rest = after;
        }
        self.read_frames(rest);
    }

    /// The next item, until it returns `Ok(None)`. More may follow an error: a torn frame is an error, and the token of
    /// the next connection comes after it.
    #[expect(clippy::should_implement_trait, reason = "an iterator should not continue after its end")]
    pub fn next(&mut self) -> Result<Option<Received<T>>, FrameError> {
        self.ready.pop_front().transpose()
    }

    /// Splits `bytes` around the first token that ends in them.
    fn split_at_token<'a>(&mut self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let carried = self.recent.len();
        self.recent.extend_from_slice(bytes);
        let token = self.token.as_bytes();
        // Comparing the first byte first avoids a memcmp per byte.
        let is_token = |window: &[u8]| window.first() == token.first() && window == token;
        match self.recent.windows(token.len()).position(is_token) {
            Some(start) => {
                self.recent.clear();
                let before = bytes.get(..start.saturating_sub(carried))?;
                let after = bytes.get(start + Token::LENGTH - carried..)?;
                Some((before, after))
            }
            None => {
                let old = self.recent.len().saturating_sub(Token::LENGTH - 1);
                self.recent.drain(..old);
                None
            }
        }
    }

    fn read_frames(&mut self, bytes: &[u8]) {
        if !self.synchronized {
            return;
        }
        self.partial.extend_from_slice(bytes);
        let mut read = 0;
        while let Some(frame) = self.partial.get(read..).and_then(|rest| first_frame(rest).transpose()) {
            match frame {
                Ok((message, length)) => {
                    read += length;
                    self.ready.push_back(Ok(Received::Frame(message)));
                }
                Err(error) => {
                    self.partial = Vec::new();
                    self.synchronized = false;
                    self.ready.push_back(Err(error));
                    return;
                }
            }
        }
        self.partial.drain(..read);
    }
}

/// Decodes the first frame of `bytes` and returns it with its length, or `None` if it is incomplete.
fn first_frame<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    let Some((payload, [trailer, ..])) = rest.split_at_checked(length) else { return Ok(None) };
    if *trailer != TRAILER {
        return Err(FrameError::Torn(length));
    }
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(Some((message, HEADER + length + 1))),
        Ok(_) => Err(FrameError::Torn(length)),
        Err(error) => Err(FrameError::Decode(error)),
    }
}

#[cfg(test)]
mod tests;
