//! Images: pull policies, digests, and removal of pulled images.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, DaemonBuilder, Database, Registry, docker, wait_until};

/// A daemon with an additional runtime, `test`.
fn with_runtime(database: &Database, image: &str, pull: &str) -> (DaemonBuilder, Daemon) {
    let mut builder = DaemonBuilder::on(database).slots(1);
    add_runtime(&mut builder, image, "python3", pull);
    let daemon = builder.start();
    (builder, daemon)
}

fn add_runtime(builder: &mut DaemonBuilder, image: &str, command: &str, pull: &str) {
    let file = builder.data_dir().join("settings.toml");
    let text =
        format!("[runtimes.test]\nimage = \"{image}\"\ncommand = [\"{command}\"]\npull = \"{pull}\"\n");
    std::fs::write(&file, text).unwrap();
    builder.argument(&format!("--config={}", file.display()));
}

/// A tag for this test only; dropping it removes it.
struct Tag(String);

impl Tag {
    fn of(image: &str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let tag = Self(format!("rgrid-test:{}-{number}", std::process::id()));
        tag.move_to(image);
        tag
    }

    fn move_to(&self, image: &str) {
        docker(&["tag", image, &self.0]);
    }

    /// Moves the tag to the same image with an additional file, `/moved`.
    fn move_to_a_changed_image(&self) {
        let container = docker(&["create", &self.0, "true"]);
        docker(&["cp", "/etc/hostname", &format!("{container}:/moved")]);
        docker(&["commit", &container, &self.0]);
        docker(&["rm", &container]);
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        docker(&["rmi", &self.0]);
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_reported_with_a_fix() {
    let database = Database::new();
    // No server listens there, so a pull fails immediately.
    let image = "127.0.0.1:1/nothing:here";
    for (pull, reason) in
        [("never", "its pull policy is `never`"), ("missing", "refused"), ("always", "refused")]
    {
        let (_builder, daemon) = with_runtime(&database, image, pull);
        let end = daemon.http().wait(&daemon.http().submit_with("print(1)", json!({ "runtime": "test" })));
        assert_eq!((&end["status"], &end["failure_kind"]), (&json!("failed"), &json!("image")), "{end}");
        let said = end["execution_error"].as_str().unwrap();
        assert!(
            said.contains(image) && said.contains(reason) && said.contains("docker pull"),
            "{pull}: {said}"
        );
        if pull == "never" {
            assert!(!daemon.has_said("pulling an image"));
        } else {
            wait_until("it is logged", Duration::from_secs(30), || {
                daemon.has_said("pulling an image").then_some(())
            });
        }
    }
}

#[test]
fn a_local_image_is_pulled_only_with_the_policy_always() {
    let database = Database::new();
    let tag = Tag::of("python:3.11-slim");
    for pull in ["never", "missing"] {
        let (_builder, daemon) = with_runtime(&database, &tag.0, pull);
        let end = daemon.http().wait(&daemon.http().submit_with("print(1)", json!({ "runtime": "test" })));
        assert_eq!(end["stdout"], "1\n", "{pull}: {end}");
        assert!(!daemon.log().iter().any(|line| line.contains("pulling an image")), "{pull}");
    }
    // No registry has it.
    let (_builder, daemon) = with_runtime(&database, &format!("127.0.0.1:1/{}", tag.0), "always");
    let end = daemon.http().wait(&daemon.http().submit_with("print(1)", json!({ "runtime": "test" })));
    assert_eq!(end["failure_kind"], "image", "{end}");
}

#[test]
fn a_tag_refers_to_the_same_image_until_the_next_start() {
    let database = Database::new();
    let tag = Tag::of("python:3.11-slim");
    let (builder, daemon) = with_runtime(&database, &tag.0, "never");
    let look = "import os; print(os.path.exists('/moved'))";
    let run = |daemon: &Daemon| {
        let end = daemon.http().wait(&daemon.http().submit_with(look, json!({ "runtime": "test" })));
        end["stdout"].as_str().unwrap().to_owned()
    };
    assert_eq!(run(&daemon), "False\n");
    tag.move_to_a_changed_image();
    assert_eq!(run(&daemon), "False\n");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(run(&builder.start()), "True\n");
}

#[test]
fn a_pulled_image_is_removed_when_it_was_not_used_for_long() {
    let (database, registry) = (Database::new(), Registry::new());
    let mut builder = DaemonBuilder::plain(&database).slots(1);
    add_runtime(&mut builder, &registry.image(), "/bin/sh", "missing");
    let builder = builder.with("RGRID_ENVIRONMENTS__SWEEP_INTERVAL", "300ms");
    let daemon = builder.start();
    let http = daemon.http();
    let run = || http.wait(&http.submit_with("echo pulled", json!({ "runtime": "test" })))["stdout"].clone();
    // This image was local before, so RGrid must not remove it.
    assert_eq!(http.wait(&http.submit("print(1)"))["stdout"], "1\n");
    assert_eq!((run(), run()), (json!("pulled\n"), json!("pulled\n")));
    assert_eq!(registry.pulls(), 1);
    let known = || database.text("SELECT coalesce(string_agg(name || ' ' || image, ', '), '') FROM images");
    let pulled = format!("{} {}", registry.image(), registry.image_id());
    wait_until("it is recorded", Duration::from_secs(10), || (known() == pulled).then_some(()));
    assert!(database.number("SELECT size_bytes FROM images") > 100_000);

    // Sandboxes that were not removed yet count as use.
    let age = || database.execute("UPDATE images SET last_used_at = now() - interval '31 days'");
    let other_tag = Tag::of(&registry.image());
    wait_until("it is kept because it has another tag", Duration::from_secs(20), || {
        age();
        daemon.log().iter().any(|line| line.contains("referenced in multiple repositories")).then_some(())
    });
    assert_eq!(known(), pulled);
    drop(other_tag);
    wait_until("it is removed", Duration::from_secs(20), || {
        age();
        known().is_empty().then_some(())
    });
    assert_eq!(docker(&["image", "ls", "--quiet", "--no-trunc", &registry.image()]), "");
    assert_eq!(run(), "pulled\n");
    assert_eq!(registry.pulls(), 2);
}

#[test]
fn an_image_without_a_tag_is_pulled_as_latest_only() {
    let (database, registry) = (Database::new(), Registry::new());
    let mut builder = DaemonBuilder::plain(&database).slots(1);
    add_runtime(&mut builder, &registry.repository(), "/bin/sh", "missing");
    let daemon = builder.start();
    let http = daemon.http();
    let end = http.wait(&http.submit_with("echo pulled", json!({ "runtime": "test" })));
    assert_eq!(end["stdout"], "pulled\n", "{end}");
    let tags = docker(&["image", "ls", "--format", "{{.Tag}}", &registry.repository()]);
    assert_eq!(tags, "latest");
}

#[test]
fn user_input_cannot_forge_log_lines() {
    let database = Database::new();
    let daemon = DaemonBuilder::on(&database).slots(1).with("RGRID_LOG__LEVEL", "debug").start();
    let forged = "\n{\"msg\":\"forged\",\"level\":\"ERRO\"}\n\u{1b}[2J";
    let script =
        format!("import sys; print({forged:?}, sys.argv); print({forged:?}, file=sys.stderr); sys.exit(3)")
            .replace("\\u{1b}", "\\x1b");
    // Control characters in requirements are rejected; line breaks and quotes are valid.
    let more =
        json!({ "args": [forged], "env": { "A": forged }, "requirements": forged.replace('\u{1b}', "") });
    let end = daemon.http().wait(&daemon.http().submit_with(&script, more));
    assert_eq!(end["failure_kind"], "install", "{end}");
    let end = daemon.http().wait(&daemon.http().submit_with(&script, json!({ "args": [forged] })));
    assert_eq!(end["exit_code"], 3, "{end}");
    daemon
        .http()
        .get_with("/api/v1/executions?label=%0A%7B%22msg%22%3A%22forged%22%7D=1", &[("x-forged", "forged")]);
    wait_until("the end is logged", Duration::from_secs(10), || {
        daemon.log().iter().any(|line| line.contains("exit code 3")).then_some(())
    });
    for line in daemon.log() {
        let record: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a JSON record: {line}"));
        assert_ne!(record["msg"], "forged", "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}
