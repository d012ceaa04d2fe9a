//! The Postgres part alone: up to 64 workers whose sandbox is nothing, so a run is its three statements (submit, claim,
//! finish). `scripts/bench workers` runs it; a server of one's own is measured with RGRID_TEST_POSTGRES.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use rgridd::execution::{
    ExecutionRecord, EnvVars, ExecutionId, FailureKind, FileContent, Limits, NewExecution, LabelSets, WorkerId,
};
use rgridd::store::Store;

const WORKERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const ROUND: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(60);
/// That wait all the time, so that a worker always finds one.
const QUEUED: usize = 500;

fn main() {
    let base = std::env::var("RGRID_TEST_POSTGRES").expect("run it below scripts/with-postgres");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("| workers | runs/s | of one | claim p50 | claim p99 |\n| ---: | ---: | ---: | ---: | ---: |");
    let mut one = None;
    for count in WORKERS {
        let (rate, mut claims) = runtime.block_on(round(&database(&base), count));
        claims.sort();
        let at = |share: usize| claims[(claims.len() - 1) * share / 100].as_secs_f64() * 1000.0;
        let of_one = rate / *one.get_or_insert(rate);
        println!("| {count} | {rate:.0} | {of_one:.2} × | {:.2} ms | {:.2} ms |", at(50), at(99));
    }
}

/// Empty, with the schema still to come.
fn database(base: &str) -> String {
    let mut admin = PgConnection::establish(&format!("{base}/postgres")).unwrap();
    admin.batch_execute("DROP DATABASE IF EXISTS bench_workers WITH (FORCE)").unwrap();
    admin.batch_execute("CREATE DATABASE bench_workers").unwrap();
    format!("{base}/bench_workers")
}

/// Runs per second, and how long each claim took.
async fn round(url: &str, workers: usize) -> (f64, Vec<Duration>) {
    let store = Store::new(url, workers.min(8));
    store.migrate().await.unwrap();
    for _ in 0..QUEUED {
        store.submit(submission()).await.unwrap();
    }
    let (done, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let tasks: Vec<_> = (0..workers).map(|_| work(Store::new(url, 1), Arc::clone(&done), begun)).collect();
    let claims = futures_util::future::join_all(tasks).await.concat();
    (done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64(), claims)
}

/// One worker with one connection.
async fn work(store: Store, done: Arc<AtomicUsize>, begun: Instant) -> Vec<Duration> {
    let (worker, offer) = (WorkerId::generate(), LabelSets::of(&Default::default()));
    let conclusion = Arc::new(ExecutionRecord::failed(FailureKind::Exit, "as it goes"));
    let mut claims = Vec::new();
    while begun.elapsed() < ROUND {
        store.submit(submission()).await.unwrap();
        let asked = Instant::now();
        let claimed = store.claim(&worker, "bench", &offer, 1, LEASE).await.unwrap();
        claims.push(asked.elapsed());
        let ended = claimed.into_iter().map(|one| (one.claim, Arc::clone(&conclusion))).collect();
        done.fetch_add(store.finish(ended).await.unwrap().len(), Ordering::Relaxed);
    }
    claims
}

fn submission() -> NewExecution {
    NewExecution {
        id: ExecutionId::generate(),
        runtime: "python:3.11".to_owned(),
        script: FileContent { name: "a.py".to_owned(), content: b"print(1)".to_vec() },
        args: Vec::new(),
        env: EnvVars::default(),
        secrets: EnvVars::default(),
        requirements: None,
        inputs: Vec::new(),
        limits: Limits {
            timeout: Duration::from_secs(600),
            memory_bytes: 1,
            cpus_milli: 1,
            network: true,
            max_attempts: 2,
        },
        labels: Default::default(),
        on: Default::default(),
        priority: 0,
        idempotency: None,
        key: None,
        webhook: None,
    }
}
