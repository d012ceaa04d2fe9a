//! Emptying a folder that a script could write to, without ever following a link.
//!
//! The script is gone, but what it left may be made to keep the init busy: folders nested without end, closed to
//! their own owner, or with more files than memory has room for. So nothing is remembered but one open folder, and
//! what lies deeper is moved up before it is looked at.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::dir::{Dir, Entry, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::host::Host;
use crate::walk::open_folder;

/// Only when no process of the script is alive. The error is a sentence.
pub fn empty(place: &Path, host: &Host, until: Instant) -> Result<(), String> {
    let failed = |error: Errno| format!("{} could not be emptied: {error}.", place.display());
    let folder = match open_folder(AT_FDCWD, place) {
        Err(Errno::ENOENT) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    // What is the script's only the script can remove: the init has no right to override those of files.
    host.as_script(|| Sweep { top: &folder, until, moved: 0 }.all())?.map_err(failed)?;
    // What is left are the job's inputs, which are the init's.
    Sweep { top: &folder, until, moved: 0 }.files().map_err(failed)?;
    match has_entries(&folder) {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("{} could not be emptied.", place.display())),
        Err(error) => Err(failed(error)),
    }
}

struct Sweep<'a> {
    top: &'a OwnedFd,
    until: Instant,
    /// Gives folders that are moved up a new name.
    moved: u64,
}

impl Sweep<'_> {
    /// Until there is nothing more that can be removed: entries that were moved up may come only in the next round.
    fn all(mut self) -> Result<(), Errno> {
        while self.round()? > 0 {}
        Ok(())
    }

    /// How many were removed.
    fn round(&mut self) -> Result<u64, Errno> {
        let mut removed = 0;
        for entry in listing(self.top)?.iter().filter(not_dots) {
            let entry = entry?;
            self.keep_time()?;
            let gone = match self.remove_file(self.top, &entry)? {
                Removed::Yes => true,
                Removed::No => false,
                Removed::Folder => self.dissolve(entry.file_name())?,
            };
            removed += u64::from(gone);
        }
        Ok(removed)
    }

    fn files(self) -> Result<(), Errno> {
        for entry in listing(self.top)?.iter().filter(not_dots) {
            self.keep_time()?;
            self.remove_file(self.top, &entry?)?;
        }
        Ok(())
    }

    /// Removes a folder; its own folders move up first.
    fn dissolve(&mut self, name: &CStr) -> Result<bool, Errno> {
        let folder = open_folder(self.top, name)?;
        fchmod(&folder, Mode::S_IRWXU)?;
        for entry in listing(&folder)?.iter().filter(not_dots) {
            let entry = entry?;
            self.keep_time()?;
            if let Removed::Folder = self.remove_file(&folder, &entry)? {
                self.move_up(&folder, entry.file_name())?;
            }
        }
        match unlinkat(self.top, name, UnlinkatFlags::RemoveDir) {
            // Something came late in the listing: the next round sees it.
            Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn move_up(&mut self, folder: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        // To move a folder it must be writable: its `..` changes.
        fchmodat(folder, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
        loop {
            self.keep_time()?;
            self.moved += 1;
            let new = format!(".rgrid-swept-{}", self.moved);
            match renameat(folder, name, self.top, new.as_str()) {
                // The script may have guessed the name.
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
                result => return result,
            }
        }
    }

    fn remove_file(&self, folder: &OwnedFd, entry: &Entry) -> Result<Removed, Errno> {
        if entry.file_type() == Some(Type::Directory) {
            return Ok(Removed::Folder);
        }
        match unlinkat(folder, entry.file_name(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(Removed::Yes),
            Err(Errno::EISDIR) => Ok(Removed::Folder),
            // The init's, or it was listed twice.
            Err(Errno::EPERM | Errno::EACCES | Errno::ENOENT) => Ok(Removed::No),
            Err(error) => Err(error),
        }
    }

    fn keep_time(&self) -> Result<(), Errno> {
        if Instant::now() < self.until { Ok(()) } else { Err(Errno::ETIMEDOUT) }
    }
}

enum Removed {
    Yes,
    No,
    /// It is a folder.
    Folder,
}

fn has_entries(folder: &OwnedFd) -> Result<bool, Errno> {
    Ok(listing(folder)?.iter().any(|entry| not_dots(&entry)))
}

/// Each listing is from the beginning, whatever was read of the folder before.
fn listing(folder: &OwnedFd) -> Result<Dir, Errno> {
    open_folder(folder.as_fd(), c".").and_then(Dir::from_fd)
}

fn not_dots(entry: &Result<Entry, Errno>) -> bool {
    entry.as_ref().map_or(true, |entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
}
