//! Saves the output files of executions. File names are chosen by the script and not trusted: nothing is written outside
//! the folder, partially, or over an existing file.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use rgrid_api::{OutputFile, names};
use tempfile::{NamedTempFile, PersistError};

use crate::client::Client;
use crate::error::{CliError, Result};

/// Saves these files and passes the path of each to `on_saved`. A file that already exists does not keep the
/// others from being saved.
pub fn save_outputs(
    client: &Client,
    id: &str,
    files: &[OutputFile],
    destination: &Destination,
    existing: Existing,
    mut on_saved: impl FnMut(&str) -> Result,
) -> Result {
    let mut conflicts = Vec::new();
    for file in files {
        match destination.save(client, id, file, existing)? {
            (path, true) => on_saved(&path.display().to_string())?,
            (path, false) => conflicts.push(path.display().to_string()),
        }
    }
    report_conflicts(conflicts, id, &destination.folder)
}

fn report_conflicts(mut paths: Vec<String>, id: &str, folder: &Path) -> Result {
    let error = match paths.len() {
        0 => return Ok(()),
        1 => CliError::failure(format!("{} already exists; not overwritten", paths.remove(0))),
        count => CliError {
            details: paths,
            ..CliError::failure(format!("{count} files already exist; not overwritten:"))
        },
    };
    let is_here = folder == Path::new(".");
    let option = if is_here { String::new() } else { format!(" -o {}", folder.display()) };
    Err(error.hint(format!(
        "overwrite with `rgrid download --force{option} {id}`, or select another folder with -o DIR"
    )))
}

/// `1 file`, `3 files`.
pub fn count_files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// What happens to an existing file with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Replace,
}

pub struct Destination {
    folder: PathBuf,
}

impl Destination {
    /// The folder does not have to exist.
    pub fn new(folder: &Path) -> Result<Self> {
        match fs::metadata(folder) {
            Ok(metadata) if !metadata.is_dir() => {
                Err(CliError::usage(format!("{} is not a folder", folder.display())))
            }
            _ => Ok(Self { folder: folder.to_owned() }),
        }
    }

    /// Downloads a file. Also returns whether the path has its content now: a file with other content may be kept.
    fn save(
        &self,
        client: &Client,
        id: &str,
        file: &OutputFile,
        existing: Existing,
    ) -> Result<(PathBuf, bool)> {
        let path = self.create_parents(&file.name)?;
        let downloaded = client.output(id, &file.name, |reader| copy(reader, PartialFile::beside(&path)));
        let (content, size) = downloaded?.map_err(|error| CliError::unwritable(&path, &error))?;
        if size != file.size {
            let OutputFile { name, size: expected, .. } = file;
            let message = format!("{name:?} has {size} bytes instead of {expected}; try again");
            return Err(CliError::failure(message));
        }
        let is_saved =
            persist(content, &path, existing).map_err(|error| CliError::unwritable(&path, &error))?;
        Ok((path, is_saved))
    }

    /// Returns the path for an output of this name and creates its folders.
    fn create_parents(&self, name: &str) -> Result<PathBuf> {
        let parts: Vec<&str> = name.split('/').collect();
        for part in &parts {
            let check = names::check_file_name(part);
            check.map_err(|cause| CliError::failure(format!("cannot save the output {name:?}: {cause}")))?;
        }
        fs::create_dir_all(&self.folder).map_err(|error| CliError::unwritable(&self.folder, &error))?;
        let mut path = self.folder.clone();
        let (last, folders) = parts.split_last().unwrap_or((&name, &[]));
        for folder in folders {
            path.push(folder);
            create_folder(&path)?;
        }
        Ok(path.join(last))
    }
}

/// Uses an existing folder, but not a link, which could lead outside.
fn create_folder(path: &Path) -> Result {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) => {
            let kind = if metadata.is_symlink() { "a symbolic link" } else { "not a folder" };
            Err(CliError::failure(format!("cannot save files in {}, which is {kind}", path.display())))
        }
        Err(_) => fs::create_dir(path).map_err(|error| CliError::unwritable(path, &error)),
    }
}

type Copied = io::Result<(PartialFile, u64)>;

