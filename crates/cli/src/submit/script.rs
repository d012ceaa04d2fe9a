//! The script itself: from a file, or from stdin.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use rgrid_api::{Script, names};

use crate::error::Failure;
use crate::submit::language;

pub struct Source {
    pub script: Script,
    /// Where it was read from; none for stdin.
    pub path: Option<PathBuf>,
    /// The folder it lies in; none for stdin.
    pub folder: Option<PathBuf>,
}

impl Source {
    /// `runtime` names a script that has no name of its own.
    pub fn read(script: &OsStr, runtime: Option<&str>) -> Result<Self, Failure> {
        if script == "-" {
            return Self::from_stdin(runtime);
        }
        let path = PathBuf::from(script);
        let shown = path.display();
        if path.is_dir() {
            return Err(Failure::usage(format!("{shown} is a folder; name the script in it")));
        }
        let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let name = path.file_name().and_then(OsStr::to_str);
        let name =
            name.ok_or_else(|| Failure::usage(format!("{shown}: its name is not UTF-8; rename it")))?;
        let script = checked(name, bytes)?;
        let folder =
            path.parent().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
        Ok(Self { script, folder: folder.map(Path::to_owned), path: Some(path) })
    }

    fn from_stdin(runtime: Option<&str>) -> Result<Self, Failure> {
        let mut stdin = io::stdin().lock();
        if stdin.is_terminal() {
            crate::output::console::Console::new().hint("type the script, and end it with Ctrl-D");
        }
        let mut bytes = Vec::new();
        stdin
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::usage(format!("the script can't be read from stdin: {error}")))?;
        let script = checked(&format!("stdin.{}", language::ending(runtime)), bytes)?;
        Ok(Self { script, path: None, folder: None })
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::usage(format!("there is no script {shown}")),
        io::ErrorKind::PermissionDenied => {
            Failure::usage(format!("{shown} can't be read: permission denied"))
        }
        _ => Failure::usage(format!("{shown} can't be read: {error}")),
    }
}

fn checked(name: &str, bytes: Vec<u8>) -> Result<Script, Failure> {
    names::check_file_name(name).map_err(Failure::usage)?;
    let content = String::from_utf8(bytes).map_err(|error| not_text(name, &error))?;
    if content.trim().is_empty() {
        return Err(Failure::usage(format!("{name} is empty; there is nothing to run")));
    }
    if let Some((line, _)) = content.split('\n').enumerate().find(|(_, line)| line.contains('\0')) {
        return Err(Failure::usage(format!("{name} holds a NUL byte, in line {}", line + 1)));
    }
    Ok(Script { name: name.to_owned(), content })
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Failure {
    let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
    Failure::usage(format!("{name} is not UTF-8: line {line} has a byte that is no text"))
        .hint("save it as UTF-8; a program that is no text can go along as an argument")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(bytes: &[u8]) -> String {
        checked("s.py", bytes.to_vec()).unwrap_err().what
    }

    #[test]
    fn what_can_not_be_run_is_told_with_its_line() {
        assert_eq!(wrong(b" \n"), "s.py is empty; there is nothing to run");
        assert_eq!(wrong(b"a\nb\0"), "s.py holds a NUL byte, in line 2");
        assert_eq!(wrong(b"a\n\n\xff"), "s.py is not UTF-8: line 3 has a byte that is no text");
        assert!(checked("a\nb.py", b"x".to_vec()).unwrap_err().what.contains("control character"));
    }

    #[test]
    fn a_script_keeps_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("naïve name.py");
        std::fs::write(&path, "print(1)").unwrap();
        let source = Source::read(path.as_os_str(), None).unwrap();
        assert_eq!(
            (source.script.name.as_str(), source.folder.as_deref()),
            ("naïve name.py", Some(folder.path()))
        );
    }

    #[test]
    fn no_script_and_a_folder_are_told_apart() {
        let none = Source::read(OsStr::new("/nowhere/s.py"), None).err().unwrap();
        assert_eq!(none.what, "there is no script /nowhere/s.py");
        assert!(Source::read(OsStr::new("/"), None).err().unwrap().what.contains("is a folder"));
    }
}
