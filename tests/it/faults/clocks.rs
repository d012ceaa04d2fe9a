//! Workers whose clocks are wrong.

use crate::faults::{assert_counted_once, counting};
use crate::support::{DaemonBuilder, Database};

#[test]
fn workers_whose_clocks_are_an_hour_off_keep_their_leases() {
    let database = Database::new();
    let worker = |shift: &str, name: &str| {
        DaemonBuilder::on(&database).slots(1).lease("5s").named(name).clock(shift).start()
    };
    let (ahead, behind) = (worker("+1h", "ahead"), worker("-1h", "behind"));
    // One script per worker, several leases long.
    let ids = [ahead.http().submit(&counting(120)), behind.http().submit(&counting(120))];
    let mut workers = Vec::new();
    for id in &ids {
        let end = behind.http().wait(id);
        assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(1)), "{end}");
        assert_counted_once(end["stdout"].as_str().unwrap(), 120);
        workers.push(end["worker"].as_str().unwrap().to_owned());
    }
    workers.sort();
    assert_eq!(workers, ["ahead", "behind"]);
    // Checks that the clocks are really wrong: a log shows its daemon's time.
    let hour = |daemon: &crate::support::Daemon| {
        let line: serde_json::Value = serde_json::from_str(&daemon.log()[0]).unwrap();
        line["ts"].as_str().unwrap()[..13].to_owned()
    };
    assert_ne!(hour(&ahead), hour(&behind));
    let odd = "SELECT count(*) FROM executions WHERE abs(extract(epoch FROM now() - completed_at)) > 60
               OR completed_at < started_at OR started_at < created_at";
    assert_eq!(database.number(odd), 0);
}
