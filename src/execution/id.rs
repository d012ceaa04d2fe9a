//! IDs of executions and workers.

use derive_more::Display;

/// `exec_` and a lowercase ULID: sorts by submission time and is hard to guess.
#[derive(Debug, Display, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId(String);

impl ExecutionId {
    pub const PREFIX: &'static str = "exec_";
    pub const LENGTH: usize = 31;

    pub fn generate() -> Self {
        let ulid = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        Self(format!("{}{ulid}", Self::PREFIX))
    }

    /// For IDs from the database, which are valid.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Completes a user's prefix of an ID, which may lack `exec_`; `None` if no ID can begin with it.
    pub fn normalise_prefix(text: &str) -> Option<String> {
        let bare = text.strip_prefix(Self::PREFIX).unwrap_or(text);
        let fits = !bare.is_empty()
            && bare.len() <= Self::LENGTH - Self::PREFIX.len()
            && bare.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| format!("{}{bare}", Self::PREFIX))
    }
}

/// A worker process. Generated at each start, so that claims of an earlier process do not match.
#[derive(Debug, Display, Clone, PartialEq, Eq, Hash)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_is_a_valid_prefix_of_itself() {
        let id = ExecutionId::generate();
        assert_eq!(id.as_str().len(), ExecutionId::LENGTH);
        assert_eq!(ExecutionId::normalise_prefix(id.as_str()).as_deref(), Some(id.as_str()));
    }

    #[test]
    fn a_prefix_may_omit_exec_and_invalid_prefixes_are_rejected() {
        assert_eq!(ExecutionId::normalise_prefix("01jd3k").as_deref(), Some("exec_01jd3k"));
        for bad in ["", "exec_", "exec_%", "../x", "EXEC_01", "exec_\0", &"0".repeat(500)] {
            assert_eq!(ExecutionId::normalise_prefix(bad), None, "{bad}");
        }
    }
}
