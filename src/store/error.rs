//! Errors of the store, by what a caller can do about them.

use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum StoreError {
    /// The database is unreachable or starting; retry later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Retry later.
    #[error("all database connections are busy")]
    Busy,
    #[error("nothing of that id")]
    NotFound,
    /// Several executions share this prefix.
    #[error("{0} executions begin with that id")]
    Ambiguous(usize),
    #[error("the idempotency key was used for another submission")]
    KeyReused,
    /// The request does not fit the state of the execution or of the deployment.
    #[error("{0}")]
    Conflict(String),
    /// A bug.
    #[error("database error: {0}")]
    Internal(String),
    /// Retry when there is room again.
    #[error("the database's disk is full: {0}")]
    DiskFull(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::DiskFull(_) | StoreError::Busy)
    }

    /// The label of the error metric.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Busy => "busy",
            StoreError::DiskFull(_) => "no_room",
            StoreError::Internal(_) => "internal",
            _ => "asked",
        }
    }

    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Internal(_))
    }

    pub(crate) fn unavailable(message: &str) -> Self {
        StoreError::Unavailable(first_line(message))
    }
}

/// A stored value that does not parse.
impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        StoreError::Internal(format!("stored row: {error}"))
    }
}

impl From<ConnectionError> for StoreError {
    fn from(error: ConnectionError) -> Self {
        StoreError::unavailable(&error.to_string())
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::NotFound => StoreError::NotFound,
            DieselError::DatabaseError(kind, info) => classify(&kind, info.message()),
            DieselError::BrokenTransactionManager => {
                StoreError::Unavailable("the connection broke within a transaction".to_owned())
            }
            other => StoreError::Internal(other.to_string()),
        }
    }
}

/// diesel reports the SQLSTATE only as a [`DatabaseErrorKind`] and names few of them. For the others, the messages of
/// Postgres and libpq decide. A server whose `lc_messages` is not English yields `Internal` for them, which is logged
/// and answered as an error instead of being retried.
fn classify(kind: &DatabaseErrorKind, message: &str) -> StoreError {
    const DISK_FULL: [&str; 3] = ["No space left on device", "could not extend file", "Disk quota exceeded"];
    const TRANSIENT: [&str; 12] = [
        "server closed the connection",
        "connection to server",
        "no connection to the server",
        "terminating connection",
        "could not receive data",
        "could not send data",
        "the database system is",
        "canceling statement",
        "deadlock detected",
        "recovery conflict",
        "too many clients",
        "SSL",
    ];
    let contains_any = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if contains_any(&DISK_FULL) {
        return StoreError::DiskFull(first_line(message));
    }
    match kind {
        DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::SerializationFailure
        | DatabaseErrorKind::ReadOnlyTransaction
        // Retention removed a blob just when a submission referenced it; the next try stores it again.
        | DatabaseErrorKind::ForeignKeyViolation => StoreError::unavailable(message),
        _ if contains_any(&TRANSIENT) => StoreError::unavailable(message),
        _ => StoreError::Internal(first_line(message)),
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_errors_are_classified_by_what_a_caller_can_do() {
        use DatabaseErrorKind::*;
        // Kind, message, expected kind, transient, breaks the connection.
        for (kind, message, expected, transient, breaks) in [
            (ClosedConnection, "anything", "unavailable", true, true),
            (UnableToSendCommand, "anything", "unavailable", true, true),
            (SerializationFailure, "could not serialize access", "unavailable", true, true),
            (ReadOnlyTransaction, "cannot execute UPDATE", "unavailable", true, true),
            (ForeignKeyViolation, "violates foreign key constraint", "unavailable", true, true),
            (UniqueViolation, "duplicate key value", "internal", false, true),
            (CheckViolation, "violates check constraint", "internal", false, true),
            (Unknown, "syntax error at or near", "internal", false, true),
            (Unknown, "server closed the connection unexpectedly", "unavailable", true, true),
            (Unknown, "terminating connection due to administrator command", "unavailable", true, true),
            (Unknown, "the database system is starting up", "unavailable", true, true),
            (Unknown, "canceling statement due to statement timeout", "unavailable", true, true),
            (Unknown, "deadlock detected", "unavailable", true, true),
            (Unknown, "sorry, too many clients already", "unavailable", true, true),
            (Unknown, "could not extend file \"base/1\": No space left on device", "no_room", true, false),
            (ClosedConnection, "PANIC: No space left on device", "no_room", true, false),
        ] {
            let error = classify(&kind, message);
            let found = (error.kind(), error.is_transient(), error.breaks_connection());
            assert_eq!(found, (expected, transient, breaks), "{kind:?}: {message}");
        }
    }

    #[test]
    fn only_the_first_line_of_a_message_is_kept() {
        let error =
            StoreError::from(ConnectionError::BadConnection("refused\nIs the server running?".to_owned()));
        assert_eq!(error.to_string(), "the database is not available: refused");
    }
}
