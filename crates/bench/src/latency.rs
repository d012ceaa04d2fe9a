//! One run at a time, the contenders in turns.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::contender::Contender;
use crate::server::Server;
use crate::statistics::Distribution;

#[derive(Serialize)]
pub struct Report {
    pub rounds: u32,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub contender: &'static str,
    #[serde(flatten)]
    pub latency: Distribution,
    /// Median over the median of `docker run`.
    pub to_docker_run: f64,
}

pub fn measure(server: &Server, image: &str, rounds: u32, pause_ms: u64) -> anyhow::Result<Report> {
    let mut measured = Contender::ALL.map(|contender| (contender, Vec::new()));
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        for (contender, durations) in &mut measured {
            std::thread::sleep(Duration::from_millis(pause_ms));
            let begun = Instant::now();
            contender.run(server, image, true)?;
            if round > 0 {
                durations.push(begun.elapsed());
            }
        }
    }
    let latencies = measured.map(|(contender, durations)| (contender, Distribution::of(&durations)));
    let docker = latencies.iter().find(|(contender, _)| *contender == Contender::DockerRun);
    let reference = docker.map_or(f64::NAN, |(_, latency)| latency.p50);
    let rows = latencies.map(|(contender, latency)| Row {
        contender: contender.name(),
        latency,
        to_docker_run: latency.p50 / reference,
    });
    Ok(Report { rounds, rows: rows.into() })
}

pub fn table(report: &Report) -> String {
    let mut text = format!("submit → result, {} rounds in turns, milliseconds\n\n", report.rounds);
    text.push_str("                          p50      p90      p99      max   × docker run\n");
    for row in &report.rows {
        let Distribution { p50, p90, p99, max, .. } = row.latency;
        let name = row.contender;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name:<20} {p50:>8.1} {p90:>8.1} {p99:>8.1} {max:>8.1} {:>14.2}",
            row.to_docker_run
        );
    }
    text
}
