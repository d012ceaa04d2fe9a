//! Executors that wait for a claim. The Poller claims at most one execution per idle executor.

use crate::execution::{Claimed, KeyId};

/// The kind of sandbox that an execution needs. An executor that ran the same kind last has one parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Demand {
    runtime: String,
    requirements: Option<String>,
    memory_bytes: u64,
    cpus_milli: u32,
    network: bool,
}

impl Demand {
    pub fn of(claimed: &Claimed) -> Self {
        Self {
            runtime: claimed.runtime.clone(),
            requirements: claimed.requirements.clone(),
            memory_bytes: claimed.memory_bytes,
            cpus_milli: claimed.cpus_milli,
            network: claimed.network,
        }
    }
}

/// What an executor ran last, and for which API key.
pub(crate) type LastRun = (Demand, Option<KeyId>);

pub(crate) struct IdleExecutors<E>(Vec<(E, Option<LastRun>)>);

impl<E> IdleExecutors<E> {
    /// New executors have run nothing yet and park the default sandbox.
    pub fn new(executors: impl IntoIterator<Item = E>) -> Self {
        Self(executors.into_iter().map(|executor| (executor, None)).collect())
    }

    pub fn push(&mut self, executor: E, last_run: Option<LastRun>) {
        self.0.push((executor, last_run));
    }

    /// Prefers the executor that last ran the same for the same key, then the one that last ran the same, then one
    /// that has run nothing. Otherwise it takes the one that has been idle longest, so that executions of different
    /// kinds settle on executors of their own.
    pub fn take_best_for(&mut self, demand: &Demand, owner: Option<&KeyId>) -> Option<E> {
        let ran = |last: &Option<LastRun>| last.as_ref().is_some_and(|(ran, _)| ran == demand);
        let ran_for_owner = |last: &Option<LastRun>| {
            last.as_ref().is_some_and(|(ran, for_owner)| ran == demand && for_owner.as_ref() == owner)
        };
        let best = (self.0.iter().rposition(|(_, last)| ran_for_owner(last)))
            .or_else(|| self.0.iter().rposition(|(_, last)| ran(last)))
            .or_else(|| self.0.iter().position(|(_, last)| last.is_none()))
            .unwrap_or(0);
        (best < self.0.len()).then(|| self.0.remove(best).0)
    }

    pub fn take_all(&mut self) -> Vec<E> {
        std::mem::take(&mut self.0).into_iter().map(|(executor, _)| executor).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(runtime: &str) -> Demand {
        let runtime = runtime.to_owned();
        Demand { runtime, requirements: None, memory_bytes: 1, cpus_milli: 1, network: true }
    }

    #[test]
    fn an_owner_returns_to_the_executor_that_ran_for_it_last() {
        let key = |owner: &str| KeyId::from_stored(owner.to_owned());
        let mut idle = IdleExecutors::new([]);
        idle.push(0, Some((demand("a"), Some(key("ann")))));
        idle.push(1, Some((demand("a"), Some(key("bob")))));
        assert_eq!(idle.take_best_for(&demand("a"), Some(&key("ann"))), Some(0));
        // An owner without an executor of its own takes a parked sandbox of the right kind.
        assert_eq!(idle.take_best_for(&demand("a"), Some(&key("eve"))), Some(1));
    }

    #[test]
    fn executions_of_alternating_kinds_use_one_executor_each() {
        let mut idle = IdleExecutors::new(0..2);
        let mut run = |runtime| {
            let executor = idle.take_best_for(&demand(runtime), None).unwrap();
            idle.push(executor, Some((demand(runtime), None)));
            executor
        };
        assert_eq!(["a", "b", "a", "b", "a"].map(&mut run), [0, 1, 0, 1, 0]);
        // A third kind takes the executor that has been idle longest.
        assert_eq!(run("c"), 1);
    }

    #[test]
    fn nothing_is_taken_from_an_empty_list() {
        assert_eq!(IdleExecutors::<u8>::new([]).take_best_for(&demand("a"), None), None);
    }
}
