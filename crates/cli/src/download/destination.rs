//! A folder that output files are saved in. What a script called its files is not trusted: nothing is
//! written outside of the folder, nothing half, and nothing over a file that is there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rgrid_api::{OutputFile, names};

use crate::client::Server;
use crate::download::partial_file::Unfinished;
use crate::error::Failure;

/// What is done with a file that is there already and says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Replace,
}

/// What became of one file.
#[derive(Debug, PartialEq, Eq)]
pub enum Saved {
    Written(PathBuf),
    /// It was there already, with the same content.
    Unchanged(PathBuf),
    /// Another file is there, and is kept.
    InTheWay(PathBuf),
}

pub struct Destination {
    folder: PathBuf,
}

impl Destination {
    /// The folder need not be there yet.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        match fs::metadata(folder) {
            Ok(metadata) if !metadata.is_dir() => {
                Err(Failure::usage(format!("{} is not a folder", folder.display())))
            }
            _ => Ok(Self { folder: folder.to_owned() }),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fetches a file and puts it into its place.
    pub fn save(
        &self,
        server: &Server,
        id: &str,
        file: &OutputFile,
        existing: Existing,
    ) -> Result<Saved, Failure> {
        let path = self.place(&file.name)?;
        let fetched = server.output(id, &file.name, |reader| copy(reader, Unfinished::beside(&path)));
        let (content, size) = fetched?.map_err(|error| unwritable(&path, &error))?;
        if size != file.size {
            return Err(Failure::failed(format!(
                "{:?} came with {size} bytes, and should have {}; try again",
                file.name, file.size
            )));
        }
        put(content, &path, existing).map_err(|error| unwritable(&path, &error))
    }

    /// Where a file of that name belongs; its folders are made.
    fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        let parts: Vec<&str> = name.split('/').collect();
        for part in &parts {
            let check = names::check_file_name(part);
            check.map_err(|wrong| Failure::failed(format!("the output {name:?} is not saved: {wrong}")))?;
        }
        fs::create_dir_all(&self.folder).map_err(|error| unwritable(&self.folder, &error))?;
        let mut path = self.folder.clone();
        let (last, folders) = parts.split_last().unwrap_or((&name, &[]));
        for folder in folders {
            path.push(folder);
            descend(&path)?;
        }
        Ok(path.join(last))
    }
}

/// A folder that is there may be used; a link could lead anywhere.
fn descend(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) => {
            let is = if metadata.is_symlink() { "a symbolic link" } else { "no folder" };
            Err(Failure::failed(format!("nothing is saved below {}, which is {is}", path.display())))
        }
        Err(_) => fs::create_dir(path).map_err(|error| unwritable(path, &error)),
    }
}

type Fetched = io::Result<(Unfinished, u64)>;

/// The outer error is one of reading, which may be tried again; the inner one of writing.
fn copy(reader: &mut dyn Read, file: io::Result<Unfinished>) -> io::Result<Fetched> {
    let mut file = match file {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let (mut buffer, mut size) = (vec![0; 64 * 1024], 0);
    loop {
        let count = reader.read(&mut buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            return Ok(file.file().flush().map(|()| (file, size)));
        }
        size += count as u64;
        if let Err(error) = file.file().write_all(piece) {
            return Ok(Err(error));
        }
    }
}

fn put(mut content: Unfinished, path: &Path, existing: Existing) -> io::Result<Saved> {
    if existing == Existing::Replace {
        // Replaces a link itself, not what it leads to.
        content.replace(path)?;
        return Ok(Saved::Written(path.to_owned()));
    }
    if is_same(content.file(), path)? {
        return Ok(Saved::Unchanged(path.to_owned()));
    }
    match content.place(path) {
        Ok(()) => Ok(Saved::Written(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Saved::InTheWay(path.to_owned())),
        Err(error) => Err(error),
    }
}

fn is_same(new: &mut File, path: &Path) -> io::Result<bool> {
    let there = fs::symlink_metadata(path);
    if !there.is_ok_and(|there| there.is_file() && new.metadata().is_ok_and(|new| new.len() == there.len())) {
        return Ok(false);
    }
    let (mut old, mut fresh) = (Vec::new(), Vec::new());
    new.rewind()?;
    new.read_to_end(&mut fresh)?;
    // One that can't be read is not known to be the same.
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut old));
    Ok(read.is_ok() && old == fresh)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{} can't be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, folder: &Path) -> Unfinished {
        let beside = Unfinished::beside(&folder.join("x"));
        let (file, size) = copy(&mut text.as_bytes(), beside).unwrap().unwrap();
        assert_eq!(size, text.len() as u64);
        file
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let destination = Destination::new(folder.path()).unwrap();
        for name in
            ["../x", "/etc/passwd", "a/../../x", "", "a//b", "a/", ".", "a/./b", "a\0", "a\nb", "\x1b[2J"]
        {
            assert!(destination.place(name).is_err(), "{name:?}");
        }
        assert_eq!(destination.place("plots/a.png").unwrap(), folder.path().join("plots/a.png"));
        assert!(folder.path().join("plots").is_dir());
    }

    #[test]
    fn no_link_leads_out_of_the_folder() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        let failure = Destination::new(folder.path()).unwrap().place("link/a").unwrap_err();
        assert!(failure.what.ends_with("which is a symbolic link"), "{failure}");

        fs::write(outside.path().join("precious"), "old").unwrap();
        let last = folder.path().join("a");
        std::os::unix::fs::symlink(outside.path().join("precious"), &last).unwrap();
        let put_into = |existing| put(content("new", folder.path()), &last, existing).unwrap();
        assert_eq!(put_into(Existing::Keep), Saved::InTheWay(last.clone()));
        assert_eq!(put_into(Existing::Replace), Saved::Written(last.clone()));
        assert_eq!(fs::read_to_string(outside.path().join("precious")).unwrap(), "old");
    }

    #[test]
    fn a_file_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let put_text = |text, existing| put(content(text, folder.path()), &path, existing).unwrap();
        assert_eq!(put_text("one", Existing::Keep), Saved::Written(path.clone()));
        assert_eq!(put_text("one", Existing::Keep), Saved::Unchanged(path.clone()));
        assert_eq!(put_text("two", Existing::Keep), Saved::InTheWay(path.clone()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(put_text("two", Existing::Replace), Saved::Written(path.clone()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        // Nothing half is left.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_no_folder_to_save_in() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Destination::new(file.path()).is_err());
    }
}
