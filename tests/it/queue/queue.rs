//! The order of the queue: priorities, turns between keys, labels of workers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rgridd::execution::{Claim, ExecutionId, LabelSets, ReleaseReason, Status, Stream, WorkerId};
use rgridd::store::{CLAIM_MOST, Chunk, Store, statements};
use serde_json::{Value, json};

use crate::support::{DaemonBuilder, Database};

const LEASE: Duration = Duration::from_secs(60);

/// A store on an empty database, without daemons.
struct Queue {
    store: Store,
    runtime: tokio::runtime::Runtime,
    worker: WorkerId,
    database: Database,
}

impl Queue {
    /// With the keys a, b and c.
    fn new() -> Self {
        let database = Database::new();
        let store = Store::new(&database.url(), 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.migrate()).unwrap();
        for key in ["a", "b", "c"] {
            database.execute(&format!(
                "INSERT INTO api_keys (id, name, secret_sha256, scopes) VALUES ('{}', '{key}', sha256('{key}'), '{{run}}')",
                id_of(key)
            ));
        }
        Self { store, runtime, worker: WorkerId::generate(), database }
    }

    /// Inserts `count` executions of one key, named `exec_KEY` and a number.
    fn submit(&self, key: &str, count: u32) {
        self.submit_as(key, count, 0, &json!({}));
    }

    fn submit_as(&self, key: &str, count: u32, priority: i32, on: &Value) {
        let first = self.database.number("SELECT count(*) FROM executions");
        let last = first + i64::from(count) - 1;
        // One transaction each, because executions of one transaction have no order.
        self.database.execute(&format!(
            "DO $$ BEGIN FOR n IN {first}..{last} LOOP
                INSERT INTO executions (id, created_at, runtime, script_name, timeout_ms, memory_bytes, cpus_milli,
                    max_attempts, key_id, priority, on_labels)
                VALUES ('exec_{key}' || lpad(n::text, 6, '0'), clock_timestamp(), 'python:3.11', 'a.py', 1000, 1, 1, 2,
                    '{}', {priority}, '{on}');
             END LOOP; END $$",
            id_of(key)
        ));
    }

    /// Claims up to `count`, and returns them in the order of the claims.
    fn claim(&self, labels: &[(&str, &str)], count: usize) -> Vec<Claim> {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let offer = LabelSets::of(&labels);
        let mut claims = Vec::new();
        while claims.len() < count {
            let asked = (count - claims.len()).min(CLAIM_MOST);
            let claimed =
                self.runtime.block_on(self.store.claim(&self.worker, "w", &offer, asked, LEASE)).unwrap();
            let all = claimed.len();
            claims.extend(claimed.into_iter().map(|claimed| claimed.claim));
            if all < asked {
                break;
            }
        }
        claims
    }

    /// Claims one at a time until the queue is empty.
    fn claim_all(&self) -> Vec<Claim> {
        std::iter::from_fn(|| self.claim(&[], 1).pop()).collect()
    }

    fn release(&self, claim: &Claim) {
        self.runtime.block_on(self.store.release(claim, ReleaseReason::NotStarted)).unwrap();
    }
}

fn id_of(key: &str) -> String {
    format!("00000000000{key}")
}

/// The keys of the claims, in order.
fn keys(claims: &[Claim]) -> String {
    claims.iter().map(|claim| claim.execution.as_str().chars().nth(5).unwrap()).collect()
}

fn of(claims: &[Claim], key: char) -> Vec<&ExecutionId> {
    let own = claims.iter().map(|claim| &claim.execution);
    own.filter(|execution| execution.as_str().chars().nth(5) == Some(key)).collect()
}

#[test]
fn a_key_with_thousands_of_executions_does_not_delay_another_key() {
    let queue = Queue::new();
    queue.submit("a", 5000);
    assert_eq!(keys(&queue.claim(&[], 100)), "a".repeat(100));
    queue.submit("b", 3);
    let claims: Vec<Claim> = (0..8).flat_map(|_| queue.claim(&[], 1)).collect();
    assert_eq!(keys(&claims), "ababab".to_owned() + "aa");
}

