//! The real program, as an ordinary process, in a conversation with a small daemon. Not being PID 1 it signals
//! only the process group of its script.

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
fn a_job_goes_in_and_its_story_comes_out() {
    let mut sandbox = Sandbox::start();
    assert_eq!(sandbox.connect(0), (InitState::Parked, None));
    sandbox.say(&Command::File { name: "data".into(), offset: 0, content: b"gr".to_vec() });
    sandbox.say(&Command::File { name: "data".into(), offset: 2, content: "üße\n".into() });
    sandbox.run(shell("cat data; echo $NAME >&2; echo $RGRID_TOKEN$HOME; id -u; exit 3"));
    let told = sandbox.until_exit();
    assert_eq!(told.events[0], Event::Started { step: JobStep::Script });
    assert_eq!(told.text(Stream::Stdout), format!("grüße\n\n{}\n", sandbox.script_uid()));
    assert_eq!(told.text(Stream::Stderr), "value\n");
    assert_eq!(told.exit.reason, ExitReason::Exited { code: 3 });
    assert_eq!(told.exit.outputs, []);
    assert_eq!(told.exit.outputs_left_out, Vec::<String>::new());
    assert!(told.exit.peak_memory_bytes > 0);
    sandbox.say(&Command::Ack { upto: told.last });
    assert_eq!(sandbox.end(), Some(0));
}

#[test]
fn a_line_arrives_while_the_script_still_runs() {
    let mut sandbox = Sandbox::running(shell("echo now; exec sleep 600"));
    sandbox.wait_for_text("now\n");
    sandbox.say(&Command::Cancel);
    assert_eq!(sandbox.until_exit().exit.reason, ExitReason::Cancelled);
}

#[test]
fn a_new_connection_replays_what_was_not_stored_and_only_that() {
    let mut sandbox = Sandbox::running(shell("echo one; while ! [ -e go ]; do sleep 0.01; done; echo two"));
    sandbox.wait_for_text("one\n");
    // A frame torn in the middle, by a connection that is never heard of again.
    sandbox.say_bytes(&[200, 0, 0, 0, 1, 2, 3]);
    assert_eq!(sandbox.connect(1), (InitState::Running, Some("job".into())));
    sandbox.wait_for_text("one\n");
    std::fs::write(sandbox.workspace().join("go"), "").unwrap();
    sandbox.until_exit();
    assert_eq!(sandbox.connect(1), (InitState::Ended, Some("job".into())));
    let told = sandbox.until_exit();
    assert_eq!(told.first, 2);
    assert_eq!(told.text(Stream::Stdout), "one\ntwo\n");
    // All of it stored by a connection that says so in its first word: the init ends.
    sandbox.send_resume(told.last);
    assert_eq!(sandbox.end(), Some(0));
}

#[test]
fn a_second_run_changes_nothing() {
    let mut sandbox = Sandbox::running(shell("echo first"));
    sandbox.run(shell("echo second"));
    assert_eq!(sandbox.until_exit().text(Stream::Stdout), "first\n");
}

#[test]
fn at_the_deadline_a_script_may_say_good_bye() {
    let mut job = shell("trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done");
    job.limits.timeout_ms = 200;
    let told = Sandbox::running(job).until_exit();
    assert_eq!(told.exit.reason, ExitReason::TimedOut);
    assert_eq!(told.text(Stream::Stdout), "bye\n");
    assert!(told.exit.wall_ms >= 200, "{:?}", told.exit);
}

#[test]
fn a_script_that_ignores_sigterm_is_killed_after_the_grace() {
    let mut job = shell("trap '' TERM; while :; do sleep 0.01; done");
    (job.limits.timeout_ms, job.limits.grace_ms) = (100, 100);
    let told = Sandbox::running(job).until_exit();
    assert_eq!(told.exit.reason, ExitReason::TimedOut);
    assert!((200..10_000).contains(&told.exit.wall_ms), "{:?}", told.exit);
}

#[test]
fn what_a_script_leaves_behind_does_not_hold_its_end_up() {
    let told = Sandbox::running(shell("sleep 600 & echo done")).until_exit();
    assert_eq!(told.exit.reason, ExitReason::Exited { code: 0 });
    assert_eq!(told.text(Stream::Stdout), "done\n");
    assert!(told.exit.wall_ms < 10_000, "{:?}", told.exit);
}

