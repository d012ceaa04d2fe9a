//! The script's arguments: those that name files here go along, and the script gets their base names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rgrid_api::units::format_size;
use rgrid_api::{InputFile, names};

use crate::error::Failure;
use crate::submit::script::Source;

/// Far above what a server takes: one need not read it to know. The server tells its own limit.
const SIZE_MAX: u64 = 1 << 30;

pub struct Arguments {
    /// As the script gets them.
    pub args: Vec<String>,
    pub files: Vec<InputFile>,
}

impl Arguments {
    pub fn read(given: &[OsString], source: &Source) -> Result<Self, Failure> {
        let mut luggage = Uploads { source, packed: BTreeMap::new(), files: Vec::new(), size: 0 };
        let args = given.iter().map(|argument| luggage.pass(argument)).collect::<Result<_, _>>()?;
        Ok(Self { args, files: luggage.files })
    }
}

struct Uploads<'a> {
    source: &'a Source,
    /// Where the file of that base name came from.
    packed: BTreeMap<String, PathBuf>,
    files: Vec<InputFile>,
    size: u64,
}

impl Uploads<'_> {
    /// The argument as the script gets it.
    fn pass(&mut self, argument: &OsStr) -> Result<String, Failure> {
        let path = Path::new(argument);
        let text = argument.to_str().map(str::to_owned);
        let not_text = || {
            Failure::usage(format!("the argument {} is not UTF-8", path.display()))
                .hint("a file with such a name has to be renamed before it can go along")
        };
        match here(path)? {
            Some(metadata) if metadata.is_dir() => Err(folder(path)),
            Some(metadata) if metadata.is_file() || metadata.file_type().is_fifo() => {
                self.pack(path, metadata.len(), &text.ok_or_else(not_text)?)
            }
            // Devices and sockets are no files that could go along.
            _ => text.ok_or_else(not_text),
        }
    }

    fn pack(&mut self, path: &Path, size: u64, text: &str) -> Result<String, Failure> {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or(text).to_owned();
        names::check_file_name(&name).map_err(Failure::usage)?;
        if self.is_packed(&name, path)? {
            return Ok(name);
        }
        self.size = self.size.saturating_add(size);
        if self.size > SIZE_MAX {
            let (here, size) = (path.display(), format_size(self.size));
            return Err(Failure::usage(format!("{here} is too large to go along: {size} of files in all")));
        }
        let content = fs::read(path).map_err(|error| {
            Failure::usage(format!("{} can't be read: {}", path.display(), words(&error)))
        })?;
        self.files.push(InputFile { name: name.clone(), content_base64: BASE64_STANDARD.encode(content) });
        self.packed.insert(name.clone(), path.to_owned());
        Ok(name)
    }

    /// The same file may be named twice; two files can't lie under one name.
    fn is_packed(&self, name: &str, path: &Path) -> Result<bool, Failure> {
        if name == self.source.script.name {
            let is_script = self.source.path.as_ref().is_some_and(|script| same(script, path));
            let what = format!("{}: {name:?} is the script's own name", path.display());
            return if is_script { Ok(true) } else { Err(Failure::usage(what).hint("rename one of them")) };
        }
        match self.packed.get(name) {
            None => Ok(false),
            Some(other) if same(other, path) => Ok(true),
            Some(other) => {
                let (one, other) = (other.display(), path.display());
                let what = format!("two files are called {name:?}: {one} and {other}");
                Err(Failure::usage(what).hint("the script would find one of them only; rename one"))
            }
        }
    }
}

/// None for an argument that names nothing here.
fn here(path: &Path) -> Result<Option<Metadata>, Failure> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(Failure::usage(format!("{} can't be looked at: permission denied", path.display())))
        }
        // Not there, or no path at all: too long, a file's name as a folder.
        Err(_) => Ok(None),
    }
}

fn folder(path: &Path) -> Failure {
    Failure::usage(format!("{} is a folder; only files go along", path.display()))
        .hint("name the files in it, or pack it: `tar cf files.tar FOLDER`")
}

fn same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
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

        fn read(&self, given: &[OsString]) -> Result<Arguments, Failure> {
            let script = Script { name: "s.py".to_owned(), content: String::new() };
            let path = self.0.path().join("s.py");
            Arguments::read(given, &Source { script, path: Some(path), folder: None })
        }
    }

    #[test]
    fn a_file_goes_along_under_its_base_name() {
        let folder = Folder::with(&["in/data.csv"]);
        let read = folder.read(&[folder.path("in/data.csv"), "output.txt".into(), "".into()]).unwrap();
        assert_eq!(read.args, ["data.csv", "output.txt", ""]);
        assert_eq!(read.files.len(), 1);
        assert_eq!(BASE64_STANDARD.decode(&read.files[0].content_base64).unwrap(), b"in/data.csv");
    }

    #[test]
    fn one_file_may_be_named_twice_and_the_script_too() {
        let folder = Folder::with(&["a", "s.py"]);
        let twice = [folder.path("a"), folder.path("./a"), folder.path("s.py")];
        let read = folder.read(&twice).unwrap();
        assert_eq!((read.args.join(" ").as_str(), read.files.len()), ("a a s.py", 1));
    }

    #[test]
    fn two_files_of_one_name_are_told_with_their_paths() {
        let folder = Folder::with(&["x/a", "y/a", "x/s.py"]);
        let two = folder.read(&[folder.path("x/a"), folder.path("y/a")]).err().unwrap().what;
        assert!(two.starts_with("two files are called \"a\": ") && two.contains("x/a and "), "{two}");
        let script = folder.read(&[folder.path("x/s.py")]).err().unwrap().what;
        assert!(script.ends_with("\"s.py\" is the script's own name"), "{script}");
    }

    #[test]
    fn a_folder_does_not_go_along() {
        let folder = Folder::with(&["sub/a"]);
        let failure = folder.read(&[folder.path("sub")]).err().unwrap();
        assert!(failure.what.contains("sub is a folder"), "{failure}");
    }

    #[test]
    fn what_names_no_file_is_passed_as_it_is() {
        let folder = Folder::with(&["a"]);
        let long = "x".repeat(5000);
        let given: Vec<OsString> =
            vec!["--flag=a".into(), folder.path("a/b"), "/dev/null".into(), long.clone().into()];
        let read = folder.read(&given).unwrap();
        assert_eq!(read.args.last().unwrap(), &long);
        assert!(read.files.is_empty());
    }

    #[test]
    fn an_argument_has_to_be_text() {
        let folder = Folder::with(&[]);
        assert!(
            folder.read(&[OsString::from_vec(vec![b'a', 0xff])]).err().unwrap().what.contains("not UTF-8")
        );
    }
}
