//! Many runs that come at the same moment, more than sandboxes are parked.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clients;
use crate::contender::{Contender, Network};
use crate::server::Server;
use crate::statistics::Distribution;
use crate::table::Table;

const SIZES: [usize; 4] = [2, 4, 8, 16];

#[derive(Serialize)]
pub struct Report {
    pub rounds: u32,
    pub network: Network,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub at_once: usize,
    pub docker_run: Times,
    pub rgrid: Times,
}

/// Over all rounds, in milliseconds.
#[derive(Serialize)]
pub struct Times {
    pub one: Distribution,
    /// From the burst until the last result.
    pub last: Distribution,
}

/// `pause`: between two bursts, so that sandboxes are parked again.
pub fn measure(
    server: &Server,
    image: &str,
    network: Network,
    rounds: u32,
    pause: Duration,
) -> anyhow::Result<Report> {
    let docker_run = Contender::docker_run(image, network);
    let rgrid = Contender::rgrid("rgrid", server, network);
    let mut rows = Vec::new();
    for at_once in SIZES {
        let (mut theirs, mut ours) = (Times::begin(), Times::begin());
        // In turns, and the first round is not counted.
        for round in 0..=rounds {
            for (contender, times) in [(&docker_run, &mut theirs), (&rgrid, &mut ours)] {
                std::thread::sleep(pause);
                let (each, last) = burst(contender, at_once)?;
                if round > 0 {
                    times.0.extend(each);
                    times.1.push(last);
                }
            }
        }
        rows.push(Row { at_once, docker_run: Times::end(theirs), rgrid: Times::end(ours) });
    }
    Ok(Report { rounds, network, rows })
}

type Measured = (Vec<Duration>, Vec<Duration>);

impl Times {
    fn begin() -> Measured {
        Measured::default()
    }

    fn end((one, last): Measured) -> Self {
        Self { one: Distribution::of(&one), last: Distribution::of(&last) }
    }
}

fn burst(contender: &Contender, at_once: usize) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let barrier = Barrier::new(at_once);
    let client = || -> anyhow::Result<Duration> {
        barrier.wait();
        let begun = Instant::now();
        contender.run()?;
        Ok(begun.elapsed())
    };
    let each = clients::at_once(at_once, client)?;
    let last = each.iter().max().copied().unwrap_or_default();
    Ok((each, last))
}

pub fn table(report: &Report) -> Table {
    let network = if report.network == Network::Bridge { "with a network" } else { "without a network" };
    let mut table = Table::new(
        format!("bursts {network}, milliseconds, medians of {} rounds in turns", report.rounds),
        &["at once", "docker run, all", "rgrid, all", "×", "docker run, one", "rgrid, one", "×"],
    );
    for row in &report.rows {
        let (docker, rgrid) = (&row.docker_run, &row.rgrid);
        let pair = |docker: f64, rgrid: f64| {
            [format!("{docker:.0}"), format!("{rgrid:.0}"), format!("{:.2}", rgrid / docker)]
        };
        let all = pair(docker.last.p50, rgrid.last.p50);
        let one = pair(docker.one.p50, rgrid.one.p50);
        table.row(&row.at_once.to_string(), all.into_iter().chain(one));
    }
    table
}
