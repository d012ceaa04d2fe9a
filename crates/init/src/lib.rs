//! The conversation between the daemon and `rgrid-init`, PID 1 of every sandbox.
//!
//! No I/O happens here: bytes go in, messages come out, and the other way round. The daemon and the
//! program share this crate, so neither can speak another dialect than the other understands.
//!
//! * [`Command`]s go to the container's stdin, [`Message`]s come from its stdout, as frames ([`encode`]):
//!   `u32` little endian length, [postcard](https://postcard.jamesmunns.com) payload, one `\n`.
//! * A connection can break at any byte. Each new one begins, in both directions, with the [`Token`], which
//!   nobody else knows; a [`Decoder`] drops everything before it, and everything torn by it.
//! * The daemon's first frame is [`Command::Resume`]; the init answers with the token, [`Message::Hello`] and
//!   every [`Event`] the daemon has not stored yet. Events are numbered from 1 without gaps and kept until
//!   [`Command::Ack`]. After the ack of [`Event::Exit`] the init ends, and the container with it; after
//!   [`Command::Renew`] it waits for another job instead.
//!
//! `PROTOCOL.md` beside this crate draws the layout and shows a whole conversation.

mod assemble;
mod command;
mod event;
mod frame;
#[cfg(feature = "init")]
mod mask;
mod message;
mod secret;
mod text;
mod token;

pub use assemble::{assemble, char_floor};
pub use command::{Command, Job, Limits, Setup};
pub use event::{Event, Exit, ExitReason, JobStep, OutputFile, Stream, StreamEnd};
pub use frame::{Decoder, FrameError, MAX_FRAME, Received, encode};
#[cfg(feature = "init")]
pub use mask::{MASK, SecretMasker, SecretPatterns};
pub use message::{InitState, Message};
pub use text::TextDecoder;
pub use token::{Token, TokenError};

/// Told in [`Message::Hello`]. A daemon that meets another version (an old container after an upgrade) must
/// not go on; it leaves that container alone, and removes it after some minutes.
pub const PROTOCOL_VERSION: u16 = 4;

/// The most of a file that one [`Command::File`] or one [`Message::Piece`] carries, in bytes.
pub const MAX_PIECE: usize = 256 * 1024;

/// The most text that one [`Event::Output`] carries, in bytes of UTF-8.
pub const MAX_TEXT: usize = 64 * 1024;

/// The most of a [`StreamEnd::tail`], in bytes, whatever half the limit may be.
pub const MAX_TAIL: usize = 512 * 1024;

/// The most output files that are told, whatever [`Limits::max_outputs`] may be.
pub const MAX_OUTPUTS: usize = 1000;
