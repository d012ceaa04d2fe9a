//! Bursts of simultaneous runs, more than there are parked sandboxes.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::contender::{Contender, Network, Server};
use crate::statistics::Distribution;
use crate::table::Table;
use crate::throughput::in_parallel;

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

/// Of all rounds, in milliseconds.
#[derive(Serialize)]
pub struct Times {
    pub one: Distribution,
    /// From the start of the burst to the last result.
    pub last: Distribution,
}

/// `pause` between bursts lets the server park sandboxes again.
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
        let (mut docker_bursts, mut rgrid_bursts) = (Vec::new(), Vec::new());
        // The contenders alternate, and the first round does not count.
        for round in 0..=rounds {
            for (contender, bursts) in [(&docker_run, &mut docker_bursts), (&rgrid, &mut rgrid_bursts)] {
                std::thread::sleep(pause);
                let durations = burst(contender, at_once)?;
                if round > 0 {
                    bursts.push(durations);
                }
            }
        }
        rows.push(Row { at_once, docker_run: Times::of(&docker_bursts), rgrid: Times::of(&rgrid_bursts) });
    }
    Ok(Report { rounds, network, rows })
}

impl Times {
    fn of(bursts: &[Vec<Duration>]) -> Self {
        let last: Vec<_> = bursts.iter().filter_map(|durations| durations.iter().max().copied()).collect();
        Self { one: Distribution::of(&bursts.concat()), last: Distribution::of(&last) }
    }
}

fn burst(contender: &Contender, at_once: usize) -> anyhow::Result<Vec<Duration>> {
    let barrier = Barrier::new(at_once);
    in_parallel(at_once, || {
        barrier.wait();
        let started = Instant::now();
        contender.run()?;
        Ok(started.elapsed())
    })
}

pub fn table(report: &Report) -> Table {
    let mut table = Table::new(
        format!(
            "bursts {}, medians of {} alternating rounds in ms",
            report.network.description(),
            report.rounds
        ),
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
