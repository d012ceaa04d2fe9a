//! Secrets reach the script and nothing else; values of variables are never shown.

use std::time::Duration;

use diesel::{QueryableByName, RunQueryDsl, sql_query, sql_types};
use serde_json::{Value, json};

use crate::support::{Daemon, DaemonBuilder, Database, sandboxes_of, touch, try_docker, wait_until};

const SECRET: &str = "canary-secret-c0ffee";
const VARIABLE: &str = "canary-variable-decade";

/// Prints the secret in the ways in which scripts do by mistake, and proves that it has it.
const SCRIPT: &str = "\
import os, sys, time
token = os.environ['TOKEN']
print('token', token, flush=True)
for letter in token:
    print(letter, end='', file=sys.stderr, flush=True)
    time.sleep(0.01)
print(token * 3, len(token), sum(token.encode()), os.environ['NAME'] == 'canary-' + 'variable-decade')
print('waiting', flush=True)
while not os.path.exists('/tmp/go') and len(sys.argv) > 1:
    time.sleep(0.05)
raise SystemExit('failed with ' + token)
";

fn submission(arguments: &[&str]) -> Value {
    json!({ "secrets": { "TOKEN": SECRET }, "env": { "NAME": VARIABLE }, "args": arguments })
}

/// Every row of every table as text.
fn dump(database: &Database) -> String {
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = sql_types::Text)]
        text: String,
    }
    let mut connection = database.connect();
    let query = "SELECT tablename::text AS text FROM pg_tables WHERE schemaname = 'public'";
    let tables: Vec<Table> = sql_query(query).load(&mut connection).unwrap();
    assert!(tables.len() >= 6, "the dump would see nothing");
    tables
        .iter()
        .map(|table| {
            // bytea is shown as text, so that contents are searched too.
            database.text(&format!(
                "SELECT coalesce(string_agg(row_to_json(t)::text, ' '), '') || \
                 coalesce((SELECT string_agg(encode(content, 'escape'), ' ') FROM blobs), '') FROM {} t",
                table.text
            ))
        })
        .collect()
}

/// Everything that the API, the metrics and the dashboard show of an execution.
fn shown(daemon: &Daemon, id: &str) -> String {
    let get = |path: &str| daemon.http().get(path).body;
    let of = |rest: &str| get(&format!("/api/v1/executions/{id}{rest}"));
    let streams = ["stdout", "stderr", "install"].map(|stream| of(&format!("/logs?stream={stream}")));
    let pages = ["/", &format!("/executions/{id}"), &format!("/executions/{id}?part"), "/metrics"];
    let pages = pages.map(|page| {
        let answer = daemon.http().get(page);
        assert_eq!(answer.status, 200, "{page}");
        answer.body
    });
    let said = [
        of(""),
        of("/outputs"),
        of("/receipt"),
        get("/api/v1/executions"),
        get("/api/v1/workers"),
        get("/readyz"),
        streams.concat(),
        pages.concat(),
    ];
    said.concat()
}

