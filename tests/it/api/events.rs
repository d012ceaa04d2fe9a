//! Following an execution live loses and repeats nothing, even across reconnects and restarts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Daemon, DaemonBuilder, Database, Event, FLOOD, flood_said, remove_containers_of, wait_until,
};

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    (database, daemon)
}

/// Follows to the end, reconnecting whenever the connection ends. Returns all events.
fn follow(daemon: &Daemon, id: &str, behind: Option<&str>) -> Vec<Event> {
    let mut behind = behind.map(str::to_owned);
    let mut all = Vec::new();
    for _ in 0..20 {
        for event in daemon.events(id, behind.as_deref()) {
            behind = Some(event.id.clone());
            all.push(event);
        }
        if all.last().is_some_and(|event| event.name == "end") {
            return all;
        }
    }
    panic!("{id} has not ended; the last events: {:?}", all.iter().rev().take(3).collect::<Vec<_>>());
}

fn text(events: &[Event], stream: &str) -> String {
    let of = |event: &&Event| event.name == "output" && event.data["stream"] == stream;
    events.iter().filter(of).map(|event| event.data["text"].as_str().unwrap()).collect()
}

#[test]
fn a_follower_sees_status_output_and_end_in_order() {
    let (_database, daemon) = daemon();
    let script =
        "import sys, time; print('out'); time.sleep(0.5); print('err', file=sys.stderr); sys.exit(3)";
    let id = daemon.http().submit(script);
    let events = follow(&daemon, &id, None);
    assert_eq!((events[0].name.as_str(), events.last().unwrap().name.as_str()), ("status", "end"));
    assert_eq!((text(&events, "stdout"), text(&events, "stderr")), ("out\n".into(), "err\n".into()));
    let statuses: Vec<_> =
        events.iter().filter(|e| e.name == "status").map(|e| e.data["status"].as_str().unwrap()).collect();
    let order: Vec<_> =
        statuses.iter().map(|s| ["queued", "running", "failed"].iter().position(|o| o == s)).collect();
    assert!(order.is_sorted() && statuses.last() == Some(&"failed"), "{statuses:?}");
    let end = &events.last().unwrap().data;
    assert_eq!(
        (&end["status"], &end["exit_code"], &end["stdout"]),
        (&json!("failed"), &json!(3), &Value::Null)
    );
}

#[test]
fn a_reconnecting_follower_gets_exactly_the_rest() {
    let (_database, daemon) = daemon();
    let script = "import time\nfor n in range(20): print('line', n); time.sleep(0.1)";
    let id = daemon.http().submit(script);
    let live = follow(&daemon, &id, None);
    let expected: String = (0..20).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text(&live, "stdout"), expected);
    // The same for each event ID after the chunks have been merged into the row.
    for (at, event) in live.iter().enumerate().filter(|(_, event)| event.name != "end") {
        let before = text(&live[..=at], "stdout");
        let after = text(&follow(&daemon, &id, Some(&event.id)), "stdout");
        assert_eq!(before + &after, expected, "behind {}", event.id);
    }
    let ended = daemon.events(&id, Some(&live.last().unwrap().id));
    assert_eq!(ended.status, 204);
}

#[test]
fn a_hundred_thousand_lines_arrive_once_and_in_order_across_a_restart() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).with("RGRID_EXECUTION__OUTPUT_LIMIT", "8MiB");
    let first = builder.start();
    let replica = DaemonBuilder::plain(&database).role("api").start();
    let id = first.http().submit(FLOOD);
    let mut elsewhere = replica.events(&id, None);
    assert_eq!(elsewhere.next().unwrap().name, "status");
    let mut seen = Vec::new();
    for event in first.events(&id, None) {
        seen.push(event);
        if text(&seen, "stdout").len() > 200_000 {
            break;
        }
    }
    first.kill_9();
    let second = builder.start();
    let behind = seen.last().unwrap().id.clone();
    seen.extend(follow(&second, &id, Some(&behind)));
    let said = text(&seen, "stdout");
    assert!(said == flood_said(), "{} bytes of {} arrived", said.len(), flood_said().len());
    assert_eq!(seen.last().unwrap().data["attempt"], 1);
    assert!(seen.iter().all(|event| event.data["restarted"] != true));
    // A connection to another replica received everything without interruption.
    let elsewhere: Vec<Event> = elsewhere.collect();
    assert!(text(&elsewhere, "stdout") == flood_said() && elsewhere.last().unwrap().name == "end");
}

#[test]
fn output_beyond_the_limit_is_replaced_by_a_marker() {
    let (_database, daemon) = daemon();
    let id = daemon.http().submit(FLOOD);
    let live = follow(&daemon, &id, None);
    let kept = daemon.http().wait(&id)["stdout"].as_str().unwrap().to_owned();
    // A live follower receives more of the beginning than is stored.
    let cut = live.iter().position(|event| event.data["cut"].is_u64()).unwrap();
    let (head, tail) = (text(&live[..cut], "stdout"), text(&live[cut + 1..], "stdout"));
    assert!(
        flood_said().starts_with(&head) && flood_said().ends_with(&tail) && head.len() >= 50 * 1024,
        "{}",
        head.len()
    );
    assert_eq!(
        head.len() as u64 + live[cut].data["cut"].as_u64().unwrap() + tail.len() as u64,
        flood_said().len() as u64
    );
    assert!(kept.ends_with(&tail));
    // A later follower gets the stored text, and can resume from any of these events.
    let later = follow(&daemon, &id, None);
    assert_eq!(text(&later, "stdout"), kept);
    for event in live.iter().filter(|event| event.name == "output") {
        let rest = text(&follow(&daemon, &id, Some(&event.id)), "stdout");
        assert!(kept.ends_with(rest.rsplit("…]\n").next().unwrap()), "behind {}", event.id);
    }
}

