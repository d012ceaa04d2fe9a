//! What bash says.

use crate::execution::diagnosis::{FailureContext, by_errno, last_line, no_such_file, quoted};

/// `script.sh: line 3: WORDS`.
pub(crate) fn explain(facts: &FailureContext) -> Option<String> {
    let mut lines = facts.stderr.lines().filter_map(|line| own(facts, line));
    let (number, words) = lines.next_back()?;
    let at = format!("line {number} of {}", facts.script);
    if let Some(program) = words.strip_suffix(": command not found") {
        return Some(format!(
            "{at} calls {}, which is not in its image ({})",
            quoted(program),
            facts.runtime
        ));
    }
    if let Some(name) = words.strip_suffix(": unbound variable") {
        return Some(format!(
            "{at} uses the variable {}, which is not set; set it with -e {name}=…",
            quoted(name)
        ));
    }
    if words.contains("syntax error") || words.contains("unexpected EOF") {
        return Some(format!("{at} is no valid bash: {words}"));
    }
    if let Some(path) = words.strip_suffix(": No such file or directory") {
        return Some(no_such_file(facts, path));
    }
    if words.starts_with("fork: ") {
        return by_errno(facts, words, None);
    }
    let subject = words.split(": ").next();
    by_errno(facts, words, subject).map(|cause| format!("{at}: {cause}"))
}

fn own<'a>(facts: &FailureContext, line: &'a str) -> Option<(u32, &'a str)> {
    let rest = line.strip_prefix(facts.script)?.strip_prefix(": line ")?;
    let (number, words) = rest.split_once(": ")?;
    Some((number.parse().ok()?, words))
}

/// Programs put their name before the kernel's words: `cat: data.txt: No such file or directory`.
pub(crate) fn of_a_program(facts: &FailureContext) -> Option<String> {
    let line = last_line(facts.stderr)?;
    if let Some(rest) = line.strip_suffix(": No such file or directory") {
        return Some(no_such_file(facts, named(rest.rsplit(": ").next()?)));
    }
    let subject = line.rsplit(": ").nth(1).map(named);
    by_errno(facts, line, subject)
}

/// The name alone, where it stands in quotes: `cannot open 'data.txt' for reading`.
fn named(words: &str) -> &str {
    let is_quote = |c: char| matches!(c, '\'' | '"' | '‘' | '’');
    match (words.find(is_quote), words.rfind(is_quote)) {
        (Some(first), Some(last)) if first < last => words[first..last].trim_start_matches(is_quote),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use crate::execution::diagnosis::{FailureContext, explain, facts};

    fn bash(stderr: &str) -> Option<String> {
        explain(&FailureContext { code: Some(1), script: "script.sh", runtime: "bash", ..facts(stderr, &[]) })
    }

    #[test]
    fn bashs_own_words_are_read() {
        assert!(
            bash("script.sh: line 3: jq: command not found\n")
                .unwrap()
                .contains("`jq`, which is not in its image (bash)")
        );
        assert!(bash("script.sh: line 3: TOKEN: unbound variable\n").unwrap().contains("-e TOKEN=…"));
        assert!(
            bash("script.sh: line 9: syntax error: unexpected end of file\n")
                .unwrap()
                .contains("line 9 of script.sh is no valid bash")
        );
        assert!(
            bash("script.sh: line 2: /etc/x: Read-only file system\n")
                .unwrap()
                .contains("only those can be written")
        );
    }

    #[test]
    fn a_programs_words_are_read_too() {
        assert!(
            bash("cat: data.txt: No such file or directory\n")
                .unwrap()
                .contains("rgrid run script.sh data.txt")
        );
        for said in ["ls: cannot access 'data.txt'", "head: cannot open 'data.txt' for reading"] {
            let cause = bash(&format!("{said}: No such file or directory\n")).unwrap();
            assert!(cause.starts_with("there is no file `data.txt`;"), "{cause}");
        }
        assert!(
            bash("curl: (6) Could not resolve host: example.org\n").unwrap().contains("could not be reached")
        );
    }
}
