//! The database: the only part that knows diesel and SQL.
//!
//! `Store::run` is the bridge from async code to diesel. It runs blocking work on tokio's blocking threads, with a
//! connection of the pool. The statements of the queue are in `queue/`.

mod api_keys;
mod disk_budget;
pub mod embedded_postgres;
mod environments;
mod error;
mod executions;
mod images;
pub mod migrations;
mod notify;
mod pool;
mod queue;
mod retention;
mod schema;
mod sql;
mod statistics;
mod subscriptions;
mod webhooks;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::query_dsl::methods::{ExecuteDsl, LoadQuery};
use diesel::sql_types::Integer;

pub use api_keys::{Authentication, KeyRow, NewKey};
pub use disk_budget::{DiskBudget, OverBudget, Reservation};
pub use environments::{EnvironmentKey, StoredEnvironment};
pub use error::StoreError;
pub use executions::progress::{Chunk, Progress, StreamCut};
pub use executions::query::{Filter, JobDefinition, Page, StreamText};
pub use images::StoredImage;
pub use queue::claim::{CLAIM_MOST, ClaimStatus, QueueDepth};
pub use queue::finish::FinishReply;
pub use queue::release::ReleasedClaim;
pub use queue::submit::Submitted;
pub use statistics::{DatabaseFacts, MINUTES, Minute};
pub use subscriptions::Subscription;
pub use webhooks::DueWebhook;
pub use workers::WorkerRow;

/// The statements of each execution, for benchmarks.
pub mod statements {
    pub use super::queue::claim::{CLAIM, CLAIM_AMONG};
    pub use super::queue::finish::FINISH;
}

use crate::metrics::METRICS;
use notify::Notifier;
use pool::Pool;

/// The server ends statements sooner (`statement_timeout`). This is for a connection that hangs.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A handle on the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Arc<Pool>,
    notifier: Arc<Notifier>,
    /// How often an execution may be claimed until its script starts (`execution.max_claims`).
    max_claims: i32,
}

impl Store {
    /// Opens no connection yet. `connections` is the number of calls that run at once.
    pub fn new(database_url: &str, connections: usize) -> Self {
        let (pool, notifier) = (Arc::new(Pool::new(database_url, connections)), Arc::new(Notifier::new()));
        Self { pool, notifier, max_claims: i32::MAX }
    }

    pub fn with_max_claims(self, max_claims: u32) -> Self {
        Self { max_claims: i32::try_from(max_claims).unwrap_or(i32::MAX), ..self }
    }

    /// A handle with `connections` of this one's in a pool of its own, so that a flood of API requests never keeps a
    /// worker from its heartbeats.
    pub fn with_own_pool(&self, connections: usize) -> Self {
        Self { pool: Arc::new(self.pool.split(connections)), ..self.clone() }
    }

    /// Runs blocking database work with a connection of the pool.
    async fn run<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&mut PgConnection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.run_within(CALL_TIMEOUT, work).await
    }

    /// The same for work whose only errors are diesel's.
    async fn query<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&mut PgConnection) -> QueryResult<T> + Send + 'static,
        T: Send + 'static,
    {
        self.run(|conn| Ok(work(conn)?)).await
    }

    /// The same in a transaction.
    async fn transaction<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&mut PgConnection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.run(|conn| conn.transaction(work)).await
    }

    /// Runs one statement that owns its parameters, and returns the number of rows that it changed.
    async fn execute<S>(&self, statement: S) -> Result<usize>
    where
        S: ExecuteDsl<PgConnection> + RunQueryDsl<PgConnection> + Send + 'static,
    {
        self.query(|conn| statement.execute(conn)).await
    }

    /// The rows of one statement that owns its parameters.
    async fn load<T: Send + 'static>(
        &self,
        statement: impl LoadQuery<'static, PgConnection, T> + Send + 'static,
    ) -> Result<Vec<T>> {
        self.query(|conn| statement.load(conn)).await
    }

    /// The first of these rows, or [`StoreError::NotFound`].
    async fn get<T: Send + 'static>(
        &self,
        statement: impl LoadQuery<'static, PgConnection, T> + Send + 'static,
    ) -> Result<T> {
        self.query(|conn| statement.get_result(conn)).await
    }

    /// After `deadline`, the work may still take effect.
    async fn run_within<T, F>(&self, deadline: Duration, work: F) -> Result<T>
    where
        F: FnOnce(&mut PgConnection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let waiting = Instant::now();
        let permit = self.pool.permit().await?;
        METRICS.store_waits.observe(&[], waiting.elapsed());
        let pool = Arc::clone(&self.pool);
        let busy = METRICS.store_busy.raise();
        let working = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let result = pool.with(work);
            drop(busy);
            METRICS.store_calls.observe(&[], started.elapsed());
            if let Err(error) = &result {
                METRICS.store_errors.add(&[error.kind()], 1);
            }
            result
        });
        // In a task of its own, so that the permit is held until the end when the caller is dropped. At the deadline the
        // next call gets the permit, although this thread still hangs in libpq, which cannot be interrupted.
        let finished = tokio::spawn(async move {
            let result = tokio::time::timeout(deadline, working).await;
            drop(permit);
            result
        });
        let stopped = |error| StoreError::Internal(format!("database work stopped: {error}"));
        match finished.await.map_err(stopped)? {
            Ok(result) => result.map_err(stopped)?,
            Err(_) => Err(StoreError::Unavailable(format!("no answer within {}s", deadline.as_secs()))),
        }
    }

    /// Whether the database answers within two seconds.
    pub async fn ping(&self) -> Result<()> {
        let one = diesel::select(1.into_sql::<Integer>());
        self.run_within(PING_TIMEOUT, move |conn| Ok(one.execute(conn).map(drop)?)).await
    }
}
