//! One run at a time, with alternating contenders.

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
    /// Ratio of the median to that of `docker run`.
    pub to_docker_run: f64,
}

pub fn measure(contenders: Vec<Contender>, rounds: u32, pause: Duration) -> anyhow::Result<Report> {
    let mut measured: Vec<_> = contenders.into_iter().map(|contender| (contender, Vec::new())).collect();
    // The first two rounds do not count: they warm caches and let the server park sandboxes.
    for round in 0..rounds + 2 {
        for (contender, durations) in &mut measured {
            std::thread::sleep(pause);
            let started = Instant::now();
            contender.run()?;
            if round > 1 {
                durations.push(started.elapsed());
            }
        }
    }
    let reference = measured.iter().find(|(contender, _)| contender.is_docker_run());
    let reference = reference.map_or(f64::NAN, |(_, durations)| Distribution::of(durations).p50);
    let rows = measured.into_iter().map(|(contender, durations)| {
        let latency = Distribution::of(&durations);
        Row { contender: contender.name, latency, to_docker_run: latency.p50 / reference }
    });
    Ok(Report { rounds, rows: rows.collect() })
}

pub fn table(report: &Report) -> Table {
    let mut table = Table::new(
        format!("submission to result in ms, {} alternating rounds", report.rounds),
        &["", "p50", "p90", "p99", "max", "× docker run"],
    );
    for row in &report.rows {
        let Distribution { p50, p90, p99, max, .. } = row.latency;
        let numbers = [p50, p90, p99, max].map(|number| format!("{number:.1}"));
        table.row(&row.contender, numbers.into_iter().chain([format!("{:.2}", row.to_docker_run)]));
    }
    table
}
