//! The dashboard in a browser.

use std::time::Duration;

use serde_json::json;

use crate::browser::Browser;
use crate::support::{Daemon, DaemonBuilder, Database, wait_until};

const WIDE: (u32, u32) = (1180, 900);
const PHONE: (u32, u32) = (390, 844);
const HOSTILE: &str =
    "print('<script>document.title=\"owned\"</script><img src=x onerror=\"document.title=1\">')";

fn daemon() -> (Database, Daemon) {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).with("RGRID_WORKER__NAME", "host-a").start();
    (database, daemon)
}

fn width(browser: &Browser) -> u64 {
    browser.run("return document.documentElement.scrollWidth").as_u64().unwrap()
}

fn named(daemon: &Daemon, name: &str, content: &str, more: serde_json::Value) -> String {
    let mut body = json!({ "script": { "name": name, "content": content } });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    daemon.http().post("/api/v1/executions", &body).json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_list_is_updated_live() {
    let (_database, daemon) = daemon();
    let browser = Browser::open(WIDE.0, WIDE.1, false);
    browser.go(&daemon.url());
    browser.wait_for_text("#live .empty", "rgrid run script.py");
    let id = named(&daemon, "counts.py", "import time; time.sleep(4)", json!({}));
    browser.wait_for_text("#live tbody tr", "counts.py");
    browser.wait_for_text("#live tbody .badge", "running");
    browser.wait_for_text("#live tbody .badge", "completed");
    browser.click(&format!("#row-{id}"));
    browser.wait_for_text("h1", "counts.py");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn the_list_can_be_filtered_by_status_label_and_text() {
    let (_database, daemon) = daemon();
    let failed = named(&daemon, "breaks.py", "1/0", json!({ "labels": { "team": "data" } }));
    let fine = named(&daemon, "works.py", "print(1)", json!({ "labels": { "team": "web" } }));
    daemon.http().wait(&failed);
    daemon.http().wait(&fine);
    let browser = Browser::open(WIDE.0, WIDE.1, false);
    let only = |script: &str| {
        browser.wait_for_text("tbody .script", script);
        assert_eq!(browser.count(".executions tbody tr"), 1);
    };
    browser.go(&daemon.url());
    assert_eq!(browser.count(".executions tbody tr"), 2);
    browser.write("input[name=text]", "WORKS");
    browser.click(".filter button");
    only("works.py");
    // The filter still applies after a refresh.
    browser.wait_for_text("#live-state", "live");
    only("works.py");
    browser.go(&format!("{}/?status=failed&text=&label=", daemon.url()));
    only("breaks.py");
    browser.go(&daemon.url());
    browser.click("a.label[href*='web']");
    only("works.py");
    browser.go(&format!("{}/?text=nothing-like-this", daemon.url()));
    browser.wait_for_text(".empty", "No matching executions");
}

#[test]
fn an_execution_can_be_followed_cancelled_and_run_again() {
    let (_database, daemon) = daemon();
    let script = "import time\nfor n in range(600): print('step', n); time.sleep(0.1)";
    let id = named(&daemon, "long.py", script, json!({}));
    let browser = Browser::open(WIDE.0, WIDE.1, false);
    browser.go(&format!("{}/executions/{id}", daemon.url()));
    browser.wait_for_text("#stream-stdout", "step 20");
    let output = browser.run("return document.getElementById('stream-stdout').textContent");
    let lines: Vec<_> = output.as_str().unwrap().lines().collect();
    let expected: Vec<String> = (0..lines.len()).map(|n| format!("step {n}")).collect();
    assert_eq!(lines, expected, "each line once, in order");
    browser.click("button[data-post$='/cancel']");
    browser.wait_for_text("#status", "cancelled");
    browser.wait_for_text(".buttons button", "Run again");
    browser.click("button[data-post$='/retry']");
    wait_until("the page of the new execution", Duration::from_secs(20), || {
        let url = browser.url();
        (url.contains("/executions/") && !url.contains(&id)).then_some(())
    });
    browser.wait_for_text("#stream-stdout", "step 3");
    browser.click("button[data-post$='/cancel']");
    browser.wait_for_text("#status", "cancelled");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn hostile_output_and_names_are_shown_as_text() {
    let (_database, daemon) = daemon();
    let labels = json!({ "labels": { "x": "<img src=y onerror=\"document.title=2\">" } });
    let ended = named(&daemon, "<b>bold.py", HOSTILE, labels);
    daemon.http().wait(&ended);
    let live = named(
        &daemon,
        "live.py",
        &format!("import time; time.sleep(3)\n{HOSTILE}\ntime.sleep(3)"),
        json!({}),
    );
    let browser = Browser::open(WIDE.0, WIDE.1, false);
    browser.go(&daemon.url());
    browser.wait_for_text("#live", "<b>bold.py");
    assert_eq!((browser.title().as_str(), browser.count("#live b, #live img")), ("Executions · RGrid", 0));
    // Rendered by the script, then by the server.
    for id in [&live, &ended] {
        browser.go(&format!("{}/executions/{id}", daemon.url()));
        browser.wait_for_text("#stream-stdout", "<script>document.title");
        assert!(browser.title().ends_with(".py · RGrid"), "{}", browser.title());
        assert_eq!(browser.count("pre *"), 0);
    }
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn everything_is_readable_without_javascript() {
    let (_database, daemon) = daemon();
    let id = named(&daemon, "plain.py", "print('read me'); open('left.txt', 'w').write('x')", json!({}));
    daemon.http().wait(&id);
    let browser = Browser::open(WIDE.0, WIDE.1, false);
    browser.without_scripts();
    browser.go(&daemon.url());
    assert!(browser.text("tbody").unwrap().contains("plain.py"));
    browser.click(&format!("#row-{id}"));
    assert_eq!(browser.text("#stream-stdout").unwrap(), "read me");
    assert!(browser.text(".files").unwrap().contains("left.txt"));
    assert!(browser.text(".timeline").unwrap().contains("Script"));
    assert!(browser.text(".buttons").unwrap().contains("rgrid retry"));
}

#[test]
fn pages_fit_on_a_phone() {
    let (_database, daemon) = daemon();
    let long = "x".repeat(120);
    let labels = json!({ "labels": { "a-rather-long-label-key": long }, "args": [long] });
    let id = named(
        &daemon,
        &format!("{long}.py"),
        &format!("print('{long}' * 5); raise ValueError('{long}')"),
        labels,
    );
    daemon.http().wait(&id);
    let browser = Browser::open(PHONE.0, PHONE.1, false);
    for page in [String::new(), format!("/executions/{id}")] {
        browser.go(&format!("{}{page}", daemon.url()));
        assert!(width(&browser) <= u64::from(PHONE.0), "{page} is {} wide", width(&browser));
    }
}

#[test]
fn all_controls_have_names_and_can_be_reached_by_keyboard() {
    let (_database, daemon) = daemon();
    let id = named(&daemon, "keys.py", "print(1)", json!({}));
    daemon.http().wait(&id);
    let browser = Browser::open(WIDE.0, WIDE.1, false);
    for page in [String::new(), format!("/executions/{id}")] {
        browser.go(&format!("{}{page}", daemon.url()));
        let nameless = "return [...document.querySelectorAll('input,select,button,a,meter,svg[role]')].filter(e => \
            !(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.textContent.trim()).length";
        assert_eq!(browser.run(nameless), 0, "something on {page} has no name");
        assert_eq!(browser.run("return document.querySelectorAll('h1').length"), 1);
        assert_eq!(browser.run("return document.querySelectorAll('[tabindex]:not([tabindex=\"0\"]):not([tabindex=\"-1\"])').length"), 0);
        assert_eq!(browser.run("return document.documentElement.lang"), "en");
    }
}

#[test]
fn cancel_and_retry_need_the_dashboards_header() {
    let (_database, daemon) = daemon();
    let id = named(&daemon, "stays.py", "import time; time.sleep(30)", json!({}));
    let path = format!("/executions/{id}/cancel");
    assert_eq!(daemon.http().post(&path, &json!({})).status, 400);
    assert_ne!(daemon.http().execution(&id)["status"], "cancelled");
    assert_eq!(
        daemon.http().post_raw(&path, "application/json", &[("x-rgrid-dashboard", "1")], b"").status,
        202
    );
}

/// Takes the screenshots in docs/images, with generated data.
#[test]
fn screenshots_for_the_documentation() {
    let (database, daemon) = daemon();
    crate::support::make_up_an_hour(&database);
    let rich = "import sys, time\nprint('Reading sales.csv …')\nfor m, t in [('January', 1200), ('February', 1850)]:\n    \
        print(f'{m:<10} {t:>8,} USD')\nprint('3 rows without a date were left out', file=sys.stderr)\nopen('totals.csv', 'w').write('month,total')";
    let id = named(
        &daemon,
        "sales.py",
        rich,
        json!({ "labels": { "team": "data" }, "args": ["sales.csv"], "env": { "CURRENCY": "USD" } }),
    );
    daemon.http().wait(&id);
    let broken = named(&daemon, "forecast.py", "import pandas", json!({ "labels": { "team": "data" } }));
    daemon.http().wait(&broken);
    for script in ["train_model.py", "crawl.py"] {
        named(
            &daemon,
            script,
            "import time\nfor n in range(300): print(f'epoch {n:>3}'); time.sleep(0.1)",
            json!({ "labels": { "team": "web" } }),
        );
    }
    named(&daemon, "resize_images.py", "print(1)", json!({ "labels": { "team": "web" } }));
    wait_until("both slots to be in use", Duration::from_secs(30), || {
        (database.number("SELECT count(*) FROM executions WHERE status = 'running'") == 2).then_some(())
    });
    for (name, (width, height), dark) in
        [("dashboard", WIDE, false), ("dashboard-dark", WIDE, true), ("dashboard-phone", PHONE, false)]
    {
        let browser = Browser::open(width, height, dark);
        browser.go(&daemon.url());
        browser.wait_for_text("#live-state", "live");
        browser.screenshot(name);
    }
    let browser = Browser::open(WIDE.0, WIDE.1, false);
    browser.go(&format!("{}/executions/{id}", daemon.url()));
    browser.screenshot("execution");
}

#[test]
fn the_api_page_shows_every_call_and_type_and_fits_on_a_phone() {
    let (_database, daemon) = daemon();
    let browser = Browser::open(PHONE.0, PHONE.1, false);
    browser.go(&format!("{}/docs", daemon.url()));
    let document = daemon.http().get("/openapi.json").json();
    assert_eq!(
        browser.count("section[id^=type-]"),
        document["components"]["schemas"].as_object().unwrap().len()
    );
    let calls = document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len());
    assert_eq!(browser.count(".calls li"), calls.sum::<usize>());
    browser.click("a[href='#post-api-v1-executions']");
    browser.wait_for_text("#post-api-v1-executions", "Submission");
    assert!(width(&browser) <= u64::from(PHONE.0), "the page is {} wide", width(&browser));
    assert_eq!(browser.errors(), Vec::<String>::new());
}
