//! The messages between daemon and init.
//!
//! Postcard numbers variants by their position, so new variants go to the end. `Debug` output must not contain secrets
//! or user data, so it shows only the names of variables and the sizes of contents.

use derive_more::Debug;
use serde::{Deserialize, Serialize};

use crate::check;

/// Sent by the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The first frame of a connection. Events up to number `after` (0: none) are stored; later ones are sent again.
    Resume { after: u64 },
    /// A piece of an input file, at most [`crate::MAX_PIECE`] bytes, before `Run`. Offset 0 creates or replaces the
    /// file; the other pieces follow in order. `name` is a file name without a folder.
    File {
        name: String,
        offset: u64,
        #[serde(with = "serde_bytes")]
        #[debug("{} bytes", content.len())]
        content: Vec<u8>,
    },
    /// Starts the job. Has no effect if a job was already started, so it can be repeated after a reconnect.
    Run(Job),
    /// Events up to this number are stored and can be removed.
    Ack { upto: u64 },
    /// Requests a piece of an output file by its index in [`Exit::outputs`].
    Fetch { output: u32, offset: u64, max: u32 },
    /// Sends SIGTERM to all processes, and SIGKILL after the grace period. The job ends as [`ExitReason::Cancelled`].
    Cancel,
    /// While parked or after the end: exit now, even if events are not stored.
    Stop,
    /// Replaces the last `Ack`: clean up and wait for another job. The reply is [`Message::Renewed`], or
    /// [`Message::Refused`] followed by the exit of the init.
    Renew { upto: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Chosen by the daemon and repeated in [`Message::Hello`].
    pub id: String,
    pub setup: Option<Setup>,
    /// Program and arguments. The program is searched for in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The environment of the script; only the secrets are added.
    #[debug("{:?}", env.iter().map(|(name, _)| name).collect::<Vec<_>>())]
    pub env: Vec<(String, String)>,
    /// Further variables of the script, but not of its setup. Their values are masked in all output.
    #[debug("{:?}", secrets.iter().map(|(name, _)| name).collect::<Vec<_>>())]
    pub secrets: Vec<(String, String)>,
    pub limits: Limits,
}

/// A program to run before the script, such as the installation of packages. The grace period is that of the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub argv: Vec<String>,
    #[debug("{:?}", env.iter().map(|(name, _)| name).collect::<Vec<_>>())]
    pub env: Vec<(String, String)>,
    pub timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of the script only.
    pub timeout_ms: u64,
    /// Between SIGTERM and SIGKILL.
    pub grace_ms: u64,
    /// Bytes of text kept of each stream.
    pub output_limit: u64,
    pub max_outputs: u32,
    /// Total size of all output files.
    pub max_output_bytes: u64,
}

/// Sent by the init. `Hello` must remain the first variant, and `version` its first field, so that any daemon can read
/// the version of any init.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// The reply to `Resume`, followed by the events that the daemon has not stored.
    Hello {
        version: u16,
        state: InitState,
        /// [`Job::id`], once a job was started.
        job: Option<String>,
    },
    /// Numbered from 1 without gaps. An event never changes after it was sent.
    Event { seq: u64, event: Event },
    /// The reply to `Fetch`. `last` marks the end of the file.
    Piece {
        output: u32,
        offset: u64,
        #[serde(with = "serde_bytes")]
        #[debug("{} bytes", content.len())]
        content: Vec<u8>,
        last: bool,
    },
    /// A command was not executed; the reason is a sentence.
    Refused { reason: String },
    /// The reply to `Renew`: the previous job was removed, and another one can follow.
    Renewed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitState {
    Parked,
    Running,
    Ended,
}

/// Something that happened in a job, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Started {
        step: JobStep,
    },
    Output {
        stream: Stream,
        /// At most [`crate::MAX_TEXT`] bytes of UTF-8 without NUL.
        #[debug("{} bytes", text.len())]
        text: String,
    },
    /// The last event of a job.
    Exit(Exit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStep {
    Setup,
    Script,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// stdout and stderr of the setup, interleaved.
    Install,
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub reason: ExitReason,
    /// 0 without a setup.
    pub setup_ms: u64,
    /// Run time of the script; 0 if it never started.
    pub wall_ms: u64,
    /// User and system time of the script and its children.
    pub cpu_ms: u64,
    /// Of the container if its cgroup is readable, otherwise of the largest process.
    pub peak_memory_bytes: u64,
    pub stdout: StreamEnd,
    pub stderr: StreamEnd,
    pub install: StreamEnd,
    /// Sorted by name; `Fetch` refers to them by index.
    #[serde(deserialize_with = "check::output_files")]
    pub outputs: Vec<OutputFile>,
    /// About ten sentences about files that were not kept, with the reason.
    #[serde(deserialize_with = "check::sentences")]
    pub outputs_left_out: Vec<String>,
    /// Whether any job of this sandbox has sent or received a packet, even a local one; true if that is unknown.
    pub network_used: bool,
}

impl Exit {
    /// An exit of which only the reason is known.
    pub fn new(reason: ExitReason) -> Self {
        Self {
            reason,
            setup_ms: 0,
            wall_ms: 0,
            cpu_ms: 0,
            peak_memory_bytes: 0,
            stdout: StreamEnd::default(),
            stderr: StreamEnd::default(),
            install: StreamEnd::default(),
            outputs: Vec::new(),
            outputs_left_out: Vec::new(),
            network_used: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    Exited {
        code: i32,
    },
    Signalled {
        signal: i32,
    },
    TimedOut,
    /// In setup or script.
    OutOfMemory,
    Cancelled,
    /// The exit code of the setup, or 128 plus the signal that killed it.
    SetupFailed {
        code: i32,
    },
    SetupTimedOut,
    CouldNotStart {
        reason: String,
    },
}

/// The size and the tail of a stream. [`crate::assemble`] combines it with the text sent before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    /// Total bytes of text.
    pub total: u64,
    /// If `total` exceeds the limit, the last limit/2 bytes of the text, at most [`crate::MAX_TAIL`].
    #[debug("{} bytes", tail.len())]
    pub tail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Relative to the workspace with `/` as the separator; without `.`, `..` and control characters.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_contains_names_but_no_values_or_contents() {
        let env = vec![("API_KEY".to_owned(), "hunter2".to_owned())];
        let setup = Setup { argv: vec!["pip".into()], env: env.clone(), timeout_ms: 1 };
        let limits =
            Limits { timeout_ms: 1, grace_ms: 1, output_limit: 1, max_outputs: 1, max_output_bytes: 1 };
        let secrets = vec![("TOKEN".to_owned(), "hunter2".to_owned())];
        let run =
            Command::Run(Job { id: "a".into(), setup: Some(setup), argv: vec![], env, secrets, limits });
        let file = Command::File { name: "n".into(), offset: 0, content: b"hunter2".to_vec() };
        let shown = format!("{run:?} {file:?}");
        assert!(shown.contains("API_KEY") && shown.contains("TOKEN") && shown.contains("7 bytes"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        let output = Event::Output { stream: Stream::Stdout, text: "hunter2".to_owned() };
        let end = StreamEnd { total: 7, tail: "hunter2".to_owned() };
        let shown = format!("{output:?} {end:?}");
        assert!(shown.contains("7 bytes") && !shown.contains("hunter2"), "{shown}");
    }
}
