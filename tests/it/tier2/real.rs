//! Scripts in the manner of packages' own examples. `make report` runs all of them, on two Pythons.

use std::path::Path;

use super::daemon;

/// Those that install nothing.
const LIGHT: [(&str, &str); 4] = [
    ("csv_job.py", "3 regions, largest: north"),
    ("json_job.py", "4 events, 2 users"),
    ("multiprocessing_job.py", "sum of squares: 338350"),
    ("asyncio_job.py", "5 tasks"),
];

#[test]
fn real_scripts_run_on_two_pythons() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/real");
    for (name, words) in LIGHT {
        for runtime in ["python:3.11", "python:3.12"] {
            let said = cli.run(&["run", "-w", "-r", runtime, folder.join(name).to_str().unwrap()]);
            assert!(said.code == 0 && said.stdout.contains(words), "{name} on {runtime}: {said:?}");
        }
    }
}
