//! What the daemon says to the init.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::{Names, Size};

/// New variants go to the end: postcard numbers them by their place.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The first frame of a connection: `after` is the number of the last event that is stored (0: none).
    /// Events up to it are forgotten, those after it are sent again.
    Resume { after: u64 },
    /// A piece of an input file, at most [`crate::MAX_PIECE`] bytes, before `Run`. Offset 0 creates the file or
    /// begins it again; the other pieces follow in order. `name` is a plain base name.
    File {
        name: String,
        offset: u64,
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
    },
    /// Starts the job. Sent again after a broken connection it changes nothing.
    Run(Job),
    /// Events up to this number are stored and may be forgotten.
    Ack { upto: u64 },
    /// Asks for a piece of an output file, by its index in [`crate::Exit::outputs`].
    Fetch { output: u32, offset: u64, max: u32 },
    /// SIGTERM to everything, SIGKILL after the grace; the run ends as [`crate::ExitReason::Cancelled`].
    Cancel,
    /// Parked or ended: end now, whatever is not stored.
    Stop,
    /// In place of the last `Ack`: clean up and wait for another job. The answer is
    /// [`crate::Message::Renewed`], or `Refused` and the end of the init.
    Renew { upto: u64 },
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The daemon's name for this run, told again in [`crate::Message::Hello`].
    pub id: String,
    pub setup: Option<Setup>,
    /// Program and arguments; the program is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The environment of the script; nothing is added but the secrets.
    pub env: Vec<(String, String)>,
    /// Variables of the script alone, not of its setup. Their values are covered in all text that is told.
    pub secrets: Vec<(String, String)>,
    pub limits: Limits,
}

/// A step before the script, such as installing its dependencies. Its own kill grace is the job's.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// For the script alone; the setup has its own.
    pub timeout_ms: u64,
    /// Between SIGTERM and SIGKILL.
    pub grace_ms: u64,
    /// Bytes of text that are kept of each stream.
    pub output_limit: u64,
    pub max_outputs: u32,
    /// Bytes of all output files together.
    pub max_output_bytes: u64,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resume { after } => f.debug_struct("Resume").field("after", after).finish(),
            Self::File { name, offset, content } => f
                .debug_struct("File")
                .field("name", name)
                .field("offset", offset)
                .field("content", &Size(content.len()))
                .finish(),
            Self::Run(job) => f.debug_tuple("Run").field(job).finish(),
            Self::Ack { upto } => f.debug_struct("Ack").field("upto", upto).finish(),
            Self::Fetch { output, offset, max } => f
                .debug_struct("Fetch")
                .field("output", output)
                .field("offset", offset)
                .field("max", max)
                .finish(),
            Self::Cancel => f.write_str("Cancel"),
            Self::Stop => f.write_str("Stop"),
            Self::Renew { upto } => f.debug_struct("Renew").field("upto", upto).finish(),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("setup", &self.setup)
            .field("argv", &self.argv)
            .field("env", &Names(&self.env))
            .field("secrets", &Names(&self.secrets))
            .field("limits", &self.limits)
            .finish()
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("argv", &self.argv)
            .field("env", &Names(&self.env))
            .field("timeout_ms", &self.timeout_ms)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_but_neither_values_nor_contents() {
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
    }
}