#[test]
fn busy_keys_take_turns() {
    let queue = Queue::new();
    queue.submit("a", 300);
    queue.submit("b", 200);
    queue.submit("c", 100);
    let claims = queue.claim_all();
    assert_eq!(claims.len(), 600);
    for round in claims[..300].chunks(3) {
        let mut letters: Vec<char> = keys(round).chars().collect();
        letters.sort_unstable();
        assert_eq!(letters, ['a', 'b', 'c']);
    }
    assert_eq!(keys(&claims[300..500]).matches('a').count(), 100);
}

#[test]
fn executions_of_a_key_are_claimed_in_the_order_of_submission() {
    let queue = Queue::new();
    let mut claims = Vec::new();
    for key in ["a", "b", "a", "a", "b", "c", "a"] {
        queue.submit(key, 7);
        claims.extend(queue.claim(&[], 2));
        queue.submit(key, 2);
    }
    claims.extend(queue.claim_all());
    for key in ['a', 'b', 'c'] {
        let own = of(&claims, key);
        assert!(!own.is_empty() && own.is_sorted(), "{own:?}");
    }
}

#[test]
fn executions_that_ran_alone_do_not_delay_a_key_later() {
    let queue = Queue::new();
    queue.submit("a", 50);
    assert_eq!(queue.claim_all().len(), 50);
    queue.submit("b", 20);
    queue.submit("a", 20);
    let first = keys(&queue.claim(&[], 20));
    assert_eq!(first.matches('a').count(), 10, "{first}");
}

#[test]
fn a_released_execution_goes_to_the_head_of_the_queue() {
    let queue = Queue::new();
    queue.submit("a", 40);
    let claims = queue.claim(&[], 20);
    queue.release(&claims[3]);
    // It is in no round, so it does not move the rounds of its key.
    queue.submit("b", 10);
    let next = queue.claim_all();
    assert_eq!(next[0].execution, claims[3].execution);
    assert_eq!(keys(&next[1..9]).matches('a').count(), 4, "{}", keys(&next));
}

#[test]
fn an_execution_whose_script_never_starts_ends_after_its_last_claim() {
    let queue = Queue::new();
    queue.submit("a", 1);
    let store = queue.store.clone().with_max_claims(3);
    for expected in [Status::Queued, Status::Queued, Status::Failed] {
        let claim = queue.claim_all().remove(0);
        let released = queue.runtime.block_on(store.release(&claim, ReleaseReason::NotStarted)).unwrap();
        assert_eq!(released.unwrap().status, expected);
    }
    let failure = queue.database.text("SELECT failure_kind || ': ' || execution_error FROM executions");
    assert!(
        failure.starts_with("internal: the script could not be started in 3 claims (execution.max_claims)"),
        "{failure}"
    );
    assert_eq!(queue.database.number("SELECT attempt - released FROM executions"), 0);
}

#[test]
fn releasing_a_lost_claim_does_not_affect_the_next_attempt() {
    let queue = Queue::new();
    queue.submit("a", 1);
    let lost = queue.claim_all().remove(0);
    queue.database.execute(
        "UPDATE executions SET status = 'queued', worker_id = NULL, lease_until = NULL, started_at = NULL",
    );
    let next = queue.claim_all().remove(0);
    let said = Chunk { seq: 1, stream: Stream::Stdout, text: "said".to_owned() };
    queue.runtime.block_on(queue.store.append(&next, vec![said])).unwrap();
    queue.release(&lost);
    assert_eq!(queue.database.text("SELECT text FROM output_chunks"), "said");
    queue.release(&next);
    assert_eq!(queue.database.number("SELECT count(*) FROM output_chunks"), 0);
}

#[test]
fn higher_priorities_go_first_across_keys() {
    let queue = Queue::new();
    queue.submit_as("a", 2, -5, &json!({}));
    queue.submit("b", 2);
    queue.submit_as("a", 2, 7, &json!({}));
    queue.submit_as("c", 1, 100, &json!({}));
    assert_eq!(keys(&queue.claim_all()), "caabbaa");
}

