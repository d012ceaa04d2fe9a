//! Executors that wait for work. Being on the bench is the credit for one claim.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::execution::{Claimed, KeyId};

/// What a run asks for: the slot that ran the same last has the sandbox for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Demand {
    kind: Kind,
    owner: Option<KeyId>,
}

/// What makes a parked sandbox fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    runtime: String,
    requirements: Option<String>,
    memory_bytes: u64,
    cpus_milli: u32,
    network: bool,
}

impl Demand {
    pub fn of(claimed: &Claimed) -> Self {
        let kind = Kind {
            runtime: claimed.runtime.clone(),
            requirements: claimed.requirements.clone(),
            memory_bytes: claimed.memory_bytes,
            cpus_milli: claimed.cpus_milli,
            network: claimed.network,
        };
        Self { kind, owner: claimed.owner.clone() }
    }
}

pub(crate) struct IdleExecutors<E> {
    idle: Mutex<Vec<Seat<E>>>,
    freed: Notify,
}

struct Seat<E> {
    executor: E,
    /// None: it has run nothing yet, and has the default parked.
    last: Option<Demand>,
}

impl<E> Default for IdleExecutors<E> {
    fn default() -> Self {
        Self { idle: Mutex::default(), freed: Notify::new() }
    }
}

impl<E> IdleExecutors<E> {
    pub fn push(&self, executor: E, last: Option<Demand>) {
        self.lock().push(Seat { executor, last });
        self.freed.notify_one();
    }

    /// The one whose parked sandbox fits, the warmest of them, and one that has run for the same owner first; else one
    /// that has run nothing; else the one that has waited longest, so that runs of different kinds find slots of their own.
    pub fn take_best_for(&self, demand: &Demand) -> Option<E> {
        let mut idle = self.lock();
        let same = idle.iter().rposition(|seat| seat.last.as_ref() == Some(demand));
        let is_like = |last: &Demand| last.kind == demand.kind;
        let like = || idle.iter().rposition(|seat| seat.last.as_ref().is_some_and(is_like));
        let fitting = same.or_else(like);
        let place = fitting.or_else(|| idle.iter().position(|seat| seat.last.is_none())).unwrap_or(0);
        (place < idle.len()).then(|| idle.remove(place).executor)
    }

    /// Anyone.
    pub fn call(&self) -> Option<E> {
        self.lock().pop().map(|seat| seat.executor)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Waits until somebody sits down.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat<E>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(runtime: &str) -> Demand {
        let runtime = runtime.to_owned();
        let kind = Kind { runtime, requirements: None, memory_bytes: 1, cpus_milli: 1, network: true };
        Demand { kind, owner: None }
    }

    #[test]
    fn an_owner_comes_back_to_the_slot_that_ran_for_it_last() {
        let of = |owner: &str| Demand { owner: Some(KeyId::from_stored(owner.to_owned())), ..demand("a") };
        let bench = IdleExecutors::default();
        bench.push(0, Some(of("ann")));
        bench.push(1, Some(of("bob")));
        assert_eq!(bench.take_best_for(&of("ann")), Some(0));
        // Whoever has none takes the sandbox that is parked elsewhere.
        assert_eq!(bench.take_best_for(&of("eve")), Some(1));
    }

    #[test]
    fn runs_that_alternate_find_a_slot_each() {
        let bench = IdleExecutors::default();
        (0..2).for_each(|slot| bench.push(slot, None));
        let mut run = |runtime| {
            let slot = bench.take_best_for(&demand(runtime)).unwrap();
            bench.push(slot, Some(demand(runtime)));
            slot
        };
        let slots = ["a", "b", "a", "b", "a"].map(&mut run);
        assert_eq!(slots, [0, 1, 0, 1, 0]);
        // A third kind takes the place of the one that has waited longest.
        assert_eq!(run("c"), 1);
    }

    #[test]
    fn nobody_comes_from_an_empty_bench() {
        assert_eq!(IdleExecutors::<u8>::default().take_best_for(&demand("a")), None);
    }
}
