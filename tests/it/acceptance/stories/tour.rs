//! Runs the tour as a test.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{DaemonBuilder, Database};

#[test]
fn the_tour_succeeds_within_a_minute() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).with_certificates().start();
    let begun = Instant::now();
    let output = Command::new("examples/tour.sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RGRID", std::path::Path::new(env!("CARGO_BIN_EXE_rgridd")).with_file_name("rgrid"))
        .env("RGRID_API_URL", format!("http://{}", daemon.http().address()))
        .env_remove("RGRID_API_KEY")
        .output()
        .unwrap();
    let (shown, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{complained}");
    for promise in
        ["queued → running → completed", "Hello from RGrid!", "Exit Code: 0", "node", "Ruby", "greeted"]
    {
        assert!(shown.contains(promise), "{promise}:\n{shown}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
