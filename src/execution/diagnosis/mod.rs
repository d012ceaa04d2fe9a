//! Explains why a script failed, from the end of its error output: the cause, and what to do about it.
//!
//! Pure functions on text. An explanation repeats only what an interpreter or the kernel reported; guesses
//! contain "probably", and unknown errors get no explanation.

mod install;
mod node;
mod packages;
mod python;
mod ruby;
mod shell;

pub use install::explain_install;

use rgrid_api::names::is_display_control;
use rgrid_api::units::format_size;

/// Maximum length of quoted output, in characters.
const QUOTE_MAX: usize = 200;

/// What is known about a script that ended with a nonzero exit code or by a signal.
#[derive(Debug, Clone, Copy)]
pub struct FailureContext<'a> {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stderr: &'a str,
    pub script: &'a str,
    /// As in the runtime table, such as `python:3.11`.
    pub runtime: &'a str,
    /// Names of its input files.
    pub inputs: &'a [String],
    pub args: &'a [String],
    pub network: bool,
    pub memory_bytes: u64,
}

/// Cause and advice, as the continuation of "the script ended with exit code 1: ".
pub fn explain(context: &FailureContext) -> Option<String> {
    if let Some(signal) = context.signal {
        return explain_signal(signal).map(str::to_owned);
    }
    python::explain(context)
        .or_else(|| shell::explain(context))
        .or_else(|| node::explain(context))
        .or_else(|| ruby::explain(context))
        .or_else(|| shell::explain_program(context))
        .or_else(|| explain_exit_code(context))
}

fn explain_signal(signal: i32) -> Option<&'static str> {
    Some(match signal {
        4 | 7 | 8 | 11 => "it crashed, probably in a native library",
        6 => "it aborted; see its last output with `rgrid logs ID --stderr`",
        13 => "it wrote to a pipe that no process was reading",
        1 | 2 | 9 | 15 => "RGrid did not send it; probably the script or a program that it started did",
        _ => return None,
    })
}

fn explain_exit_code(context: &FailureContext) -> Option<String> {
    let cause = match context.code? {
        124 => "probably its own `timeout` command expired",
        126 => "probably a program that it called is not executable",
        127 => "probably a program that it called is not in its image",
        137 => {
            "probably a program that it started was killed (SIGKILL), possibly because of its memory limit; raise the \
             limit with --memory"
        }
        139 => "probably a program that it started crashed (SIGSEGV)",
        143 => "probably a program that it started was terminated (SIGTERM)",
        _ => return Some(format!("its last output was {}", quoted(last_line(context.stderr)?))),
    };
    Some(cause.to_owned())
}

/// Explains the kernel's error messages, which every language repeats. `subject` is the file or address, if known.
fn explain_errno(context: &FailureContext, message: &str, subject: Option<&str>) -> Option<String> {
    let has = |needle: &str| message.contains(needle);
    let quoted_subject = subject.map(quoted);
    let file = quoted_subject.as_deref().unwrap_or("a file");
    if has("No space left on device") {
        let half = format_size(context.memory_bytes / 2);
        return Some(format!(
            "/workspace or /tmp is full; each holds {half}, half of its memory; raise the limit with --memory"
        ));
    }
    if has("Read-only file system") {
        return Some(format!("{file} is outside /workspace and /tmp, and only these are writable"));
    }
    if has("Too many open files") {
        return Some("it has reached the limit of 1,024 open files; close files after use".to_owned());
    }
    if has("Resource temporarily unavailable") || has("can't start new thread") {
        return Some(
            "it has reached the limit of processes and threads (sandbox.pids); start fewer of them"
                .to_owned(),
        );
    }
    if has("Permission denied") || has("Operation not permitted") {
        let name = subject.map(base_name).unwrap_or_default();
        if name == context.script || context.inputs.iter().any(|input| input == name) {
            return Some(format!(
                "{file} is an input file and read-only; write to a file with another name, which becomes an output"
            ));
        }
        return Some(format!(
            "the script may not access {file}: it runs as an unprivileged user, and may write only to /workspace and \
             /tmp"
        ));
    }
    is_network_error(message).then(|| network_unreachable(context))
}

fn is_network_error(message: &str) -> bool {
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
    .any(|needle| message.contains(needle))
}

fn network_unreachable(context: &FailureContext) -> String {
    match context.network {
        true => {
            "a host could not be reached: probably its name is wrong, or this server's sandboxes cannot reach it"
        }
        false => {
            "it needs the network, which this execution does not have; submit it without --no-network (the server's \
             sandbox.network may disable it, too)"
        }
    }
    .to_owned()
}

