//! 300 executions while one machine is disconnected for a while and another dies.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Deployment, NAMES};
use crate::support::{Daemon, wait_until};

const EXECUTIONS: usize = 300;
/// How long machine b is disconnected: longer than a lease.
const CUT: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(400);

#[test]
fn three_machines_lose_nothing_when_one_is_disconnected_and_another_dies() {
    let deployment = Deployment::new();
    let [a, b, c] = NAMES.map(|name| deployment.worker(name));
    let begun = Instant::now();
    let ids: Vec<String> = (0..EXECUTIONS).map(|number| submit(&deployment, number)).collect();

    wait_until_ended(&deployment, EXECUTIONS / 5);
    deployment.lan.machine("b").cut();
    let cut = Instant::now();
    wait_until_ended(&deployment, EXECUTIONS * 2 / 5);
    let mut logs = c.log();
    c.kill_9();
    deployment.lan.machine("c").engine.switch_off();
    std::thread::sleep(CUT.saturating_sub(cut.elapsed()));
    deployment.lan.machine("b").heal();
    wait_until_ended(&deployment, EXECUTIONS);
    let took = begun.elapsed();

    let mut account = Account::default();
    logs.extend([&a, &b].into_iter().flat_map(Daemon::log));
    let runs = runs(&logs);
    for (number, id) in ids.iter().enumerate() {
        account.enter(number, &deployment.api.http().execution(id), runs.get(id).map_or(&[], Vec::as_slice));
    }
    println!("{}", account.table(took));
    assert_eq!((a.stop(), b.stop()), (0, 0));
    let cluster = deployment.postgres.text("SELECT cluster FROM deployment");
    for name in ["a", "b"] {
        let left = ["ps", "-aq", "--filter", &format!("label=rgrid.cluster={cluster}")];
        assert_eq!(deployment.lan.machine(name).docker(&left), "", "containers are left on {name}");
    }
    assert!(account.is_good(), "{account:?}");
    assert!(account.ended_on.len() == NAMES.len(), "each machine must run executions: {account:?}");
}

fn submit(deployment: &Deployment, number: usize) -> String {
    let pause = 0.2 + (number % 8) as f64 / 10.0;
    let script = format!("import time\nprint('begin {number}')\ntime.sleep({pause})\nprint('end {number}')");
    // The same execution may be hit by both faults.
    deployment.api.http().submit_with(&script, json!({ "max_attempts": 3 }))
}

fn wait_until_ended(deployment: &Deployment, count: usize) {
    let ended = "SELECT count(*) FROM executions WHERE completed_at IS NOT NULL";
    wait_until(&format!("{count} have ended"), TIMEOUT, || {
        (deployment.postgres.number(ended) >= count as i64).then_some(())
    });
}

/// The attempts of each execution that a worker has started, according to the workers' logs.
fn runs(logs: &[String]) -> HashMap<String, Vec<u64>> {
    let mut runs: HashMap<String, Vec<u64>> = HashMap::new();
    for line in logs.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if line["msg"] == "running" {
            let execution = line["execution"].as_str().unwrap().to_owned();
            runs.entry(execution).or_default().push(line["attempt"].as_u64().unwrap());
        }
    }
    runs
}

#[derive(Debug, Default)]
struct Account {
    completed: usize,
    run_again: usize,
    lost: Vec<String>,
    doubled: Vec<String>,
    ended_on: BTreeMap<String, usize>,
}

impl Account {
    fn enter(&mut self, number: usize, execution: &Value, runs: &[u64]) {
        let whole = format!("begin {number}\nend {number}\n");
        if execution["status"] == "completed" && execution["stdout"] == whole {
            self.completed += 1;
            *self.ended_on.entry(execution["worker"].as_str().unwrap().to_owned()).or_default() += 1;
        } else {
            self.lost.push(execution.to_string());
        }
        let mut attempts = runs.to_vec();
        attempts.sort_unstable();
        attempts.dedup();
        self.run_again += usize::from(attempts.len() > 1);
        let beyond = attempts.len() as u64 > execution["max_attempts"].as_u64().unwrap();
        if attempts.len() < runs.len() || beyond {
            self.doubled.push(format!("{number}: {runs:?} {execution}"));
        }
    }

    fn is_good(&self) -> bool {
        self.completed == EXECUTIONS && self.lost.is_empty() && self.doubled.is_empty()
    }

    fn table(&self, took: Duration) -> String {
        let on = |name: &str| self.ended_on.get(name).copied().unwrap_or(0);
        format!(
            "| accepted | completed | on a | on b (cut off for {}) | on c (gone at {}) | run again by the rule | lost | doubled \
             | took |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n\
             | {EXECUTIONS} | {} | {} | {} | {} | {} | {} | {} | {} s |",
            format_args!("{} s", CUT.as_secs()),
            EXECUTIONS * 2 / 5,
            self.completed,
            on("a"),
            on("b"),
            on("c"),
            self.run_again,
            self.lost.len(),
            self.doubled.len(),
            took.as_secs()
        )
    }
}
