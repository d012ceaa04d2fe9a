//! The connection pool: r2d2, with a semaphore in front.
//!
//! r2d2 checks each connection on checkout. Comparing its generation with the manager's takes no round trip, and after
//! one connection has failed it discards all idle ones, which a restart of Postgres has most likely closed as well. See
//! `docs/decisions/0002-connections.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, PgConnection};
use r2d2::{ManageConnection, NopErrorHandler};
use scheduled_thread_pool::ScheduledThreadPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::{Result, StoreError};

/// How long a call waits for a permit before it fails with [`StoreError::Busy`].
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call with a permit waits until r2d2 has a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// A statement that exceeds these is stuck. No statement of ours is worth 30 ms of JIT compilation.
const SESSION_SETTINGS: &str = "SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '20s'; SET client_min_messages = 'warning'; \
     SET timezone = 'UTC'; SET jit = off";

/// libpq's limits for connecting and for detecting a silent peer.
const URL_DEFAULTS: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("tcp_user_timeout", "10000"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("application_name", "rgridd"),
];

pub(crate) struct Pool {
    url: String,
    connections: r2d2::Pool<Manager>,
    permits: Arc<Semaphore>,
    permit_count: Arc<AtomicUsize>,
    /// The thread in which r2d2 connects, shared by all pools of a store.
    background: Arc<ScheduledThreadPool>,
}

impl Pool {
    /// Opens no connection yet.
    pub fn new(url: &str, permits: usize) -> Self {
        let background =
            ScheduledThreadPool::builder().num_threads(1).thread_name_pattern("store-connect").build();
        Self::with_background(with_defaults(url), permits, Arc::new(background))
    }

    fn with_background(url: String, permits: usize, background: Arc<ScheduledThreadPool>) -> Self {
        // Twice the permits: a thread that hangs in libpq keeps its connection, and the next call needs another one.
        let max_size = u32::try_from(2 * permits).unwrap_or(u32::MAX).max(1);
        let permit_count = Arc::new(AtomicUsize::new(permits));
        let connections = r2d2::Pool::builder()
            .max_size(max_size)
            .min_idle(Some(0))
            .test_on_check_out(true)
            .idle_timeout(None)
            .max_lifetime(None)
            .connection_timeout(CONNECTION_TIMEOUT)
            .thread_pool(Arc::clone(&background))
            // A failure to connect reaches the log through the call that needed the connection.
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(Manager {
                url: url.clone(),
                generation: AtomicU64::new(0),
                permits: Arc::clone(&permit_count),
                open: Arc::new(()),
            });
        Self { url, connections, permits: Arc::new(Semaphore::new(permits)), permit_count, background }
    }

    /// Moves `permits` of this pool to a new one.
    pub fn split(&self, permits: usize) -> Self {
        self.permits.forget_permits(permits);
        self.permit_count.fetch_sub(permits, Ordering::SeqCst);
        Self::with_background(self.url.clone(), permits, Arc::clone(&self.background))
    }

    /// The right to call [`Pool::with`] once. It may be dropped before the call returns, when the call hangs.
    pub async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(PERMIT_TIMEOUT, permit).await;
        permit.ok().and_then(|permit| permit.ok()).ok_or(StoreError::Busy)
    }

    /// Blocking. Returns the connection to the pool, unless the work failed because of the connection.
    pub fn with<T>(&self, work: impl FnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
        let mut pooled =
            self.connections.get().map_err(|error| StoreError::unavailable(&error.to_string()))?;
        // Until the work returns, so that a panic never leaves a half-used connection in the pool.
        pooled.is_broken = true;
        let PooledConnection { connection, is_configured, .. } = &mut *pooled;
        // Not when connecting: a server that hangs here must not stop the one thread that connects.
        let configured = if *is_configured { Ok(()) } else { connection.batch_execute(SESSION_SETTINGS) };
        *is_configured |= configured.is_ok();
        let result = configured.map_err(StoreError::from).and_then(|()| work(connection));
        pooled.is_broken = result.as_ref().is_err_and(StoreError::breaks_connection);
        result
    }

    /// Blocking. A connection outside of the pool, for a listener that keeps it.
    pub fn connect(&self) -> Result<PgConnection> {
        let mut connection = PgConnection::establish(&self.url)?;
        connection.batch_execute(SESSION_SETTINGS)?;
        Ok(connection)
    }
}

