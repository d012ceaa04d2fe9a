//! The command line.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

use crate::client::target::TargetOptions;
use crate::commands::{
    cancel::CancelArgs, completions::CompletionsArgs, doctor::DoctorArgs, download::DownloadArgs,
    list::ListArgs, logs::LogsArgs, man::ManArgs, receipt::ReceiptArgs, retry::RetryArgs, run::RunArgs,
    runtimes::RuntimesArgs, status::StatusArgs, wait::WaitArgs, why::WhyArgs,
};

/// With the commit, as `rgridd --version` tells it.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RGRID_COMMIT"), ")");

/// Where to begin, for somebody who typed `rgrid` and nothing else.
pub const BEGINNING: &str = "\
rgrid runs a script somewhere else, and brings back what came of it.

  echo 'print(\"hello\")' > hello.py
  rgrid run -w hello.py          run it and wait for its output
  rgrid run s.py data.csv        submit it with a file, and go on
  rgrid list                     what was submitted, and where it stands
  rgrid doctor                   is the server fine?

`rgrid help` shows all commands, `rgrid help run` what one of them can do.
";

const EXIT_CODES: &str = "\
Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 not found, 4 not allowed, 5 server not reachable;
whoever waits for a script (-w, -f, wait) gets its own code, 124 when it timed out, 125 when RGrid
could not run it, 130 after Ctrl-C.";

/// Runs a script somewhere else with one command
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
    /// Say which server to use, and keep it
    #[command(after_help = "\
Asks for the server's address, and for a key when it wants one; or takes them from --api-url and
--api-key. Both are tried before they are kept, in $XDG_CONFIG_HOME/rgrid/config.toml, readable for
you alone.")]
    Init,
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Man(ManArgs),
}

#[derive(Args)]
pub struct Id {
    /// The id of an execution, or any beginning of it that no other has
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

/// For commands that take all of a batch as well.
#[derive(Args)]
pub struct IdOrBatch {
    /// The id of an execution, or any beginning of it that no other has; or the id of a batch
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

#[derive(Args)]
pub struct Json {
    /// One JSON document, in the API's own shape
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_behind_the_script_is_its_own() {
        let line = ["rgrid", "run", "-q", "s.py", "--follow", "-e", "--", "--api-url", "x"];
        let Some(Command::Run(run)) = Cli::try_parse_from(line).unwrap().command else { panic!("not run") };
        assert!(run.quiet && !run.follow);
        assert_eq!(run.command, ["s.py", "--follow", "-e", "--", "--api-url", "x"]);
    }

    #[test]
    fn an_option_that_does_not_exist_is_no_script() {
        assert!(Cli::try_parse_from(["rgrid", "run", "--folow", "s.py"]).is_err());
        let line = ["rgrid", "run", "--", "--odd.py", "-x"];
        let Some(Command::Run(run)) = Cli::try_parse_from(line).unwrap().command else { panic!("not run") };
        assert_eq!(run.command, ["--odd.py", "-x"]);
    }

    #[test]
    fn a_script_may_come_from_stdin() {
        let line = ["rgrid", "run", "-w", "-", "-x"];
        let Some(Command::Run(run)) = Cli::try_parse_from(line).unwrap().command else { panic!("not run") };
        assert_eq!(run.command, ["-", "-x"]);
    }
}
