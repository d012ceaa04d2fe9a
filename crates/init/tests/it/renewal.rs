//! Several jobs in one sandbox: nothing of the previous job is left, and its commands do not affect the next one.
//!
//! Only PID 1 of a container can remove processes and IPC objects; the daemon's tests in `tests/it/sandbox/reuse.rs`
//! cover them.

use std::os::unix::fs::symlink;

use rgrid_init::{Command, ExitReason, InitState, Message, Stream};

use crate::daemon::{Sandbox, shell};

fn renew(sandbox: &mut Sandbox, upto: u64) -> Message {
    sandbox.send(&Command::Renew { upto });
    sandbox.next()
}

fn run_and_renew(sandbox: &mut Sandbox, script: &str) {
    sandbox.run(shell(script));
    let job = sandbox.until_exit();
    assert_eq!(job.exit.reason, ExitReason::Exited { code: 0 }, "{}", job.text(Stream::Stderr));
    assert_eq!(renew(sandbox, job.last), Message::Renewed);
}

/// The names of all remaining files.
fn remaining(sandbox: &Sandbox) -> Vec<String> {
    let folders = [sandbox.workspace(), sandbox.scratch()].into_iter();
    let entries = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_renewed_sandbox_runs_the_next_job_as_another_user_with_new_event_numbers() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.send(&Command::File { name: "input".into(), offset: 0, content: b"of the first".to_vec() });
    sandbox.run(shell("cat input; echo $$ > output; id -u; exit 3"));
    let first = sandbox.until_exit();
    assert_eq!(renew(&mut sandbox, first.last), Message::Renewed);
    assert_eq!(remaining(&sandbox), Vec::<String>::new());
    assert_eq!(sandbox.connect(first.last), (InitState::Parked, None));

    let mut second = shell("cat input; ls; id -u");
    second.id = "second".to_owned();
    sandbox.send(&Command::File { name: "input".into(), offset: 0, content: b"of the second".to_vec() });
    sandbox.run(second);
    let job = sandbox.until_exit();
    assert_eq!(job.first, first.last + 1, "an event number was used twice");
    let uid = sandbox.script_uid();
    let next = if uid == 1000 { 1001 } else { uid };
    assert_eq!(job.text(Stream::Stdout), format!("of the secondinput\n{next}\n"));
    assert_eq!(job.exit.outputs, []);
    assert_eq!(sandbox.connect(first.last), (InitState::Ended, Some("second".into())));
    assert_eq!(sandbox.until_exit().text(Stream::Stdout), job.text(Stream::Stdout));
    sandbox.send(&Command::Ack { upto: job.last });
    assert_eq!(sandbox.wait(), Some(0));
}

#[test]
fn an_ack_for_the_previous_job_does_not_apply_to_the_next() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.run(shell("echo first"));
    let first = sandbox.until_exit();
    assert_eq!(renew(&mut sandbox, first.last), Message::Renewed);
    sandbox.run(shell("echo second"));
    sandbox.send(&Command::Ack { upto: first.last });
    sandbox.until_exit();
    // Like a daemon that was restarted.
    sandbox.connect(0);
    let job = sandbox.until_exit();
    assert_eq!((job.text(Stream::Stdout), job.first), ("second\n".to_owned(), first.last + 1));
}

#[test]
fn all_files_are_removed_and_links_are_not_followed() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    let outside = sandbox.workspace().parent().unwrap().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("kept"), "").unwrap();
    let scratch = sandbox.scratch();
    symlink(&outside, scratch.join("root-owned-link")).unwrap();
    run_and_renew(
        &mut sandbox,
        &format!(
            "for place in . {scratch}; do (
                cd $place; ln -s {outside} link; mkfifo pipe; echo x > file; chmod 000 file; echo x > .hidden
                mkdir -p closed/inner .rgrid-moved-1/inner/full; echo x > closed/inner/file; ln -s {outside} closed/link
                echo x > .rgrid-moved-2; echo x > .rgrid-moved-1/inner/full/x; mkdir empty sticky; echo x > sticky/x
                chmod 1777 sticky; chmod 000 closed/inner; chmod 500 .rgrid-moved-1; chmod 000 closed
            ) done",
            scratch = scratch.display(),
            outside = outside.display()
        ),
    );
    assert_eq!(remaining(&sandbox), Vec::<String>::new());
    assert!(outside.join("kept").exists());
}

