//! Handles Ctrl-C and other signals: the execution continues, a hint explains how to see or cancel it, and no
//! partially saved file remains.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::download::partial_file;
use crate::error::CliError;
use crate::output::console::Console;

/// What a signal interrupts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    Submitting,
    /// Waiting for the execution with this ID.
    Waiting(String),
    /// Waiting for a batch, of which this many inputs are not submitted yet.
    Batch {
        id: String,
        unsubmitted: usize,
    },
    Downloading,
    /// Nothing is running on the server.
    Finished,
}

pub struct InterruptHandler(Arc<Mutex<Activity>>);

impl InterruptHandler {
    /// From now on, SIGINT, SIGTERM and SIGHUP end this process.
    pub fn install(activity: Activity, console: &Console) -> Result<Self, CliError> {
        let activity = Arc::new(Mutex::new(activity));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| CliError::failure(format!("cannot handle Ctrl-C: {error}")))?;
        let (shared, console) = (Arc::clone(&activity), console.clone());
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let _no_new_files = partial_file::remove_all();
                console.clear_status();
                if signal == SIGINT {
                    let activity = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if let Some(hint) = hint(&activity) {
                        console.hint(&hint);
                    }
                }
                // The code that a shell reports for a process that was ended by a signal.
                std::process::exit(128 + signal);
            }
        });
        Ok(Self(activity))
    }

    pub fn set(&self, activity: Activity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = activity;
    }
}

fn hint(activity: &Activity) -> Option<String> {
    Some(match activity {
        Activity::Submitting => {
            "it may have been submitted; list the latest executions with `rgrid list`".to_owned()
        }
        Activity::Waiting(id) => {
            format!(
                "the execution continues; follow it with `rgrid logs -f {id}`, cancel it with `rgrid cancel {id}`"
            )
        }
        Activity::Batch { id, unsubmitted } => {
            let state = match unsubmitted {
                0 => "the batch continues".to_owned(),
                1 => "1 input was not submitted; the others continue".to_owned(),
                count => format!("{count} inputs were not submitted; the others continue"),
            };
            format!(
                "{state}: wait with `rgrid wait {id}`, list them with `rgrid list {id}`, cancel them with `rgrid cancel {id}`"
            )
        }
        Activity::Downloading => {
            "saved files are complete; run the command again to save the rest".to_owned()
        }
        Activity::Finished => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_execution_that_continues() {
        let hint_text = hint(&Activity::Waiting("exec_1".to_owned())).unwrap();
        assert!(hint_text.contains("`rgrid logs -f exec_1`") && hint_text.contains("`rgrid cancel exec_1`"));
        assert_eq!(hint(&Activity::Finished), None);
    }
}
