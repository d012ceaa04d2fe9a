//! The ten stories of Tier 2 as their users meet them, each through the real CLI and API. What other files
//! show already is not shown again: `scripts/report` names those tests beside each story.

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

/// Submits it, waits for its end however it ends, and gives its id.
fn ended(cli: &Cli, arguments: &[&str]) -> String {
    let id = cli.ok(&[&["run", "-q"], arguments].concat()).trim().to_owned();
    cli.run(&["wait", &id]);
    id
}

/// Fails with exactly these words on stderr, nothing on stdout, and this code.
fn assert_refused(cli: &Cli, arguments: &[&str], code: i32, words: &str) {
    let said = cli.run(arguments);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (code, "", words), "{arguments:?}");
}

fn default_setting(name: &str) -> String {
    let defaults = File::from_str(include_str!("../../../../config/default.toml"), FileFormat::Toml);
    Config::builder().add_source(defaults).build().unwrap().get(name).unwrap()
}
