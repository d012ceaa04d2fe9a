//! Many runs, several at once.

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::contender::Contender;
use crate::server::Server;

const PARALLEL: [u32; 4] = [1, 2, 4, 8];

#[derive(Serialize)]
pub struct Report {
    pub runs: u32,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub parallel: u32,
    pub docker_run_per_second: f64,
    pub rgrid_per_second: f64,
}

pub fn measure(server: &Server, image: &str, runs: u32) -> anyhow::Result<Report> {
    let mut rows = Vec::new();
    for parallel in PARALLEL {
        rows.push(Row {
            parallel,
            docker_run_per_second: rate(server, image, Contender::DockerRun, parallel, runs)?,
            rgrid_per_second: rate(server, image, Contender::Rgrid, parallel, runs)?,
        });
    }
    Ok(Report { runs, rows })
}

/// Runs per second of one contender with so many clients.
fn rate(server: &Server, image: &str, who: Contender, parallel: u32, runs: u32) -> anyhow::Result<f64> {
    let next = AtomicU32::new(0);
    let client = || -> anyhow::Result<()> {
        while next.fetch_add(1, Ordering::Relaxed) < runs {
            who.run(server, image, true)?;
        }
        Ok(())
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..parallel).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .try_for_each(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked"))))
    })?;
    Ok(f64::from(runs) / begun.elapsed().as_secs_f64())
}

pub fn table(report: &Report) -> String {
    let mut text = format!("runs per second, {} runs each\n\n", report.runs);
    text.push_str("at once   docker run     rgrid   × docker run\n");
    for row in &report.rows {
        let (docker, rgrid) = (row.docker_run_per_second, row.rgrid_per_second);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>7} {docker:>12.2} {rgrid:>9.2} {:>14.2}", row.parallel, rgrid / docker);
    }
    text
}
