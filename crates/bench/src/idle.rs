//! Memory and CPU time of idle processes.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::table::Table;

/// The unit of CPU time in `/proc`; 100 on all common machines.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Serialize)]
pub struct Report {
    pub seconds: u64,
    pub processes: Vec<Process>,
}

#[derive(Serialize)]
pub struct Process {
    pub name: String,
    pub pid: u32,
    pub resident_mib: f64,
    /// Of one core.
    pub cpu_percent: f64,
}

/// `processes` are written as `name=pid`; the name appears in the table.
pub fn measure(processes: &[String], seconds: u64) -> anyhow::Result<Report> {
    let mut started = Vec::new();
    for process in processes {
        let (name, pid) = process
            .split_once('=')
            .and_then(|(name, pid)| Some((name, pid.parse::<u32>().ok()?)))
            .with_context(|| format!("invalid process {process:?}: write it like rgridd=123"))?;
        started.push((name, pid, cpu_seconds(pid)?));
    }
    std::thread::sleep(Duration::from_secs(seconds));
    let measured = started.into_iter().map(|(name, pid, before)| {
        let cpu_percent = (cpu_seconds(pid)? - before) / seconds as f64 * 100.0;
        Ok(Process { name: name.to_owned(), pid, resident_mib: resident_mib(pid)?, cpu_percent })
    });
    Ok(Report { seconds, processes: measured.collect::<anyhow::Result<_>>()? })
}

fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = read(pid, "stat")?;
    // The process name before the last parenthesis may contain anything.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let text = read(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
    Ok(kib / 1024.0)
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: is the process still running?"))
}

pub fn table(report: &Report) -> Table {
    let title = format!("idle, over {} s", report.seconds);
    let mut table = Table::new(title, &["", "resident MiB", "CPU, % of a core"]);
    for process in &report.processes {
        let cells = [format!("{:.1}", process.resident_mib), format!("{:.2}", process.cpu_percent)];
        table.row(&process.name, cells);
    }
    table
}
