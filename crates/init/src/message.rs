//! What the init says to the daemon.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::secret::Size;

/// `Hello` stays the first variant, and `version` its first field, for ever: any daemon can read the version
/// of any init. New variants go to the end.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// The answer to `Resume`; the events the daemon has not stored follow.
    Hello {
        version: u16,
        state: InitState,
        /// [`crate::Job::id`], once there is a job.
        job: Option<String>,
    },
    /// Numbers begin at 1 and have no gaps. An event's content never changes once it was sent.
    Event { seq: u64, event: Event },
    /// The answer to `Fetch`; `last` when the file ends with it.
    Piece {
        output: u32,
        offset: u64,
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
        last: bool,
    },
    /// A command that was not carried out, in a sentence.
    Refused { reason: String },
    /// The answer to `Renew`: nothing of the former job is left, and another one may come.
    Renewed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitState {
    Parked,
    Running,
    Ended,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { version, state, job } => f
                .debug_struct("Hello")
                .field("version", version)
                .field("state", state)
                .field("job", job)
                .finish(),
            Self::Event { seq, event } => {
                f.debug_struct("Event").field("seq", seq).field("event", event).finish()
            }
            Self::Piece { output, offset, content, last } => f
                .debug_struct("Piece")
                .field("output", output)
                .field("offset", offset)
                .field("content", &Size(content.len()))
                .field("last", last)
                .finish(),
            Self::Refused { reason } => f.debug_struct("Refused").field("reason", reason).finish(),
            Self::Renewed => f.write_str("Renewed"),
        }
    }
}
