//! Python's tracebacks.

use crate::execution::diagnosis::{FailureContext, by_errno, no_such_file, packages, quoted, within};

/// The last traceback of a text.
struct Traceback<'a> {
    /// Such as `ModuleNotFoundError`, with the module it is of.
    kind: &'a str,
    message: &'a str,
    /// Where in the script itself, if it is on the way.
    line: Option<u32>,
    /// Everything from its beginning.
    text: &'a str,
}

pub(crate) fn explain(facts: &FailureContext) -> Option<String> {
    let traceback = read(facts)?;
    let known =
        by_kind(facts, &traceback).or_else(|| by_errno(facts, traceback.message, subject(traceback.message)));
    Some(known.unwrap_or_else(|| uncaught(facts, &traceback)))
}

fn read<'a>(facts: &FailureContext<'a>) -> Option<Traceback<'a>> {
    const HEAD: &str = "Traceback (most recent call last):";
    let begin = facts.stderr.rfind(HEAD).or_else(|| facts.stderr.find("  File \""))?;
    let text = facts.stderr.get(begin..)?;
    let is_kind = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
    };
    // The first line that is not indented, behind the frames.
    let last =
        text.lines().skip(1).skip_while(|line| line.starts_with(' ') || line.is_empty()).find(is_kind)?;
    let (kind, message) = last.split_once(':').unwrap_or((last, ""));
    let mut own = text.lines().filter(|line| line.contains(&format!("/{}\", line ", facts.script)));
    let line = own.next_back().and_then(|frame| {
        let digits = frame.split("\", line ").nth(1)?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    });
    Some(Traceback { kind, message: message.trim(), line, text })
}

fn by_kind(facts: &FailureContext, traceback: &Traceback) -> Option<String> {
    let message = traceback.message;
    match traceback.kind {
        "ModuleNotFoundError" => Some(packages::missing_module(facts, within(message, '\'')?)),
        "ImportError" if message.contains("cannot open shared object file") => {
            let library = message.split(':').next().unwrap_or_default();
            Some(format!(
                "it needs the system library {}, which its image lacks; choose a runtime that has it",
                quoted(library)
            ))
        }
        "SyntaxError" | "IndentationError" | "TabError" => Some(syntax(facts, traceback)),
        "FileNotFoundError" => Some(file_not_found(facts, traceback)),
        "MemoryError" => {
            Some("it asked for more memory than there is; ask for more with --memory".to_owned())
        }
        "EOFError" if message.contains("reading a line") => Some(
            "it asks for input, and a sandbox has nobody who types: hand values over as arguments or with -e"
                .to_owned(),
        ),
        "KeyError"
            if traceback.text.contains("os.environ[")
                || traceback.text.contains("in __getitem__") && traceback.text.contains("<frozen os>") =>
        {
            let name = within(message, '\'')?;
            Some(format!("the environment variable {} is not set; set it with -e {name}=…", quoted(name)))
        }
        "IndexError" if traceback.text.contains("sys.argv[") => Some(format!(
            "it needs more arguments than it got; they follow its name: `rgrid run {} ARGUMENT…`",
            facts.script
        )),
        "RecursionError" => Some(format!("a function calls itself without end{}", place(facts, traceback))),
        "UnicodeDecodeError" => Some(format!(
            "a file is not in the encoding that it is read with ({message}){}; name it: open(…, encoding=…)",
            place(facts, traceback)
        )),
        "KeyboardInterrupt" => Some("it was interrupted from within (SIGINT)".to_owned()),
        "ConnectionRefusedError" | "TimeoutError" if !facts.network => {
            Some(crate::execution::diagnosis::network(facts))
        }
        "ConnectionRefusedError" => Some(format!(
            "nobody listens at the address that it connected to{}; `localhost` in a sandbox is the sandbox itself",
            place(facts, traceback)
        )),
        _ => None,
    }
}

fn syntax(facts: &FailureContext, traceback: &Traceback) -> String {
    let at = traceback.line.map_or_else(String::new, |line| format!("line {line} of "));
    let old = if traceback.message.contains("Missing parentheses in call to 'print'") {
        "; it was probably written for Python 2"
    } else {
        ""
    };
    format!("{at}{} is no valid Python for {}: {}{old}", facts.script, facts.runtime, traceback.message)
}

fn file_not_found(facts: &FailureContext, traceback: &Traceback) -> String {
    let Some(path) = subject(traceback.message) else { return uncaught(facts, traceback) };
    let called = traceback.text.contains("/subprocess.py\"");
    if called && !path.contains('/') {
        return format!(
            "the program {} is not in its image ({}), so it can't be called",
            quoted(path),
            facts.runtime
        );
    }
    no_such_file(facts, path)
}

fn uncaught(facts: &FailureContext, traceback: &Traceback) -> String {
    let kind = traceback.kind.rsplit('.').next().unwrap_or(traceback.kind);
    let message = if traceback.message.is_empty() {
        String::new()
    } else {
        format!(" ({})", quoted(traceback.message))
    };
    // As it is said: a ValueError, an IndexError, a UnicodeDecodeError.
    let article = if kind.starts_with(['A', 'E', 'I', 'O']) { "an" } else { "a" };
    format!("it did not catch {article} {kind}{message}{}", place(facts, traceback))
}

fn place(facts: &FailureContext, traceback: &Traceback) -> String {
    traceback.line.map_or_else(String::new, |line| format!(", line {line} of {}", facts.script))
}

/// The file that the kernel's words are about, quoted at their end.
fn subject(message: &str) -> Option<&str> {
    if message.contains("[Errno") { within(message, '\'') } else { None }
}

#[cfg(test)]
mod tests {
    use crate::execution::diagnosis::{explain, facts};

    fn trace(last: &str) -> String {
        format!(
            "Traceback (most recent call last):\n  File \"/workspace/script.py\", line 7, in <module>\n    x()\n{last}\n"
        )
    }

    #[test]
    fn the_last_traceback_counts_and_its_line_is_told() {
        let text = format!(
            "{}\nDuring handling of the above exception, another exception occurred:\n\n{}",
            trace("KeyError: 'a'"),
            trace("ValueError: no good")
        );
        assert_eq!(
            explain(&facts(&text, &[])).unwrap(),
            "it did not catch a ValueError (`no good`), line 7 of script.py"
        );
    }

    #[test]
    fn a_key_that_is_missing_is_no_variable_that_is_missing() {
        let text = trace("KeyError: 'API_KEY'");
        assert!(explain(&facts(&text, &[])).unwrap().starts_with("it did not catch a KeyError"));
        let text = text.replace("x()", "os.environ['API_KEY']");
        assert!(explain(&facts(&text, &[])).unwrap().contains("-e API_KEY=…"));
    }

    #[test]
    fn a_multi_line_message_is_read_from_its_first_line() {
        let text =
            trace("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\nmore words");
        assert!(explain(&facts(&text, &[])).unwrap().contains("JSONDecodeError (`Expecting value"));
    }

    #[test]
    fn an_input_that_is_written_to_is_told_from_a_folder_that_is_closed() {
        let inputs = ["data.csv".to_owned()];
        let text = trace("PermissionError: [Errno 13] Permission denied: 'data.csv'");
        assert!(explain(&facts(&text, &inputs)).unwrap().contains("handed over and is read-only"));
        let text = trace("PermissionError: [Errno 13] Permission denied: '/root/x'");
        assert!(explain(&facts(&text, &inputs)).unwrap().contains("ordinary user"));
    }
}
