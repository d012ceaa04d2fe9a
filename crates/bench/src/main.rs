//! `rgrid-bench`: how long a run takes, beside what one would have used instead.
//!
//! Numbers on a machine are noisy, so everything is measured in turns within one run, and compared as
//! ratios of medians.

mod contender;
mod latency;
mod server;
mod statistics;
mod throughput;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use server::Server;

#[derive(Parser)]
#[command(name = "rgrid-bench", version)]
struct Cli {
    /// The server to measure
    #[arg(long, env = "RGRID_API_URL", default_value = "http://127.0.0.1:8080", global = true)]
    api_url: String,
    /// The image that `docker run` uses; the server's default runtime's one
    #[arg(long, default_value = "python:3.11-slim", global = true)]
    image: String,
    /// Prints one JSON document instead of a table
    #[arg(long, global = true)]
    json: bool,
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
    },
    /// Runs per second at 1, 2, 4 and 8 at once
    Throughput {
        #[arg(long, default_value_t = 24)]
        runs: u32,
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
    match cli.what {
        What::Latency { rounds, pause } => {
            let report = latency::measure(&server, &cli.image, rounds, pause)?;
            print(cli.json, &report, latency::table(&report))
        }
        What::Throughput { runs } => {
            let report = throughput::measure(&server, &cli.image, runs)?;
            print(cli.json, &report, throughput::table(&report))
        }
    }
}

fn print(json: bool, report: &impl serde::Serialize, table: String) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{table}");
    }
    Ok(())
}
