//! A daemon that is killed about once per second, mostly before its scripts have started.
//!
//! Starts are counted outside the system: each script connects to a listener of this test before it does anything
//! else, so what the daemon records cannot hide a second start.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::fault_run::{number, random::Random, random::from_the_clock};
use crate::faults::starts::Starts;
use crate::support::{Daemon, DaemonBuilder, Http, Postgres, containers_of, free_port, wait_until};

const LEASE: Duration = Duration::from_secs(10);
const SLOTS: usize = 2;
const SUBMISSIONS_PER_ROUND: u32 = 4;
const SHORT_ROUNDS: u64 = 6;
const MAX_ATTEMPTS: u64 = 2;
/// For everything that is still open after the last fault.
const SETTLE: Duration = Duration::from_secs(180);
const MEDIAN_START: Duration = Duration::from_secs(2);

#[test]
fn executions_whose_scripts_have_not_started_survive_repeated_kills() {
    let seed = number("KILLS_SEED").unwrap_or_else(from_the_clock);
    // The short form runs beside other tests, which make each start slow.
    let (rounds, median) = match number("KILLS_ROUNDS") {
        Some(rounds) => (rounds, MEDIAN_START),
        None => (SHORT_ROUNDS, 5 * MEDIAN_START),
    };
    let pace = number("KILLS_PACE_MS").map_or(Duration::from_secs(1), Duration::from_millis);
    println!("kill rounds: KILLS_SEED={seed} KILLS_ROUNDS={rounds} KILLS_PACE_MS={}", pace.as_millis());

    let mut run = KillRounds::start(seed);
    for round in 1..=rounds {
        run.submit_some();
        run.wait_a_moment(pace);
        run.inject(round);
    }
    let report = run.finish();
    println!("{report}");
    report.assert_good(median);
}

struct KillRounds {
    random: Random,
    postgres: Postgres,
    builder: DaemonBuilder,
    daemon: Option<Daemon>,
    http: Http,
    starts: Starts,
    accepted: HashMap<u32, String>,
    next: u32,
    kills: usize,
    restarts: usize,
    /// Claimed but not started when the daemon was killed, and when the next daemon was ready.
    interrupted: Vec<(String, Instant)>,
    /// Of all daemons that have ended.
    log: Vec<String>,
}

impl KillRounds {
    fn start(seed: u64) -> Self {
        let (postgres, port) = (Postgres::new(), free_port());
        let builder = DaemonBuilder::at(&postgres.url())
            .slots(SLOTS)
            .lease(&format!("{}s", LEASE.as_secs()))
            .with("RGRID_HTTP__LISTEN", &format!("127.0.0.1:{port}"));
        let daemon = builder.start();
        Self {
            random: Random::new(seed),
            postgres,
            builder,
            http: Http::impatient(&daemon.url()),
            daemon: Some(daemon),
            starts: Starts::listen(),
            accepted: HashMap::new(),
            next: 0,
            kills: 0,
            restarts: 0,
            interrupted: Vec::new(),
            log: Vec::new(),
        }
    }

    fn submit_some(&mut self) {
        for _ in 0..SUBMISSIONS_PER_ROUND {
            self.next += 1;
            let seconds = [0.0, 0.0, 0.1, 0.5][self.random.below(4)];
            let content = self.starts.script(seconds);
            let body =
                json!({ "script": { "name": "n.py", "content": content }, "max_attempts": MAX_ATTEMPTS });
            let (key, number) = (format!("kill-rounds-{}", self.next), self.next);
            let id = wait_until("the submission is accepted", Duration::from_secs(60), || {
                let headers = [("idempotency-key", key.as_str())];
                let body = body.to_string();
                let answer = self.http.try_post(
                    "/api/v1/executions",
                    "application/json",
                    &headers,
                    body.as_bytes(),
                )?;
                matches!(answer.status, 200 | 201).then(|| answer.json()["id"].as_str().unwrap().to_owned())
            });
            self.accepted.insert(number, id);
        }
    }

    /// Half of the faults arrive right after a claim, when an execution is between its claim and its script's start.
    fn wait_a_moment(&mut self, pace: Duration) {
        let begun = Instant::now();
        let pause = pace.mul_f64(0.5) + self.random.millis(0..pace.as_millis() as u64);
        if self.random.percent(50) {
            while self.claimed_but_not_started().is_empty() && begun.elapsed() < pause {
                std::thread::sleep(Duration::from_millis(2));
            }
            std::thread::sleep(self.random.millis(0..60));
        } else {
            std::thread::sleep(pause);
        }
    }

