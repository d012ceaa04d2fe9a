//! Reads the script from a file or from stdin, detects its language and chooses a runtime for it.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use rgrid_api::{Runtime, Script, names};

use crate::client::Client;
use crate::error::{CliError, Result};
use crate::output::Console;
use crate::python::metadata;

pub struct ScriptSource {
    pub script: Script,
    /// `None` for stdin.
    pub path: Option<PathBuf>,
    /// The folder of the script; `None` for stdin.
    pub folder: Option<PathBuf>,
}

impl ScriptSource {
    /// A script from stdin is named after the runtime.
    pub fn read(script: &OsStr, runtime: Option<&str>) -> Result<Self> {
        if script == "-" {
            return Self::from_stdin(runtime);
        }
        let path = PathBuf::from(script);
        let shown = path.display();
        if path.is_dir() {
            return Err(CliError::usage(format!("{shown} is a folder; name a script in it")));
        }
        let bytes = std::fs::read(&path).map_err(|error| CliError::unreadable(&path, &error))?;
        let name = path.file_name().and_then(OsStr::to_str);
        let name =
            name.ok_or_else(|| CliError::usage(format!("{shown}: the name is not UTF-8; rename it")))?;
        let script = check(name, bytes)?;
        let folder =
            path.parent().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
        Ok(Self { script, folder: folder.map(Path::to_owned), path: Some(path) })
    }

    fn from_stdin(runtime: Option<&str>) -> Result<Self> {
        let mut stdin = io::stdin().lock();
        if stdin.is_terminal() {
            Console::new().hint("type the script and end it with Ctrl-D");
        }
        let mut bytes = Vec::new();
        stdin
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::usage(format!("cannot read the script from stdin: {error}")))?;
        let script = check(&format!("stdin.{}", extension(runtime)), bytes)?;
        Ok(Self { script, path: None, folder: None })
    }
}

fn check(name: &str, bytes: Vec<u8>) -> Result<Script> {
    names::check_file_name(name).map_err(CliError::usage)?;
    let content = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        CliError::usage(format!("{name} is not UTF-8: line {line} contains an invalid byte"))
            .hint("save it as UTF-8; to upload a binary program, pass it as an argument")
    })?;
    if content.trim().is_empty() {
        return Err(CliError::usage(format!("{name} is empty")));
    }
    if let Some((before, _)) = content.split_once('\0') {
        let line = before.matches('\n').count() + 1;
        return Err(CliError::usage(format!("{name} contains a NUL byte in line {line}")));
    }
    Ok(Script { name: name.to_owned(), content })
}

pub fn is_python(runtime: Option<&str>, script: &Script) -> bool {
    let extension = Path::new(&script.name).extension();
    match runtime {
        Some(runtime) => runtime.starts_with("python") || runtime.starts_with("3."),
        // The server's default runtime is Python.
        None => match script.content.lines().next().filter(|line| line.starts_with("#!")) {
            _ if extension.is_some() => extension.is_some_and(|extension| extension == "py"),
            Some(shebang) => shebang.contains("python"),
            None => true,
        },
    }
}

/// The file extension of a script from stdin.
fn extension(runtime: Option<&str>) -> &'static str {
    let runtime = runtime.unwrap_or_default();
    let extensions = [("node", "js"), ("javascript", "js"), ("ruby", "rb"), ("bash", "sh"), ("sh", "sh")];
    let found = extensions.into_iter().find(|(prefix, _)| runtime.starts_with(prefix));
    found.map_or("py", |(_, extension)| extension)
}

/// Chooses a runtime for `requires-python`: the server's default if it matches, otherwise the newest match.
pub fn choose(client: &Client, specifier: &str, script: &str) -> Result<String> {
    choose_from(&client.runtimes()?.0.items, specifier, script)
}