#[test]
fn a_signal_is_told_even_a_real_time_one() {
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
fn a_flood_is_cut_and_its_size_is_told() {
    let mut job = shell("head -c 30000000 /dev/zero | tr '\\0' x; echo end");
    job.limits.output_limit = 200_000;
    let told = Sandbox::running(job).until_exit();
    let live = told.text(Stream::Stdout);
    assert_eq!((live.len(), told.exit.stdout.total), (200_000, 30_000_004));
    let (text, cut) = assemble(&live, &told.exit.stdout, 200_000);
    assert!(cut && text.ends_with("xend\n") && text.contains("28.4 MiB cut by RGrid"), "{}", text.len());
    assert!(told.texts(Stream::Stdout).all(|text| text.len() <= MAX_TEXT));
}

#[test]
fn secrets_reach_the_script_and_never_leave_the_sandbox() {
    let mut job = shell(
        "echo $TOKEN; printf %s $TOKEN | head -c 3 >&2; sleep 0.1; printf %s $TOKEN | tail -c +4 >&2
         [ $TOKEN = canary-4711 ] && echo the same; head -c 100000 /dev/zero | tr '\\0' x; echo $TOKEN",
    );
    job.secrets = vec![("TOKEN".into(), "canary-4711".into())];
    job.setup = Some(setup("echo token=$TOKEN canary-4711", 60_000));
    job.limits.output_limit = 1000;
    let told = Sandbox::running(job).until_exit();
    assert_eq!(told.text(Stream::Install), "token= ***\n");
    assert_eq!(told.text(Stream::Stderr), "***");
    assert!(
        told.text(Stream::Stdout).starts_with("***\nthe same\nxxx"),
        "{}",
        told.text(Stream::Stdout).len()
    );
    assert!(told.exit.stdout.tail.ends_with("xxx***\n"), "{:?}", told.exit.stdout.tail);
}

#[test]
fn a_setup_comes_before_the_script_with_its_own_environment() {
    let mut job = shell("echo script");
    let say = "echo \"installing $WHAT\"; echo careful >&2";
    job.setup = Some(setup(say, 60_000));
    let told = Sandbox::running(job).until_exit();
    assert_eq!(told.text(Stream::Install), "installing it\ncareful\n");
    assert_eq!(told.text(Stream::Stdout), "script\n");
    let phases = told.events.iter().filter(|event| matches!(event, Event::Started { .. })).count();
    assert_eq!(phases, 2);
}

#[test]
fn without_its_setup_a_script_does_not_start() {
    for (say, timeout, ending) in [
        ("exit 7", 60_000, ExitReason::SetupFailed { code: 7 }),
        ("sleep 600", 100, ExitReason::SetupTimedOut),
        ("kill -9 $$", 60_000, ExitReason::SetupFailed { code: 137 }),
    ] {
        let mut job = shell("echo script");
        job.setup = Some(setup(say, timeout));
        let told = Sandbox::running(job).until_exit();
        assert_eq!((told.exit.reason.clone(), told.text(Stream::Stdout)), (ending, String::new()));
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let told = Sandbox::running(job(&["no-such-program"])).until_exit();
    let ExitReason::CouldNotStart { reason } = told.exit.reason else { panic!("{:?}", told.exit) };
    assert!(reason.contains("`no-such-program` was not found"), "{reason}");
}

#[test]
fn a_job_does_not_start_without_one_of_its_files() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.say(&Command::File { name: "../evil".into(), offset: 0, content: vec![1] });
    sandbox.run(shell("echo script"));
    assert!(matches!(sandbox.next(), Message::Refused { .. }));
    assert!(matches!(sandbox.until_exit().exit.reason, ExitReason::CouldNotStart { .. }));
    assert!(!sandbox.workspace().join("../evil").exists());
}

#[test]
fn outputs_are_regular_files_and_nothing_that_a_link_points_to() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    symlink("/etc/passwd", sandbox.workspace().join("stolen")).unwrap();
    sandbox.run(shell(
        "mkdir -p plots/__pycache__ folder; echo a > plots/a.png; echo c > plots/__pycache__/c.pyc
         ln -s /etc folder/etc; mkfifo pipe; echo b > b; chmod 000 b; head -c 600000 /dev/zero > large",
    ));
    let told = sandbox.until_exit();
    let names: Vec<_> = told.exit.outputs.iter().map(|file| (file.name.as_str(), file.size)).collect();
    assert_eq!(names, [("b", 2), ("large", 600_000), ("plots/a.png", 2)]);
    let left_out = told.exit.outputs_left_out.join("\n");
    for told in ["`stolen` was left out: it is a symbolic link", "`folder/etc`", "`pipe`"] {
        assert!(left_out.contains(told), "{left_out}");
    }
    assert_eq!(sandbox.fetch(0), b"b\n");
    assert_eq!(sandbox.fetch(1), vec![0; 600_000]);
    assert_eq!(sandbox.fetch(2), b"a\n");
    sandbox.say(&Command::Fetch { output: 3, offset: 0, max: 1 });
    assert!(matches!(sandbox.next(), Message::Refused { .. }));
}

