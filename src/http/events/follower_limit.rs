//! How many may follow at once, and the word that it is time to leave.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::http::problem::ApiError;
use crate::metrics::{METRICS, Raised};

/// Cloning shares the seats.
#[derive(Clone)]
pub(crate) struct Seats {
    free: Arc<Semaphore>,
    most: usize,
    closing: watch::Sender<bool>,
}

/// Given back when it is dropped.
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
    _counted: Raised,
    closing: watch::Receiver<bool>,
}

impl Seats {
    pub fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most, closing: watch::channel(false).0 }
    }

    pub(crate) fn take(&self) -> Result<Seat, ApiError> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let most = self.most;
            ApiError::TooManyRequests(format!("{most} followers are the most here (http.followers)"))
        })?;
        Ok(Seat { _permit: permit, _counted: METRICS.followers.raise(), closing: self.closing.subscribe() })
    }

    /// The server stops: all leave, and come again to another one.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

impl Seat {
    /// Returns when the server stops.
    pub async fn closing(&mut self) {
        if self.closing.wait_for(|closing| *closing).await.is_err() {
            // Without a server there is nobody to be told.
            std::future::pending::<()>().await;
        }
    }
}