/// Explains a missing file: whether to upload it, or under which name it was uploaded.
fn no_such_file(context: &FailureContext, path: &str) -> String {
    let (name, script) = (base_name(path), context.script);
    let in_folder = path.trim_start_matches("./").contains('/');
    let outside = path.starts_with('/') && !path.starts_with("/workspace/") && !path.starts_with("/tmp/");
    let advice = if context.inputs.iter().any(|input| input == name) {
        format!("input files are in /workspace under their plain names: open {}", quoted(name))
    } else if let Some(input) = context.inputs.iter().find(|input| is_similar(input, name)) {
        format!("there is an input file {}", quoted(input))
    } else if context.args.iter().any(|argument| argument == path) {
        let create = if in_folder { "; create the folder of an output file first" } else { "" };
        format!(
            "it was named as an argument, but did not exist where you submitted the script, so it was not \
             uploaded{create}"
        )
    } else if outside {
        format!(
            "the sandbox cannot access your machine's folders; upload the file and open it by its plain name: \
             `rgrid run {script} {name}`"
        )
    } else if in_folder {
        "input files are in /workspace under their plain names, without a folder, and output folders must be created \
         first"
            .to_owned()
    } else {
        format!("upload it with the script: `rgrid run {script} {name}`")
    };
    format!("there is no file {}; {advice}", quoted(path))
}

/// Whether the names differ only in case, in the extension, or in one or two letters.
fn is_similar(input: &str, name: &str) -> bool {
    let (input, name) = (input.to_lowercase(), name.to_lowercase());
    let stem = |name: &str| name.rsplit_once('.').map_or(name.to_owned(), |(stem, _)| stem.to_owned());
    let start: String = name.chars().take(64).collect();
    stem(&input) == stem(&name) || (name.len() > 5 && rgrid_api::names::edit_distance(&input, &start) <= 2)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

/// Quotes a script's output: shortened, and without characters that control a terminal.
fn quoted(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if is_display_control(c) { ' ' } else { c }).take(QUOTE_MAX).collect();
    let ellipsis = if text.chars().count() > QUOTE_MAX { "…" } else { "" };
    format!("`{clean}{ellipsis}`")
}

/// The text between the first two occurrences of a quotation mark.
fn within(text: &str, mark: char) -> Option<&str> {
    text.split(mark).nth(1)
}

#[cfg(test)]
pub(crate) fn context<'a>(stderr: &'a str, inputs: &'a [String]) -> FailureContext<'a> {
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
    fn an_unknown_error_is_only_quoted() {
        assert_eq!(explain(&context("", &[])), None);
        let cause = explain(&context("something\u{202e}odd\n\n", &[])).unwrap();
        assert_eq!(cause, "its last output was `something odd`");
    }

    #[test]
    fn exit_codes_and_signals_have_conventional_meanings() {
        let cases = [
            (Some(124), None, "`timeout` command expired"),
            (Some(126), None, "not executable"),
            (Some(127), None, "not in its image"),
            (Some(137), None, "--memory"),
            (Some(139), None, "SIGSEGV"),
            (Some(143), None, "SIGTERM"),
            (None, Some(9), "RGrid did not send it"),
            (None, Some(15), "RGrid did not send it"),
            (None, Some(11), "native library"),
            (None, Some(6), "aborted"),
            (None, Some(13), "pipe"),
        ];
        for (code, signal, expected) in cases {
            let cause = explain(&FailureContext { code, signal, ..context("", &[]) }).unwrap();
            assert!(cause.contains(expected), "{code:?} {signal:?}: {cause}");
        }
        assert_eq!(explain(&FailureContext { code: None, signal: Some(64), ..context("", &[]) }), None);
    }

    #[test]
    fn a_missing_file_leads_to_the_file_that_was_meant() {
        let inputs = ["Data.csv".to_owned()];
        let args = ["out/result.csv".to_owned()];
        let context = FailureContext { args: &args, ..context("", &inputs) };
        let cases = [
            ("data.csv", "there is an input file `Data.csv`"),
            ("data.txt", "there is an input file `Data.csv`"),
            ("/data/Data.csv", "under their plain names: open `Data.csv`"),
            ("other.xml", "rgrid run script.py other.xml"),
            ("out/result.csv", "create the folder of an output file first"),
            ("/home/me/report.xlsx", "cannot access your machine's folders"),
            ("plots/x.png", "output folders must be created first"),
        ];
        for (path, expected) in cases {
            let cause = no_such_file(&context, path);
            assert!(cause.contains(expected), "{cause}");
        }
    }

    #[test]
    fn quoted_output_is_short_and_cannot_control_a_terminal() {
        assert_eq!(quoted("\u{1b}[2Jx"), "` [2Jx`");
        assert!(quoted(&"x".repeat(500)).len() < 210);
    }
}
