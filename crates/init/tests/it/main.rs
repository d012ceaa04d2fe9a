//! Runs the real init as an ordinary process against a minimal daemon. Because it is not PID 1, it signals only the
//! process group of its script.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod daemon;
mod renewal;

use std::os::unix::fs::symlink;
use std::process::Command as Program;
use std::time::{Duration, Instant};

use daemon::{Sandbox, job, shell};
use rgrid_init::{
    Command, Event, ExitReason, InitState, JobStep, MAX_TEXT, Message, Setup, Stream, assemble,
};

#[test]
fn a_job_gets_its_inputs_and_reports_its_output_and_exit() {
    let mut sandbox = Sandbox::start();
    assert_eq!(sandbox.connect(0), (InitState::Parked, None));
    sandbox.send(&Command::File { name: "data".into(), offset: 0, content: b"gr".to_vec() });
    sandbox.send(&Command::File { name: "data".into(), offset: 2, content: "üße\n".into() });
    sandbox.run(shell("cat data; echo $NAME >&2; echo $RGRID_TOKEN$HOME; id -u; exit 3"));
    let job = sandbox.until_exit();
    assert_eq!(job.events[0], Event::Started { step: JobStep::Script });
    assert_eq!(job.text(Stream::Stdout), format!("grüße\n\n{}\n", sandbox.script_uid()));
    assert_eq!(job.text(Stream::Stderr), "value\n");
    assert_eq!(job.exit.reason, ExitReason::Exited { code: 3 });
    assert_eq!(job.exit.outputs, []);
    assert_eq!(job.exit.outputs_left_out, Vec::<String>::new());
    assert!(job.exit.peak_memory_bytes > 0);
    sandbox.send(&Command::Ack { upto: job.last });
    assert_eq!(sandbox.wait(), Some(0));
}

#[test]
fn a_line_arrives_while_the_script_still_runs() {
    let mut sandbox = Sandbox::running(shell("echo now; exec sleep 600"));
    sandbox.wait_for_text("now\n");
    sandbox.send(&Command::Cancel);
    assert_eq!(sandbox.until_exit().exit.reason, ExitReason::Cancelled);
}

#[test]
fn a_new_connection_repeats_exactly_the_events_that_are_not_stored() {
    let mut sandbox = Sandbox::running(shell("echo one; while ! [ -e go ]; do sleep 0.01; done; echo two"));
    sandbox.wait_for_text("one\n");
    // A torn frame of a connection that then breaks.
    sandbox.send_bytes(&[200, 0, 0, 0, 1, 2, 3]);
    assert_eq!(sandbox.connect(1), (InitState::Running, Some("job".into())));
    sandbox.wait_for_text("one\n");
    std::fs::write(sandbox.workspace().join("go"), "").unwrap();
    sandbox.until_exit();
    assert_eq!(sandbox.connect(1), (InitState::Ended, Some("job".into())));
    let job = sandbox.until_exit();
    assert_eq!(job.first, 2);
    assert_eq!(job.text(Stream::Stdout), "one\ntwo\n");
    // `Resume` confirms that everything is stored, so the init exits.
    sandbox.send_resume(job.last);
    assert_eq!(sandbox.wait(), Some(0));
}

#[test]
fn a_second_run_command_has_no_effect() {
    let mut sandbox = Sandbox::running(shell("echo first"));
    sandbox.run(shell("echo second"));
    assert_eq!(sandbox.until_exit().text(Stream::Stdout), "first\n");
}

#[test]
fn a_script_can_handle_sigterm_at_its_timeout() {
    let mut spec = shell("trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done");
    spec.limits.timeout_ms = 200;
    let job = Sandbox::running(spec).until_exit();
    assert_eq!(job.exit.reason, ExitReason::TimedOut);
    assert_eq!(job.text(Stream::Stdout), "bye\n");
    assert!(job.exit.wall_ms >= 200, "{:?}", job.exit);
}

#[test]
fn a_script_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let mut spec = shell("trap '' TERM; while :; do sleep 0.01; done");
    (spec.limits.timeout_ms, spec.limits.grace_ms) = (100, 100);
    let job = Sandbox::running(spec).until_exit();
    assert_eq!(job.exit.reason, ExitReason::TimedOut);
    assert!((200..10_000).contains(&job.exit.wall_ms), "{:?}", job.exit);
}

#[test]
fn background_processes_do_not_delay_the_exit() {
    let job = Sandbox::running(shell("sleep 600 & echo done")).until_exit();
    assert_eq!(job.exit.reason, ExitReason::Exited { code: 0 });
    assert_eq!(job.text(Stream::Stdout), "done\n");
    assert!(job.exit.wall_ms < 10_000, "{:?}", job.exit);
}

