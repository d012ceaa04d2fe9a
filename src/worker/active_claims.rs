//! The claims that this worker runs, and the signals to their attempts.
//!
//! The list is shared, not an actor's state: it must outlive every task that works on a claim, because the heartbeat
//! extends the leases of exactly these claims.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::execution::{Claim, ExecutionId};
use crate::metrics::{METRICS, Raised};

/// What an attempt is asked to do, from weakest to strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    Continue,
    /// A user cancelled the execution.
    Cancel,
    /// The drain has timed out: give the claim back.
    Release,
    /// The claim belongs to another worker: stop and write nothing.
    Lost,
}

type ClaimsByAttempt = HashMap<(ExecutionId, i32), (Claim, watch::Sender<Signal>)>;

/// Clones share the list.
#[derive(Clone, Default)]
pub struct ActiveClaims {
    claims: Arc<Mutex<ClaimsByAttempt>>,
    changed: Arc<tokio::sync::Notify>,
}

/// An attempt's own view of its claim.
pub struct ClaimHandle {
    pub claim: Claim,
    pub signals: watch::Receiver<Signal>,
    entry: Arc<ActiveClaim>,
}

/// Keeps a claim on the list. Dropping the last one removes it, even during a panic.
pub struct ActiveClaim {
    claim: Claim,
    claims: ActiveClaims,
    _counted: Raised,
}

impl ClaimHandle {
    pub fn entry(&self) -> Arc<ActiveClaim> {
        Arc::clone(&self.entry)
    }
}

impl ActiveClaims {
    pub fn add(&self, claim: Claim) -> ClaimHandle {
        let (sender, signals) = watch::channel(Signal::Continue);
        self.claims.lock().insert(key(&claim), (claim.clone(), sender));
        let counted = METRICS.running.raise();
        let entry = Arc::new(ActiveClaim { claim: claim.clone(), claims: self.clone(), _counted: counted });
        ClaimHandle { claim, signals, entry }
    }

    pub fn all(&self) -> Vec<Claim> {
        self.claims.lock().values().map(|(claim, _)| claim.clone()).collect()
    }

    pub fn contains(&self, claim: &Claim) -> bool {
        self.claims.lock().contains_key(&key(claim))
    }

    pub fn len(&self) -> usize {
        self.claims.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A weaker signal never replaces a stronger one.
    pub fn signal(&self, claim: &Claim, signal: Signal) {
        if let Some((_, sender)) = self.claims.lock().get(&key(claim)) {
            sender.send_if_modified(|current| {
                let stronger = signal > *current;
                *current = signal.max(*current);
                stronger
            });
        }
    }

    pub fn signal_all(&self, signal: Signal) {
        for claim in self.all() {
            self.signal(&claim, signal);
        }
    }

    pub async fn wait_until_empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for ActiveClaim {
    fn drop(&mut self) {
        self.claims.claims.lock().remove(&key(&self.claim));
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
    fn the_strongest_signal_wins_in_any_order() {
        use Signal::{Cancel, Continue, Lost, Release};
        for (sent, expected) in [
            (vec![], Continue),
            (vec![Cancel], Cancel),
            (vec![Release, Cancel], Release),
            (vec![Lost, Release, Cancel], Lost),
            (vec![Cancel, Release, Lost], Lost),
        ] {
            let claims = ActiveClaims::default();
            let handle = claims.add(claim());
            sent.iter().for_each(|signal| claims.signal(&handle.claim, *signal));
            assert_eq!(*handle.signals.borrow(), expected, "after {sent:?}");
        }
    }

    #[test]
    fn a_panic_removes_its_claim_from_the_list() {
        let claims = ActiveClaims::default();
        let handle = claims.add(claim());
        let panicked = std::thread::spawn(move || {
            let _handle = handle;
            panic!("as a bug would");
        });
        assert!(panicked.join().is_err());
        assert!(claims.is_empty());
    }

    #[test]
    fn a_claim_stays_on_the_list_until_its_last_entry_is_dropped() {
        let claims = ActiveClaims::default();
        let handle = claims.add(claim());
        let (claim, entry) = (handle.claim.clone(), handle.entry());
        drop(handle);
        assert!(claims.contains(&claim));
        drop(entry);
        assert!(!claims.contains(&claim));
    }
}