    fn inject(&mut self, round: u64) {
        if self.random.percent(67) {
            self.kills += 1;
            let daemon = self.daemon.take().unwrap();
            self.log.extend(daemon.log());
            daemon.kill_9();
            let interrupted = self.claimed_but_not_started();
            self.daemon = Some(self.builder.start());
            let ready = Instant::now();
            println!("{round:>4} kill -9: {} claimed but not started", interrupted.len());
            self.interrupted.extend(interrupted.into_iter().map(|id| (id, ready)));
        } else {
            self.restarts += 1;
            println!("{round:>4} immediate restart of Postgres");
            self.postgres.restart_at_once();
        }
    }

    fn claimed_but_not_started(&self) -> Vec<String> {
        let running = "SELECT coalesce(string_agg(id, ' '), '') FROM executions WHERE status = 'running'";
        let running = self.postgres.text(running);
        let ids = running.split_whitespace().map(str::to_owned);
        ids.filter(|id| self.starts.of(id).is_empty()).collect()
    }

    fn finish(mut self) -> Report {
        let open = "SELECT count(*) FROM executions WHERE status IN ('queued', 'running')";
        let settling = Instant::now();
        while self.postgres.number(open) > 0 && settling.elapsed() < SETTLE {
            std::thread::sleep(Duration::from_millis(200));
        }
        let mut report = Report {
            accepted: self.accepted.len(),
            kills: self.kills,
            restarts: self.restarts,
            ..Report::default()
        };
        let daemon = self.daemon.take().unwrap();
        self.log.extend(daemon.log());
        for id in self.accepted.values() {
            let execution = self.http.get(&format!("/api/v1/executions/{id}")).json();
            report.check(id, &execution, self.starts.of(id).len() as u64);
        }
        if !(report.lost.is_empty() && report.duplicated.is_empty()) {
            let path = std::env::temp_dir().join(format!("kill-rounds-{}.log", std::process::id()));
            std::fs::write(&path, self.log.join("\n")).unwrap();
            println!("the daemons' logs are in {}", path.display());
        }
        let started = |id: &str| self.starts.of(id).first().copied();
        let waits = self.interrupted.iter().filter_map(|(id, ready)| {
            // One that started between the query and the kill was not interrupted before its start.
            started(id).filter(|start| start > ready).map(|start| start - *ready)
        });
        report.waits = waits.collect();
        report.waits.sort_unstable();
        let cluster = self.postgres.text("SELECT cluster FROM deployment");
        if daemon.stop() != 0 {
            report.leaked.push("the daemon did not exit with 0".to_owned());
        }
        report.leaked.extend(containers_of(&cluster).into_iter().map(|id| format!("container {id}")));
        let chunks = self.postgres.number("SELECT count(*) FROM output_chunks");
        if chunks > 0 {
            report.leaked.push(format!("{chunks} output chunks"));
        }
        report
    }
}

#[derive(Default)]
struct Report {
    accepted: usize,
    completed: usize,
    kills: usize,
    restarts: usize,
    lost: Vec<String>,
    duplicated: Vec<String>,
    leaked: Vec<String>,
    /// From `ready` to the script's start, of executions that were claimed but not started at a kill.
    waits: Vec<Duration>,
}

impl Report {
    /// A daemon that is killed and a Postgres that restarts leave every sandbox alive: each script starts exactly once.
    fn check(&mut self, id: &str, execution: &Value, starts: u64) {
        let attempt = execution["attempt"].as_u64().unwrap_or_default();
        if execution["status"] == "completed" && execution["stdout"] == "started\nended\n" {
            self.completed += 1;
        } else {
            self.lost.push(format!("{id} with {starts} starts: {execution}"));
        }
        if starts > 1 || attempt > 1 {
            self.duplicated.push(format!("{id}: {starts} starts, attempt {attempt}"));
        }
    }

    fn median(&self) -> Duration {
        self.waits.get(self.waits.len() / 2).copied().unwrap_or_default()
    }

    fn assert_good(&self, median: Duration) {
        for (what, list) in [("lost", &self.lost), ("duplicated", &self.duplicated), ("leaked", &self.leaked)]
        {
            assert!(list.is_empty(), "{what}:\n{}", list.join("\n"));
        }
        assert!(self.accepted > 0, "nothing was accepted");
        assert!(self.median() <= median, "the median start took {:?}", self.median());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| kill rounds | |\n| --- | --- |")?;
        for (what, count) in [
            ("kill -9 of the daemon", self.kills),
            ("immediate restart of Postgres", self.restarts),
            ("accepted", self.accepted),
            ("completed", self.completed),
            ("lost", self.lost.len()),
            ("duplicated", self.duplicated.len()),
            ("leaked", self.leaked.len()),
            ("claimed but not started at a kill", self.waits.len()),
        ] {
            writeln!(f, "| {what} | {count} |")?;
        }
        let longest = self.waits.last().copied().unwrap_or_default();
        write!(
            f,
            "| start after `ready`, median and longest | {:.2} s, {:.2} s |",
            self.median().as_secs_f64(),
            longest.as_secs_f64()
        )
    }
}
