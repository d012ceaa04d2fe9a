//! What can go wrong with the database, sorted by what a caller does about it.

use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum StoreError {
    /// Ask again later: the database is away, or starting.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Ask again later: all connections are in use.
    #[error("all database connections are busy")]
    Busy,
    #[error("nothing of that id")]
    NotFound,
    /// The beginning of an id that several executions share.
    #[error("{0} executions begin with that id")]
    Ambiguous(usize),
    #[error("the idempotency key was used for another submission")]
    KeyReused,
    /// What the caller asked for does not fit the state of the execution.
    #[error("{0}")]
    Conflict(String),
    /// A mistake of ours.
    #[error("database error: {0}")]
    Internal(String),
    /// Ask again when somebody has made room.
    #[error("the database's disk is full: {0}")]
    DiskFull(String),
}

impl StoreError {
    /// The same call may go through later.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::DiskFull(_) | StoreError::Busy)
    }

    /// For the metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Busy => "busy",
            StoreError::DiskFull(_) => "no_room",
            StoreError::Internal(_) => "internal",
            StoreError::NotFound
            | StoreError::Ambiguous(_)
            | StoreError::KeyReused
            | StoreError::Conflict(_) => "asked",
        }
    }

    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Internal(_))
    }
}

impl From<ConnectionError> for StoreError {
    fn from(error: ConnectionError) -> Self {
        StoreError::Unavailable(first_line(&error.to_string()))
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::NotFound => StoreError::NotFound,
            DieselError::DatabaseError(kind, info) => from_database(&kind, info.message()),
            DieselError::BrokenTransactionManager => {
                StoreError::Unavailable("the connection broke within a transaction".to_owned())
            }
            other => StoreError::Internal(other.to_string()),
        }
    }
}

/// diesel gives no SQLSTATE, so Postgres' own words have to do for what it does not name.
fn from_database(kind: &DatabaseErrorKind, message: &str) -> StoreError {
    const NO_ROOM: [&str; 3] = ["No space left on device", "could not extend file", "Disk quota exceeded"];
    const PASSING: [&str; 12] = [
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
    let passing = PASSING.iter().any(|words| message.contains(words));
    match kind {
        _ if NO_ROOM.iter().any(|words| message.contains(words)) => StoreError::DiskFull(first_line(message)),
        DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::SerializationFailure
        | DatabaseErrorKind::ReadOnlyTransaction => StoreError::Unavailable(first_line(message)),
        // A content was removed by the retention's rules just when somebody named it; the next try brings it again.
        DatabaseErrorKind::ForeignKeyViolation => StoreError::Unavailable(first_line(message)),
        _ if passing => StoreError::Unavailable(first_line(message)),
        _ => StoreError::Internal(first_line(message)),
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}