#[test]
fn a_worker_claims_only_executions_whose_labels_it_has() {
    let queue = Queue::new();
    queue.submit_as("a", 2, 0, &json!({ "gpu": "true" }));
    queue.submit_as("b", 2, 0, &json!({ "gpu": "true", "zone": "eu" }));
    queue.submit("c", 2);
    assert_eq!(keys(&queue.claim(&[], 10)), "cc");
    assert_eq!(keys(&queue.claim(&[("zone", "eu")], 10)), "");
    assert_eq!(keys(&queue.claim(&[("gpu", "false"), ("zone", "eu")], 10)), "");
    assert_eq!(keys(&queue.claim(&[("gpu", "true")], 10)), "aa");
    assert_eq!(keys(&queue.claim(&[("disk", "ssd"), ("gpu", "true"), ("zone", "eu")], 10)), "bb");
}

#[test]
fn a_worker_with_labels_claims_across_label_sets_in_queue_order() {
    let queue = Queue::new();
    queue.submit_as("a", 3, 1, &json!({ "gpu": "true" }));
    queue.submit_as("b", 3, 2, &json!({}));
    queue.submit_as("c", 3, 0, &json!({ "gpu": "true" }));
    let gpu = [("gpu", "true")];
    let mut first = keys(&queue.claim(&gpu, 4)).chars().collect::<Vec<_>>();
    first.sort_unstable();
    assert_eq!(first, ['a', 'b', 'b', 'b']);
    assert_eq!(keys(&queue.claim(&gpu, 2)), "aa");
    assert_eq!(keys(&queue.claim(&gpu, 10)), "ccc");
}

/// Counts pages instead of time, so the load of the machine does not matter.
#[test]
fn a_claim_reads_no_more_of_a_full_queue_than_of_an_empty_one() {
    let (small, full) = (Queue::new(), Queue::new());
    small.submit("a", 1);
    full.database.execute(
        "INSERT INTO executions (id, status, started_at, completed_at, exit_code, attempt, runtime, script_name, timeout_ms,
            memory_bytes, cpus_milli, max_attempts)
         SELECT 'exec_z' || n, 'completed', now(), now(), 0, 1, 'python:3.11', 'a.py', 1, 1, 1, 2
         FROM generate_series(1, 40000) n",
    );
    // Executions for other workers cost as little as ended ones.
    full.submit_as("b", 5000, 50, &json!({ "gpu": "true" }));
    full.submit("a", 5000);
    full.submit("c", 5000);
    let zone = "ARRAY['{}', '{\"zone\": \"eu\"}']::jsonb[]";
    for statistics in ["SELECT 1", "ANALYZE"] {
        full.database.execute(statistics);
        for (statement, offer) in [(statements::CLAIM, "'{}'::jsonb"), (statements::CLAIM_AMONG, zone)] {
            let (few, many) = (pages(&small, statement, offer), pages(&full, statement, offer));
            assert!(many <= few + 40, "{many} pages, {few} of an empty one {statistics}: {statement}");
        }
    }
}

fn pages(queue: &Queue, statement: &str, offer: &str) -> i64 {
    let values = ["1", "'w'", "'w'", "60000", offer];
    let claim = values
        .iter()
        .enumerate()
        .fold(statement.to_owned(), |text, (at, value)| text.replace(&format!("${}", at + 1), value));
    // A function, so that the plan is a value; the transaction with the claim is rolled back.
    queue.database.execute(&format!(
        "CREATE OR REPLACE FUNCTION pages() RETURNS bigint LANGUAGE plpgsql AS $f$
         DECLARE plan json; BEGIN
            SET LOCAL jit = off;
            EXECUTE $e$EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim}$e$ INTO plan;
            UPDATE executions SET status = 'queued', attempt = 0, worker_id = NULL, worker_name = NULL, started_at = NULL,
                lease_until = NULL WHERE status = 'running';
            RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::bigint + (plan->0->'Plan'->>'Shared Read Blocks')::bigint;
         END $f$"
    ));
    queue.database.number("SELECT pages()")
}

