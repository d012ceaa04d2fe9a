//! Submissions that are well-formed but invalid: the body, the field with the error, and its message.

use serde_json::{Map, Value, json};

pub fn with(name: &str, value: Value) -> Value {
    let mut body = json!({ "script": { "name": "s.py", "content": "print(1)" } });
    body[name] = value;
    body
}

fn script(name: &str, content: &str) -> Value {
    json!({ "script": { "name": name, "content": content } })
}

fn files(names: &[&str]) -> Value {
    let file = |name: &&str| json!({ "name": name, "content_base64": "" });
    with("files", names.iter().map(file).collect())
}

fn many(count: usize) -> Value {
    Value::from(vec!["x"; count])
}

fn many_files(count: usize) -> Value {
    (0..count).map(|number| json!({ "name": format!("f{number}"), "content_base64": "" })).collect()
}

fn names(count: usize) -> Value {
    let pairs = (0..count).map(|number| (format!("V{number}"), json!("")));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn name(shown: &str) -> String {
    format!(
        "{shown} is not a valid environment variable name: use letters, digits and _, not starting with a digit, \
         as in API_KEY"
    )
}

fn runtime(start: &str) -> String {
    format!("{start} (available: python:3.9, python:3.10, python:3.11, python:3.12, bash, node:20, ruby:3.3)")
}

/// One case per line, as a table.
#[rustfmt::skip]
#[allow(clippy::too_many_lines, reason = "a table")]
pub fn cases() -> Vec<(Value, &'static str, String)> {
    vec![
        (json!([]), "", "invalid type: sequence, expected an object".to_owned()),
        (json!(null), "", "invalid type: null, expected an object".to_owned()),
        (json!("text"), "", "invalid type: string \"text\", expected an object".to_owned()),
        (json!({}), "script", "missing field `script`".to_owned()),
        (json!([{ "name": "s.py", "content": "x" }]), "", "invalid type: sequence, expected an object".to_owned()),
        (json!({ "script": ["s.py", "x"] }), "script", "invalid type: sequence, expected an object".to_owned()),
        (with("files", json!([["a", ""]])), "files[0]", "invalid type: sequence, expected an object".to_owned()),
        (with("webhook", json!(["https://example.org"])), "webhook", "invalid type: sequence, expected an object".to_owned()),
        (with("webhook", json!({ "url": "https://example.org" })), "webhook.url", "webhooks are disabled: this server's webhook.secret is not set".to_owned()),
        (with("colour", json!("blue")), "colour", "unknown field `colour`, expected one of `script`, `args`, `env`, `secrets`, `runtime`, `requirements`, `files`, `timeout_seconds`, `memory_mb`, `cpus`, `network`, `labels`, `on`, `priority`, `max_attempts`, `webhook`".to_owned()),
        (json!({ "script": "print(1)" }), "script", "invalid type: string \"print(1)\", expected an object".to_owned()),
        (json!({ "script": { "name": "s.py" } }), "script.content", "missing field `content`".to_owned()),
        (json!({ "script": { "name": "s.py", "content": "x", "mode": 1 } }), "script.mode", "unknown field `mode`, expected `name` or `content`".to_owned()),
        (script("s.py", ""), "script.content", "is empty".to_owned()),
        (script("s.py", "  \n\t "), "script.content", "is empty".to_owned()),
        (script("s.py", &"x".repeat((1 << 20) + 1)), "script.content", "1048577 bytes in total, at most 1 MiB are allowed".to_owned()),
        (script("s.py", "a\0b"), "script.content", "contains a NUL byte".to_owned()),
        (script("a/b.py", "x"), "script.name", "file name \"a/b.py\" contains a /: give a name without a folder".to_owned()),
        (script("", "x"), "script.name", "file name \"\" is empty".to_owned()),
        (script("..", "x"), "script.name", "file name \"..\" is a folder".to_owned()),
        (script("a\nlevel=error.py", "x"), "script.name", "file name \"a\\nlevel=error.py\" contains a control character".to_owned()),
        (script("\u{1b}[2J.py", "x"), "script.name", "file name \"\\u{1b}[2J.py\" contains a control character".to_owned()),
        (files(&["a/b"]), "files[0].name", "file name \"a/b\" contains a /: give a name without a folder".to_owned()),
        (files(&["../a"]), "files[0].name", "file name \"../a\" contains a /: give a name without a folder".to_owned()),
        (files(&[".."]), "files[0].name", "file name \"..\" is a folder".to_owned()),
        (files(&["."]), "files[0].name", "file name \".\" is a folder".to_owned()),
        (files(&[""]), "files[0].name", "file name \"\" is empty".to_owned()),
        (files(&["a\0b"]), "files[0].name", "file name \"a\\0b\" contains a control character".to_owned()),
        (files(&["a\nb"]), "files[0].name", "file name \"a\\nb\" contains a control character".to_owned()),
        (files(&[&"x".repeat(256)]), "files[0].name", "file name \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" is longer than 255 bytes".to_owned()),
        (files(&["s.py"]), "files[0].name", "\"s.py\" is also the name of the script".to_owned()),
        (files(&["a", "a"]), "files[1].name", "two files are named \"a\"".to_owned()),
        (with("files", json!([{ "name": "a", "content_base64": "?" }])), "files[0].content_base64", "is not base64: Invalid symbol 63, offset 0.".to_owned()),
        (with("files", json!([{ "name": "a" }])), "files[0].content_base64", "missing field `content_base64`".to_owned()),
        (with("files", many_files(101)), "files", "101 files, at most 100 are allowed".to_owned()),
        (with("files", json!([{ "name": "a", "content_base64": "A".repeat(44 << 20) }])), "files", "33 MiB in total, at most 32 MiB are allowed".to_owned()),
        (with("args", many(1001)), "args", "1001 arguments, at most 1000 are allowed".to_owned()),
        (with("args", json!(["a\0"])), "args[0]", "contains a NUL byte".to_owned()),
        (with("args", json!(["x".repeat(129 << 10)])), "args", "129 KiB in total, at most 128 KiB are allowed".to_owned()),
        (with("args", json!("x")), "args", "invalid type: string \"x\", expected a sequence".to_owned()),
        (with("args", json!([1])), "args[0]", "invalid type: integer `1`, expected a string".to_owned()),
        (with("env", json!({ "1X": "" })), "env.1X", name("\"1X\"")),
        (with("env", json!({ "A B": "" })), "env.A B", name("\"A B\"")),
        (with("env", json!({ "": "" })), "env.", name("\"\"")),
        (with("env", json!({ "=": "" })), "env.=", name("\"=\"")),
        (with("env", json!({ "A\n": "" })), "env.A\n", name("\"A\\n\"")),
        (with("env", json!({ "A": "\0" })), "env.A", "contains a NUL byte".to_owned()),
        (with("env", json!({ "A": 1 })), "env.A", "invalid type: integer `1`, expected a string".to_owned()),
        (with("env", json!({ "A": "x".repeat(65 << 10) })), "env", "65 KiB in total, at most 64 KiB are allowed".to_owned()),
        (with("env", names(201)), "env", "201 variables, at most 200 are allowed".to_owned()),
        (with("secrets", json!({ "1X": "" })), "secrets.1X", name("\"1X\"")),
        (with("secrets", json!({ "A": "\0" })), "secrets.A", "contains a NUL byte".to_owned()),
        (with("secrets", json!({ "A": "x".repeat(65 << 10) })), "secrets", "65 KiB in total, at most 64 KiB are allowed".to_owned()),
        (json!({ "script": { "name": "s.py", "content": "x" }, "env": { "A": "1" }, "secrets": { "A": "2" } }), "secrets.A", "is also set in env; set it in only one of the two".to_owned()),
        (with("runtime", json!("pyton:3.11")), "runtime", runtime("unknown runtime \"pyton:3.11\"; did you mean python:3.11?")),
        (with("runtime", json!("python:3.11\n")), "runtime", runtime("unknown runtime \"python:3.11\\n\"; did you mean python:3.11?")),
        (with("runtime", json!("alpine:latest")), "runtime", runtime("unknown runtime \"alpine:latest\"")),
        (with("runtime", json!("")), "runtime", runtime("unknown runtime \"\"")),
        (with("runtime", json!("r".repeat(100_000))), "runtime", runtime("unknown runtime \"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\"")),
        (with("timeout_seconds", json!(0)), "timeout_seconds", "must be above 0 and at most 600 s".to_owned()),
        (with("timeout_seconds", json!(-1)), "timeout_seconds", "must be above 0 and at most 600 s".to_owned()),
        (with("timeout_seconds", json!(601)), "timeout_seconds", "must be above 0 and at most 600 s".to_owned()),
        (with("timeout_seconds", json!(1e300)), "timeout_seconds", "must be above 0 and at most 600 s".to_owned()),
        (with("timeout_seconds", json!("soon")), "timeout_seconds", "invalid type: string \"soon\", expected f64".to_owned()),
        (with("memory_mb", json!(1)), "memory_mb", "must be between 16 and 2048 MiB".to_owned()),
        (with("memory_mb", json!(1 << 20)), "memory_mb", "must be between 16 and 2048 MiB".to_owned()),
        (with("memory_mb", json!(-512)), "memory_mb", "must be between 16 and 2048 MiB".to_owned()),
        (with("cpus", json!(0)), "cpus", "must be between 0.05 and 4".to_owned()),
        (with("cpus", json!(1000)), "cpus", "must be between 0.05 and 4".to_owned()),
        (with("network", json!("yes")), "network", "invalid type: string \"yes\", expected a boolean".to_owned()),
        (with("labels", json!({ "k".repeat(1024): "v" })), "labels.kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", "\"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk…\" is not a valid label key: use 1 to 63 letters, digits and . _ - /, as in team".to_owned()),
        (with("labels", json!({ "": "v" })), "labels.", "\"\" is not a valid label key: use 1 to 63 letters, digits and . _ - /, as in team".to_owned()),
        (with("labels", json!({ "a b": "v" })), "labels.a b", "\"a b\" is not a valid label key: use 1 to 63 letters, digits and . _ - /, as in team".to_owned()),
        (with("labels", json!({ "a": "x\ny" })), "labels.a", "a label value may have at most 255 bytes and no control characters".to_owned()),
        (with("labels", json!({ "a": "v".repeat(256) })), "labels.a", "a label value may have at most 255 bytes and no control characters".to_owned()),
        (with("labels", names(33)), "labels", "33 labels, at most 32 are allowed".to_owned()),
        (with("on", json!(["gpu"])), "on", "invalid type: sequence, expected a map".to_owned()),
        (with("on", json!({ "gpu": true })), "on.gpu", "invalid type: boolean `true`, expected a string".to_owned()),
        (with("on", json!({ "a b": "v" })), "on.a b", "\"a b\" is not a valid label key: use 1 to 63 letters, digits and . _ - /, as in team".to_owned()),
        (with("on", json!({ "a": "x\ny" })), "on.a", "a label value may have at most 255 bytes and no control characters".to_owned()),
        (with("on", names(9)), "on", "9 labels, at most 8 are allowed".to_owned()),
        (with("priority", json!(101)), "priority", "must be between -100 and 100".to_owned()),
        (with("priority", json!(-101)), "priority", "must be between -100 and 100".to_owned()),
        (with("priority", json!("high")), "priority", "invalid type: string \"high\", expected i32".to_owned()),
        (with("priority", json!(1.5)), "priority", "invalid type: floating point `1.5`, expected i32".to_owned()),
        (with("max_attempts", json!(0)), "max_attempts", "must be between 1 and 10".to_owned()),
        (with("max_attempts", json!(-1)), "max_attempts", "invalid value: integer `-1`, expected u32".to_owned()),
        (with("max_attempts", json!(1000)), "max_attempts", "must be between 1 and 10".to_owned()),
        (with("requirements", json!("x".repeat(65 << 10))), "requirements", "65 KiB in total, at most 64 KiB are allowed".to_owned()),
        (with("requirements", json!("a\0b")), "requirements", "line 1: contains a control character".to_owned()),
    ]
}
