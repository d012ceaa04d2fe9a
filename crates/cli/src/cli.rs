//! The command line, and what every command gets from it: the console and a client for the server.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

use crate::client::target::{Target, TargetOptions};
use crate::client::{Client, RetryMode};
use crate::commands::{
    cancel::CancelArgs, doctor::DoctorArgs, download::DownloadArgs, generate::CompletionsArgs,
    generate::ManArgs, list::ListArgs, logs::LogsArgs, receipt::ReceiptArgs, retry::RetryArgs, run::RunArgs,
    runtimes::RuntimesArgs, status::StatusArgs, wait::WaitArgs, why::WhyArgs,
};
use crate::error::Result;
use crate::output::Console;

/// Includes the commit, as `rgridd --version` does.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RGRID_COMMIT"), ")");

/// Printed by `rgrid` without arguments.
pub const INTRODUCTION: &str = "\
rgrid runs a script on a remote machine and returns its output, exit code and files.

  echo 'print(\"hello\")' > hello.py
  rgrid run -w hello.py          run a script and wait for its output
  rgrid run s.py data.csv        submit a script with a file and return at once
  rgrid list                     list executions and their statuses
  rgrid doctor                   check the server

Run `rgrid help` for all commands and `rgrid help run` for the options of one.
";

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 wrong usage, 3 not found, 4 not allowed, 5 server not reachable.
Commands that wait for a script (-w, -f, wait) exit with its code, with 124 if it timed out, with
125 if RGrid could not run it, or with 130 after Ctrl-C.";

/// Run a script on a remote machine with one command
#[derive(Parser)]
#[command(name = "rgrid", version = VERSION, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub target: TargetOptions,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Status(StatusArgs),
    Logs(LogsArgs),
    List(ListArgs),
    Wait(WaitArgs),
    Cancel(CancelArgs),
    Retry(RetryArgs),
    Why(WhyArgs),
    Receipt(ReceiptArgs),
    Download(DownloadArgs),
    Runtimes(RuntimesArgs),
    /// Write the config file
    #[command(after_help = "\
Asks for the server's address, and for an API key if the server requires one. Use --api-url and
--api-key to answer in advance. Both values are tried before they are saved in
$XDG_CONFIG_HOME/rgrid/config.toml, which only you can read.")]
    Init,
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Man(ManArgs),
}

#[derive(Args)]
pub struct Id {
    /// ID of an execution, or a unique prefix of it
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

/// For commands that also accept a whole batch.
#[derive(Args)]
pub struct IdOrBatch {
    /// ID of an execution, or a unique prefix of it, or ID of a batch
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

#[derive(Args)]
pub struct Json {
    /// Print one JSON document with the API's structure
    #[arg(long)]
    pub json: bool,
}

pub struct Context {
    pub console: Console,
    pub options: TargetOptions,
}

impl Context {
    /// For commands that need an immediate response.
    pub fn client(&self) -> Result<Client<'_>> {
        Ok(Client::new(Target::find(&self.options)?, RetryMode::Interactive, &self.console))
    }

    /// For commands that wait until an execution has ended.
    pub fn waiting_client(&self) -> Result<Client<'_>> {
        Ok(Client::new(Target::find(&self.options)?, RetryMode::Waiting, &self.console))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run_args(line: &[&str]) -> RunArgs {
        let command = Cli::try_parse_from(["rgrid", "run"].iter().chain(line)).unwrap().command;
        let Some(Command::Run(args)) = command else { panic!("not a run") };
        *args
    }

    #[test]
    fn the_command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_the_script_is_passed_to_it() {
        let args = run_args(&["-q", "s.py", "--follow", "-e", "--", "--api-url", "x"]);
        assert!(args.quiet && !args.follow);
        assert_eq!(args.command, ["s.py", "--follow", "-e", "--", "--api-url", "x"]);
    }

    #[test]
    fn an_unknown_option_is_not_taken_for_a_script() {
        assert!(Cli::try_parse_from(["rgrid", "run", "--folow", "s.py"]).is_err());
        assert_eq!(run_args(&["--", "--odd.py", "-x"]).command, ["--odd.py", "-x"]);
    }

    #[test]
    fn a_dash_reads_the_script_from_stdin() {
        assert_eq!(run_args(&["-w", "-", "-x"]).command, ["-", "-x"]);
    }
}
