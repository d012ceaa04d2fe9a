//! What a claim costs as the tables grow: `make bench` runs it below `scripts/with-postgres`.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use rgridd::execution::{ExecutionRecord, FailureKind, LabelSets, WorkerId};
use rgridd::store::{Store, statements};

const LEASE: Duration = Duration::from_secs(30);

/// Rows that wait, and rows that have ended.
const SIZES: [(u32, u32); 4] = [(0, 0), (10_000, 0), (100_000, 0), (100_000, 1_000_000)];

struct Bench {
    connection: PgConnection,
    store: Store,
    runtime: tokio::runtime::Runtime,
    next: u32,
}

impl Bench {
    /// A database of its own with so many rows.
    fn new(queued: u32, ended: u32) -> Self {
        let base = std::env::var("RGRID_TEST_POSTGRES").expect("run it below scripts/with-postgres");
        let name = format!("bench_{queued}_{ended}");
        let mut admin = PgConnection::establish(&format!("{base}/postgres")).unwrap();
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let url = format!("{base}/{name}");
        let store = Store::new(&url, 4);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.migrate()).unwrap();
        let mut bench = Self { connection: PgConnection::establish(&url).unwrap(), store, runtime, next: 0 };
        bench.fill(queued, ended);
        bench
    }

    fn fill(&mut self, queued: u32, ended: u32) {
        let script = "INSERT INTO blobs (sha256, content) VALUES (sha256('print(1)'), 'print(1)')";
        self.connection.batch_execute(script).unwrap();
        self.insert(ended, "'completed', now(), now(), 0, 1", "ended");
        self.insert(queued, "'queued', NULL, NULL, NULL, 0", "queued");
        for table in ["executions", "execution_files"] {
            self.connection.batch_execute(&format!("VACUUM ANALYZE {table}")).unwrap();
        }
    }

    fn insert(&mut self, count: u32, state: &str, kind: &str) {
        let first = self.next;
        self.next += count;
        let last = self.next;
        let rows = format!(
            "WITH new AS (
                INSERT INTO executions (id, status, started_at, completed_at, exit_code, attempt, runtime, script_name,
                    timeout_ms, memory_bytes, cpus_milli, max_attempts)
                SELECT 'exec_' || lpad(n::text, 10, '0') || '{kind}', {state}, 'python:3.11', 'a.py', 600000, 1, 1, 2
                FROM generate_series({first} + 1, {last}) AS n RETURNING id)
             INSERT INTO execution_files (execution_id, role, name, size, sha256)
             SELECT id, 'script', 'a.py', 8, sha256('print(1)') FROM new"
        );
        self.connection.batch_execute(&rows).unwrap();
    }

    /// So many more rows, and as many claimed at once and ended; only the claim is timed.
    fn claim(&mut self, worker: &WorkerId, count: u32) -> Duration {
        self.insert(count, "'queued', NULL, NULL, NULL, 0", "one");
        let anything = LabelSets::of(&Default::default());
        let begun = Instant::now();
        let claim = self.store.claim(worker, "bench", &anything, count as usize, LEASE);
        let claimed = self.runtime.block_on(claim).unwrap();
        let took = begun.elapsed();
        let end = std::sync::Arc::new(ExecutionRecord::failed(FailureKind::Internal, "benchmark"));
        let ends =
            claimed.into_iter().map(|one| (one.claim, std::sync::Arc::clone(&end))).collect::<Vec<_>>();
        assert_eq!(self.runtime.block_on(self.store.finish(ends)).unwrap().len(), count as usize);
        took
    }
}

/// How Postgres goes about it, with the plan that it keeps for a statement that was prepared.
fn show_plan(bench: &mut Bench) {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
        text: String,
    }
    let prepare = format!(
        "SET plan_cache_mode = force_generic_plan; BEGIN;
        PREPARE claim (bigint, text, text, bigint, jsonb) AS {}",
        statements::CLAIM
    );
    bench.connection.batch_execute(&prepare).unwrap();
    let explain = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) EXECUTE claim (1, 'w', 'w', 30000, '{}')";
    let lines: Vec<Line> = sql_query(explain).load(&mut bench.connection).unwrap();
    bench.connection.batch_execute("ROLLBACK").unwrap();
    println!("```text");
    lines.iter().for_each(|line| println!("{}", line.text));
    println!("```");
}

fn claim(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("claim");
    group.sample_size(30).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    for (queued, ended) in SIZES {
        let mut bench = Bench::new(queued, ended);
        if ended > 0 {
            show_plan(&mut bench);
        }
        let worker = WorkerId::generate();
        for count in [1, 4] {
            let id = BenchmarkId::from_parameter(format!("{count} of {queued} queued, {ended} ended"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|rounds| (0..rounds).map(|_| bench.claim(&worker, count)).sum());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, claim);
criterion_main!(benches);
