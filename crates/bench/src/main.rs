//! `rgrid-bench` compares RGrid with a plain process and with `docker run`.
//!
//! Measurements are noisy, so the contenders alternate within one run and are compared by ratios of medians. `make bench`
//! starts the daemons, runs all benchmarks and writes `docs/benchmarks/`.

mod burst;
mod contender;
mod idle;
mod latency;
mod plot;
mod statistics;
mod table;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use contender::{Contender, Network, Server};

use table::Table;

#[derive(Parser)]
#[command(name = "rgrid-bench", version)]
struct Cli {
    /// URL of the server, which parks sandboxes
    #[arg(long, env = "RGRID_API_URL", default_value = "http://127.0.0.1:8080", global = true)]
    api_url: String,
    /// Image for `docker run`: that of the server's default runtime
    #[arg(long, default_value = "python:3.11-slim", global = true)]
    image: String,
    /// Write NAME.json to this folder, and latency.svg
    #[arg(long, global = true, value_name = "DIR")]
    save: Option<PathBuf>,
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Measure the time from submission to result of `print("hello")`, one run at a time
    Latency {
        #[arg(long, default_value_t = 30)]
        rounds: u32,
        /// Pause between runs, so that a parked sandbox is ready again
        #[arg(long, default_value_t = 400, value_name = "MS")]
        pause: u64,
        /// URL of another server that parks no sandboxes
        #[arg(long, value_name = "URL")]
        cold_url: Option<String>,
        /// Also measure a script with requirements in an existing environment
        #[arg(long)]
        environment: bool,
    },
    /// Measure runs per second with 1, 2, 4 and 8 parallel clients
    Throughput {
        #[arg(long, default_value_t = 24)]
        runs: u32,
        /// Run without a network, both `docker run` and RGrid
        #[arg(long)]
        no_network: bool,
        /// The server reuses sandboxes (sandbox.reuse)
        #[arg(long)]
        reuse: bool,
    },
    /// Measure bursts of 2, 4, 8 and 16 simultaneous runs
    Burst {
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Pause between bursts, so that sandboxes are parked again
        #[arg(long, default_value_t = 1500, value_name = "MS")]
        pause: u64,
        /// Run without a network, both `docker run` and RGrid
        #[arg(long)]
        no_network: bool,
    },
    /// Measure memory and CPU time of idle processes
    Idle {
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Name and process ID, such as rgridd=123
        #[arg(required = true, value_name = "NAME=PID")]
        processes: Vec<String>,
    },
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> anyhow::Result<()> {
    let server = Server::new(&cli.api_url);
    match &cli.benchmark {
        Benchmark::Latency { rounds, pause, cold_url, environment } => {
            let cold = cold_url.as_deref().map(Server::new);
            let bridge = Network::Bridge;
            let mut contenders = vec![Contender::process()?, Contender::docker_run(&cli.image, bridge)];
            contenders
                .extend(cold.iter().map(|cold| Contender::rgrid("rgrid, nothing parked", cold, bridge)));
            contenders.push(Contender::rgrid("rgrid", &server, bridge));
            if *environment {
                contenders.push(Contender::rgrid_with_requirements(&server));
            }
            let report = latency::measure(contenders, *rounds, Duration::from_millis(*pause))?;
            report_results(cli, "latency", &report, &latency::table(&report))?;
            save(cli, "latency.svg", &plot::latency(&report)?)
        }
        Benchmark::Throughput { runs, no_network, reuse } => {
            let network = if *no_network { Network::None } else { Network::Bridge };
            let name = format!("throughput-{}{}", if *reuse { "reuse-" } else { "" }, network.name());
            let report = throughput::measure(&server, &cli.image, network, *reuse, *runs)?;
            report_results(cli, &name, &report, &throughput::table(&report))
        }
        Benchmark::Burst { rounds, pause, no_network } => {
            let network = if *no_network { Network::None } else { Network::Bridge };
            let name = format!("burst-{}", network.name());
            let report =
                burst::measure(&server, &cli.image, network, *rounds, Duration::from_millis(*pause))?;
            report_results(cli, &name, &report, &burst::table(&report))
        }
        Benchmark::Idle { seconds, processes } => {
            let report = idle::measure(processes, *seconds)?;
            report_results(cli, "idle", &report, &idle::table(&report))
        }
    }
}

fn report_results(
    cli: &Cli,
    name: &str,
    report: &impl serde::Serialize,
    table: &Table,
) -> anyhow::Result<()> {
    println!("{table}");
    save(cli, &format!("{name}.json"), &(serde_json::to_string_pretty(report)? + "\n"))
}

fn save(cli: &Cli, name: &str, text: &str) -> anyhow::Result<()> {
    let Some(folder) = &cli.save else { return Ok(()) };
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
