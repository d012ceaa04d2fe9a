//! Reads the script from a file or from stdin.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use rgrid_api::{Script, names};

use crate::error::CliError;
use crate::output::console::Console;
use crate::submit::runtime;

pub struct ScriptSource {
    pub script: Script,
    /// `None` for stdin.
    pub path: Option<PathBuf>,
    /// The folder of the script; `None` for stdin.
    pub folder: Option<PathBuf>,
}

impl ScriptSource {
    /// A script from stdin is named after the runtime.
    pub fn read(script: &OsStr, runtime: Option<&str>) -> Result<Self, CliError> {
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

    fn from_stdin(runtime: Option<&str>) -> Result<Self, CliError> {
        let mut stdin = io::stdin().lock();
        if stdin.is_terminal() {
            Console::new().hint("type the script and end it with Ctrl-D");
        }
        let mut bytes = Vec::new();
        stdin
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::usage(format!("cannot read the script from stdin: {error}")))?;
        let script = check(&format!("stdin.{}", runtime::extension(runtime)), bytes)?;
        Ok(Self { script, path: None, folder: None })
    }
}

fn check(name: &str, bytes: Vec<u8>) -> Result<Script, CliError> {
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
}
