//! The systemd unit gives the daemon enough time to stop.

use std::fs;
use std::path::Path;

use crate::acceptance::stories::default_setting;

#[test]
fn new_1_the_unit_allows_more_time_to_stop_than_the_daemon_needs_to_drain() {
    let unit =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/rgridd.service"))
            .unwrap();
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}= in the unit"))
    };
    let drain = default_setting("worker.drain_timeout");
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().unwrap();
    assert!(seconds(value("TimeoutStopSec")) > seconds(&drain) + 10);
    assert_eq!((value("KillMode"), value("Restart")), ("mixed", "on-failure"));
    assert!(value("ExecStart").ends_with("rgridd serve --config /etc/rgrid/config.toml"));
}
