//! Throughput grows with the number of workers.

use std::time::{Duration, Instant};

use super::{Deployment, NAMES, SLOTS};
use crate::support::{Daemon, wait_until};

/// Much longer than the overhead of a sandbox, because all machines of this test share the same cores.
const SCRIPT: &str = "import time; time.sleep(3)";
const RUNS_PER_SLOT: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(300);

#[test]
fn three_workers_have_a_much_higher_throughput_than_one() {
    let deployment = Deployment::new();
    let mut workers: Vec<Daemon> = Vec::new();
    let mut rates = Vec::new();
    for name in NAMES {
        workers.push(deployment.worker(name));
        rates.push(rate(&deployment, workers.len()));
    }
    println!("| workers | runs/s | of one worker |\n| ---: | ---: | ---: |");
    for (count, rate) in (1..).zip(&rates) {
        println!("| {count} | {rate:.2} | {:.2} × |", rate / rates[0]);
    }
    for worker in workers {
        assert_eq!(worker.stop(), 0);
    }
    assert!(rates[2] > rates[0] * 1.5, "{rates:?}");
}

/// Executions per second, from the first submission to the last completion.
fn rate(deployment: &Deployment, workers: usize) -> f64 {
    let http = deployment.api.http();
    let count = RUNS_PER_SLOT * SLOTS * workers;
    let open = "SELECT count(*) FROM executions WHERE completed_at IS NULL";
    let begun = Instant::now();
    for _ in 0..count {
        http.submit(SCRIPT);
    }
    wait_until("all have ended", TIMEOUT, || (deployment.postgres.number(open) == 0).then_some(()));
    count as f64 / begun.elapsed().as_secs_f64()
}
