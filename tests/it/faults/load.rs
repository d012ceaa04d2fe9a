//! Far more submissions than slots.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{DaemonBuilder, Database, wait_until};

const SUBMISSIONS: usize = 10_000;
const LIMIT: usize = 9_000;
const CLIENTS: usize = 16;

#[test]
fn ten_thousand_submissions_are_accepted_or_delayed_and_run_in_order_with_flat_memory() {
    let database = Database::new();
    let daemon =
        DaemonBuilder::on(&database).slots(2).with("RGRID_QUEUE__MAX_QUEUED", &LIMIT.to_string()).start();
    let http = daemon.http();
    http.wait(&http.submit("print('warm up')"));
    let before = daemon.holdings();
    let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let client = || {
        let http = daemon.http();
        let mut times = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < SUBMISSIONS {
            let body = serde_json::json!({ "script": { "name": "a.py", "content": "print(1)" } });
            let begun = Instant::now();
            let answer = http.post("/api/v1/executions", &body);
            times.push(begun.elapsed());
            match answer.status {
                201 => {}
                429 => {
                    assert!(answer.retry_after.is_some());
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                _ => panic!("{answer:?}"),
            }
        }
        times
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times.sort();
    let after = daemon.holdings();
    let (p50, p99) = (times[SUBMISSIONS / 2], times[SUBMISSIONS * 99 / 100]);
    let refused = refused.into_inner();
    println!(
        "{SUBMISSIONS} submissions by {CLIENTS} clients: {refused} told to wait, p50 {p50:?}, p99 {p99:?}, \
         memory {} → {} MiB",
        before.memory >> 20,
        after.memory >> 20
    );
    let accepted = database.number("SELECT count(*) - 1 FROM executions");
    assert_eq!(accepted as usize, SUBMISSIONS - refused);
    // Executions that ended made room for others.
    assert!(refused > 0 && accepted as usize >= LIMIT, "{accepted} accepted, {refused} refused");
    assert!(after.memory * 2 < before.memory * 3, "memory grew by more than half: {before:?} {after:?}");
    assert!(p99 < Duration::from_secs(5), "{p99:?}");

    let ended = "SELECT count(*) FROM executions WHERE status = 'completed'";
    wait_until("some dozens have run", Duration::from_secs(120), || {
        (database.number(ended) > 40).then_some(())
    });
    // What was claimed came before what still waits, and a claim before it was not claimed later. What came in at the
    // same moment has no order.
    let overtaken = "SELECT count(*) FROM executions waits WHERE waits.status = 'queued'
        AND waits.created_at < (SELECT max(created_at) FROM executions WHERE status <> 'queued') - interval '1 s'";
    assert_eq!(database.number(overtaken), 0);
    let disorder = "SELECT count(*) FROM (
        SELECT created_at, max(created_at) OVER (ORDER BY started_at ROWS UNBOUNDED PRECEDING) AS latest
        FROM executions WHERE started_at IS NOT NULL) AS claims WHERE created_at < latest - interval '1 s'";
    assert_eq!(database.number(disorder), 0);
    daemon.assert_holds_no_more_than(before);
    // Queued executions are dropped with the database.
    database
        .execute("UPDATE executions SET status = 'cancelled', completed_at = now() WHERE status = 'queued'");
}
