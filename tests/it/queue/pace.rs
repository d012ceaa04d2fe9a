//! The throughput of the queue's statements, compared with `pgbench` running the same ones, in alternation.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rgridd::execution::{ExecutionRecord, FailureKind, LabelSets, WorkerId};
use rgridd::store::{Store, statements};

use crate::support::Database;

const CLIENTS: usize = 8;
const ROUNDS: usize = 3;
/// Short in a debug build, which only has to notice a statement that is slow by design.
const ROUND: Duration = Duration::from_secs(if cfg!(debug_assertions) { 1 } else { 3 });
/// A debug build is half as fast and runs beside other tests, so it only notices a large regression.
const AT_LEAST: f64 = if cfg!(debug_assertions) { 0.1 } else { 0.5 };

#[test]
fn claims_and_finishes_keep_up_with_pgbench_and_the_same_statements() {
    let database = Database::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store::new(&database.url(), CLIENTS);
    runtime.block_on(store.migrate()).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fill(&database);
        theirs.push(pgbench(&database));
        fill(&database);
        ours.push(runtime.block_on(rgrid(&store)));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "claim and finish, {CLIENTS} at once: rgrid {ours:.0}/s, pgbench {theirs:.0}/s, {:.2} ×",
        ours / theirs
    );
    assert!(ours >= theirs * AT_LEAST, "rgrid {ours:.0}/s, pgbench {theirs:.0}/s");
}

fn fill(database: &Database) {
    // More than one round claims.
    let rows = 10_000 * ROUND.as_secs();
    database.execute(&format!(
        "TRUNCATE executions CASCADE;
         INSERT INTO blobs VALUES (sha256('print(1)'), 'print(1)') ON CONFLICT DO NOTHING;
         INSERT INTO executions (id, runtime, script_name, timeout_ms, memory_bytes, cpus_milli, max_attempts)
         SELECT 'exec_' || lpad(n::text, 26, '0'), 'python:3.11', 'a.py', 1000, 1, 1, 2
         FROM generate_series(1, {rows}) n;
         INSERT INTO execution_files SELECT id, 'script', 'a.py', 8, sha256('print(1)') FROM executions;
         ANALYZE",
    ));
}

/// Executions per second.
async fn rgrid(store: &Store) -> f64 {
    let (worker, done, begun) = (WorkerId::generate(), AtomicUsize::new(0), Instant::now());
    let anything = LabelSets::of(&Default::default());
    let conclusion = Arc::new(ExecutionRecord::failed(FailureKind::Exit, "as it goes"));
    let client = async || {
        while begun.elapsed() < ROUND {
            let claimed = store.claim(&worker, "pace", &anything, 1, Duration::from_secs(60)).await.unwrap();
            let ended = claimed.into_iter().map(|claimed| (claimed.claim, Arc::clone(&conclusion)));
            done.fetch_add(store.finish(ended.collect()).await.unwrap().len(), Ordering::Relaxed);
        }
    };
    futures_util::future::join_all((0..CLIENTS).map(|_| client())).await;
    done.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

/// The same with pgbench and prepared statements.
fn pgbench(database: &Database) -> f64 {
    // `\gset c_` stores the columns of the claim in variables with this prefix.
    let claim = with(statements::CLAIM, &["1", "'w'::text", "'pace'::text", "60000", "'{}'::jsonb"]);
    let finish = with(
        statements::FINISH,
        &[
            ":c_id::text",
            ":c_attempt",
            "'w'::text",
            "'failed'::text",
            "NULL::int",
            "'exit'::text",
            "'as it goes'::text",
            "''::text",
            "''::text",
            "''::text",
            "0",
            "0",
            "false",
            "NULL::bigint",
            "NULL::bigint",
            "NULL::bigint",
            "NULL::bigint",
            "NULL::bigint",
            "NULL::text",
            "NULL::jsonb",
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("run.sql");
    std::fs::write(&script, format!("{claim}\n\\gset c_\n{finish};\n")).unwrap();
    let output = Command::new("pgbench")
        .args([
            "-n",
            "-M",
            "prepared",
            "-c",
            &CLIENTS.to_string(),
            "-j",
            "1",
            "-T",
            &ROUND.as_secs().to_string(),
            "-f",
        ])
        .arg(&script)
        .arg(database.url())
        .output()
        .expect("there is no pgbench: run `make setup`");
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The statement with values in place of its parameters, the last ones first, because `$10` starts with `$1`.
fn with(statement: &str, values: &[&str]) -> String {
    values.iter().enumerate().rev().fold(statement.to_owned(), |statement, (at, value)| {
        statement.replace(&format!("${}", at + 1), value)
    })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
