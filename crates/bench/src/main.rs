//! `rgrid-bench`: how long a run takes, beside what one would have used instead.
//!
//! Numbers on a machine are noisy, so everything is measured in turns within one run, and compared as
//! ratios of medians. `make bench` starts the daemons, runs all of it and writes `docs/benchmarks/`.

mod burst;
mod clients;
mod contender;
mod idle;
mod latency;
mod plot;
mod server;
mod statistics;
mod table;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use contender::{Contender, Network};
use plot::Plot;
use server::Server;
use table::Table;

#[derive(Parser)]
#[command(name = "rgrid-bench", version)]
struct Cli {
    /// The server to measure, with parked sandboxes
    #[arg(long, env = "RGRID_API_URL", default_value = "http://127.0.0.1:8080", global = true)]
    api_url: String,
    /// The image that `docker run` uses; the server's default runtime's one
    #[arg(long, default_value = "python:3.11-slim", global = true)]
    image: String,
    /// Also writes NAME.json and NAME.svg there
    #[arg(long, global = true, value_name = "DIR")]
    save: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Submit → result of `print("hello")`, one at a time
    Latency {
        #[arg(long, default_value_t = 30)]
        rounds: u32,
        /// Between two runs, so that a parked sandbox is ready again
        #[arg(long, default_value_t = 400, value_name = "MS")]
        pause: u64,
        /// Another server, which parks nothing, to compare with
        #[arg(long, value_name = "URL")]
        cold_url: Option<String>,
        /// Also with requirements whose environment is there already
        #[arg(long)]
        environment: bool,
    },
    /// Runs per second at 1, 2, 4 and 8 at once
    Throughput {
        #[arg(long, default_value_t = 24)]
        runs: u32,
        /// Without a network, both `docker run` and RGrid
        #[arg(long)]
        no_network: bool,
        /// The server uses sandboxes again (sandbox.reuse)
        #[arg(long)]
        reuse: bool,
    },
    /// 2, 4, 8 and 16 runs that come at the same moment
    Burst {
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Between two bursts, so that sandboxes are parked again
        #[arg(long, default_value_t = 1500, value_name = "MS")]
        pause: u64,
        /// Without a network, both `docker run` and RGrid
        #[arg(long)]
        no_network: bool,
    },
    /// Memory and CPU of processes that have nothing to do
    Idle {
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Such as rgridd=123
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
    match &cli.what {
        What::Latency { rounds, pause, cold_url, environment } => {
            let cold = cold_url.as_deref().map(Server::new);
            let contenders = contenders(&server, cold.as_ref(), &cli.image, *environment)?;
            let report = latency::measure(contenders, *rounds, Duration::from_millis(*pause))?;
            tell(cli, "latency", &report, &latency::table(&report), Some(plot::latency(&report)))
        }
        What::Throughput { runs, no_network, reuse } => {
            let network = if *no_network { Network::None } else { Network::Bridge };
            let name = match (network, reuse) {
                (Network::Bridge, false) => "throughput-bridge",
                (Network::None, false) => "throughput-none",
                (Network::Bridge, true) => "throughput-reuse-bridge",
                (Network::None, true) => "throughput-reuse-none",
            };
            let report = throughput::measure(&server, &cli.image, network, *reuse, *runs)?;
            tell(cli, name, &report, &throughput::table(&report), Some(plot::throughput(&report)))
        }
        What::Burst { rounds, pause, no_network } => {
            let (network, name) = match no_network {
                true => (Network::None, "burst-none"),
                false => (Network::Bridge, "burst-bridge"),
            };
            let report =
                burst::measure(&server, &cli.image, network, *rounds, Duration::from_millis(*pause))?;
            tell(cli, name, &report, &burst::table(&report), None)
        }
        What::Idle { seconds, processes } => {
            let report = idle::measure(processes, *seconds)?;
            tell(cli, "idle", &report, &idle::table(&report), None)
        }
    }
}

fn contenders<'a>(
    server: &'a Server,
    cold: Option<&'a Server>,
    image: &'a str,
    environment: bool,
) -> anyhow::Result<Vec<Contender<'a>>> {
    let mut all = vec![Contender::process()?, Contender::docker_run(image, Network::Bridge)];
    all.extend(cold.map(|cold| Contender::rgrid("rgrid, nothing parked", cold, Network::Bridge)));
    all.push(Contender::rgrid("rgrid", server, Network::Bridge));
    if environment {
        all.push(Contender::rgrid_with_requirements(server));
    }
    Ok(all)
}

fn tell(
    cli: &Cli,
    name: &str,
    report: &impl serde::Serialize,
    table: &Table,
    plot: Option<Plot>,
) -> anyhow::Result<()> {
    println!("{table}");
    let Some(folder) = &cli.save else { return Ok(()) };
    let write = |ending: &str, text: String| {
        let path = folder.join(format!("{name}.{ending}"));
        std::fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))
    };
    write("json", serde_json::to_string_pretty(report)? + "\n")?;
    plot.map_or(Ok(()), |plot| write("svg", plot.to_string()))
}
