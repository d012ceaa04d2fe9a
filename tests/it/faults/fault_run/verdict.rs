//! What became of every accepted submission, and what is left behind.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::fault_run::LEASE;
use crate::faults::fault_run::fleet::{Fleet, Unit};
use crate::faults::fault_run::plan::{Fault, Recovery};
use crate::faults::fault_run::submitter::{Accepted, Submitter, is_whole, starts};

/// For everything that is still open when the faults are over.
const SETTLE: Duration = Duration::from_secs(180);

#[derive(Default)]
pub struct Verdict {
    took: Duration,
    /// What each recovery has to stay below.
    bound: Duration,
    accepted: usize,
    unanswered: u32,
    completed: usize,
    failed_by_rule: usize,
    run_again: usize,
    lost: Vec<String>,
    doubled: Vec<String>,
    wrong: Vec<String>,
    leaked: Vec<String>,
    faults: BTreeMap<Fault, (usize, Duration)>,
}

pub fn reach(
    fleet: Fleet,
    submitter: Submitter,
    recoveries: Vec<Recovery>,
    bound: Duration,
    begun: Instant,
) -> Verdict {
    let accepted = submitter.accepted();
    let mut verdict =
        Verdict { accepted: accepted.len(), unanswered: submitter.unanswered(), bound, ..Verdict::default() };
    for Recovery { fault, took } in recoveries {
        let (count, longest) = verdict.faults.entry(fault).or_default();
        (*count, *longest) = (*count + 1, took.max(*longest));
    }
    let open = "SELECT count(*) FROM executions WHERE status IN ('queued', 'running')";
    let settling = Instant::now();
    while fleet.postgres.number(open) > 0 && settling.elapsed() < SETTLE {
        std::thread::sleep(Duration::from_millis(200));
    }
    let runs = runs(&fleet);
    for one in &accepted {
        verdict.judge(one, &fleet.units[0], runs.get(&one.id).map_or(&[], Vec::as_slice));
    }
    verdict.look_for_leaks(&fleet);
    verdict.took = begun.elapsed();
    if !verdict.is_good() {
        let folder = std::env::temp_dir().join(format!("fault-run-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for unit in &fleet.units {
            std::fs::write(folder.join(unit.name), unit.log().join("\n")).unwrap();
        }
        std::fs::copy(fleet.engine.log(), folder.join("dockerd")).unwrap();
        println!("the daemons' logs and dockerd's are in {}", folder.display());
    }
    verdict
}

/// The attempts of each execution whose job was handed over to a sandbox, by the daemons' own words.
fn runs(fleet: &Fleet) -> HashMap<String, Vec<u64>> {
    let mut runs: HashMap<String, Vec<u64>> = HashMap::new();
    for line in fleet.units.iter().flat_map(Unit::log) {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if line["msg"] == "running" {
            let execution = line["execution"].as_str().unwrap().to_owned();
            runs.entry(execution).or_default().push(line["attempt"].as_u64().unwrap());
        }
    }
    runs
}

impl Verdict {
    fn judge(&mut self, one: &Accepted, unit: &Unit, runs: &[u64]) {
        let Some(answer) = unit.http().try_get(&format!("/api/v1/executions/{}", one.id)) else {
            return self.lost.push(format!("{}: no answer", one.id));
        };
        let execution = if answer.status == 200 { answer.json() } else { Value::Null };
        let stdout = execution["stdout"].as_str().unwrap_or_default();
        match (execution["status"].as_str(), execution["failure_kind"].as_str()) {
            (Some("completed"), _) if is_whole(one, stdout) => self.completed += 1,
            (Some("completed"), _) => self.wrong.push(format!("{} {}: {stdout:?}", one.id, one.number)),
            (Some("failed"), Some("lost")) => self.failed_by_rule += 1,
            (Some("failed"), _) => self.wrong.push(execution.to_string()),
            _ => self.lost.push(format!("{}: {}", one.id, answer.body)),
        }
        let mut attempts = runs.to_vec();
        attempts.sort_unstable();
        attempts.dedup();
        if attempts.len() > 1 {
            self.run_again += 1;
        }
        let too_often = attempts.len() as u64 > execution["max_attempts"].as_u64().unwrap_or(u64::MAX);
        if starts(one, stdout) > 1 || attempts.len() < runs.len() || too_often {
            self.doubled.push(format!("{}: started as {runs:?}, said {stdout:?}", one.id));
        }
    }

    fn look_for_leaks(&mut self, fleet: &Fleet) {
        for unit in &fleet.units {
            if unit.stop() != Some(0) {
                self.leaked.push(format!("daemon {} did not end with 0", unit.name));
            }
        }
        let cluster = fleet.postgres.text("SELECT cluster FROM deployment");
        let containers = fleet.engine.containers_of(&cluster);
        self.leaked.extend(containers.into_iter().map(|id| format!("container {id}")));
        let volumes = fleet.engine.docker(&["volume", "ls", "-q"]);
        self.leaked.extend(volumes.lines().skip(1).map(|name| format!("volume {name}")));
        let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rgridd'";
        // Postgres hears of their end through the proxies.
        let closing = Instant::now();
        while fleet.postgres.number(connections) > 0 && closing.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let connections = fleet.postgres.number(connections);
        if connections > 0 {
            self.leaked.push(format!("{connections} connections"));
        }
        let chunks = fleet.postgres.number("SELECT count(*) FROM output_chunks");
        if chunks > 0 {
            self.leaked.push(format!("{chunks} chunks of output"));
        }
    }

    fn longest(&self) -> Duration {
        self.faults.values().map(|(_, longest)| *longest).max().unwrap_or_default()
    }

    fn is_good(&self) -> bool {
        let bad = [&self.lost, &self.doubled, &self.wrong, &self.leaked];
        bad.iter().all(|list| list.is_empty()) && self.longest() < self.bound
    }

    pub fn assert_good(&self) {
        for (what, list) in [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("wrong", &self.wrong),
            ("leaked", &self.leaked),
        ] {
            assert!(list.is_empty(), "{what}:\n{}", list.join("\n"));
        }
        assert!(self.longest() < self.bound, "a recovery took {:?}, the lease is {LEASE:?}", self.longest());
        assert!(self.accepted > 0, "nothing was accepted");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| fault | times | longest recovery |\n| --- | --- | --- |")?;
        for (fault, (count, longest)) in &self.faults {
            writeln!(f, "| {fault} | {count} | {:.1} s |", longest.as_secs_f64())?;
        }
        writeln!(f, "\n| what became of the submissions | |\n| --- | --- |")?;
        let rows = [
            ("accepted", self.accepted),
            ("completed, output whole", self.completed),
            ("failed by the rule (`lost`)", self.failed_by_rule),
            ("run again", self.run_again),
            ("lost", self.lost.len()),
            ("doubled", self.doubled.len()),
            ("ended in another way", self.wrong.len()),
            ("leaked", self.leaked.len()),
            ("never answered", self.unanswered as usize),
        ];
        for (what, count) in rows {
            writeln!(f, "| {what} | {count} |")?;
        }
        writeln!(
            f,
            "| longest recovery | {:.1} s (lease {} s) |",
            self.longest().as_secs_f64(),
            LEASE.as_secs()
        )?;
        write!(f, "| in all | {:.0} s |", self.took.as_secs_f64())
    }
}
