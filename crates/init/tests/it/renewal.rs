//! Another job in the same sandbox: nothing of the former one is left, and none of its words is taken for the next.
//!
//! What only PID 1 of a container can clean (processes, IPC) is tested by the daemon's `tests/it/reuse.rs`.

use std::os::unix::fs::symlink;

use rgrid_init::{Command, ExitReason, InitState, Message, Stream};

use crate::daemon::{Sandbox, shell};

fn renew(sandbox: &mut Sandbox, upto: u64) -> Message {
    sandbox.say(&Command::Renew { upto });
    sandbox.next()
}

fn run_and_renew(sandbox: &mut Sandbox, script: &str) {
    sandbox.run(shell(script));
    let told = sandbox.until_exit();
    assert_eq!(told.exit.reason, ExitReason::Exited { code: 0 }, "{}", told.text(Stream::Stderr));
    assert_eq!(renew(sandbox, told.last), Message::Renewed);
}

/// Everything below the two places, by name.
fn left(sandbox: &Sandbox) -> Vec<String> {
    let places = [sandbox.workspace(), sandbox.scratch()].into_iter();
    let entries = places.flat_map(|place| std::fs::read_dir(place).unwrap());
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_renewed_sandbox_runs_another_job_as_another_user_under_new_numbers() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.say(&Command::File { name: "input".into(), offset: 0, content: b"of the first".to_vec() });
    sandbox.run(shell("cat input; echo $$ > output; id -u; exit 3"));
    let first = sandbox.until_exit();
    assert_eq!(renew(&mut sandbox, first.last), Message::Renewed);
    assert_eq!(left(&sandbox), Vec::<String>::new());
    assert_eq!(sandbox.connect(first.last), (InitState::Parked, None));

    let mut second = shell("cat input; ls; id -u");
    second.id = "second".to_owned();
    sandbox.say(&Command::File { name: "input".into(), offset: 0, content: b"of the second".to_vec() });
    sandbox.run(second);
    let told = sandbox.until_exit();
    assert_eq!(told.first, first.last + 1, "a number was used twice");
    let uid = sandbox.script_uid();
    let next = if uid == 1000 { 1001 } else { uid };
    assert_eq!(told.text(Stream::Stdout), format!("of the secondinput\n{next}\n"));
    assert_eq!(told.exit.outputs, []);
    assert_eq!(sandbox.connect(first.last), (InitState::Ended, Some("second".into())));
    assert_eq!(sandbox.until_exit().text(Stream::Stdout), told.text(Stream::Stdout));
    sandbox.say(&Command::Ack { upto: told.last });
    assert_eq!(sandbox.end(), Some(0));
}

#[test]
fn an_ack_of_the_former_job_forgets_nothing_of_the_next() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.run(shell("echo first"));
    let first = sandbox.until_exit();
    assert_eq!(renew(&mut sandbox, first.last), Message::Renewed);
    sandbox.run(shell("echo second"));
    sandbox.say(&Command::Ack { upto: first.last });
    sandbox.until_exit();
    // A daemon that knows nothing yet, as one that was killed and started again.
    sandbox.connect(0);
    let told = sandbox.until_exit();
    assert_eq!((told.text(Stream::Stdout), told.first), ("second\n".to_owned(), first.last + 1));
}

#[test]
fn whatever_a_script_makes_is_removed_and_nothing_that_a_link_points_to() {
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
                mkdir -p closed/inner .rgrid-swept-1/inner/full; echo x > closed/inner/file; ln -s {outside} closed/link
                echo x > .rgrid-swept-2; echo x > .rgrid-swept-1/inner/full/x; mkdir empty sticky; echo x > sticky/x
                chmod 1777 sticky; chmod 000 closed/inner; chmod 500 .rgrid-swept-1; chmod 000 closed
            ) done",
            scratch = scratch.display(),
            outside = outside.display()
        ),
    );
    assert_eq!(left(&sandbox), Vec::<String>::new());
    assert!(outside.join("kept").exists());
}

#[test]
fn folders_nested_deeper_than_any_path_are_removed() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    // Far more than there may be open files or characters of a path.
    run_and_renew(
        &mut sandbox,
        "perl -e 'for (1..5000) { mkdir q(deep) or die $!; chdir q(deep) or die $! } open F, q(>), q(file)'",
    );
    assert_eq!(left(&sandbox), Vec::<String>::new());
}

#[test]
fn many_files_are_removed() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    run_and_renew(
        &mut sandbox,
        "perl -e 'mkdir q(d); for (1..5000) { open F, q(>), qq(f$_); open F, q(>), qq(d/f$_) }'",
    );
    assert_eq!(left(&sandbox), Vec::<String>::new());
}

#[test]
fn a_renewal_that_comes_too_early_changes_nothing() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    assert!(matches!(renew(&mut sandbox, 0), Message::Refused { .. }));
    sandbox.run(shell("echo out; while ! [ -e go ]; do sleep 0.01; done"));
    sandbox.wait_for_text("out\n");
    assert!(matches!(renew(&mut sandbox, 9), Message::Refused { .. }));
    std::fs::write(sandbox.workspace().join("go"), "").unwrap();
    let told = sandbox.until_exit();
    let Message::Refused { reason } = renew(&mut sandbox, told.last - 1) else { panic!("it was renewed") };
    assert!(reason.contains("not stored"), "{reason}");
    assert_eq!(sandbox.connect(told.last - 1), (InitState::Ended, Some("job".into())));
    assert_eq!(sandbox.until_exit().exit.reason, ExitReason::Exited { code: 0 });
    assert_eq!(renew(&mut sandbox, told.last), Message::Renewed);
}

#[test]
fn what_can_not_be_cleaned_ends_the_sandbox() {
    let mut sandbox = Sandbox::start();
    sandbox.connect(0);
    sandbox.run(shell("echo done"));
    let told = sandbox.until_exit();
    // Not empty, and neither the script's nor a file of the init's.
    std::fs::create_dir(sandbox.scratch().join("foreign")).unwrap();
    std::fs::write(sandbox.scratch().join("foreign/file"), "").unwrap();
    if sandbox.script_uid() != 1000 {
        // Without root everything is the script's own; a folder that can't be opened is not.
        std::fs::remove_dir_all(sandbox.scratch()).unwrap();
        std::fs::write(sandbox.scratch(), "").unwrap();
    }
    let Message::Refused { reason } = renew(&mut sandbox, told.last) else { panic!("it was renewed") };
    assert!(reason.contains("could not be emptied"), "{reason}");
    assert_eq!(sandbox.end(), Some(0));
}

#[test]
fn what_is_measured_is_the_jobs_own() {
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
