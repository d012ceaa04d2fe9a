//! A worker is cut off from Postgres for longer than its lease, then reconnects.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Daemon, DaemonBuilder, Engine, Postgres, Proxy, containers_of, sandboxes_of, wait_until,
};

struct Pair {
    /// Of the second one: on one Docker host it would sweep what the first one leaves.
    engine: Engine,
    postgres: Postgres,
    proxy: Proxy,
    first: Daemon,
    second: Daemon,
}

/// The first worker reaches Postgres through the proxy.
fn two_workers() -> Pair {
    let (engine, postgres) = (Engine::take(), Postgres::new());
    let (proxy, url) = postgres.proxied();
    let worker = |builder: DaemonBuilder, name: &str| {
        let builder = builder.slots(1).lease("3s").named(name).with("RGRID_SANDBOX__PARKED", "0");
        builder.with("RGRID_WORKER__LABELS", &format!("worker={name}")).start()
    };
    let first = worker(DaemonBuilder::at(&url), "one");
    let elsewhere = DaemonBuilder::at(&postgres.url()).with("RGRID_DOCKER__HOST", &engine.host());
    let second = worker(elsewhere, "two");
    Pair { engine, postgres, proxy, first, second }
}

impl Pair {
    /// Runs on the first worker; the second one is kept busy until then.
    fn run_on_the_first(&self, script: &str) -> String {
        let http = self.second.http();
        let blocking = json!({ "on": { "worker": "two" } });
        let blocking = http.submit_with("import time; time.sleep(300)", blocking);
        wait_until("the second one is busy", Duration::from_secs(30), || {
            (http.execution(&blocking)["worker"] == "two").then_some(())
        });
        let id = self.first.http().submit(script);
        http.wait_for_output(&id, "run");
        assert_eq!(http.execution(&id)["worker"], "one");
        http.post(&format!("/api/v1/executions/{blocking}/cancel"), &json!({}));
        http.wait_for_status(&blocking, "cancelled");
        id
    }

    fn wait_until_rescued(&self, id: &str) {
        wait_until("the second one runs it", Duration::from_secs(60), || {
            let now = self.second.http().execution(id);
            (now["attempt"] == 2 && now["worker"] == "two").then_some(())
        });
        self.second.http().wait_for_output(id, "run");
    }

    /// Of the first one.
    fn containers(&self) -> Vec<String> {
        sandboxes_of(&self.postgres.text("SELECT cluster FROM deployment"))
    }

    fn stop(self) {
        let cluster = self.postgres.text("SELECT cluster FROM deployment");
        assert_eq!((self.first.stop(), self.second.stop()), (0, 0));
        assert_eq!((containers_of(&cluster), self.engine.containers_of(&cluster)), (Vec::new(), Vec::new()));
    }
}

fn script(seconds: u32) -> String {
    format!(
        "import random, time\nprint('run', random.randrange(10**12))\ntime.sleep({seconds})\nprint('end')\n"
    )
}

fn runs(execution: &Value) -> usize {
    execution["stdout"].as_str().unwrap().lines().filter(|line| line.starts_with("run ")).count()
}

#[test]
fn the_late_result_of_a_worker_that_was_cut_off_is_not_written() {
    let pair = two_workers();
    let id = pair.run_on_the_first(&script(9));
    let begun = Instant::now();
    let first_run = pair.second.http().get(&format!("/api/v1/executions/{id}/logs")).body;
    pair.proxy.cut();
    pair.wait_until_rescued(&id);
    // The first attempt ends at least three seconds before the second.
    std::thread::sleep(Duration::from_millis(10_500).saturating_sub(begun.elapsed()));
    pair.proxy.heal();
    let words = || pair.first.has_said("claim lost").then_some(());
    wait_until("the first one learns that it is late", Duration::from_secs(60), words);

    let end = pair.second.http().wait(&id);
    assert_eq!((end["status"].as_str(), end["attempt"].as_u64()), (Some("completed"), Some(2)), "{end}");
    assert_eq!((end["worker"].as_str(), runs(&end)), (Some("two"), 1), "{end}");
    assert!(!end["stdout"].as_str().unwrap().contains(first_run.trim()), "the late one wrote: {end}");
    pair.stop();
}

#[test]
fn a_worker_whose_connections_hang_stops_its_sandbox_when_they_recover() {
    let pair = two_workers();
    let id = pair.run_on_the_first(&script(60));
    let sandbox = pair.containers();
    pair.proxy.stall();
    pair.wait_until_rescued(&id);
    pair.proxy.heal();
    // Long before the script's own end.
    wait_until("its sandbox is gone", Duration::from_secs(30), || {
        let left = pair.containers();
        sandbox.iter().all(|one| !left.contains(one)).then_some(())
    });
    let now = pair.second.http().execution(&id);
    assert_eq!((now["status"].as_str(), now["worker"].as_str()), (Some("running"), Some("two")), "{now}");
    wait_until("it is ready again", Duration::from_secs(60), || pair.first.is_ready().then_some(()));
    pair.second.http().post(&format!("/api/v1/executions/{id}/cancel"), &json!({}));
    assert_eq!(pair.second.http().wait(&id)["status"], "cancelled");
    pair.stop();
}
