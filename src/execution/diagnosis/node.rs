//! Explains the errors of Node.js.

use crate::execution::diagnosis::{FailureContext, explain_errno, no_such_file, quoted, within};

pub(crate) fn explain(context: &FailureContext) -> Option<String> {
    if !context.runtime.starts_with("node") {
        return None;
    }
    let is_error = |line: &&str| {
        let name = line.split([':', ' ']).next().unwrap_or_default();
        name.ends_with("Error") && name.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let line = context.stderr.lines().find(is_error)?;
    let message = line.split_once(": ").map_or("", |(_, message)| message);
    if line.contains("Cannot find module") || line.contains("Cannot find package") {
        return Some(missing_module(context, within(message, '\'')?));
    }
    if message.starts_with("ENOENT") {
        return Some(no_such_file(context, within(message, '\'')?));
    }
    let errors = [
        ("ENOSPC", "No space left on device"),
        ("EROFS", "Read-only file system"),
        ("EACCES", "Permission denied"),
        ("EPERM", "Operation not permitted"),
        ("EMFILE", "Too many open files"),
        ("ENOTFOUND", "ENOTFOUND"),
        ("EAI_AGAIN", "EAI_AGAIN"),
    ];
    let known = errors.iter().find(|(code, _)| context.stderr.contains(code));
    if let Some(cause) = known.and_then(|(_, errno)| explain_errno(context, errno, within(message, '\''))) {
        return Some(cause);
    }
    let kind = if line.starts_with("SyntaxError") { "invalid JavaScript" } else { "uncaught error" };
    Some(format!("{kind}: {}", quoted(line)))
}

fn missing_module(context: &FailureContext, module: &str) -> String {
    match module.starts_with(['.', '/']) {
        true => no_such_file(context, module.trim_start_matches("./")),
        false => format!(
            "the package {} is not in its image ({}), and RGrid does not install npm packages",
            quoted(module),
            context.runtime
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::execution::diagnosis::{FailureContext, context, explain};

    #[test]
    fn errors_of_node_20_are_explained() {
        let cases = [
            (
                "node:internal/modules/cjs/loader:1148\n  throw err;\n  ^\n\nError: Cannot find module 'lodash'\nRequire stack:\n- /workspace/a.js\n",
                "`lodash` is not in its image",
            ),
            ("Error: Cannot find module './helpers.js'\n", "rgrid run a.js helpers.js"),
            (
                "node:fs:573\n  return binding.open(\n\nError: ENOENT: no such file or directory, open 'data.json'\n    at Object.openSync\n",
                "rgrid run a.js data.json",
            ),
            ("Error: EROFS: read-only file system, open '/etc/x'\n", "`/etc/x` is outside /workspace"),
            (
                "/workspace/a.js:1\nnull.x\n     ^\n\nTypeError: Cannot read properties of null (reading 'x')\n    at Object\n",
                "uncaught error: `TypeError: Cannot read",
            ),
            (
                "/workspace/a.js:1\nlet let = 1\n    ^^^\n\nSyntaxError: let is disallowed as a lexically bound name\n",
                "invalid JavaScript: `SyntaxError",
            ),
        ];
        for (stderr, expected) in cases {
            let node = FailureContext { script: "a.js", runtime: "node:20", ..context(stderr, &[]) };
            let cause = explain(&node).unwrap();
            assert!(cause.contains(expected), "{cause}");
        }
    }
}
