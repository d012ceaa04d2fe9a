//! Ctrl-C while somebody waits: the execution goes on, and the hint says how to see or end it. Nothing half is
//! left of files that are being saved, whatever ends this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::download::partial_file;
use crate::error::Failure;
use crate::output::console::Console;

/// What an interrupt would interrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    Submitting,
    /// For the execution of that id.
    Waiting(String),
    /// For a batch, of which so many are not submitted yet.
    Batch {
        id: String,
        left: usize,
    },
    /// Files are being saved, of which those that are whole stay.
    Saving,
    /// Nothing goes on at the server.
    Ended,
}

pub struct Interrupt(Arc<Mutex<Stage>>);

impl Interrupt {
    /// From now on Ctrl-C says what it leaves behind, and ends this process.
    pub fn watch(stage: Stage, console: &Console) -> Result<Self, Failure> {
        let stage = Arc::new(Mutex::new(stage));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| Failure::failed(format!("Ctrl-C can't be watched for: {error}")))?;
        let (watched, console) = (Arc::clone(&stage), console.clone());
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let _nothing_new = partial_file::remove_all();
                console.settle();
                if signal == SIGINT {
                    let stage = watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if let Some(hint) = hint(&stage) {
                        console.hint(&hint);
                    }
                }
                // As a shell tells of a process that a signal ended.
                std::process::exit(128 + signal);
            }
        });
        Ok(Self(stage))
    }

    pub fn now(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

fn hint(stage: &Stage) -> Option<String> {
    match stage {
        Stage::Submitting => {
            Some("it may have been submitted already; `rgrid list` shows the newest".to_owned())
        }
        Stage::Waiting(id) => Some(format!(
            "the execution goes on; see it with `rgrid logs -f {id}`, end it with `rgrid cancel {id}`"
        )),
        Stage::Batch { id, left } => Some(batch_hint(id, *left)),
        Stage::Saving => Some("what was saved is whole; the same command again saves the rest".to_owned()),
        Stage::Ended => None,
    }
}

fn batch_hint(id: &str, left: usize) -> String {
    let goes_on = match left {
        0 => "the batch goes on".to_owned(),
        1 => "1 input was not submitted, and will not be; the others go on".to_owned(),
        left => format!("{left} inputs were not submitted, and will not be; the others go on"),
    };
    format!(
        "{goes_on}: wait with `rgrid wait {id}`, see it with `rgrid list {id}`, end it with `rgrid cancel {id}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_execution_that_goes_on() {
        let words = hint(&Stage::Waiting("exec_1".to_owned())).unwrap();
        assert!(words.contains("`rgrid logs -f exec_1`") && words.contains("`rgrid cancel exec_1`"));
        assert_eq!(hint(&Stage::Ended), None);
    }
}
