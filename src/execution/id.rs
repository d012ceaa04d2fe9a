//! Names of executions and workers.

use std::fmt;

/// `exec_` and a ULID in lower case: sorts by time of submission, guesses badly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId(String);

impl ExecutionId {
    pub const PREFIX: &'static str = "exec_";
    /// `exec_` and 26 letters.
    pub const LENGTH: usize = 31;

    pub fn generate() -> Self {
        let ulid = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        Self(format!("{}{ulid}", Self::PREFIX))
    }

    /// An id that the database holds.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` can be an id or the beginning of one; a user may leave out `exec_`.
    pub fn normalise_prefix(text: &str) -> Option<String> {
        let bare = text.strip_prefix(Self::PREFIX).unwrap_or(text);
        let fits = !bare.is_empty()
            && bare.len() <= Self::LENGTH - Self::PREFIX.len()
            && bare.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| format!("{}{bare}", Self::PREFIX))
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One process that executes. New at each start, so that nothing of a former life matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerId(String);

impl WorkerId {
    pub fn generate() -> Self {
        Self(format!("worker_{}", ulid::Ulid::generate().to_string().to_ascii_lowercase()))
    }

    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_has_its_form() {
        let id = ExecutionId::generate();
        assert_eq!(id.as_str().len(), ExecutionId::LENGTH);
        assert_eq!(ExecutionId::normalise_prefix(id.as_str()).as_deref(), Some(id.as_str()));
    }

    #[test]
    fn a_prefix_may_leave_out_its_beginning() {
        assert_eq!(ExecutionId::normalise_prefix("01jd3k").as_deref(), Some("exec_01jd3k"));
        for bad in ["", "exec_", "exec_%", "../x", "EXEC_01", "exec_\0", &"0".repeat(500)] {
            assert_eq!(ExecutionId::normalise_prefix(bad), None, "{bad}");
        }
    }
}