#[test]
fn an_execution_that_no_worker_fits_reports_the_missing_labels() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let (http, cli) = (daemon.http(), daemon.cli());
    cli.write("script.py", "print('ran')");
    let id = cli.ok(&["run", "-q", "--on", "gpu=true", "--priority", "-3", "script.py"]);
    let id = id.trim();
    let plain = http.submit("print('plain')");
    assert_eq!(http.wait(&plain)["status"], "completed");

    let waiting = http.execution(id);
    assert_eq!(
        (&waiting["status"], &waiting["waits_for"]),
        (&json!("queued"), &json!("no worker has gpu=true"))
    );
    assert_eq!((&waiting["on"], &waiting["priority"]), (&json!({ "gpu": "true" }), &json!(-3)));
    assert!(cli.ok(&["status", id]).contains("\nWaiting: no worker has gpu=true\n"));
    let why = cli.ok(&["why", id]);
    assert!(why.contains(": no worker has gpu=true; start one with worker.labels"), "{why}");
    // A waiting client sees it as well, and there are no files yet.
    let mut waits = cli.command(&["run", "-w", "--on", "gpu=true", "script.py"]);
    let mut waits = waits.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(waits.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line == "Status: queued, no worker has gpu=true"));
    let early = cli.run(&["download", id]);
    assert_eq!(early.code, 1);
    assert_eq!(
        early.stderr,
        format!(
            "error: {id} has not ended; its files are available at its end\n  hint: wait for it with `rgrid wait {id}`\n"
        )
    );

    let gpu =
        DaemonBuilder::plain(&database).named("gpu").with("RGRID_WORKER__LABELS", "gpu=true,zone=eu").start();
    let end = http.wait(id);
    assert_eq!((&end["status"], &end["worker"]), (&json!("completed"), &json!("gpu")), "{end}");
    assert_eq!(end["waits_for"], Value::Null);
    assert!(waits.wait().unwrap().success());
    let workers = gpu.http().get("/api/v1/workers").json();
    let labelled =
        workers["items"].as_array().unwrap().iter().find(|worker| worker["name"] == "gpu").unwrap();
    assert_eq!(labelled["labels"], json!({ "gpu": "true", "zone": "eu" }));
}

#[test]
fn only_admin_keys_may_exceed_the_configured_priority() {
    let database = Database::new();
    let builder = DaemonBuilder::on(&database)
        .role("api")
        .with("RGRID_AUTH__MODE", "keys")
        .with("RGRID_QUEUE__MAX_PRIORITY", "10");
    let (user, admin) = (builder.key("user", "read,run"), builder.key("admin", "admin"));
    let daemon = builder.start();
    let submit = |key: &str, priority: i32| {
        let body = json!({ "script": { "name": "s.py", "content": "print(1)" }, "priority": priority });
        daemon.http().with_key(key).post("/api/v1/executions", &body)
    };
    assert_eq!(
        (submit(&user, 10).status, submit(&user, -100).status, submit(&admin, 100).status),
        (201, 201, 201)
    );
    let refused = submit(&user, 11);
    assert_eq!(refused.status, 422);
    let error = &refused.json()["errors"][0];
    let words = "must be between -100 and 10 for a key without the scope admin (queue.max_priority)";
    assert_eq!((&error["field"], &error["message"]), (&json!("priority"), &json!(words)));
}

#[test]
fn labels_are_refused_while_a_worker_of_an_older_version_runs() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).role("api").start();
    database.execute("INSERT INTO workers (id, name, slots) VALUES ('worker_old', 'old', 1)");
    let body = json!({ "script": { "name": "s.py", "content": "print(1)" }, "on": { "gpu": "true" } });
    let refused = daemon.http().post("/api/v1/executions", &body);
    assert_eq!(refused.status, 409);
    let words = "worker old is of an older version and would not look at `on`; submit it again when all workers are upgraded";
    assert_eq!(refused.json()["detail"], words);

    database.execute("UPDATE workers SET stopped_at = clock_timestamp()");
    assert_eq!(daemon.http().post("/api/v1/executions", &body).status, 201);
}