#[test]
fn another_replica_streams_output_while_the_script_runs() {
    let database = Database::new();
    let worker = DaemonBuilder::plain(&database).role("worker").slots(1).start();
    let api = DaemonBuilder::plain(&database).role("api").start();
    let id = api.http().submit(
        "import sys, time\nfor n in range(30): sys.stdout.write(f'{time.time()}\\n'); time.sleep(0.1)",
    );
    let mut delays = Vec::new();
    for event in api.events(&id, None) {
        if event.name == "output" {
            let now =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
            let written =
                event.data["text"].as_str().unwrap().lines().last().unwrap().parse::<f64>().unwrap();
            delays.push(now - written);
        }
    }
    delays.sort_by(f64::total_cmp);
    let median = delays[delays.len() / 2];
    println!("from the script to the follower: median {:.0} ms", median * 1000.0);
    // Without notifications, polling would take seconds. docs/events.md promises 100 ms.
    assert!(median < 0.5 && delays.len() > 5, "{delays:?}");
    drop(worker);
}

#[test]
fn a_slow_reader_delays_no_one_and_gets_everything() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_EXECUTION__OUTPUT_LIMIT", "8MiB").start();
    let id = daemon.http().submit(FLOOD);
    let mut slow = daemon.events(&id, None);
    let first = slow.next().unwrap();
    // It reads nothing while the script runs and another follower receives everything.
    let begun = Instant::now();
    assert!(text(&follow(&daemon, &id, None), "stdout") == flood_said());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let rest: Vec<Event> = slow.collect();
    assert!(text(&rest, "stdout") == flood_said(), "behind {}", first.id);
    assert_eq!(rest.last().unwrap().name, "end");
}

#[test]
fn a_new_attempt_is_reported_as_a_restart() {
    let database = Database::new();
    let lease = |name: &str| {
        let builder = DaemonBuilder::plain(&database).with("RGRID_WORKER__LEASE", "2s").slots(1);
        builder.with("RGRID_WORKER__NAME", name)
    };
    let api = DaemonBuilder::plain(&database).role("api").start();
    let first = lease("one").start();
    let id = api.http().submit("import time; print('begun'); time.sleep(8); print('done')");
    let mut events = api.events(&id, None);
    let mut seen: Vec<Event> = Vec::new();
    while text(&seen, "stdout").is_empty() {
        seen.push(events.next().unwrap());
    }
    let cluster = database.text("SELECT cluster FROM deployment");
    first.kill_9();
    remove_containers_of(&cluster);
    let _second = lease("two").start();
    seen.extend(events);
    let restart =
        seen.iter().position(|event| event.data["restarted"] == true).expect("no restart was reported");
    assert_eq!(seen[restart].data["attempt"], 2);
    assert_eq!(text(&seen[restart..], "stdout"), "begun\ndone\n");
    assert_eq!(seen.last().unwrap().data["status"], "completed");
}

#[test]
fn an_invalid_event_id_is_rejected() {
    let (_database, daemon) = daemon();
    let id = daemon.http().submit("print('x')");
    daemon.http().wait(&id);
    for bad in ["x", "1-2-3", "1--2-3-4", "7-0-0-0", "1-0-0-99999999999999999999", "../etc"] {
        let refused = daemon.events(&id, Some(bad));
        assert_eq!(refused.status, 422, "{bad}");
        assert!(refused.body().contains("last-event-id"), "{bad}");
    }
    // An ID after the end of the output is followed only by the end.
    let names: Vec<_> = daemon.events(&id, Some("1-9-9-9")).map(|event| event.name).collect();
    assert_eq!(names, ["status", "end"]);
    assert_eq!(daemon.events("exec_00000000000000000000000000", None).status, 404);
}

#[test]
fn the_number_of_followers_is_limited() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_HTTP__FOLLOWERS", "2").start();
    let id = daemon.http().submit("import time; time.sleep(60)");
    let open: Vec<_> = (0..2).map(|_| daemon.events(&id, None)).collect();
    assert!(open.iter().all(|events| events.status == 200));
    assert_eq!(daemon.events(&id, None).status, 429);
    drop(open);
    wait_until("a follower to be disconnected", Duration::from_secs(20), || {
        (daemon.events(&id, None).status == 200).then_some(())
    });
    daemon.http().post(&format!("/api/v1/executions/{id}/cancel"), &json!({}));
}

#[test]
fn queued_executions_have_a_position_and_ended_ones_their_phases() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let http = daemon.http();
    let first = http.submit("import time; print('runs'); time.sleep(8)");
    wait_until("it runs", Duration::from_secs(30), || {
        (http.execution(&first)["phase"] == "script").then_some(())
    });
    let (second, third) = (http.submit("print(2)"), http.submit("print(3)"));
    assert_eq!(http.execution(&second)["queue_position"], 1);
    assert_eq!(http.execution(&third)["queue_position"], 2);
    let waiting = daemon.events(&third, None).next().unwrap();
    assert_eq!((&waiting.data["status"], &waiting.data["queue_position"]), (&json!("queued"), &json!(2)));

    let end = http.wait(&first);
    let phases = &end["phases"];
    assert!(phases["script_ms"].as_u64().unwrap() >= 8000, "{phases}");
    for phase in ["queued_ms", "sandbox_ms", "recorded_ms"] {
        assert!(phases[phase].as_u64().unwrap() < 20_000, "{phases}");
    }
    assert_eq!(phases["environment_ms"], Value::Null);
    assert!(http.wait(&third)["phases"]["queued_ms"].as_u64().unwrap() > 0);
}
