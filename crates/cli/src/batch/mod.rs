//! One script over several inputs: an execution each, held together by a label.

mod inputs;
mod options;
mod progress;
mod run;
mod summary;

use std::collections::BTreeSet;
use std::fmt;

use rgrid_api::{Execution, Status};

use crate::client::Server;
use crate::client::random;
use crate::error::Failure;
use crate::exit_code::Exit;
pub use inputs::folder_names;
pub use options::{BatchOptions, Split, lost_its_pattern, split};
pub use progress::Watch;
pub use run::{Job, run};
pub use summary::show as summary;

/// The labels that a batch's executions have: which batch, and which input.
const BATCH: &str = "rgrid.batch";
const INPUT: &str = "rgrid.input";
const BEGIN: &str = "batch_";
/// As in the ids of executions: no letters that are easily taken for others.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchId(String);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BatchId {
    /// None when it is none: the id of an execution.
    pub fn of(text: &str) -> Option<Self> {
        text.starts_with(BEGIN).then(|| Self(text.to_owned()))
    }

    fn generate() -> Result<Self, Failure> {
        let letters = random::bytes::<8>()?;
        let letters = letters.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
        Ok(Self(BEGIN.chars().chain(letters.map(|letter| char::from(*letter))).collect()))
    }

    pub fn label(&self) -> (String, String) {
        (BATCH.to_owned(), self.0.clone())
    }
}

/// Which input an execution is for.
pub fn input_of(execution: &Execution) -> &str {
    execution.labels.get(INPUT).map_or(&execution.id, String::as_str)
}

/// All executions of a batch, the newest first; of an input that was run again, the last one alone.
pub fn members(server: &Server, batch: &BatchId) -> Result<Vec<Execution>, Failure> {
    let mut found = server.all_executions(&[batch.label()], None)?;
    if found.is_empty() {
        return Err(unknown(batch));
    }
    let mut inputs = BTreeSet::new();
    found.retain(|execution| inputs.insert(input_of(execution).to_owned()));
    Ok(found)
}

pub fn unknown(batch: &BatchId) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no such batch: {batch}"))
        .hint("`rgrid list` shows what there is")
}

/// Those that wait, then those that run: one that was told to end makes no room for the next.
pub fn unfinished(server: &Server, batch: &BatchId) -> Result<Vec<Execution>, Failure> {
    let mut found = server.all_executions(&[batch.label()], Some(Status::Queued))?;
    found.extend(server.all_executions(&[batch.label()], Some(Status::Running))?);
    // One may have begun in between.
    let mut known = BTreeSet::new();
    found.retain(|execution| known.insert(execution.id.clone()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_told_from_an_execution_by_its_id() {
        let id = BatchId::generate().unwrap();
        assert_eq!(BatchId::of(&id.to_string()), Some(id.clone()));
        assert_eq!(id.to_string().len(), "batch_".len() + 8);
        assert_eq!(BatchId::of("exec_01jd3k"), None);
        assert!(rgrid_api::names::check_label_key(&id.label().0).is_ok());
    }
}
