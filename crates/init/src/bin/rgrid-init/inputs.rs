//! Input files of a job.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const MAX_NAME: usize = 255;

#[derive(Default)]
pub struct Inputs {
    open: Option<OpenFile>,
    names: BTreeSet<String>,
    /// Files that could not be written, with the reason. The job must not start without them.
    failed: BTreeMap<String, String>,
}

struct OpenFile {
    name: String,
    file: File,
    size: u64,
}

impl Inputs {
    /// Writes a piece of a file; the error is a sentence for the user. The file belongs to the init and the workspace is
    /// sticky, so the script can neither change nor replace the file.
    pub fn write(&mut self, workspace: &Path, name: &str, offset: u64, content: &[u8]) -> Result<(), String> {
        let result = self.try_write(workspace, name, offset, content);
        if let Err(reason) = &result {
            self.open = None;
            self.failed.insert(name.to_owned(), reason.clone());
        }
        result
    }

    /// Why the job cannot start.
    pub fn failure(&self) -> Option<&str> {
        self.failed.values().next().map(String::as_str)
    }

    /// The names of all input files. Closes the last one, because Linux does not execute a file that is open for
    /// writing.
    pub fn into_names(self) -> BTreeSet<String> {
        self.names
    }

    fn try_write(&mut self, workspace: &Path, name: &str, offset: u64, content: &[u8]) -> Result<(), String> {
        if !is_base_name(name) {
            return Err(format!("{name:?} is not a plain file name."));
        }
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::StorageFull => format!("The workspace has no space left for `{name}`."),
            _ => format!("The file `{name}` could not be written to the workspace: {error}."),
        };
        if offset == 0 {
            let file = create(&workspace.join(name)).map_err(failed)?;
            self.open = Some(OpenFile { name: name.to_owned(), file, size: 0 });
            self.names.insert(name.to_owned());
            self.failed.remove(name);
        }
        match &mut self.open {
            Some(open) if open.name == name && open.size == offset => {
                open.file.write_all(content).map_err(failed)?;
                open.size += content.len() as u64;
                Ok(())
            }
            _ => Err(format!("The piece of `{name}` at offset {offset} does not continue the file.")),
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` does not follow links.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(path)?;
    // The umask may have removed permissions.
    file.set_permissions(Permissions::from_mode(0o444))?;
    Ok(file)
}

fn is_base_name(name: &str) -> bool {
    let plain = !name.contains('/') && !name.chars().any(char::is_control);
    plain && !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base_names_are_accepted() {
        for name in ["", ".", "..", "a/b", "/a", "../a", "a\nb", "a\0", &"a".repeat(256)] {
            assert!(!is_base_name(name), "{name:?}");
        }
        for name in ["a", "data.csv", ".hidden", "größe", "..."] {
            assert!(is_base_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_piece_at_the_wrong_offset_fails_the_file_until_it_is_restarted() {
        let folder = std::env::temp_dir().join(format!("rgrid-inputs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut inputs = Inputs::default();
        inputs.write(&folder, "a", 0, b"one").unwrap();
        assert!(inputs.write(&folder, "a", 4, b"two").is_err());
        assert!(inputs.failure().unwrap().contains("`a`"));
        inputs.write(&folder, "a", 0, b"one").unwrap();
        inputs.write(&folder, "a", 3, b"two").unwrap();
        assert_eq!(inputs.failure(), None);
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"onetwo");
        assert_eq!(fs::metadata(folder.join("a")).unwrap().permissions().mode() & 0o7777, 0o444);
        fs::remove_dir_all(folder).unwrap();
    }
}
