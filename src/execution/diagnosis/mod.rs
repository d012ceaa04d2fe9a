//! Why a script failed, read from the end of what it said: the cause, and what to do about it.
//!
//! Pure text in, text out. It says only what the words of an interpreter or of the kernel say; where it
//! guesses, it says "probably". What it does not know it leaves alone.

mod install;
mod other;
mod packages;
mod python;
mod shell;

pub use install::explain_install;

use rgrid_api::units::format_size;

/// How much of a stranger's words is repeated.
const QUOTE_MAX: usize = 200;

/// What is known of a script that ended with a code other than 0, or by a signal.
#[derive(Debug, Clone, Copy)]
pub struct FailureContext<'a> {
    /// None: a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stderr: &'a str,
    pub script: &'a str,
    /// As in the table, such as `python:3.11`.
    pub runtime: &'a str,
    /// Names of the files that were handed over with it.
    pub inputs: &'a [String],
    pub args: &'a [String],
    pub network: bool,
    pub memory_bytes: u64,
}

/// Cause and advice, to follow on "the script ended with exit code 1: ". None when nothing is known.
pub fn explain(facts: &FailureContext) -> Option<String> {
    if let Some(signal) = facts.signal {
        return by_signal(signal);
    }
    python::explain(facts)
        .or_else(|| shell::explain(facts))
        .or_else(|| other::explain(facts))
        .or_else(|| by_code(facts))
}

fn by_signal(signal: i32) -> Option<String> {
    Some(match signal {
        9 => "RGrid did not send it; probably the script itself did, or a program that it started".to_owned(),
        11 | 7 | 4 | 8 => {
            "it crashed, probably in a library that is not written in its own language".to_owned()
        }
        6 => "it gave up (abort); what it said last tells why: `rgrid logs ID --stderr`".to_owned(),
        13 => "it wrote to a pipe that nobody read any more".to_owned(),
        15 | 2 | 1 => {
            "RGrid did not send it; probably the script itself did, or a program that it started".to_owned()
        }
        _ => return None,
    })
}

fn by_code(facts: &FailureContext) -> Option<String> {
    let code = facts.code?;
    Some(match code {
        124 => "probably a `timeout` of its own ran out".to_owned(),
        126 => "probably a program that it called can't be executed".to_owned(),
        127 => "probably a program that it called is not in its image".to_owned(),
        137 => "probably a program that it started was killed (SIGKILL), perhaps for want of memory; ask for more with --memory".to_owned(),
        139 => "probably a program that it started crashed (SIGSEGV)".to_owned(),
        143 => "probably a program that it started was told to end (SIGTERM)".to_owned(),
        _ => {
            let said = last_line(facts.stderr)?;
            format!("it last said {}", quoted(said))
        }
    })
}

/// The kernel's own words, in whatever language a script repeats them. `subject` is the file or address, if known.
fn by_errno(facts: &FailureContext, words: &str, subject: Option<&str>) -> Option<String> {
    let has = |needle: &str| words.contains(needle);
    let path = subject.map(quoted);
    let what = path.as_deref().unwrap_or("a file");
    if has("No space left on device") {
        let half = format_size(facts.memory_bytes / 2);
        return Some(format!(
            "no room is left in /workspace or /tmp, which hold {half} each, half of its memory; ask for more with --memory"
        ));
    }
    if has("Read-only file system") {
        return Some(format!("{what} lies outside of /workspace and /tmp, and only those can be written to"));
    }
    if has("Too many open files") {
        return Some(
            "it has 1,024 files open, which is the limit; close those that are done with".to_owned(),
        );
    }
    if has("Resource temporarily unavailable") || has("can't start new thread") {
        return Some(
            "it has as many processes and threads as a sandbox may have (sandbox.pids); start fewer"
                .to_owned(),
        );
    }
    if has("Permission denied") || has("Operation not permitted") {
        return Some(denied(facts, what, subject));
    }
    if is_network(words) {
        return Some(network(facts));
    }
    None
}

fn denied(facts: &FailureContext, what: &str, subject: Option<&str>) -> String {
    let name = subject.map(base_name).unwrap_or_default();
    if name == facts.script || facts.inputs.iter().any(|input| input == name) {
        return format!(
            "{what} was handed over and is read-only; write to a file of another name, it becomes an output"
        );
    }
    format!(
        "{what} is not the script's to use: it runs as an ordinary user without privileges, and may write below /workspace and /tmp"
    )
}