#[test]
fn signals_are_reported_including_real_time_signals() {
    assert_eq!(
        Sandbox::running(shell("kill -9 $$")).until_exit().exit.reason,
        ExitReason::Signalled { signal: 9 }
    );
    assert_eq!(
        Sandbox::running(shell("kill -40 $$")).until_exit().exit.reason,
        ExitReason::Signalled { signal: 40 }
    );
}

#[test]
fn a_flood_of_output_is_truncated_and_its_size_is_reported() {
    let mut spec = shell("head -c 30000000 /dev/zero | tr '\\0' x; echo end");
    spec.limits.output_limit = 200_000;
    let job = Sandbox::running(spec).until_exit();
    let live = job.text(Stream::Stdout);
    assert_eq!((live.len(), job.exit.stdout.total), (200_000, 30_000_004));
    let (text, cut) = assemble(&live, &job.exit.stdout, 200_000);
    assert!(cut && text.ends_with("xend\n") && text.contains("28.4 MiB cut by RGrid"), "{}", text.len());
    assert!(job.texts(Stream::Stdout).all(|text| text.len() <= MAX_TEXT));
}

#[test]
fn secrets_reach_the_script_and_are_masked_in_all_output() {
    let mut spec = shell(
        "echo $TOKEN; printf %s $TOKEN | head -c 3 >&2; sleep 0.1; printf %s $TOKEN | tail -c +4 >&2
         [ $TOKEN = canary-4711 ] && echo the same; head -c 100000 /dev/zero | tr '\\0' x; echo $TOKEN",
    );
    spec.secrets = vec![("TOKEN".into(), "canary-4711".into())];
    spec.setup = Some(setup("echo token=$TOKEN canary-4711", 60_000));
    spec.limits.output_limit = 1000;
    let job = Sandbox::running(spec).until_exit();
    assert_eq!(job.text(Stream::Install), "token= ***\n");
    assert_eq!(job.text(Stream::Stderr), "***");
    assert!(job.text(Stream::Stdout).starts_with("***\nthe same\nxxx"), "{}", job.text(Stream::Stdout).len());
    assert!(job.exit.stdout.tail.ends_with("xxx***\n"), "{:?}", job.exit.stdout.tail);
}

#[test]
fn the_setup_runs_before_the_script_with_its_own_environment() {
    let mut spec = shell("echo script");
    let say = "echo \"installing $WHAT\"; echo careful >&2";
    spec.setup = Some(setup(say, 60_000));
    let job = Sandbox::running(spec).until_exit();
    assert_eq!(job.text(Stream::Install), "installing it\ncareful\n");
    assert_eq!(job.text(Stream::Stdout), "script\n");
    let phases = job.events.iter().filter(|event| matches!(event, Event::Started { .. })).count();
    assert_eq!(phases, 2);
}

#[test]
fn the_script_does_not_start_after_a_failed_setup() {
    for (say, timeout, ending) in [
        ("exit 7", 60_000, ExitReason::SetupFailed { code: 7 }),
        ("sleep 600", 100, ExitReason::SetupTimedOut),
        ("kill -9 $$", 60_000, ExitReason::SetupFailed { code: 137 }),
    ] {
        let mut spec = shell("echo script");
        spec.setup = Some(setup(say, timeout));
        let job = Sandbox::running(spec).until_exit();
        assert_eq!((job.exit.reason.clone(), job.text(Stream::Stdout)), (ending, String::new()));
    }
}

#[test]
fn a_missing_program_is_named() {
    let job = Sandbox::running(job(&["no-such-program"])).until_exit();
    let ExitReason::CouldNotStart { reason } = job.exit.reason else { panic!("{:?}", job.exit) };
    assert!(reason.contains("`no-such-program` was not found"), "{reason}");
}

#[test]
fn a_job_does_not_start_if_an_input_file_failed() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.send(&Command::File { name: "../evil".into(), offset: 0, content: vec![1] });
    sandbox.run(shell("echo script"));
    assert!(matches!(sandbox.next(), Message::Refused { .. }));
    assert!(matches!(sandbox.until_exit().exit.reason, ExitReason::CouldNotStart { .. }));
    assert!(!sandbox.workspace().join("../evil").exists());
}

