//! The acceptance stories, tested through the real CLI and API. `scripts/report` also lists the tests in other modules
//! that cover a story.

mod dependencies;
mod environment;
mod errors;
mod files;
mod logs;
mod migrations;
mod output;
mod real;
mod runtimes;
mod status;
mod steady;
mod tour;
mod unit;
mod worker;

use config::{Config, File, FileFormat};

use crate::support::{Cli, Daemon, DaemonBuilder, Database};

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    (database, daemon)
}

/// Submits a script, waits until it has ended in any way, and returns the ID.
fn ended(cli: &Cli, arguments: &[&str]) -> String {
    let id = cli.ok(&[&["run", "-q"], arguments].concat()).trim().to_owned();
    cli.run(&["wait", &id]);
    id
}

/// The command must print exactly this on stderr, nothing on stdout, and exit with this code.
fn assert_refused(cli: &Cli, arguments: &[&str], code: i32, stderr: &str) {
    let output = cli.run(arguments);
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (code, "", stderr),
        "{arguments:?}"
    );
}

fn default_setting(name: &str) -> String {
    let defaults = File::from_str(include_str!("../../../../config/default.toml"), FileFormat::Toml);
    Config::builder().add_source(defaults).build().unwrap().get(name).unwrap()
}
