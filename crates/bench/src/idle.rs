//! What a daemon costs that has nothing to do.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::table::Table;

/// What Linux counts CPU time in; it is the same on all machines that people use.
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

/// Each process by the name that it is to have in the table, as `name=pid`.
pub fn measure(asked: &[String], seconds: u64) -> anyhow::Result<Report> {
    let named = |one: &String| -> anyhow::Result<(String, u32)> {
        let (name, pid) =
            one.split_once('=').with_context(|| format!("{one:?}: write it like rgridd=123"))?;
        Ok((name.to_owned(), pid.parse().with_context(|| format!("{pid:?} is no process id"))?))
    };
    let asked: Vec<_> = asked.iter().map(named).collect::<Result<_, _>>()?;
    let before: Vec<f64> = asked.iter().map(|(_, pid)| cpu_seconds(*pid)).collect::<Result<_, _>>()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let mut processes = Vec::new();
    for ((name, pid), before) in asked.into_iter().zip(before) {
        let cpu_percent = (cpu_seconds(pid)? - before) / seconds as f64 * 100.0;
        processes.push(Process { name, pid, resident_mib: resident_mib(pid)?, cpu_percent });
    }
    Ok(Report { seconds, processes })
}

fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = read(pid, "stat")?;
    // The name before the last parenthesis may hold anything.
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

fn read(pid: u32, what: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{what}");
    std::fs::read_to_string(&path).with_context(|| format!("{path}: is the process still there?"))
}

pub fn table(report: &Report) -> Table {
    let title = format!("with nothing to do, over {} s", report.seconds);
    let mut table = Table::new(title, &["", "resident MiB", "CPU, % of a core"]);
    for process in &report.processes {
        let cells = [format!("{:.1}", process.resident_mib), format!("{:.2}", process.cpu_percent)];
        table.row(&process.name, cells);
    }
    table
}
