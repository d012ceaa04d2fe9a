//! Runs per second with several parallel clients.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde::Serialize;

use crate::contender::{Contender, Network, Server};
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

/// `reuse` records that the server reuses sandboxes.
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
        let docker_run = rate(&docker_run, parallel, runs)?;
        rows.push(Row { parallel, docker_run, rgrid: rate(&rgrid, parallel, runs)? });
    }
    Ok(Report { runs, network, reuse, rows })
}

/// Each of `parallel` clients starts its next run as soon as the previous one has ended.
fn rate(contender: &Contender, parallel: usize, runs: u32) -> anyhow::Result<Rate> {
    let next = AtomicU32::new(0);
    let client = || -> anyhow::Result<Vec<Duration>> {
        let mut durations = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < runs {
            let started = Instant::now();
            contender.run()?;
            durations.push(started.elapsed());
        }
        Ok(durations)
    };
    let started = Instant::now();
    let durations = in_parallel(parallel, client)?.concat();
    let per_second = f64::from(runs) / started.elapsed().as_secs_f64();
    Ok(Rate { per_second, latency: Distribution::of(&durations) })
}

/// Runs `client` on `count` threads at the same time and returns their results.
pub fn in_parallel<T: Send>(
    count: usize,
    client: impl Fn() -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..count).map(|_| scope.spawn(&client)).collect();
        let results = clients.into_iter();
        results.map(|client| client.join().unwrap_or_else(|_| Err(anyhow!("a client panicked")))).collect()
    })
}

pub fn table(report: &Report) -> Table {
    let network = report.network.description();
    let reuse = if report.reuse { ", with reuse of sandboxes (`sandbox.reuse`)" } else { "" };
    let mut table = Table::new(
        format!("runs per second {network}, {} runs each{reuse}", report.runs),
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