/// The outer error is one of reading, which is retried; the inner one is one of writing.
fn copy(reader: &mut dyn Read, file: io::Result<PartialFile>) -> io::Result<Copied> {
    let mut file = match file {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let (mut buffer, mut size) = (vec![0; 64 * 1024], 0);
    loop {
        let count = reader.read(&mut buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(file.file().flush().map(|()| (file, size)));
        }
        size += count as u64;
        if let Err(error) = file.file().write_all(chunk) {
            return Ok(Err(error));
        }
    }
}

/// Returns false if a file with other content exists and was kept.
fn persist(mut content: PartialFile, path: &Path, existing: Existing) -> io::Result<bool> {
    match existing {
        // Replaces a link itself, not its target.
        Existing::Replace => content.persist(|file| file.persist(path)).map(|()| true),
        Existing::Keep if has_same_content(content.file(), path)? => Ok(true),
        Existing::Keep => match content.persist(|file| file.persist_noclobber(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            result => result.map(|()| true),
        },
    }
}

fn has_same_content(new: &mut File, path: &Path) -> io::Result<bool> {
    let existing = fs::symlink_metadata(path);
    if !existing.is_ok_and(|old| old.is_file() && new.metadata().is_ok_and(|new| new.len() == old.len())) {
        return Ok(false);
    }
    let (mut old_bytes, mut new_bytes) = (Vec::new(), Vec::new());
    new.rewind()?;
    new.read_to_end(&mut new_bytes)?;
    // A file that cannot be read counts as different.
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut old_bytes));
    Ok(read.is_ok() && old_bytes == new_bytes)
}

static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn files() -> MutexGuard<'static, Vec<PathBuf>> {
    FILES.lock()
}

/// Removes all partial files. No other one can be created while the guard exists.
pub fn remove_partial_files() -> MutexGuard<'static, Vec<PathBuf>> {
    let files = files();
    for file in files.iter() {
        // There is nothing to do about a file that cannot be removed.
        let _ = std::fs::remove_file(file);
    }
    files
}

/// Removed on drop, unless it was persisted.
struct PartialFile(NamedTempFile);

impl PartialFile {
    /// In the folder of `path`, so that it can be renamed, and with the usual permissions of a new file.
    fn beside(path: &Path) -> io::Result<Self> {
        let mut files = files();
        let file = tempfile::Builder::new()
            .prefix(".rgrid-")
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        files.push(file.path().to_owned());
        Ok(Self(file))
    }

    fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    fn persist(self, persist: impl FnOnce(NamedTempFile) -> Result<File, PersistError>) -> io::Result<()> {
        let mut files = files();
        let path = self.0.path().to_owned();
        let result = persist(self.0);
        files.retain(|file| *file != path);
        result.map(|_: File| ()).map_err(|error| error.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_not_overwritten_are_named() {
        let (here, there) = (Path::new("."), Path::new("results"));
        assert_eq!(report_conflicts(Vec::new(), "exec_1", here), Ok(()));
        let one = report_conflicts(vec!["a".to_owned()], "exec_1", here).unwrap_err();
        assert_eq!(one.message, "a already exists; not overwritten");
        assert!(one.hint.unwrap().starts_with("overwrite with `rgrid download --force exec_1`"));
        let two = report_conflicts(vec!["a".to_owned(), "b".to_owned()], "exec_1", there).unwrap_err();
        assert_eq!(two.details, ["a", "b"]);
        assert!(two.hint.unwrap().contains("`rgrid download --force -o results exec_1`"));
    }

    fn content(text: &str, folder: &Path) -> PartialFile {
        let beside = PartialFile::beside(&folder.join("x"));
        let (file, size) = copy(&mut text.as_bytes(), beside).unwrap().unwrap();
        assert_eq!(size, text.len() as u64);
        file
    }

    #[test]
    fn no_name_escapes_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let destination = Destination::new(folder.path()).unwrap();
        for name in
            ["../x", "/etc/passwd", "a/../../x", "", "a//b", "a/", ".", "a/./b", "a\0", "a\nb", "\x1b[2J"]
        {
            assert!(destination.create_parents(name).is_err(), "{name:?}");
        }
        assert_eq!(destination.create_parents("plots/a.png").unwrap(), folder.path().join("plots/a.png"));
        assert!(folder.path().join("plots").is_dir());
    }

    #[test]
    fn no_link_escapes_the_folder() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        let error = Destination::new(folder.path()).unwrap().create_parents("link/a").unwrap_err();
        assert!(error.message.ends_with("which is a symbolic link"), "{error}");

        fs::write(outside.path().join("target"), "old").unwrap();
        let last = folder.path().join("a");
        std::os::unix::fs::symlink(outside.path().join("target"), &last).unwrap();
        let persist_over = |existing| persist(content("new", folder.path()), &last, existing).unwrap();
        assert!(!persist_over(Existing::Keep));
        assert!(persist_over(Existing::Replace));
        assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "old");
    }

    #[test]
    fn an_existing_file_is_kept_unless_it_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let persist_text = |text, existing| persist(content(text, folder.path()), &path, existing).unwrap();
        assert!(persist_text("one", Existing::Keep));
        assert!(persist_text("one", Existing::Keep));
        assert!(!persist_text("two", Existing::Keep));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert!(persist_text("two", Existing::Replace));
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        // No partial file remains.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_not_a_destination() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Destination::new(file.path()).is_err());
    }
}
