//! The protocol between the daemon and `rgrid-init`, PID 1 of every sandbox. `PROTOCOL.md` describes it.
//!
//! Nothing here does I/O: bytes go in, messages come out, and vice versa.
//!
//! * [`Command`]s go to the container's stdin and [`Message`]s come from its stdout, as frames (see [`encode`]).
//! * A connection can break at any byte. Each connection starts, in both directions, with a secret [`Token`]; a
//!   [`Decoder`] drops everything before it.
//! * The init numbers its [`Event`]s and keeps them until the daemon has stored them ([`Command::Ack`]).

mod assemble;
mod check;
#[cfg(feature = "init")]
mod escape;
mod frame;
#[cfg(feature = "init")]
mod mask;
mod protocol;
mod text;
mod token;

pub use assemble::{assemble, char_floor};
pub use check::{Download, EventCheck, Violation, check_message, check_outputs};
pub use frame::{Decoder, FrameError, MAX_FRAME, Received, encode};
#[cfg(feature = "init")]
pub use mask::{MASK, SecretMasker, SecretPatterns};
pub use protocol::{
    Command, Event, Exit, ExitReason, InitState, Job, JobStep, Limits, Message, OutputFile, Setup, Stream,
    StreamEnd,
};
pub use text::TextDecoder;
pub use token::{Token, TokenError};

/// Sent in [`Message::Hello`]. After an upgrade a daemon may find an old container with another version; it must leave
/// that container alone and removes it some minutes later.
pub const PROTOCOL_VERSION: u16 = 4;

/// Maximum size of the content of a [`Command::File`] or [`Message::Piece`], in bytes.
pub const MAX_PIECE: usize = 256 * 1024;

/// Maximum size of the text of an [`Event::Output`], in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// With more unstored events than this, output is sent in full events of [`MAX_TEXT`] instead of at once. That bounds
/// the number of events even if a script writes single bytes while the daemon stores nothing.
pub const MAX_SMALL_EVENTS: usize = 1024;

/// Maximum size of a [`StreamEnd::tail`], in bytes.
pub const MAX_TAIL: usize = 512 * 1024;

/// Maximum number of output files, even if [`Limits::max_outputs`] is higher.
pub const MAX_OUTPUTS: usize = 1000;
