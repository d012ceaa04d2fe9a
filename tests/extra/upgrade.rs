//! A rolling upgrade from an older version under load: first the API, then one worker after another.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, Http, wait_until};

const WORKERS: usize = 3;
/// Executions that complete before the next worker is replaced.
const RUNS_BETWEEN: i64 = 12;
const TIMEOUT: Duration = Duration::from_secs(120);
/// The pause between two submissions.
const PAUSE: Duration = Duration::from_millis(150);

fn older() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/older/rgridd");
    assert!(program.is_file(), "{} does not exist; run scripts/older-rgridd", program.display());
    program
}

fn old(database: &Database) -> DaemonBuilder {
    DaemonBuilder::on(database).program(&older())
}

/// A client that retries until it gets a response, at the current address of the API.
struct Client {
    url: Mutex<String>,
    stop: AtomicBool,
}

impl Client {
    fn new(url: String) -> Self {
        Self { url: Mutex::new(url), stop: AtomicBool::new(false) }
    }

    fn turn_to(&self, api: &Daemon) {
        *self.url.lock().unwrap() = api.url();
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Submits until it is stopped; returns the IDs in the order of submission.
    fn submit_on(&self) -> Vec<String> {
        let mut ids = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let number = ids.len();
            ids.push(wait_until("a submission is accepted", TIMEOUT, || self.submit(number)));
            std::thread::sleep(PAUSE);
        }
        ids
    }

    fn submit(&self, number: usize) -> Option<String> {
        let url = self.url.lock().unwrap().clone();
        let script = format!("import time\nprint('begin {number}')\ntime.sleep(0.5)\nprint('end {number}')");
        let body = json!({ "script": { "name": "s.py", "content": script } }).to_string();
        let key = format!("upgrade-{number}");
        let headers = [("idempotency-key", key.as_str())];
        let answer = Http::impatient(&url).try_post(
            "/api/v1/executions",
            "application/json",
            &headers,
            body.as_bytes(),
        );
        let answer = answer.filter(|answer| answer.status != 503)?;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        Some(answer.json()["id"].as_str().unwrap().to_owned())
    }
}

#[test]
fn a_rolling_upgrade_under_load_loses_nothing() {
    let database = Database::new();
    let old_api = old(&database).role("api").start();
    let mut old_workers: Vec<Daemon> =
        (0..WORKERS).map(|n| old(&database).named(&format!("old-{n}")).role("worker").start()).collect();
    let client = Client::new(old_api.url());
    let mut new_workers = Vec::new();
    let (ids, api) = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| client.submit_on());
        wait_until_run(&database, "old-", RUNS_BETWEEN);
        let api = DaemonBuilder::on(&database).role("api").start();
        // The older API must work with the newer schema.
        wait_until_run(&database, "old-", RUNS_BETWEEN);
        client.turn_to(&api);
        assert_eq!(old_api.stop(), 0);
        refuses_labels(&api);
        for number in 0..WORKERS {
            // The remaining older workers must work with the newer schema.
            let names = if number == 0 { "old-" } else { "" };
            wait_until_run(&database, names, RUNS_BETWEEN);
            new_workers
                .push(DaemonBuilder::on(&database).named(&format!("new-{number}")).role("worker").start());
            assert_eq!(old_workers.remove(0).stop(), 0, "an older worker drains");
        }
        wait_until_run(&database, "new-", RUNS_BETWEEN);
        client.stop();
        (submitting.join().unwrap(), api)
    });

    let http = api.http();
    let ends: Vec<Value> = ids.iter().map(|id| http.wait(id)).collect();
    for (number, end) in ends.iter().enumerate() {
        assert_eq!(end["status"], "completed", "{end}");
        assert_eq!(end["stdout"], format!("begin {number}\nend {number}\n"), "{end}");
    }
    assert_eq!(database.number("SELECT count(*) FROM executions"), ids.len() as i64);
    let again = ends.iter().filter(|end| end["attempt"] != 1).count();
    let by = |version: &str| {
        ends.iter().filter(|end| end["worker"].as_str().unwrap().starts_with(version)).count()
    };
    println!("| submitted | by the older version | by this one | run again | lost | failed |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    println!("| {} | {} | {} | {again} | 0 | 0 |", ids.len(), by("old-"), by("new-"));
    // Scripts finish within the drain timeout, so none is attempted again.
    assert_eq!(again, 0);
    // All workers support labels now.
    let labelled = http.submit_with("print(1)", json!({ "on": { "gpu": "true" } }));
    assert_eq!(http.execution(&labelled)["waits_for"], "no worker has gpu=true");
}

/// Waits for further executions to complete.
fn wait_until_run(database: &Database, names: &str, count: i64) {
    let ended =
        format!("SELECT count(*) FROM executions WHERE status = 'completed' AND worker_name LIKE '{names}%'");
    let before = database.number(&ended);
    wait_until("some have run", TIMEOUT, || (database.number(&ended) >= before + count).then_some(()));
}

fn refuses_labels(api: &Daemon) {
    let body = json!({ "script": { "name": "s.py", "content": "print(1)" }, "on": { "gpu": "true" } });
    let refused = api.http().post("/api/v1/executions", &body);
    assert_eq!(refused.status, 409, "{refused:?}");
}

#[test]
fn the_older_version_works_after_newer_migrations_are_reverted() {
    let database = Database::new();
    let this = DaemonBuilder::on(&database).start();
    let first = this.http().submit("print('new')");
    assert_eq!(this.http().wait(&first)["status"], "completed");
    assert_eq!(this.stop(), 0);

    // The migrations that the older version does not have.
    while database.number("SELECT count(*) FROM __diesel_schema_migrations WHERE version >= '0009'") > 0 {
        let down = DaemonBuilder::on(&database).command(&["migrate", "down"]).output().unwrap();
        assert!(down.status.success(), "{down:?}");
    }
    let older = old(&database).start();
    let second = older.http().submit("print('old')");
    assert_eq!(older.http().wait(&second)["stdout"], "old\n");
    assert_eq!(older.http().execution(&first)["stdout"], "new\n");
}
