//! Batches: one execution of a script per input, grouped by a label.

mod inputs;
mod progress;
mod run;

use std::collections::BTreeSet;
use std::fmt;

use rgrid_api::{Execution, Status};

use crate::client::Client;
use crate::error::{CliError, Exit, Result};
use crate::submit::random_bytes;
pub use inputs::{BatchOptions, Split, folder_names, split, was_pattern_expanded};
pub use progress::BatchProgress;
pub use run::run;

const BATCH_LABEL: &str = "rgrid.batch";
const INPUT_LABEL: &str = "rgrid.input";
const PREFIX: &str = "batch_";
/// Crockford's Base32, as in the IDs of executions: no letters that look alike.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchId(String);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BatchId {
    /// Returns `None` for the ID of an execution.
    pub fn parse(text: &str) -> Option<Self> {
        text.starts_with(PREFIX).then(|| Self(text.to_owned()))
    }

    fn generate() -> Result<Self> {
        let bytes = random_bytes::<8>()?;
        let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
        Ok(Self(PREFIX.chars().chain(letters.map(|letter| char::from(*letter))).collect()))
    }

    pub fn label(&self) -> (String, String) {
        (BATCH_LABEL.to_owned(), self.0.clone())
    }
}

pub fn input_of(execution: &Execution) -> &str {
    execution.labels.get(INPUT_LABEL).map_or(&execution.id, String::as_str)
}

/// The latest execution of each input, newest first.
pub fn executions(client: &Client, batch: &BatchId) -> Result<Vec<Execution>> {
    let mut executions = client.executions(&[batch.label()], None, usize::MAX)?.items;
    if executions.is_empty() {
        return Err(not_found(batch));
    }
    let mut inputs = BTreeSet::new();
    executions.retain(|execution| inputs.insert(input_of(execution).to_owned()));
    Ok(executions)
}

pub fn not_found(batch: &BatchId) -> CliError {
    CliError::new(Exit::NotFound, format!("no such batch: {batch}")).hint("list executions with `rgrid list`")
}

/// Queued executions come first, so that cancelling a running one does not start another.
pub fn unfinished(client: &Client, batch: &BatchId) -> Result<Vec<Execution>> {
    let with_status = |status| client.executions(&[batch.label()], Some(status), usize::MAX);
    let mut executions = with_status(Status::Queued)?.items;
    executions.extend(with_status(Status::Running)?.items);
    // An execution may have started between the two requests.
    let mut ids = BTreeSet::new();
    executions.retain(|execution| ids.insert(execution.id.clone()));
    Ok(executions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_ids_are_distinguished_from_execution_ids() {
        let id = BatchId::generate().unwrap();
        assert_eq!(BatchId::parse(&id.to_string()), Some(id.clone()));
        assert_eq!(id.to_string().len(), "batch_".len() + 8);
        assert_eq!(BatchId::parse("exec_01jd3k"), None);
        assert!(rgrid_api::names::check_label_key(&id.label().0).is_ok());
    }
}
