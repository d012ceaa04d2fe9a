//! The connections that are open and idle.
//!
//! Not r2d2: that either asks `SELECT 1` before each use, one more round trip a statement, or hands out
//! connections that a restart of Postgres has cut. See `docs/decisions/0002-connections.md`.

use std::sync::{Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};

use crate::store::StoreError;

/// Nothing of ours takes this long; what does is stuck. No statement is worth 30 ms of compiling it.
const SESSION: &str = "SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '20s'; SET client_min_messages = 'warning'; \
     SET timezone = 'UTC'; SET jit = off";

/// libpq's own limits: how long to connect, and when a silent peer counts as gone.
const LINK: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("tcp_user_timeout", "10000"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("application_name", "rgridd"),
];

pub(crate) struct Connections {
    url: String,
    idle: Mutex<Vec<PgConnection>>,
}

impl Connections {
    pub fn new(url: &str) -> Self {
        Self { url: with_link_settings(url), idle: Mutex::new(Vec::new()) }
    }

    /// Blocking. Gives the connection back unless the work failed for the connection's sake.
    pub fn with<T>(
        &self,
        work: impl FnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.take()?;
        let result = work(&mut connection);
        match &result {
            Err(error) if error.breaks_connection() => self.forget_idle(),
            _ => self.lock().push(connection),
        }
        result
    }

    fn take(&self) -> Result<PgConnection, StoreError> {
        // The guard must be gone before connecting, which may take seconds.
        let idle = self.lock().pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    /// A connection of one's own, for what holds it long.
    pub fn connect(&self) -> Result<PgConnection, StoreError> {
        let mut connection = PgConnection::establish(&self.url)?;
        connection.batch_execute(SESSION)?;
        Ok(connection)
    }

    /// When one connection broke, the others most likely did too.
    fn forget_idle(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds what the URL does not say itself.
fn with_link_settings(url: &str) -> String {
    let mut full = url.to_owned();
    for (name, value) in LINK {
        if !url.contains(&format!("{name}=")) {
            let joint = if full.contains('?') { '&' } else { '?' };
            full.push_str(&format!("{joint}{name}={value}"));
        }
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_url_says_wins() {
        let full = with_link_settings("postgres://h/db?connect_timeout=1");
        assert!(full.contains("connect_timeout=1&") && !full.contains("connect_timeout=5"), "{full}");
        assert!(with_link_settings("postgres://h/db").contains("db?connect_timeout=5&"));
    }
}