#[test]
fn more_outputs_than_allowed_are_counted() {
    let mut job = shell("i=0; while [ $i -lt 12000 ]; do : > f$i; i=$((i+1)); done; echo 12345678901 > a");
    (job.limits.max_outputs, job.limits.max_output_bytes) = (3, 10);
    let told = Sandbox::running(job).until_exit();
    let names: Vec<_> = told.exit.outputs.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["f0", "f1"]);
    assert!(told.exit.outputs_left_out[0].starts_with("`a` (12 bytes)"), "{:?}", told.exit);
    assert!(told.exit.outputs_left_out[1].starts_with("11998 more files"), "{:?}", told.exit);
}

#[test]
fn a_daemon_that_reads_nothing_stops_neither_the_script_nor_its_deadline() {
    let mut job = shell("while :; do echo 1234567890; done");
    (job.limits.timeout_ms, job.limits.output_limit) = (500, 50_000_000);
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.run(job);
    sandbox.wait_until_the_script_has_gone();
    let told = sandbox.until_exit();
    assert_eq!(told.exit.reason, ExitReason::TimedOut);
    assert_eq!(told.text(Stream::Stdout).len() as u64, told.exit.stdout.total);
}

#[test]
fn a_parked_init_ends_by_itself_and_so_does_one_whose_daemon_is_gone() {
    let begun = Instant::now();
    assert_eq!(Sandbox::start_with(100, 60_000).end(), Some(0));
    let mut orphan = Sandbox::start_with(60_000, 100);
    orphan.connect(0);
    orphan.run(shell("true"));
    orphan.until_exit();
    assert_eq!(orphan.end(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[test]
fn stop_and_sigterm_end_a_parked_init() {
    let mut stopped = Sandbox::start();
    stopped.connect(0);
    stopped.say(&Command::Stop);
    assert_eq!(stopped.end(), Some(0));
    let mut terminated = Sandbox::start();
    terminated.connect(0);
    let id = terminated.id().to_string();
    assert!(Program::new("kill").arg(&id).status().unwrap().success());
    assert_eq!(terminated.end(), Some(0));
}

#[test]
fn one_that_holds_a_network_ends_at_sigterm_or_after_its_time() {
    let hold = |ttl: &str| {
        let mut program = Program::new(daemon::INIT);
        program.arg("pause").env("RGRID_PAUSE_TTL_MS", ttl).spawn().unwrap()
    };
    let mut short = hold("50");
    let mut long = hold("600000");
    assert_eq!(short.wait().unwrap().code(), Some(0));
    assert!(long.try_wait().unwrap().is_none());
    assert!(Program::new("kill").arg(long.id().to_string()).status().unwrap().success());
    assert!(long.wait().unwrap().code().is_none_or(|code| code == 0));
    let unclear = Program::new(daemon::INIT).arg("pause").env_clear().output().unwrap();
    assert!(String::from_utf8_lossy(&unclear.stderr).contains("RGRID_PAUSE_TTL_MS is missing"));
}

#[test]
fn a_wrong_start_is_explained() {
    let output = Program::new(daemon::INIT).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("RGRID_TOKEN is missing"));
}

fn setup(say: &str, timeout_ms: u64) -> Setup {
    let env = vec![("WHAT".into(), "it".into()), ("PATH".into(), "/usr/bin:/bin".into())];
    Setup { argv: vec!["sh".into(), "-c".into(), say.into()], env, timeout_ms }
}
