//! Everything that is kept: the only place that knows diesel and SQL.
//!
//! `Store::run` is the one bridge from async code to diesel: a bounded number of permits, each with a
//! connection of its own, on the blocking pool. The queue's statements stand together in `queue.rs`.

mod changing;
mod connections;
pub mod embedded;
mod error;
mod files;
mod keys;
pub mod migrations;
mod outputs;
mod queue;
mod reading;
mod recording;
mod schema;
mod submitting;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use diesel::PgConnection;
use tokio::sync::{Notify, Semaphore, broadcast};

pub use error::StoreError;
pub use keys::{Admission, KeyRow, NewKey};
pub use outputs::Chunk;
pub use queue::{Pulse, QueueDepth, Rescue};
pub use reading::{Filter, Page, StreamText};
pub use recording::Recorded;
pub use submitting::Submitted;
pub use workers::WorkerRow;

use connections::Connections;

use crate::execution::ExecutionId;

/// How long a call waits for a free connection before it says that the database is busy.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle on the database; cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    connections: Arc<Connections>,
    permits: Arc<Semaphore>,
    wake: Arc<Wake>,
}

/// News for others in this process; another process learns of them by polling.
struct Wake {
    queued: Notify,
    ended: broadcast::Sender<ExecutionId>,
}

impl Store {
    /// Makes no connection yet. `size` is the number of connections at most.
    pub fn new(database_url: &str, size: usize) -> Self {
        Self {
            connections: Arc::new(Connections::new(database_url)),
            permits: Arc::new(Semaphore::new(size)),
            wake: Arc::new(Wake { queued: Notify::new(), ended: broadcast::channel(1024).0 }),
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
        let waiting = Arc::clone(&self.permits).acquire_owned();
        let permit = match tokio::time::timeout(PERMIT_TIMEOUT, waiting).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(StoreError::Busy),
        };
        let connections = Arc::clone(&self.connections);
        let done = tokio::task::spawn_blocking(move || {
            let result = connections.with(work);
            drop(permit);
            result
        });
        done.await
            .unwrap_or_else(|stopped| Err(StoreError::Internal(format!("database work stopped: {stopped}"))))
    }

    /// Waits until something may have been queued in this process.
    pub async fn queued(&self) {
        self.wake.queued.notified().await;
    }

    /// Ids of executions that end in this process, from now on.
    pub fn endings(&self) -> broadcast::Receiver<ExecutionId> {
        self.wake.ended.subscribe()
    }

    fn tell_queued(&self) {
        self.wake.queued.notify_one();
    }

    fn tell_ended(&self, execution: &ExecutionId) {
        // Nobody listening is fine.
        let _ = self.wake.ended.send(execution.clone());
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        use diesel::RunQueryDsl;
        self.run(|conn| Ok(diesel::sql_query("SELECT 1").execute(conn).map(|_| ())?)).await
    }
}
