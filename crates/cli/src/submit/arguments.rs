//! The script's arguments. Those that name local files are uploaded, and the script receives their base names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rgrid_api::units::format_size;
use rgrid_api::{InputFile, names};

use crate::error::{CliError, Result};
use crate::submit::script::ScriptSource;

/// Far more than a server accepts, so that larger files are not even read. The server reports its own limit.
const MAX_SIZE: u64 = 1 << 30;

pub struct Arguments {
    /// As the script receives them.
    pub args: Vec<String>,
    pub files: Vec<InputFile>,
}

impl Arguments {
    pub fn read(arguments: &[OsString], source: &ScriptSource) -> Result<Self> {
        let mut uploads = Uploads { source, paths: BTreeMap::new(), files: Vec::new(), size: 0 };
        let args = arguments.iter().map(|argument| uploads.resolve(argument)).collect::<Result<_, _>>()?;
        Ok(Self { args, files: uploads.files })
    }
}

struct Uploads<'a> {
    source: &'a ScriptSource,
    /// The local path of each uploaded name.
    paths: BTreeMap<String, PathBuf>,
    files: Vec<InputFile>,
    size: u64,
}

impl Uploads<'_> {
    /// Returns the argument as the script receives it.
    fn resolve(&mut self, argument: &OsStr) -> Result<String> {
        let path = Path::new(argument);
        let shown = path.display();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(CliError::unreadable(path, &error));
            }
            // It does not exist or is not a path: too long, or below a file.
            Err(_) => None,
        };
        if metadata.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(CliError::usage(format!("{shown} is a folder; only files are uploaded"))
                .hint("name the files in it, or pack it: `tar cf files.tar FOLDER`"));
        }
        let text = argument.to_str().ok_or_else(|| {
            CliError::usage(format!("the argument {shown} is not UTF-8"))
                .hint("a file with such a name must be renamed before it can be uploaded")
        })?;
        match metadata {
            Some(metadata) if metadata.is_file() || metadata.file_type().is_fifo() => {
                let name = self.upload(path, metadata.len(), text)?;
                // Someone who writes ./-x does not want the script to read an option.
                let is_option = name.starts_with('-') && !text.starts_with('-');
                Ok(if is_option { format!("./{name}") } else { name })
            }
            // Devices and sockets are not uploaded.
            _ => Ok(text.to_owned()),
        }
    }

    fn upload(&mut self, path: &Path, size: u64, text: &str) -> Result<String> {
        let shown = path.display();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or(text).to_owned();
        names::check_file_name(&name).map_err(CliError::usage)?;
        if self.is_uploaded(&name, path)? {
            return Ok(name);
        }
        self.size = self.size.saturating_add(size);
        if self.size > MAX_SIZE {
            let size = format_size(self.size);
            return Err(CliError::usage(format!("{shown} is too large: the files have {size} in total")));
        }
        let content = fs::read(path).map_err(|error| CliError::unreadable(path, &error))?;
        self.files.push(InputFile { name: name.clone(), content_base64: BASE64_STANDARD.encode(content) });
        self.paths.insert(name.clone(), path.to_owned());
        Ok(name)
    }

    /// A file may be named twice, but two files cannot have the same name.
    fn is_uploaded(&self, name: &str, path: &Path) -> Result<bool> {
        if name == self.source.script.name {
            if self.source.path.as_ref().is_some_and(|script| is_same_file(script, path)) {
                return Ok(true);
            }
            let message = format!("{} has the same name as the script, {name:?}", path.display());
            return Err(CliError::usage(message).hint("rename one of them"));
        }
        match self.paths.get(name) {
            None => Ok(false),
            Some(other) if is_same_file(other, path) => Ok(true),
            Some(other) => {
                let (first, second) = (other.display(), path.display());
                let message = format!("two files have the name {name:?}: {first} and {second}");
                Err(CliError::usage(message).hint("the script would find only one of them; rename one"))
            }
        }
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use rgrid_api::Script;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(files: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for file in files {
                let path = folder.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, file).unwrap();
            }
            Self(folder)
        }

        fn path(&self, name: &str) -> OsString {
            self.0.path().join(name).into_os_string()
        }

        fn read(&self, given: &[OsString]) -> Result<Arguments> {
            let script = Script { name: "s.py".to_owned(), content: String::new() };
            let path = self.0.path().join("s.py");
            Arguments::read(given, &ScriptSource { script, path: Some(path), folder: None })
        }
    }

    #[test]
    fn a_file_is_uploaded_under_its_base_name() {
        let folder = Folder::with(&["in/data.csv"]);
        let read = folder.read(&[folder.path("in/data.csv"), "output.txt".into(), "".into()]).unwrap();
        assert_eq!(read.args, ["data.csv", "output.txt", ""]);
        assert_eq!(read.files.len(), 1);
        assert_eq!(BASE64_STANDARD.decode(&read.files[0].content_base64).unwrap(), b"in/data.csv");
    }

    #[test]
    fn a_file_and_the_script_may_be_named_twice() {
        let folder = Folder::with(&["a", "s.py"]);
        let twice = [folder.path("a"), folder.path("./a"), folder.path("s.py")];
        let read = folder.read(&twice).unwrap();
        assert_eq!((read.args.join(" ").as_str(), read.files.len()), ("a a s.py", 1));
    }

    #[test]
    fn a_file_does_not_become_an_option() {
        let folder = Folder::with(&["-x"]);
        let read = folder.read(&[folder.path("-x"), "-x".into()]).unwrap();
        assert_eq!(
            (read.args.as_slice(), read.files[0].name.as_str()),
            (&["./-x", "-x"].map(str::to_owned)[..], "-x")
        );
    }

    #[test]
    fn two_files_with_the_same_name_are_reported_with_their_paths() {
        let folder = Folder::with(&["x/a", "y/a", "x/s.py"]);
        let two = folder.read(&[folder.path("x/a"), folder.path("y/a")]).err().unwrap().message;
        assert!(two.starts_with("two files have the name \"a\": ") && two.contains("x/a and "), "{two}");
        let script = folder.read(&[folder.path("x/s.py")]).err().unwrap().message;
        assert!(script.ends_with("has the same name as the script, \"s.py\""), "{script}");
    }

    #[test]
    fn a_folder_is_not_uploaded() {
        let folder = Folder::with(&["sub/a"]);
        let error = folder.read(&[folder.path("sub")]).err().unwrap();
        assert!(error.message.contains("sub is a folder"), "{error}");
    }

    #[test]
    fn an_argument_that_names_no_file_is_unchanged() {
        let folder = Folder::with(&["a"]);
        let long = "x".repeat(5000);
        let given: Vec<OsString> =
            vec!["--flag=a".into(), folder.path("a/b"), "/dev/null".into(), long.clone().into()];
        let read = folder.read(&given).unwrap();
        assert_eq!(read.args.last().unwrap(), &long);
        assert!(read.files.is_empty());
    }

    #[test]
    fn an_argument_must_be_utf8() {
        let folder = Folder::with(&[]);
        assert!(
            folder.read(&[OsString::from_vec(vec![b'a', 0xff])]).err().unwrap().message.contains("not UTF-8")
        );
    }
}