fn choose_from(runtimes: &[Runtime], specifier: &str, script: &str) -> Result<String> {
    let pythons: Vec<(u32, &Runtime)> =
        runtimes.iter().filter_map(|runtime| Some((metadata::minor_of(&runtime.name)?, runtime))).collect();
    let mut matching = Vec::new();
    for (minor, runtime) in &pythons {
        let is_allowed = metadata::allows(specifier, *minor)
            .map_err(|cause| CliError::usage(format!("{script}: requires-python: {cause}")))?;
        matching.extend(is_allowed.then_some((runtime.default, *minor, runtime)));
    }
    let best = matching.into_iter().max_by_key(|(default, minor, _)| (*default, *minor));
    best.map(|(_, _, runtime)| runtime.name.clone()).ok_or_else(|| {
        let names: Vec<&str> = pythons.iter().map(|(_, runtime)| runtime.name.as_str()).collect();
        CliError::usage(format!(
            "{script} requires Python {specifier}, but the server has {}",
            names.join(", ")
        ))
        .hint("select one of them anyway with --runtime NAME")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_script_is_reported_with_the_line() {
        for (name, bytes, expected) in [
            ("s.py", &b" \n"[..], "s.py is empty"),
            ("s.py", b"a\nb\0", "s.py contains a NUL byte in line 2"),
            ("s.py", b"a\n\n\xff", "s.py is not UTF-8: line 3 contains an invalid byte"),
            ("a\nb.py", b"x", "control character"),
        ] {
            let error = check(name, bytes.to_vec()).unwrap_err();
            assert!(error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_script_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("naïve name.py");
        std::fs::write(&path, "print(1)").unwrap();
        let source = ScriptSource::read(path.as_os_str(), None).unwrap();
        assert_eq!(source.script.name, "naïve name.py");
        assert_eq!(source.folder.as_deref(), Some(folder.path()));
    }

    #[test]
    fn a_missing_script_and_a_folder_have_different_errors() {
        let missing = ScriptSource::read(OsStr::new("/nowhere/s.py"), None).err().unwrap();
        assert_eq!(missing.message, "cannot read /nowhere/s.py: no such file");
        let folder = ScriptSource::read(OsStr::new("/"), None).err().unwrap();
        assert!(folder.message.contains("is a folder"), "{folder}");
    }

    #[test]
    fn the_language_depends_on_the_runtime_the_extension_and_the_first_line() {
        for (runtime, name, content, expected) in [
            (None, "a.py", "#!/bin/sh", true),
            (None, "a", "import os", true),
            (None, "a", "#!/usr/bin/env python3\n", true),
            (None, "a", "#!/bin/bash\n", false),
            (None, "a.sh", "", false),
            (Some("python:3.12"), "a.sh", "", true),
            (Some("3.9"), "a", "", true),
            (Some("node"), "a.py", "", false),
        ] {
            let script = Script { name: name.to_owned(), content: content.to_owned() };
            assert_eq!(is_python(runtime, &script), expected, "{runtime:?} {name} {content}");
        }
    }

    #[test]
    fn a_script_from_stdin_has_the_extension_of_its_runtime() {
        let runtimes = [None, Some("python:3.11"), Some("node:20"), Some("ruby"), Some("shell")];
        assert_eq!(runtimes.map(extension), ["py", "py", "js", "rb", "sh"]);
    }

    fn chosen(specifier: &str) -> Result<String> {
        let runtime = |name: &str| Runtime {
            name: name.to_owned(),
            image: format!("{name}-slim"),
            aliases: Vec::new(),
            extensions: Vec::new(),
            default: name == "python:3.11",
        };
        let names = ["python:3.9", "python:3.10", "python:3.11", "python:3.12", "node:20"];
        choose_from(&names.map(runtime), specifier, "s.py")
    }

    #[test]
    fn the_default_runtime_is_chosen_if_it_matches_and_otherwise_the_newest() {
        for (specifier, expected) in
            [(">=3.8", "python:3.11"), (">=3.12", "python:3.12"), ("<3.11", "python:3.10")]
        {
            assert_eq!(chosen(specifier).unwrap(), expected, "{specifier}");
        }
    }

    #[test]
    fn the_error_for_an_unavailable_version_lists_the_available_ones() {
        let error = chosen(">=3.13").unwrap_err();
        assert!(error.message.ends_with("the server has python:3.9, python:3.10, python:3.11, python:3.12"));
        assert!(chosen("3.12").unwrap_err().message.contains("requires-python"));
    }
}