#[test]
fn the_secret_is_stored_only_in_its_own_column() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).with("RGRID_LOG__LEVEL", "debug").start();
    let http = daemon.http();
    let cluster = database.text("SELECT cluster FROM deployment");
    let id = http.submit_with(SCRIPT, submission(&["hold"]));
    wait_until("the script to print its secret", Duration::from_secs(30), || {
        http.get(&format!("/api/v1/executions/{id}/logs")).body.contains("waiting").then_some(())
    });

    // While it runs, the secret is stored once, in its column.
    assert_eq!(dump(&database).matches(SECRET).count(), 1);
    assert_eq!(database.text("SELECT secrets->>'TOKEN' FROM executions"), SECRET);
    let inspect = |containers: Vec<String>| {
        // An ended container may be gone.
        containers.iter().filter_map(|container| try_docker(&["inspect", container]).ok()).collect::<String>()
    };
    let containers = sandboxes_of(&cluster);
    let live = inspect(containers.clone());
    assert!(live.contains(&cluster));
    for canary in [SECRET, VARIABLE] {
        assert!(!live.contains(canary), "docker inspect of a live container shows {canary}");
        assert!(!shown(&daemon, &id).contains(canary), "the API shows {canary}");
    }
    // Lets the script end and inspects the container again.
    containers.iter().for_each(|container| touch(container, "/tmp/go"));
    let ended = inspect(containers);
    assert!(!ended.contains(SECRET) && !ended.contains(VARIABLE));

    let end = http.wait(&id);
    let sum: u32 = SECRET.bytes().map(u32::from).sum();
    assert_eq!(end["stdout"], format!("token ***\n*** {} {sum} True\nwaiting\n", SECRET.len()), "{end}");
    assert_eq!(end["stderr"], "***failed with ***\n");
    assert_eq!((&end["secret_keys"], &end["env_keys"]), (&json!(["TOKEN"]), &json!(["NAME"])));
    let after = dump(&database);
    assert!(!after.contains(SECRET), "the database still has the secret");
    assert_eq!(
        after.matches(VARIABLE).count(),
        1,
        "values of variables are stored only in their column, for a retry"
    );
    for canary in [SECRET, VARIABLE] {
        assert!(!shown(&daemon, &id).contains(canary), "the API shows {canary}");
        assert!(!daemon.log().join("\n").contains(canary), "the log shows {canary}");
    }
}

#[test]
fn a_cancelled_or_lost_execution_keeps_no_secret() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let http = daemon.http();
    let running = http.submit_with(SCRIPT, submission(&["hold"]));
    wait_until("the execution to run", Duration::from_secs(30), || {
        (http.execution(&running)["status"] == "running").then_some(())
    });
    let queued = http.submit_with(SCRIPT, submission(&[]));
    for id in [&queued, &running] {
        assert_eq!(http.post(&format!("/api/v1/executions/{id}/cancel"), &json!({})).status, 202);
    }
    assert_eq!(http.wait(&running)["status"], "cancelled");
    assert_eq!(
        database.number("SELECT count(*) FROM executions WHERE status = 'cancelled' AND secrets IS NULL"),
        2
    );
}

#[test]
fn a_released_execution_keeps_its_secrets() {
    let database = Database::new();
    let builder = DaemonBuilder::plain(&database).slots(1).with("RGRID_WORKER__DRAIN_TIMEOUT", "200ms");
    let daemon = builder.start();
    let id = daemon.http().submit_with(SCRIPT, submission(&["hold"]));
    wait_until("the execution to run", Duration::from_secs(30), || {
        (daemon.http().execution(&id)["status"] == "running").then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    assert_eq!(
        database.text("SELECT status || ' ' || (secrets->>'TOKEN') FROM executions"),
        format!("queued {SECRET}")
    );
    let again = builder.start();
    wait_until("the second attempt to have its secret", Duration::from_secs(30), || {
        let said = again.http().get(&format!("/api/v1/executions/{id}/logs")).body;
        said.contains(&format!("*** {}", SECRET.len())).then_some(())
    });
}

#[test]
fn a_retry_needs_the_secrets_again() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let http = daemon.http();
    let id = http
        .submit_with("import os; print(len(os.environ['TOKEN']))", json!({ "secrets": { "TOKEN": SECRET } }));
    http.wait(&id);
    let retry = |body: &Value| http.post(&format!("/api/v1/executions/{id}/retry"), body);
    let missing = retry(&json!({}));
    assert_eq!(missing.status, 422);
    let expected = json!([{ "field": "secrets.TOKEN",
        "message": "is missing: secrets are not stored, so a retry needs their values again" }]);
    assert_eq!(missing.json()["errors"], expected);
    let other = retry(&json!({ "secrets": { "TOKEN": "12345", "MORE": "x" } }));
    assert_eq!((other.status, &other.json()["errors"][0]["field"]), (422, &json!("secrets.MORE")));

    let again = retry(&json!({ "secrets": { "TOKEN": "12345" } }));
    assert_eq!(again.status, 201, "{again:?}");
    let end = http.wait(again.json()["id"].as_str().unwrap());
    assert_eq!((&end["stdout"], &end["secret_keys"]), (&json!("5\n"), &json!(["TOKEN"])));
    // Without secrets, a retry needs no body.
    let plain = http.submit("print(1)");
    assert_eq!(http.post_raw(&format!("/api/v1/executions/{plain}/retry"), "", &[], b"").status, 201);
}

#[test]
fn the_digest_of_a_submission_does_not_cover_secret_values() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).with("RGRID_QUEUE__MAX_QUEUED", "100").start();
    let submit = |secrets: Value| {
        let body =
            json!({ "script": { "name": "s.py", "content": "print(1)" }, "secrets": secrets }).to_string();
        let headers = [("idempotency-key", "k")];
        daemon.http().post_raw("/api/v1/executions", "application/json", &headers, body.as_bytes()).status
    };
    assert_eq!(submit(json!({ "PIN": "1234" })), 201);
    let digest = || database.text("SELECT encode(idempotency_sha256, 'hex') FROM executions");
    let first = digest();
    // The same submission with another value is the same to the digest.
    assert_eq!(submit(json!({ "PIN": "5678" })), 200);
    assert_eq!(submit(json!({ "CODE": "1234" })), 409);
    assert_eq!(digest(), first);
}

