//! The systemd unit: what it names exists, and it leaves the daemon the time that it needs.

use std::fs;
use std::path::Path;

use crate::acceptance::tier2::default_setting;

#[test]
fn new_1_the_unit_gives_the_daemon_more_time_to_stop_than_it_takes_to_drain() {
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
