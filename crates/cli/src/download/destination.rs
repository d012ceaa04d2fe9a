//! The folder that output files are saved in. File names are chosen by the script and not trusted: nothing is
//! written outside the folder, partially, or over an existing file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rgrid_api::{OutputFile, names};

use crate::client::Client;
use crate::download::partial_file::PartialFile;
use crate::error::CliError;

/// What happens to an existing file with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Replace,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Saved {
    Written(PathBuf),
    /// It already existed with the same content.
    Unchanged(PathBuf),
    /// A file with other content exists and was kept.
    Conflict(PathBuf),
}

pub struct Destination {
    folder: PathBuf,
}

impl Destination {
    /// The folder does not have to exist.
    pub fn new(folder: &Path) -> Result<Self, CliError> {
        match fs::metadata(folder) {
            Ok(metadata) if !metadata.is_dir() => {
                Err(CliError::usage(format!("{} is not a folder", folder.display())))
            }
            _ => Ok(Self { folder: folder.to_owned() }),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Downloads a file.
    pub fn save(
        &self,
        client: &Client,
        id: &str,
        file: &OutputFile,
        existing: Existing,
    ) -> Result<Saved, CliError> {
        let path = self.create_parents(&file.name)?;
        let downloaded = client.output(id, &file.name, |reader| copy(reader, PartialFile::beside(&path)));
        let (content, size) = downloaded?.map_err(|error| CliError::unwritable(&path, &error))?;
        if size != file.size {
            return Err(CliError::failure(format!(
                "{:?} has {size} bytes instead of {}; try again",
                file.name, file.size
            )));
        }
        persist(content, &path, existing).map_err(|error| CliError::unwritable(&path, &error))
    }

    /// Returns the path for an output of this name and creates its folders.
    fn create_parents(&self, name: &str) -> Result<PathBuf, CliError> {
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
fn create_folder(path: &Path) -> Result<(), CliError> {
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

fn persist(mut content: PartialFile, path: &Path, existing: Existing) -> io::Result<Saved> {
    if existing == Existing::Replace {
        // Replaces a link itself, not its target.
        content.replace(path)?;
        return Ok(Saved::Written(path.to_owned()));
    }
    if has_same_content(content.file(), path)? {
        return Ok(Saved::Unchanged(path.to_owned()));
    }
    match content.create(path) {
        Ok(()) => Ok(Saved::Written(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Saved::Conflict(path.to_owned())),
        Err(error) => Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(persist_over(Existing::Keep), Saved::Conflict(last.clone()));
        assert_eq!(persist_over(Existing::Replace), Saved::Written(last.clone()));
        assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "old");
    }

    #[test]
    fn an_existing_file_is_kept_unless_it_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let persist_text = |text, existing| persist(content(text, folder.path()), &path, existing).unwrap();
        assert_eq!(persist_text("one", Existing::Keep), Saved::Written(path.clone()));
        assert_eq!(persist_text("one", Existing::Keep), Saved::Unchanged(path.clone()));
        assert_eq!(persist_text("two", Existing::Keep), Saved::Conflict(path.clone()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(persist_text("two", Existing::Replace), Saved::Written(path.clone()));
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
