//! Many consecutive executions leak nothing.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{DaemonBuilder, Database, containers_of, environments_of, sandboxes_of, wait_until};

const RUNS: usize = 200;
const AFTER: usize = 20;
const POOL: i64 = 4;
/// The connections that listen for notifications, and this test's own.
const BESIDES: i64 = 3;
/// Memory that the allocator may retain.
const MEMORY: u64 = 16 << 20;

/// Uses both slots before and after the comparison, so that pools have reached their size before it.
fn two_at_a_time(runs: Range<usize>, run: impl Fn(usize) -> Duration + Sync) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let numbers = (runs.start + half..runs.end).step_by(2);
            scope.spawn(|| numbers.map(&run).collect::<Vec<_>>())
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

#[test]
fn two_hundred_executions_use_no_more_resources_than_the_first_twenty() {
    let database = Database::new();
    let daemon =
        DaemonBuilder::on(&database).slots(2).with("RGRID_DATABASE__CONNECTIONS", &POOL.to_string()).start();
    let http = daemon.http();
    let run = |n: usize| {
        let begun = Instant::now();
        let end = http.wait(&http.submit_with(&format!("print({n})"), json!({ "network": false })));
        assert_eq!(end["stdout"], format!("{n}\n"), "{end}");
        begun.elapsed()
    };
    two_at_a_time(0..AFTER, run);
    let cluster = database.cluster();
    let parked = || sandboxes_of(&cluster).len();
    let connections =
        || database.number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()");
    wait_until("one sandbox is parked for each slot", Duration::from_secs(30), || {
        (parked() <= 2).then_some(())
    });
    let (before, connected) = (daemon.holdings(), connections());

    let mut times = two_at_a_time(AFTER..RUNS, run);
    daemon.assert_holds_no_more_than(before);
    wait_until("only parked containers are left", Duration::from_secs(30), || (parked() <= 2).then_some(()));
    assert_eq!(environments_of(&cluster), Vec::<String>::new());
    // The pool keeps its connections and may still grow up to `database.connections`.
    assert!(connections() <= connected.max(POOL + BESIDES), "{connected} → {} connections", connections());
    let now = daemon.holdings();
    assert!(now.memory <= before.memory + MEMORY, "{} → {} bytes", before.memory, now.memory);
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    assert!(median < Duration::from_secs(5), "{median:?}");
    println!(
        "measured: {RUNS} runs, median {median:.0?}, longest {longest:.0?}; after {AFTER} and after {RUNS}: \
         memory {} → {} KiB, descriptors {} → {}, threads {} → {}, connections {connected} → {}, \
         containers {} (parked), volumes {}",
        before.memory >> 10,
        now.memory >> 10,
        before.descriptors,
        now.descriptors,
        before.threads,
        now.threads,
        connections(),
        parked(),
        environments_of(&cluster).len(),
    );
    assert_eq!(daemon.stop(), 0);
    assert_eq!(containers_of(&cluster), Vec::<String>::new());
}
