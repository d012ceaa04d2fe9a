//! Many runs, several at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clients;
use crate::contender::{Contender, Network};
use crate::server::Server;
use crate::statistics::Distribution;
use crate::table::Table;

const PARALLEL: [usize; 4] = [1, 2, 4, 8];

#[derive(Serialize)]
pub struct Report {
    pub runs: u32,
    pub network: Network,
    pub reuse: bool,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub parallel: usize,
    pub docker_run: Rate,
    pub rgrid: Rate,
}

#[derive(Serialize)]
pub struct Rate {
    pub per_second: f64,
    pub latency: Distribution,
}

/// `reuse`: the server uses sandboxes again.
pub fn measure(
    server: &Server,
    image: &str,
    network: Network,
    reuse: bool,
    runs: u32,
) -> anyhow::Result<Report> {
    let docker_run = Contender::docker_run(image, network);
    let rgrid = Contender::rgrid("rgrid", server, network);
    let mut rows = Vec::new();
    for parallel in PARALLEL {
        let row = Row {
            parallel,
            docker_run: rate(&docker_run, parallel, runs)?,
            rgrid: rate(&rgrid, parallel, runs)?,
        };
        rows.push(row);
    }
    Ok(Report { runs, network, reuse, rows })
}

/// Runs of one contender with so many clients, each as soon as its last one has answered.
fn rate(contender: &Contender, parallel: usize, runs: u32) -> anyhow::Result<Rate> {
    let next = AtomicU32::new(0);
    let client = || -> anyhow::Result<Vec<Duration>> {
        let mut durations = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < runs {
            let begun = Instant::now();
            contender.run()?;
            durations.push(begun.elapsed());
        }
        Ok(durations)
    };
    let begun = Instant::now();
    let durations = clients::at_once(parallel, client)?.concat();
    let per_second = f64::from(runs) / begun.elapsed().as_secs_f64();
    Ok(Rate { per_second, latency: Distribution::of(&durations) })
}

pub fn table(report: &Report) -> Table {
    let network = if report.network == Network::Bridge { "with a network" } else { "without a network" };
    let again = if report.reuse { ", sandboxes used again (`sandbox.reuse`)" } else { "" };
    let mut table = Table::new(
        format!("runs per second {network}, {} runs each{again}", report.runs),
        &["at once", "docker run", "rgrid", "×", "docker run p50 ms", "rgrid p50 ms", "rgrid p99 ms"],
    );
    for row in &report.rows {
        let (docker, rgrid) = (&row.docker_run, &row.rgrid);
        let rates = [docker.per_second, rgrid.per_second, rgrid.per_second / docker.per_second];
        let latencies = [docker.latency.p50, rgrid.latency.p50, rgrid.latency.p99];
        let cells = rates.map(|number| format!("{number:.2}")).into_iter();
        table.row(&row.parallel.to_string(), cells.chain(latencies.map(|number| format!("{number:.0}"))));
    }
    table
}
