//! Everything that is kept: the only place that knows diesel and SQL.
//!
//! `Store::run` is the one bridge from async code to diesel: a bounded number of permits, each with a
//! connection of its own, on the blocking pool. The queue's statements stand together in `queue.rs`.

mod budget;
mod changing;
mod connections;
pub mod embedded;
mod error;
mod examination;
mod files;
mod following;
pub mod migrations;
mod news;
mod outputs;
mod queue;
mod reading;
mod receipts;
mod recording;
mod retention;
mod schema;
mod statement;
mod statistics;
mod submitting;
mod watching;
mod webhooks;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use tokio::sync::Semaphore;

pub use budget::{Budget, NoRoom};
pub use error::StoreError;
pub use examination::DatabaseFacts;
pub use following::{CutStream, Standing};
pub use outputs::Chunk;
pub use queue::{Pulse, QueueDepth, Rescue};
pub use reading::{Filter, Page, StreamText};
pub use receipts::MadeOf;
pub use recording::Recorded;
pub use statistics::{MINUTES, Minute};
pub use submitting::Submitted;
pub use watching::Watch;
pub use webhooks::DueWebhook;
pub use workers::WorkerRow;

use crate::metrics::METRICS;
use connections::Connections;
use news::Newsroom;

/// How long a call waits for a free connection before it says that the database is busy.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle on the database; cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    connections: Arc<Connections>,
    permits: Arc<Semaphore>,
    news: Arc<Newsroom>,
}

impl Store {
    /// Makes no connection yet. `size` is the number of connections at most.
    pub fn new(database_url: &str, size: usize) -> Self {
        Self {
            connections: Arc::new(Connections::new(database_url)),
            permits: Arc::new(Semaphore::new(size)),
            news: Arc::new(Newsroom::new()),
        }
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
        let asked = Instant::now();
        let waiting = Arc::clone(&self.permits).acquire_owned();
        let permit = match tokio::time::timeout(PERMIT_TIMEOUT, waiting).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(StoreError::Busy),
        };
        METRICS.store_waits.observe(&[], asked.elapsed());
        let connections = Arc::clone(&self.connections);
        let busy = METRICS.store_busy.raise();
        let done = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let result = connections.with(work);
            drop((permit, busy));
            METRICS.store_calls.observe(&[], begun.elapsed());
            if let Err(error) = &result {
                METRICS.store_errors.add(&[error.kind()], 1);
            }
            result
        });
        done.await
            .unwrap_or_else(|stopped| Err(StoreError::Internal(format!("database work stopped: {stopped}"))))
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        use diesel::RunQueryDsl;
        self.run(|conn| Ok(diesel::sql_query("SELECT 1").execute(conn).map(|_| ())?)).await
    }
}
