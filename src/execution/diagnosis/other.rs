//! What node and ruby say, and programs in general.

use crate::execution::diagnosis::{FailureContext, by_errno, no_such_file, quoted, shell, within};

pub(crate) fn explain(facts: &FailureContext) -> Option<String> {
    node(facts).or_else(|| ruby(facts)).or_else(|| shell::of_a_program(facts))
}

fn node(facts: &FailureContext) -> Option<String> {
    if !facts.runtime.starts_with("node") {
        return None;
    }
    let is_error = |line: &&str| {
        let name = line.split([':', ' ']).next().unwrap_or_default();
        name.ends_with("Error") && name.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let line = facts.stderr.lines().find(is_error)?;
    let message = line.split_once(": ").map_or("", |(_, message)| message);
    if line.contains("Cannot find module") || line.contains("Cannot find package") {
        return Some(missing_in_node(facts, within(message, '\'')?));
    }
    if message.starts_with("ENOENT") {
        return Some(no_such_file(facts, within(message, '\'')?));
    }
    let kernel = [
        ("ENOSPC", "No space left on device"),
        ("EROFS", "Read-only file system"),
        ("EACCES", "Permission denied"),
        ("EPERM", "Operation not permitted"),
        ("EMFILE", "Too many open files"),
        ("ENOTFOUND", "ENOTFOUND"),
        ("EAI_AGAIN", "EAI_AGAIN"),
    ];
    let known = kernel.iter().find(|(code, _)| facts.stderr.contains(code));
    if let Some(cause) = known.and_then(|(_, words)| by_errno(facts, words, within(message, '\''))) {
        return Some(cause);
    }
    let what = if line.starts_with("SyntaxError") {
        "it is no valid JavaScript"
    } else {
        "it did not catch an error"
    };
    Some(format!("{what}: {}", quoted(line)))
}

fn missing_in_node(facts: &FailureContext, module: &str) -> String {
    if module.starts_with('.') || module.starts_with('/') {
        let name = module.rsplit('/').next().unwrap_or(module);
        return format!(
            "there is no file {}; hand it over: `rgrid run {} {name}`",
            quoted(module),
            facts.script
        );
    }
    format!(
        "the package {} is not in its image ({}), and packages of npm are not installed for a run",
        quoted(module),
        facts.runtime
    )
}

fn ruby(facts: &FailureContext) -> Option<String> {
    if !facts.runtime.starts_with("ruby") {
        return None;
    }
    let line = facts
        .stderr
        .lines()
        .find(|line| line.contains("Error)") || line.contains("(Errno::") || line.contains("syntax error"))?;
    if line.contains("(LoadError)") {
        let name = line.split(" -- ").nth(1)?.trim_end_matches(" (LoadError)");
        return Some(format!(
            "the gem or file {} is not in its image ({}), and gems are not installed for a run",
            quoted(name),
            facts.runtime
        ));
    }
    if line.contains("(Errno::ENOENT)") {
        let path = line.split(" @ ").nth(1).and_then(|rest| rest.split(" - ").nth(1));
        return Some(no_such_file(facts, path?.trim_end_matches(" (Errno::ENOENT)")));
    }
    by_errno(facts, line, None).or_else(|| Some(format!("it did not rescue an error: {}", quoted(line))))
}

#[cfg(test)]
mod tests {
    use crate::execution::diagnosis::{FailureContext, explain, facts};

    // As node 20 and ruby 3.3 say it.
    #[test]
    fn nodes_words_are_read() {
        let node = |stderr: &str| {
            explain(&FailureContext { script: "a.js", runtime: "node:20", ..facts(stderr, &[]) }).unwrap()
        };
        let missing = "node:internal/modules/cjs/loader:1148\n  throw err;\n  ^\n\nError: Cannot find module 'lodash'\nRequire stack:\n- /workspace/a.js\n";
        assert!(node(missing).contains("`lodash` is not in its image"));
        let absent = "node:fs:573\n  return binding.open(\n\nError: ENOENT: no such file or directory, open 'data.json'\n    at Object.openSync\n";
        assert!(node(absent).contains("rgrid run a.js data.json"));
        let thrown = "/workspace/a.js:1\nnull.x\n     ^\n\nTypeError: Cannot read properties of null (reading 'x')\n    at Object\n";
        assert!(node(thrown).contains("TypeError: Cannot read"));
        let syntax = "/workspace/a.js:1\nlet let = 1\n    ^^^\n\nSyntaxError: let is disallowed as a lexically bound name\n";
        assert!(node(syntax).starts_with("it is no valid JavaScript"));
    }

    #[test]
    fn rubys_words_are_read() {
        let ruby = |stderr: &str| {
            explain(&FailureContext { script: "a.rb", runtime: "ruby:3.3", ..facts(stderr, &[]) }).unwrap()
        };
        let load = "<internal:/usr/lib/ruby/rubygems/core_ext/kernel_require.rb>:136:in `require': cannot load such file -- nokogiri (LoadError)\n";
        assert!(ruby(load).contains("`nokogiri` is not in its image"));
        let absent = "a.rb:1:in `read': No such file or directory @ rb_sysopen - data.txt (Errno::ENOENT)\n";
        assert!(ruby(absent).contains("rgrid run a.rb data.txt"));
        let undefined =
            "a.rb:1:in `<main>': undefined local variable or method `x' for main:Object (NameError)\n";
        assert!(ruby(undefined).contains("NameError"));
    }
}
