//! What this worker runs at the moment, and the orders for it.
//!
//! The list outlives the tasks that work on it: whoever dies, the claims are kept until their runs
//! have ended, and nobody's lease is extended but theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::execution::{Claim, ExecutionId};
use crate::metrics::{METRICS, Raised};

/// What a run is to do. Later ones are stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    GoOn,
    /// Its user wants it to end.
    Cancel,
    /// The drain has no more time: give it back.
    Release,
    /// Somebody else owns it: stop, write nothing.
    Lost,
}

/// By execution and attempt: the claim, and where its run hears orders.
type Running = HashMap<(ExecutionId, i32), (Claim, watch::Sender<Signal>)>;

/// Cloning shares the list.
#[derive(Clone, Default)]
pub struct ActiveClaims {
    running: Arc<Mutex<Running>>,
    changed: Arc<tokio::sync::Notify>,
}

/// A claim on the list, for the one who runs it.
pub struct ClaimHandle {
    pub claim: Claim,
    pub orders: watch::Receiver<Signal>,
    guard: Guard,
}

/// Keeps a claim on the list; dropping the last one takes it off, also when a panic does the dropping.
pub type Guard = Arc<Entry>;

pub struct Entry {
    claim: Claim,
    claims: ActiveClaims,
    _counted: Raised,
}

impl ClaimHandle {
    pub fn guard(&self) -> Guard {
        Arc::clone(&self.guard)
    }
}

impl ActiveClaims {
    pub fn hold(&self, claim: Claim) -> ClaimHandle {
        let (sender, orders) = watch::channel(Signal::GoOn);
        self.lock().insert(key(&claim), (claim.clone(), sender));
        let counted = METRICS.running.raise();
        let guard = Arc::new(Entry { claim: claim.clone(), claims: self.clone(), _counted: counted });
        ClaimHandle { claim, orders, guard }
    }

    pub fn all(&self) -> Vec<Claim> {
        self.lock().values().map(|(claim, _)| claim.clone()).collect()
    }

    pub fn holds(&self, claim: &Claim) -> bool {
        self.lock().contains_key(&key(claim))
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An order never gets weaker.
    pub fn order(&self, claim: &Claim, order: Signal) {
        if let Some((_, sender)) = self.lock().get(&key(claim)) {
            sender.send_if_modified(|current| {
                let stronger = order > *current;
                if stronger {
                    *current = order;
                }
                stronger
            });
        }
    }

    pub fn order_all(&self, order: Signal) {
        for claim in self.all() {
            self.order(&claim, order);
        }
    }

    /// Returns when nothing runs any more.
    pub async fn none_left(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.claims.lock().remove(&key(&self.claim));
        self.claims.changed.notify_waiters();
    }
}

fn key(claim: &Claim) -> (ExecutionId, i32) {
    (claim.execution.clone(), claim.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::WorkerId;

    fn claim() -> Claim {
        Claim { execution: ExecutionId::generate(), attempt: 1, worker: WorkerId::generate() }
    }

    #[test]
    fn an_order_never_gets_weaker() {
        let claims = ActiveClaims::default();
        let held = claims.hold(claim());
        claims.order(&held.claim, Signal::Lost);
        claims.order(&held.claim, Signal::Cancel);
        assert_eq!(*held.orders.borrow(), Signal::Lost);
    }

    #[test]
    fn a_panic_takes_its_claim_off_the_list() {
        let claims = ActiveClaims::default();
        let held = claims.hold(claim());
        let panicked = std::thread::spawn(move || {
            let _held = held;
            panic!("as a bug would");
        });
        assert!(panicked.join().is_err());
        assert!(claims.is_empty());
    }
}
