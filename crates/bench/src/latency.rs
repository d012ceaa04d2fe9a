//! One run at a time, the contenders in turns.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::contender::Contender;
use crate::statistics::Distribution;
use crate::table::Table;

#[derive(Serialize)]
pub struct Report {
    pub rounds: u32,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub contender: String,
    #[serde(flatten)]
    pub latency: Distribution,
    /// Median over the median of `docker run`.
    pub to_docker_run: f64,
}

pub fn measure(contenders: Vec<Contender>, rounds: u32, pause: Duration) -> anyhow::Result<Report> {
    let mut measured: Vec<_> = contenders.into_iter().map(|contender| (contender, Vec::new())).collect();
    // The first two rounds warm caches and park what fits, and are not counted.
    for round in 0..rounds + 2 {
        for (contender, durations) in &mut measured {
            std::thread::sleep(pause);
            let begun = Instant::now();
            contender.run()?;
            if round > 1 {
                durations.push(begun.elapsed());
            }
        }
    }
    let found: Vec<_> =
        measured.into_iter().map(|(one, durations)| (one, Distribution::of(&durations))).collect();
    let reference = found.iter().find(|(contender, _)| contender.is_docker_run());
    let reference = reference.map_or(f64::NAN, |(_, latency)| latency.p50);
    let rows = found.into_iter().map(|(contender, latency)| Row {
        contender: contender.name,
        latency,
        to_docker_run: latency.p50 / reference,
    });
    Ok(Report { rounds, rows: rows.collect() })
}

pub fn table(report: &Report) -> Table {
    let mut table = Table::new(
        format!("submit → result in milliseconds, {} rounds in turns", report.rounds),
        &["", "p50", "p90", "p99", "max", "× docker run"],
    );
    for row in &report.rows {
        let Distribution { p50, p90, p99, max, .. } = row.latency;
        let numbers = [p50, p90, p99, max].map(|number| format!("{number:.1}"));
        table.row(&row.contender, numbers.into_iter().chain([format!("{:.2}", row.to_docker_run)]));
    }
    table
}