fn is_network(words: &str) -> bool {
    [
        "Temporary failure in name resolution",
        "Name or service not known",
        "Network is unreachable",
        "No address associated with hostname",
        "Could not resolve host",
        "EAI_AGAIN",
        "ENOTFOUND",
        "ENETUNREACH",
        "Failed to establish a new connection",
        "getaddrinfo",
    ]
    .iter()
    .any(|needle| words.contains(needle))
}

fn network(facts: &FailureContext) -> String {
    if facts.network {
        "a host could not be reached: probably its name is wrong, or it can't be reached from this server's sandboxes".to_owned()
    } else {
        "it needs the network, which this execution does not have; submit it without --no-network (the server's \
         sandbox.network may forbid it too)"
            .to_owned()
    }
}

/// A file that is not there: what to hand over, or what it is called.
fn no_such_file(facts: &FailureContext, path: &str) -> String {
    let name = base_name(path);
    if facts.inputs.iter().any(|known| known == name) {
        return format!(
            "there is no file {}; what was handed over lies in /workspace under its plain name, {}",
            quoted(path),
            quoted(name)
        );
    }
    let mut names = facts.inputs.iter().map(String::as_str).filter(|known| alike(known, name));
    if let Some(near) = names.next() {
        return format!(
            "there is no file {}; the one that was handed over is called {}",
            quoted(path),
            quoted(near)
        );
    }
    let in_a_folder = path.trim_start_matches("./").contains('/');
    if facts.args.iter().any(|argument| argument == path) {
        let made =
            if in_a_folder { "; a folder that the script is to write in must be made first" } else { "" };
        return format!(
            "there is no file {}; it was named as an argument, but where you submitted it there was no such file to hand \
             over{made}",
            quoted(path)
        );
    }
    let outside = path.starts_with('/') && !path.starts_with("/workspace/") && !path.starts_with("/tmp/");
    if outside {
        return format!(
            "there is no file {} in the sandbox, which sees none of your machine's folders; hand the file over and open it \
             by its plain name: `rgrid run {} {name}`",
            quoted(path),
            facts.script
        );
    }
    if in_a_folder {
        return format!(
            "there is no file {}; files that are handed over lie in /workspace under their plain names, without a folder, and \
             folders must be made first",
            quoted(path)
        );
    }
    format!(
        "there is no file {}; hand it over with the script: `rgrid run {} {name}`",
        quoted(path),
        facts.script
    )
}

/// The same but for case, ending, or a letter or two of a name that is long enough to tell.
fn alike(known: &str, asked: &str) -> bool {
    let (known, asked) = (known.to_lowercase(), asked.to_lowercase());
    let stem = |name: &str| name.rsplit_once('.').map_or(name.to_owned(), |(stem, _)| stem.to_owned());
    let beginning: String = asked.chars().take(64).collect();
    stem(&known) == stem(&asked) || (asked.len() > 5 && rgrid_api::names::edits(&known, &beginning) <= 2)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

/// Somebody's words, short, and without what a terminal would act on.
fn quoted(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_MAX).collect();
    let dots = if text.chars().count() > QUOTE_MAX { "…" } else { "" };
    format!("`{clean}{dots}`")
}

/// What stands between the first two of a quotation mark.
fn within(text: &str, mark: char) -> Option<&str> {
    text.split(mark).nth(1)
}

#[cfg(test)]
pub(crate) fn facts<'a>(stderr: &'a str, inputs: &'a [String]) -> FailureContext<'a> {
    FailureContext {
        code: Some(1),
        signal: None,
        stderr,
        script: "script.py",
        runtime: "python:3.11",
        inputs,
        args: &[],
        network: true,
        memory_bytes: 512 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_alone() {
        assert_eq!(explain(&facts("", &[])), None);
        let said = explain(&facts("something odd\n\n", &[])).unwrap();
        assert_eq!(said, "it last said `something odd`");
    }

    #[test]
    fn a_name_that_is_nearly_right_is_told() {
        let inputs = ["Data.csv".to_owned()];
        assert!(no_such_file(&facts("", &inputs), "data.csv").contains("called `Data.csv`"));
        assert!(no_such_file(&facts("", &inputs), "data.txt").contains("called `Data.csv`"));
        assert!(
            no_such_file(&facts("", &inputs), "/data/Data.csv").contains("under its plain name, `Data.csv`")
        );
        assert!(no_such_file(&facts("", &inputs), "other.xml").contains("rgrid run script.py other.xml"));
    }

    #[test]
    fn words_of_a_script_cannot_act_on_a_terminal() {
        assert_eq!(quoted("\u{1b}[2Jx"), "` [2Jx`");
        assert!(quoted(&"x".repeat(500)).len() < 210);
    }
}
