//! Limits the number of followers, and ends them when the server stops.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::http::problem::ApiError;
use crate::metrics::{METRICS, Raised};

/// Clones share the limit.
#[derive(Clone)]
pub(crate) struct FollowerLimit {
    permits: Arc<Semaphore>,
    max: usize,
    closed: watch::Sender<bool>,
}

/// Returned to the limit when it is dropped.
pub(crate) struct FollowerPermit {
    _permit: OwnedSemaphorePermit,
    _counted: Raised,
    closed: watch::Receiver<bool>,
}

impl FollowerLimit {
    pub fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max, closed: watch::channel(false).0 }
    }

    pub fn acquire(&self) -> Result<FollowerPermit, ApiError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let max = self.max;
            ApiError::TooManyRequests(format!(
                "too many followers: at most {max} are allowed at the same time (http.followers)"
            ))
        })?;
        Ok(FollowerPermit {
            _permit: permit,
            _counted: METRICS.followers.raise(),
            closed: self.closed.subscribe(),
        })
    }

    /// The server is stopping: all followers disconnect and can reconnect to another server.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl FollowerPermit {
    /// Returns when the server stops.
    pub async fn closed(&mut self) {
        if self.closed.wait_for(|closed| *closed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