#[test]
fn folders_nested_deeper_than_any_path_are_removed() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    // More than the limits on open files (1,024) and on the length of a path (4,096 bytes), but few enough for a busy
    // machine, because the init stops cleaning up after a while.
    run_and_renew(
        &mut sandbox,
        "perl -e 'for (1..2000) { mkdir q(deep) or die $!; chdir q(deep) or die $! } open F, q(>), q(file)'",
    );
    assert_eq!(remaining(&sandbox), Vec::<String>::new());
}

#[test]
fn many_files_are_removed() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    run_and_renew(
        &mut sandbox,
        "perl -e 'mkdir q(d); for (1..2000) { open F, q(>), qq(f$_); open F, q(>), qq(d/f$_) }'",
    );
    assert_eq!(remaining(&sandbox), Vec::<String>::new());
}

#[test]
fn a_renewal_before_the_exit_is_stored_is_refused() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    assert!(matches!(renew(&mut sandbox, 0), Message::Refused { .. }));
    sandbox.run(shell("echo out; while ! [ -e go ]; do sleep 0.01; done"));
    sandbox.wait_for_text("out\n");
    assert!(matches!(renew(&mut sandbox, 9), Message::Refused { .. }));
    std::fs::write(sandbox.workspace().join("go"), "").unwrap();
    let job = sandbox.until_exit();
    let Message::Refused { reason } = renew(&mut sandbox, job.last - 1) else {
        panic!("the sandbox was renewed")
    };
    assert!(reason.contains("not stored"), "{reason}");
    assert_eq!(sandbox.connect(job.last - 1), (InitState::Ended, Some("job".into())));
    assert_eq!(sandbox.until_exit().exit.reason, ExitReason::Exited { code: 0 });
    assert_eq!(renew(&mut sandbox, job.last), Message::Renewed);
}

#[test]
fn a_sandbox_that_cannot_be_emptied_exits() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.run(shell("echo done"));
    let job = sandbox.until_exit();
    // A folder that belongs to neither the script nor the init.
    std::fs::create_dir(sandbox.scratch().join("foreign")).unwrap();
    std::fs::write(sandbox.scratch().join("foreign/file"), "").unwrap();
    if sandbox.script_uid() != 1000 {
        // Without root everything belongs to the script, so use a folder that cannot be opened.
        std::fs::remove_dir_all(sandbox.scratch()).unwrap();
        std::fs::write(sandbox.scratch(), "").unwrap();
    }
    let Message::Refused { reason } = renew(&mut sandbox, job.last) else {
        panic!("the sandbox was renewed")
    };
    assert!(reason.contains("could not be emptied"), "{reason}");
    assert_eq!(sandbox.wait(), Some(0));
}

#[test]
fn usage_is_measured_per_job() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.run(shell("perl -e '$x = q(x) x 100_000_000; $i++ while $i < 4_000_000'; sleep 0.3"));
    let first = sandbox.until_exit();
    assert_eq!(renew(&mut sandbox, first.last), Message::Renewed);
    sandbox.run(shell("true"));
    let second = sandbox.until_exit().exit;
    let first = first.exit;
    assert!(first.peak_memory_bytes > 90_000_000, "{first:?}");
    assert!(second.peak_memory_bytes < 50_000_000 && second.peak_memory_bytes > 0, "{second:?}");
    assert!(second.cpu_ms < first.cpu_ms && second.wall_ms < first.wall_ms, "{first:?} {second:?}");
}
