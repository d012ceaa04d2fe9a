//! The fault run: two daemons, a Postgres behind proxies and a Docker of their own; numbered scripts come in at a
//! steady rate, faults at random moments, and at the end every accepted id is looked at.
//!
//! `make faults` runs the long form. The seed is printed; `FAULTS_SEED` repeats what is up to us (which faults, in
//! which order, how long), not what the machine makes of it.

mod fleet;
mod plan;
pub(super) mod random;
mod submitter;
mod verdict;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fleet::Fleet;
use plan::Plan;
use random::Random;
use submitter::Submitter;

/// Short, so that a run has many of them; long enough for a busy machine.
const LEASE: Duration = Duration::from_secs(8);

#[test]
fn the_fault_run_loses_nothing_doubles_nothing_and_leaks_nothing() {
    let seed = number("FAULTS_SEED").unwrap_or_else(random::from_the_clock);
    println!("fault run: FAULTS_SEED={seed}");
    let mut random = Random::new(seed);
    // The short form runs beside other tests, which make each start of a process slow.
    let (plan, bound) = match number("FAULTS_ROUNDS") {
        Some(rounds) => (Plan::of_rounds(rounds, &mut random), 2 * LEASE),
        None => (Plan::short(&mut random), 4 * LEASE),
    };
    let patience = number("FAULTS_SECONDS").map_or(Duration::from_secs(3600), Duration::from_secs);
    let begun = Instant::now();

    let fleet = Fleet::start();
    let submitter = Submitter::new(seed);
    let over = AtomicBool::new(false);
    let recoveries = std::thread::scope(|scope| {
        scope.spawn(|| fleet.tend_until(&over));
        let submitting: Vec<_> =
            (0..submitter::CLIENTS).map(|_| scope.spawn(|| submitter.submit_until(&fleet, &over))).collect();
        let recoveries = plan.inject(&fleet, &submitter, &mut random, begun + patience);
        over.store(true, Ordering::Relaxed);
        submitting.into_iter().for_each(|client| client.join().unwrap());
        recoveries
    });
    let verdict = verdict::reach(fleet, submitter, recoveries, bound, begun);
    println!("{verdict}");
    verdict.assert_good();
}

pub(super) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}
