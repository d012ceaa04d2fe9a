//! Explains Python's tracebacks.

use crate::execution::diagnosis::{
    FailureContext, explain_errno, network_unreachable, no_such_file, packages, quoted, within,
};

/// The last traceback of the error output.
struct Traceback<'a> {
    /// The exception with its module, such as `json.decoder.JSONDecodeError`.
    exception: &'a str,
    message: &'a str,
    /// The innermost line of the script itself.
    line: Option<u32>,
    text: &'a str,
}

pub(crate) fn explain(context: &FailureContext) -> Option<String> {
    let traceback = parse(context)?;
    let cause = explain_exception(context, &traceback)
        .or_else(|| explain_errno(context, traceback.message, errno_subject(traceback.message)));
    Some(cause.unwrap_or_else(|| uncaught(context, &traceback)))
}

fn parse<'a>(context: &FailureContext<'a>) -> Option<Traceback<'a>> {
    const HEADER: &str = "Traceback (most recent call last):";
    let start = context.stderr.rfind(HEADER).or_else(|| context.stderr.find("  File \""))?;
    let text = context.stderr.get(start..)?;
    let is_exception = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
    };
    // The first unindented line after the frames.
    let mut lines = text.lines().skip(1).skip_while(|line| line.starts_with(' ') || line.is_empty());
    let last = lines.find(is_exception)?;
    let (exception, message) = last.split_once(':').unwrap_or((last, ""));
    let frame_of_script = format!("/{}\", line ", context.script);
    let line = text.lines().rfind(|line| line.contains(&frame_of_script)).and_then(|frame| {
        let digits = frame.split("\", line ").nth(1)?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    });
    Some(Traceback { exception, message: message.trim(), line, text })
}

fn explain_exception(context: &FailureContext, traceback: &Traceback) -> Option<String> {
    let Traceback { message, text, .. } = *traceback;
    let place = || place(context, traceback);
    match traceback.exception {
        "ModuleNotFoundError" => Some(packages::missing_module(context, within(message, '\'')?)),
        "ImportError" if message.contains("cannot open shared object file") => {
            let library = quoted(message.split(':').next().unwrap_or_default());
            Some(format!("its image lacks the system library {library}; choose a runtime that has it"))
        }
        "SyntaxError" | "IndentationError" | "TabError" => {
            let line = traceback.line.map_or_else(String::new, |line| format!("line {line} of "));
            let old = match message.contains("Missing parentheses in call to 'print'") {
                true => "; it was probably written for Python 2",
                false => "",
            };
            let FailureContext { script, runtime, .. } = context;
            Some(format!("{line}{script} is not valid Python for {runtime}: {message}{old}"))
        }
        "FileNotFoundError" => {
            let Some(path) = errno_subject(message) else { return Some(uncaught(context, traceback)) };
            let is_program = text.contains("/subprocess.py\"") && !path.contains('/');
            Some(match is_program {
                true => format!("the program {} is not in its image ({})", quoted(path), context.runtime),
                false => no_such_file(context, path),
            })
        }
        "MemoryError" => Some("it ran out of memory; raise the limit with --memory".to_owned()),
        "EOFError" if message.contains("reading a line") => Some(
            "it reads from stdin, which is empty in a sandbox; pass values as arguments or with -e"
                .to_owned(),
        ),
        "KeyError"
            if text.contains("os.environ[")
                || text.contains("in __getitem__") && text.contains("<frozen os>") =>
        {
            let name = within(message, '\'')?;
            Some(format!("the environment variable {} is not set; set it with -e {name}=…", quoted(name)))
        }
        "IndexError" if text.contains("sys.argv[") => Some(format!(
            "it needs more arguments; pass them after its name: `rgrid run {} ARGUMENT…`",
            context.script
        )),
        "RecursionError" => Some(format!("infinite recursion{}", place())),
        "UnicodeDecodeError" => Some(format!(
            "a file has another encoding than the one it is read with ({message}){}; specify it: open(…, encoding=…)",
            place()
        )),
        "KeyboardInterrupt" => {
            Some("the script or a program that it started interrupted it (SIGINT)".to_owned())
        }
        "ConnectionRefusedError" | "TimeoutError" if !context.network => Some(network_unreachable(context)),
        "ConnectionRefusedError" => Some(format!(
            "no service listens at the address that it connected to{}; `localhost` in a sandbox is the sandbox itself",
            place()
        )),
        _ => None,
    }
}

fn uncaught(context: &FailureContext, traceback: &Traceback) -> String {
    let exception = traceback.exception.rsplit('.').next().unwrap_or(traceback.exception);
    let message = match traceback.message {
        "" => String::new(),
        message => format!(" ({})", quoted(message)),
    };
    format!("uncaught {exception}{message}{}", place(context, traceback))
}

fn place(context: &FailureContext, traceback: &Traceback) -> String {
    traceback.line.map_or_else(String::new, |line| format!(" in line {line} of {}", context.script))
}

/// The file that a message of the kernel is about, quoted at its end.
fn errno_subject(message: &str) -> Option<&str> {
    if message.contains("[Errno") { within(message, '\'') } else { None }
}

#[cfg(test)]
mod tests {
    use crate::execution::diagnosis::{context, explain};

    fn traceback(last: &str) -> String {
        format!(
            "Traceback (most recent call last):\n  File \"/workspace/script.py\", line 7, in <module>\n    x()\n{last}\n"
        )
    }

    #[test]
    fn the_last_traceback_is_reported_with_its_line() {
        let stderr = format!(
            "{}\nDuring handling of the above exception, another exception occurred:\n\n{}",
            traceback("KeyError: 'a'"),
            traceback("ValueError: no good")
        );
        let cause = explain(&context(&stderr, &[])).unwrap();
        assert_eq!(cause, "uncaught ValueError (`no good`) in line 7 of script.py");
    }

    #[test]
    fn only_a_key_error_of_the_environment_is_a_missing_variable() {
        let stderr = traceback("KeyError: 'API_KEY'");
        assert!(explain(&context(&stderr, &[])).unwrap().starts_with("uncaught KeyError"));
        let stderr = stderr.replace("x()", "os.environ['API_KEY']");
        assert!(explain(&context(&stderr, &[])).unwrap().contains("-e API_KEY=…"));
    }

    #[test]
    fn a_message_of_several_lines_is_read_from_its_first_line() {
        let stderr =
            traceback("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\nmore output");
        let cause = explain(&context(&stderr, &[])).unwrap();
        assert!(cause.starts_with("uncaught JSONDecodeError (`Expecting value"), "{cause}");
    }

    #[test]
    fn writing_to_an_input_file_differs_from_writing_to_a_protected_folder() {
        let inputs = ["data.csv".to_owned()];
        let stderr = traceback("PermissionError: [Errno 13] Permission denied: 'data.csv'");
        assert!(explain(&context(&stderr, &inputs)).unwrap().contains("is an input file and read-only"));
        let stderr = traceback("PermissionError: [Errno 13] Permission denied: '/root/x'");
        assert!(explain(&context(&stderr, &inputs)).unwrap().contains("unprivileged user"));
    }
}
