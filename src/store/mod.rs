//! Everything that is kept: the only place that knows diesel and SQL.
//!
//! `Store::run` is the one bridge from async code to diesel: a bounded number of permits, each with a
//! connection of its own, on the blocking pool. The queue's statements stand together in `queue.rs`
//! and `giving_back.rs`.

mod api_keys;
mod connections;
mod database_facts;
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
mod statement;
mod statistics;
mod subscriptions;
mod webhooks;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::PgConnection;

pub use api_keys::{Authentication, KeyRow, NewKey};
pub use database_facts::DatabaseFacts;
pub use disk_budget::{DiskBudget, OverBudget, Reservation};
pub use environments::{EnvironmentKey, StoredEnvironment};
pub use error::StoreError;
pub use executions::outputs::Chunk;
pub use executions::progress::{Progress, StreamCut};
pub use executions::query::{Filter, Page, StreamText};
pub use executions::receipts::JobDefinition;
pub use images::StoredImage;
pub use queue::claim::{CLAIM_MOST, ClaimStatus, QueueDepth};
pub use queue::finish::FinishReply;
pub use queue::release::ReleasedClaim;
pub use queue::submit::Submitted;
pub use statistics::{MINUTES, Minute};
pub use subscriptions::Subscription;
pub use webhooks::DueWebhook;
pub use workers::WorkerRow;

/// The statements that a run costs, for those who measure them.
pub mod statements {
    pub const CLAIM: &str = super::queue::claim::CLAIM;
    /// The claim of a worker with labels.
    pub const CLAIM_AMONG: &str = super::queue::claim::CLAIM_AMONG;
    pub const FINISH: &str = super::queue::finish::FINISH;
}

use crate::metrics::METRICS;
use connections::Connections;
use notify::Notifier;
use pool::Lane;

/// For one call. The server ends its statements sooner (`statement_timeout`); this is for one that hangs
/// together with its connections, which nobody else notices.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
/// Whether it answers at all.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// A handle on the database; cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    connections: Arc<Connections>,
    lane: Arc<Lane>,
    news: Arc<Notifier>,
}

impl Store {
    /// Makes no connection yet. `size` is the number of connections at most.
    pub fn new(database_url: &str, size: usize) -> Self {
        Self {
            connections: Arc::new(Connections::new(database_url)),
            lane: Lane::new(size),
            news: Arc::new(Notifier::new()),
        }
    }

    /// A handle that has `size` of this one's connections for itself, so that what uses it never queues behind
    /// the rest: a flood of requests must not keep a worker from its heartbeats.
    pub fn with_own_pool(&self, size: usize) -> Self {
        Self { lane: self.lane.split(size), ..self.clone() }
    }

    /// Runs blocking database work on a connection of its own.
    ///
    /// A connection whose work failed for a reason of its own is thrown away, so that a restarted
    /// Postgres is reached again without a restart of the daemon.
    pub async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&mut PgConnection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.run_within(ANSWER_TIMEOUT, work).await
    }

    /// The same for work that takes another time. What it did after that is not known.
    async fn run_within<T, F>(&self, deadline: Duration, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&mut PgConnection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let asked = Instant::now();
        let seat = self.lane.seat().await?;
        METRICS.store_waits.observe(&[], asked.elapsed());
        let (connections, taken) = (Arc::clone(&self.connections), Arc::clone(&seat));
        let busy = METRICS.store_busy.raise();
        let working = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let result = connections.with(work);
            drop((taken, busy));
            METRICS.store_calls.observe(&[], begun.elapsed());
            if let Err(error) = &result {
                METRICS.store_errors.add(&[error.kind()], 1);
            }
            result
        });
        let stopped = |error| StoreError::Internal(format!("database work stopped: {error}"));
        // A task of its own, so that a caller who goes away does not take the deadline along.
        let answered = tokio::spawn(async move {
            match tokio::time::timeout(deadline, working).await {
                Ok(done) => done.unwrap_or_else(|error| Err(stopped(error))),
                Err(_) => {
                    seat.pass_on();
                    Err(StoreError::Unavailable(format!("no answer within {}s", deadline.as_secs())))
                }
            }
        });
        answered.await.unwrap_or_else(|error| Err(stopped(error)))
    }

    /// Whether the database answers, within seconds.
    pub async fn ping(&self) -> Result<(), StoreError> {
        use diesel::RunQueryDsl;
        self.run_within(PING_TIMEOUT, |conn| Ok(diesel::sql_query("SELECT 1").execute(conn).map(|_| ())?))
            .await
    }
}