#[test]
fn the_cli_takes_the_secrets_of_a_retry_from_the_environment() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).start();
    let cli = daemon.cli();
    cli.write("s.py", "import os; print(len(os.environ['TOKEN']))");
    let with = |line: &[&str]| cli.command(line).env("TOKEN", SECRET).output().unwrap();
    let first = with(&["run", "-q", "--secret", "TOKEN", "s.py"]);
    let id = String::from_utf8(first.stdout).unwrap().trim().to_owned();
    cli.ok(&["wait", &id]);

    let without = cli.run(&["retry", &id]);
    assert_eq!((without.code, without.stdout.as_str()), (2, ""), "{without:?}");
    let told = "  hint: its secrets were not kept; reading them from your environment or asking again: TOKEN\n\
        error: the secret TOKEN is not set in your environment, and there is no terminal to ask on\n";
    assert!(without.stderr.starts_with(told), "{without:?}");

    let again = with(&["retry", "-w", "-q", &id]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), format!("{}\n", SECRET.len()));
}

#[test]
fn secrets_are_masked_in_the_forms_in_which_programs_print_them() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).slots(1).start();
    let http = daemon.http();
    let python = "import json, os, shlex\n\
        t = os.environ['TOKEN']\n\
        print(json.dumps(t), json.dumps(t, ensure_ascii=False), [t], ascii(t), t.encode(), shlex.quote(t))";
    let node = "const t = process.env.TOKEN; console.log(JSON.stringify({ t }), [t])";
    let ruby = "require 'json'; t = ENV['TOKEN'].dup.force_encoding('UTF-8')\n\
        puts t.to_json, t.inspect, t.dump, t.b.inspect";
    let bash = "printf '%q\\n' \"$TOKEN\"; echo ${TOKEN@Q}; declare -p TOKEN; set -x; : \"$TOKEN\"";
    let one_line = r#"canary "a" 'b' \c $d #{e} <f> grün"#;
    for secret in [one_line.to_owned(), format!("canary\t{one_line}\n\u{1b}[1m")] {
        for (runtime, script, count) in
            [("python:3.11", python, 6), ("node:20", node, 2), ("ruby:3.3", ruby, 4), ("bash", bash, 4)]
        {
            let more = json!({ "runtime": runtime, "secrets": { "TOKEN": secret } });
            let end = http.wait(&http.submit_with(script, more));
            assert_eq!(end["status"], "completed", "{end}");
            let printed = [&end["stdout"], &end["stderr"]].map(|stream| stream.as_str().unwrap()).concat();
            assert_eq!(printed.matches("***").count(), count, "{runtime}: {printed}");
            assert!(!printed.contains("canary") && !printed.contains("gr"), "{runtime}: {printed}");
        }
    }
}