struct Manager {
    url: String,
    /// Incremented when a connection breaks. Connections of earlier generations are discarded on checkout.
    generation: AtomicU64,
    permits: Arc<AtomicUsize>,
    /// Each connection holds a reference, which counts the open ones.
    open: Arc<()>,
}

struct PooledConnection {
    connection: PgConnection,
    generation: u64,
    is_configured: bool,
    is_broken: bool,
    _open: Arc<()>,
}

impl ManageConnection for Manager {
    type Connection = PooledConnection;
    type Error = ConnectionError;

    fn connect(&self) -> Result<PooledConnection, ConnectionError> {
        // Read first: a failure while this one connects may be its failure as well.
        let generation = self.generation.load(Ordering::SeqCst);
        let connection = PgConnection::establish(&self.url)?;
        let _open = Arc::clone(&self.open);
        Ok(PooledConnection { connection, generation, is_configured: false, is_broken: false, _open })
    }

    fn is_valid(&self, pooled: &mut PooledConnection) -> Result<(), ConnectionError> {
        if pooled.generation == self.generation.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(ConnectionError::BadConnection("discarded after another connection failed".to_owned()))
    }

    fn has_broken(&self, pooled: &mut PooledConnection) -> bool {
        if pooled.is_broken {
            // Once per failure: connections that break later for the same reason must not discard the new ones.
            let (known, next) = (pooled.generation, pooled.generation + 1);
            let _ = self.generation.compare_exchange(known, next, Ordering::SeqCst, Ordering::SeqCst);
        }
        // More are open than there are permits after others have hung, or after an outage: r2d2 keeps trying to connect
        // for each call that has given up.
        let is_surplus = Arc::strong_count(&self.open) - 1 > self.permits.load(Ordering::SeqCst);
        pooled.is_broken || is_surplus
    }
}

/// Adds the defaults before the parameters of the URL, because libpq uses the last value of a repeated parameter.
fn with_defaults(url: &str) -> String {
    let defaults = |separator| URL_DEFAULTS.map(|(name, value)| format!("{name}={value}")).join(separator);
    let parts = url.split_once("://").filter(|(scheme, _)| ["postgresql", "postgres"].contains(scheme));
    let Some((scheme, rest)) = parts else {
        // libpq's other format, such as `host=/run/postgresql dbname=rgrid`.
        return format!("{} {url}", defaults(" "));
    };
    // As in libpq, a password may contain a question mark.
    let at = rest.find(['@', '/']).filter(|at| rest.as_bytes().get(*at) == Some(&b'@'));
    let (credentials, rest) = rest.split_at(at.map_or(0, |at| at + 1));
    let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    format!("{scheme}://{credentials}{address}?{}&{parameters}", defaults("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_libpq_get_the_defaults_and_own_settings_take_precedence() {
        let defaults = "connect_timeout=5&tcp_user_timeout=10000&keepalives_idle=10&keepalives_interval=5\
            &application_name=rgridd&";
        for (address, parameters) in [
            ("postgres://h/db", ""),
            ("postgresql://h/db", "connect_timeout=1"),
            ("postgres://user:p?w@h/db", "sslmode=require&application_name=mine"),
            ("postgres:///db", "user=a@b&host=%2Frun"),
        ] {
            let url =
                if parameters.is_empty() { address.to_owned() } else { format!("{address}?{parameters}") };
            assert_eq!(with_defaults(&url), format!("{address}?{defaults}{parameters}"));
        }
        let defaults = defaults.replace('&', " ");
        for url in
            ["host=/run/postgresql dbname=rgrid", "dbname='a?b' connect_timeout = 1", "user=postgres://"]
        {
            assert_eq!(with_defaults(url), format!("{defaults}{url}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_permit_fails_as_busy_and_pools_do_not_share_permits() {
        let api = Pool::new("postgres://127.0.0.1:1/none", 3);
        let worker = api.split(1);
        let taken = (api.permit().await.unwrap(), api.permit().await.unwrap());
        assert!(matches!(api.permit().await, Err(StoreError::Busy)));
        assert!(worker.permit().await.is_ok());
        drop(taken);
        assert!(api.permit().await.is_ok());
    }

    #[test]
    fn a_refused_connection_is_reported_without_the_password() {
        let pool = Pool::new("postgres://user:secret@127.0.0.1:1/none", 1);
        let Err(StoreError::Unavailable(message)) = pool.with(|_| Ok(())) else {
            panic!("no server listens")
        };
        assert!(message.contains("refused") && !message.contains("secret"), "{message}");
    }
}
