//! Executors that wait for work. Being on the bench is the credit for one claim.

use std::sync::{Mutex, PoisonError};

use actix::Addr;
use tokio::sync::Notify;

use super::Executor;

#[derive(Default)]
pub(super) struct Bench {
    idle: Mutex<Vec<Addr<Executor>>>,
    freed: Notify,
}

impl Bench {
    pub fn sit(&self, executor: Addr<Executor>) {
        self.lock().push(executor);
        self.freed.notify_one();
    }

    /// Takes the one that sat down last: its sandbox is the warmest.
    pub fn call(&self) -> Option<Addr<Executor>> {
        self.lock().pop()
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Waits until somebody sits down.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Addr<Executor>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