#[test]
fn outputs_are_regular_files_and_links_are_not_followed() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    symlink("/etc/passwd", sandbox.workspace().join("stolen")).unwrap();
    sandbox.run(shell(
        "mkdir -p plots/__pycache__ folder; echo a > plots/a.png; echo c > plots/__pycache__/c.pyc
         ln -s /etc folder/etc; mkfifo pipe; echo b > b; chmod 000 b; head -c 600000 /dev/zero > large",
    ));
    let job = sandbox.until_exit();
    let names: Vec<_> = job.exit.outputs.iter().map(|file| (file.name.as_str(), file.size)).collect();
    assert_eq!(names, [("b", 2), ("large", 600_000), ("plots/a.png", 2)]);
    let left_out = job.exit.outputs_left_out.join("\n");
    for text in ["`stolen` was not kept: it is a symbolic link", "`folder/etc`", "`pipe`"] {
        assert!(left_out.contains(text), "{left_out}");
    }
    assert_eq!(sandbox.fetch(0), b"b\n");
    assert_eq!(sandbox.fetch(1), vec![0; 600_000]);
    assert_eq!(sandbox.fetch(2), b"a\n");
    sandbox.send(&Command::Fetch { output: 3, offset: 0, max: 1 });
    assert!(matches!(sandbox.next(), Message::Refused { .. }));
}

#[test]
fn outputs_over_the_limits_are_counted() {
    let mut spec = shell("i=0; while [ $i -lt 12000 ]; do : > f$i; i=$((i+1)); done; echo 12345678901 > a");
    (spec.limits.max_outputs, spec.limits.max_output_bytes) = (3, 10);
    let job = Sandbox::running(spec).until_exit();
    let names: Vec<_> = job.exit.outputs.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["f0", "f1"]);
    assert!(job.exit.outputs_left_out[0].starts_with("`a` (12 bytes)"), "{:?}", job.exit);
    assert!(job.exit.outputs_left_out[1].starts_with("11998 more files"), "{:?}", job.exit);
}

#[test]
fn a_daemon_that_does_not_read_delays_neither_the_script_nor_its_timeout() {
    let mut spec = shell("while :; do echo 1234567890; done");
    (spec.limits.timeout_ms, spec.limits.output_limit) = (500, 50_000_000);
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.run(spec);
    sandbox.wait_for_script_exit();
    let job = sandbox.until_exit();
    assert_eq!(job.exit.reason, ExitReason::TimedOut);
    assert_eq!(job.text(Stream::Stdout).len() as u64, job.exit.stdout.total);
}

#[test]
fn a_parked_init_and_one_without_a_daemon_exit_after_their_ttl() {
    let started = Instant::now();
    assert_eq!(Sandbox::start_with(100, 60_000).wait(), Some(0));
    let mut orphan = Sandbox::start_with(60_000, 100);
    orphan.connect(0);
    orphan.run(shell("true"));
    orphan.until_exit();
    assert_eq!(orphan.wait(), Some(0));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_parked_init_exits_on_stop_and_on_sigterm() {
    let mut stopped = Sandbox::start();
    stopped.connect(0);
    stopped.send(&Command::Stop);
    assert_eq!(stopped.wait(), Some(0));
    let mut terminated = Sandbox::start();
    terminated.connect(0);
    let id = terminated.id().to_string();
    assert!(Program::new("kill").arg(&id).status().unwrap().success());
    assert_eq!(terminated.wait(), Some(0));
}

#[test]
fn a_pause_process_exits_on_sigterm_or_after_its_ttl() {
    let pause = |ttl: &str| {
        let mut program = Program::new(daemon::INIT);
        program.arg("pause").env("RGRID_PAUSE_TTL_MS", ttl).spawn().unwrap()
    };
    let mut short = pause("50");
    let mut long = pause("600000");
    assert_eq!(short.wait().unwrap().code(), Some(0));
    assert!(long.try_wait().unwrap().is_none());
    assert!(Program::new("kill").arg(long.id().to_string()).status().unwrap().success());
    assert!(long.wait().unwrap().code().is_none_or(|code| code == 0));
    let missing = Program::new(daemon::INIT).arg("pause").env_clear().output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("RGRID_PAUSE_TTL_MS is missing"));
}

#[test]
fn missing_settings_are_reported() {
    let output = Program::new(daemon::INIT).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("RGRID_TOKEN is missing"));
}

fn setup(say: &str, timeout_ms: u64) -> Setup {
    let env = vec![("WHAT".into(), "it".into()), ("PATH".into(), "/usr/bin:/bin".into())];
    Setup { argv: vec!["sh".into(), "-c".into(), say.into()], env, timeout_ms }
}
