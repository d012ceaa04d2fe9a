//! Explains the errors of bash and of programs that follow the conventions of Unix.

use crate::execution::diagnosis::{FailureContext, explain_errno, last_line, no_such_file, quoted};

/// Reads bash's own errors: `./script.sh: line 3: MESSAGE`.
pub(crate) fn explain(context: &FailureContext) -> Option<String> {
    let own_error = |line: &'_ str| -> Option<(u32, String)> {
        let rest =
            line.strip_prefix("./").unwrap_or(line).strip_prefix(context.script)?.strip_prefix(": line ")?;
        let (number, message) = rest.split_once(": ")?;
        Some((number.parse().ok()?, message.to_owned()))
    };
    let (number, message) = context.stderr.lines().filter_map(own_error).next_back()?;
    let place = format!("line {number} of {}", context.script);
    if let Some(program) = message.strip_suffix(": command not found") {
        let program = quoted(program);
        return Some(format!("{place} calls {program}, which is not in its image ({})", context.runtime));
    }
    if let Some(name) = message.strip_suffix(": unbound variable") {
        let variable = quoted(name);
        return Some(format!(
            "{place} uses the variable {variable}, which is not set; set it with -e {name}=…"
        ));
    }
    if message.contains("syntax error") || message.contains("unexpected EOF") {
        return Some(format!("{place} is not valid bash: {message}"));
    }
    if let Some(path) = message.strip_suffix(": No such file or directory") {
        return Some(no_such_file(context, path));
    }
    if message.starts_with("fork: ") {
        return explain_errno(context, &message, None);
    }
    let subject = message.split(": ").next();
    explain_errno(context, &message, subject).map(|cause| format!("{place}: {cause}"))
}

/// Reads the last line of any program, which is usually `cat: data.txt: No such file or directory`.
pub(crate) fn explain_program(context: &FailureContext) -> Option<String> {
    let line = last_line(context.stderr)?;
    if let Some(rest) = line.strip_suffix(": No such file or directory") {
        return Some(no_such_file(context, file_name(rest.rsplit(": ").next()?)));
    }
    let subject = line.rsplit(": ").nth(1).map(file_name);
    explain_errno(context, line, subject)
}

/// The quoted part of a phrase such as `cannot open 'data.txt' for reading`, or the whole phrase.
fn file_name(phrase: &str) -> &str {
    let is_quote = |c: char| matches!(c, '\'' | '"' | '‘' | '’');
    match (phrase.find(is_quote), phrase.rfind(is_quote)) {
        (Some(first), Some(last)) if first < last => phrase[first..last].trim_start_matches(is_quote),
        _ => phrase,
    }
}

#[cfg(test)]
mod tests {
    use crate::execution::diagnosis::{FailureContext, context, explain};

    #[test]
    fn errors_of_bash_and_of_programs_are_explained() {
        let cases = [
            ("./script.sh: line 3: jq: command not found\n", "`jq`, which is not in its image (bash)"),
            ("./script.sh: line 3: TOKEN: unbound variable\n", "-e TOKEN=…"),
            (
                "./script.sh: line 9: syntax error: unexpected end of file\n",
                "line 9 of script.sh is not valid bash",
            ),
            ("./script.sh: line 2: /etc/x: Read-only file system\n", "only these are writable"),
            ("cat: data.txt: No such file or directory\n", "rgrid run script.sh data.txt"),
            ("ls: cannot access 'data.txt': No such file or directory\n", "there is no file `data.txt`;"),
            (
                "head: cannot open 'data.txt' for reading: No such file or directory\n",
                "there is no file `data.txt`;",
            ),
            ("curl: (6) Could not resolve host: example.org\n", "could not be reached"),
        ];
        for (stderr, expected) in cases {
            let bash = FailureContext { script: "script.sh", runtime: "bash", ..context(stderr, &[]) };
            let cause = explain(&bash).unwrap();
            assert!(cause.contains(expected), "{cause}");
        }
    }
}
