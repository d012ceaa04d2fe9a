//! Which faults come, in which order, and how long it takes until nothing of them is left.

use std::fmt;
use std::time::{Duration, Instant};

use crate::faults::fault_run::LEASE;
use crate::faults::fault_run::fleet::{Fleet, Unit};
use crate::faults::fault_run::random::Random;
use crate::faults::fault_run::submitter::Submitter;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a daemon.
    Kill,
    /// An immediate restart of Postgres.
    Postgres,
    /// kill -9 of dockerd, and a start.
    Dockerd,
    /// A daemon is cut off from Postgres for longer than its lease.
    Partition,
    /// SIGSTOP of dockerd, and SIGCONT.
    Freeze,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Kill => "kill -9 of a daemon",
            Fault::Postgres => "immediate restart of Postgres",
            Fault::Dockerd => "kill -9 and start of dockerd",
            Fault::Partition => "partition longer than the lease",
            Fault::Freeze => "SIGSTOP of dockerd",
        })
    }
}

pub struct Recovery {
    pub fault: Fault,
    pub took: Duration,
}

pub struct Plan {
    faults: Vec<Fault>,
    least_accepted: usize,
}

/// A recovery that takes this long is none.
const GIVE_UP: Duration = Duration::from_secs(90);

impl Plan {
    pub fn short(random: &mut Random) -> Self {
        let counts = [(Fault::Kill, 6), (Fault::Postgres, 2), (Fault::Dockerd, 1), (Fault::Partition, 1)];
        Self::new(&counts, 1, 10, random)
    }

    pub fn of_rounds(rounds: u64, random: &mut Random) -> Self {
        let counts = [
            (Fault::Kill, 10),
            (Fault::Postgres, 4),
            (Fault::Dockerd, 2),
            (Fault::Partition, 1),
            (Fault::Freeze, 1),
        ];
        Self::new(&counts, rounds, 60 * rounds as usize, random)
    }

    fn new(counts: &[(Fault, usize)], rounds: u64, least_accepted: usize, random: &mut Random) -> Self {
        let mut faults = Vec::new();
        for _ in 0..rounds {
            let mut round: Vec<Fault> =
                counts.iter().flat_map(|(fault, count)| std::iter::repeat_n(*fault, *count)).collect();
            random.shuffle(&mut round);
            faults.extend(round);
        }
        Self { faults, least_accepted }
    }

    /// One after the other, each as soon as nothing is left of the one before; some with a kill in the middle.
    pub fn inject(
        &self,
        fleet: &Fleet,
        submitter: &Submitter,
        random: &mut Random,
        until: Instant,
    ) -> Vec<Recovery> {
        let mut recoveries = Vec::new();
        for (number, fault) in self.faults.iter().enumerate() {
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(random.millis(0..1500));
            let mut injected = inject(*fault, fleet, random);
            println!(
                "{:>4}/{} {fault}: recovered after {:.1} s{}",
                number + 1,
                self.faults.len(),
                injected[0].took.as_secs_f64(),
                if injected.len() > 1 { ", with a kill in the middle" } else { "" }
            );
            recoveries.append(&mut injected);
        }
        while submitter.accepted().len() < self.least_accepted && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(200));
        }
        recoveries
    }
}

fn inject(fault: Fault, fleet: &Fleet, random: &mut Random) -> Vec<Recovery> {
    let unit = &fleet.units[random.below(2)];
    let took = match fault {
        Fault::Kill => kill(fleet, unit, random),
        Fault::Partition => partition(fleet, unit, random),
        Fault::Postgres | Fault::Dockerd | Fault::Freeze => return outage(fault, fleet, unit, random),
    };
    vec![Recovery { fault, took }]
}

/// Down for a moment mostly, now and then for longer than its lease.
fn kill(fleet: &Fleet, unit: &Unit, random: &mut Random) -> Duration {
    let down = if random.percent(15) { LEASE + random.millis(500..3000) } else { random.millis(0..800) };
    if random.percent(70) {
        wait_until_busy(fleet, unit);
    }
    let begun = Instant::now();
    unit.kill(down);
    let owned = owned(fleet, unit);
    recovered(begun, || is_settled(fleet, &owned));
    let took = begun.elapsed();
    recovered(begun, || fleet.is_ready());
    took
}

fn partition(fleet: &Fleet, unit: &Unit, random: &mut Random) -> Duration {
    wait_until_busy(fleet, unit);
    let owned = owned(fleet, unit);
    let begun = Instant::now();
    if random.percent(50) {
        unit.proxy.cut()
    } else {
        unit.proxy.stall()
    }
    recovered(begun, || is_settled(fleet, &owned));
    let took = begun.elapsed();
    let rest = (LEASE + random.millis(1500..3000)).saturating_sub(begun.elapsed());
    std::thread::sleep(rest);
    unit.proxy.heal();
    recovered(begun, || fleet.is_ready());
    took
}

/// What all daemons stand on goes away and comes back. Recovery counts from when it is back.
fn outage(fault: Fault, fleet: &Fleet, unit: &Unit, random: &mut Random) -> Vec<Recovery> {
    let killed = random.percent(30);
    let down = match fault {
        Fault::Freeze => random.millis(3000..12_000),
        _ => random.millis(0..2000),
    };
    match fault {
        Fault::Postgres => fleet.postgres.stop_at_once(),
        Fault::Dockerd => fleet.engine.kill(),
        _ => fleet.engine.freeze(),
    }
    std::thread::sleep(down / 2);
    if killed {
        unit.kill(Duration::ZERO);
    }
    std::thread::sleep(down / 2);
    match fault {
        Fault::Postgres => fleet.postgres.start(),
        Fault::Dockerd => fleet.engine.revive(),
        _ => fleet.engine.thaw(),
    }
    let (begun, now) = (Instant::now(), fleet.postgres.text("SELECT clock_timestamp()"));
    // All say that they are ready, and something has run from its claim to its end. (Not from its submission: how long
    // the queue is says more about the machine.)
    let ran = format!("SELECT count(*) FROM executions WHERE status = 'completed' AND started_at > '{now}'");
    recovered(begun, || fleet.is_ready() && fleet.postgres.number(&ran) > 0);
    let took = begun.elapsed();
    let mut recoveries = vec![Recovery { fault, took }];
    if killed {
        recoveries.push(Recovery { fault: Fault::Kill, took });
    }
    recoveries
}

fn wait_until_busy(fleet: &Fleet, unit: &Unit) {
    let running =
        format!("SELECT count(*) FROM executions WHERE status = 'running' AND worker_name = '{}'", unit.name);
    let begun = Instant::now();
    while fleet.postgres.number(&running) == 0 && begun.elapsed() < LEASE {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn recovered(begun: Instant, done: impl Fn() -> bool) {
    while !done() && begun.elapsed() < GIVE_UP {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a daemon runs at this moment: execution, attempt and the id of its present life.
fn owned(fleet: &Fleet, unit: &Unit) -> String {
    fleet.postgres.text(&format!(
        "SELECT coalesce(string_agg(quote_literal(id || '/' || attempt || '/' || worker_id), ','), '''''')
         FROM executions WHERE status = 'running' AND worker_name = '{}'",
        unit.name
    ))
}

/// Each of them has ended, waits again, or belongs to somebody who lives.
fn is_settled(fleet: &Fleet, owned: &str) -> bool {
    let open = "SELECT count(*) FROM executions WHERE status = 'running' AND id || '/' || attempt || '/' || worker_id";
    fleet.postgres.number(&format!("{open} IN ({owned})")) == 0
}
