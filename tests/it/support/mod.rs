//! What the tests share: a database each, daemons that clean up behind themselves, the CLI, Docker.

mod certificates;
mod cgroup;
mod cli;
mod daemon;
mod database;
mod docker;
mod engine;
mod events;
mod flood;
mod http;
mod index;
mod lan;
mod leaks;
mod machine;
mod port;
mod postgres;
mod proxy;
mod registry;
mod serving;
mod session;
mod tampering;
mod waiting;
mod zip;

pub use certificates::make_certificates;
pub use cgroup::MemoryCgroup;
pub use cli::Cli;
pub use daemon::{Daemon, DaemonBuilder};
pub use database::{Database, make_up_an_hour, text};
pub use docker::{
    containers_of, docker, environments_of, holders_of, is_running, remove_containers_of, remove_volume,
    sandboxes_of, touch, try_docker,
};
pub use engine::Engine;
pub use events::{Event, Events};
pub use flood::{FLOOD, flood_said};
pub use http::{Answer, Http};
pub use index::{Index, own_address};
pub use lan::{Lan, Machine};
pub use machine::{Background, PrivateEngine};
pub use port::free_port;
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use registry::Registry;
pub use session::Session;
pub use tampering::Tampering;
pub use waiting::wait_until;

/// A file below `tests/fixtures/`.
pub fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
