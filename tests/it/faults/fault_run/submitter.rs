//! Numbered scripts at a steady rate, each with an `Idempotency-Key`, asked again until there is an answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::faults::fault_run::fleet::Fleet;
use crate::faults::fault_run::random::Random;

pub const CLIENTS: usize = 4;
/// Between two submissions of one client. Four slots take more than that.
const EVERY: Duration = Duration::from_millis(4000);
/// Nobody asks for longer than that; what was not answered may or may not exist.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Submitter {
    state: Mutex<State>,
}

struct State {
    random: Random,
    next: u32,
    accepted: Vec<Accepted>,
    unanswered: u32,
}

#[derive(Clone)]
pub struct Accepted {
    pub id: String,
    pub number: u32,
    pub lines: usize,
}

impl Submitter {
    pub fn new(seed: u64) -> Self {
        let random = Random::new(!seed);
        Self { state: Mutex::new(State { random, next: 0, accepted: Vec::new(), unanswered: 0 }) }
    }

    pub fn submit_until(&self, fleet: &Fleet, over: &AtomicBool) {
        let mut due = Instant::now();
        while !over.load(Ordering::Relaxed) {
            if Instant::now() < due {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            due = Instant::now() + EVERY;
            self.submit(fleet);
        }
    }

    fn submit(&self, fleet: &Fleet) {
        let (number, lines, first) = self.draw();
        let body =
            json!({ "script": { "name": "numbered.py", "content": script(number, lines) } }).to_string();
        let key = format!("number-{number}");
        let begun = Instant::now();
        for unit in fleet.units.iter().cycle().skip(first) {
            let headers = [("idempotency-key", key.as_str())];
            let answer =
                unit.http().try_post("/api/v1/executions", "application/json", &headers, body.as_bytes());
            match answer {
                Some(answer) if matches!(answer.status, 200 | 201) => {
                    let id = answer.json()["id"].as_str().unwrap().to_owned();
                    return self.state.lock().unwrap().accepted.push(Accepted { id, number, lines });
                }
                Some(answer) if answer.status != 503 => panic!("{answer:?}"),
                _ if begun.elapsed() > PATIENCE => return self.state.lock().unwrap().unanswered += 1,
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Most are instant, some take seconds.
    fn draw(&self) -> (u32, usize, usize) {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let lines = match state.random.below(10) {
            0..6 => 0,
            6..9 => 5 + state.random.below(20),
            _ => 40 + state.random.below(40),
        };
        let first = state.random.below(2);
        (state.next, lines, first)
    }

    pub fn accepted(&self) -> Vec<Accepted> {
        self.state.lock().unwrap().accepted.clone()
    }

    pub fn unanswered(&self) -> u32 {
        self.state.lock().unwrap().unanswered
    }
}

/// Says its number once, with something that no other run of it says; a line every tenth of a second; its end.
fn script(number: u32, lines: usize) -> String {
    format!(
        "import random, time\nprint('number {number}', random.randrange(10**15))\n\
         for n in range({lines}):\n    print('line', n); time.sleep(0.1)\nprint('end {number}')\n"
    )
}

/// Whether a completed run's output is that of one run, whole.
pub fn is_whole(accepted: &Accepted, stdout: &str) -> bool {
    let said: Vec<&str> = stdout.lines().collect();
    let expected = (0..accepted.lines).map(|n| format!("line {n}"));
    let expected: Vec<String> = expected.chain([format!("end {}", accepted.number)]).collect();
    starts(accepted, stdout) == 1 && said[0].starts_with("number ") && said[1..] == expected
}

/// How often the script says its number.
pub fn starts(accepted: &Accepted, stdout: &str) -> usize {
    stdout.lines().filter(|line| line.starts_with(&format!("number {} ", accepted.number))).count()
}
