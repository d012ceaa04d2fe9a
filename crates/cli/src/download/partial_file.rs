//! Files that are being written. Whoever ends this process before its time removes them first, so that nothing
//! half is ever left.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, PersistError};

static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn files() -> MutexGuard<'static, Vec<PathBuf>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes them all, and keeps others from being begun for as long as the guard lives: to the process's end.
pub fn remove_all() -> MutexGuard<'static, Vec<PathBuf>> {
    let files = files();
    for file in files.iter() {
        // One that is gone already, or can't be removed: there is nothing more to do.
        let _ = std::fs::remove_file(file);
    }
    files
}

/// Removed when it is dropped, unless it came into its place.
pub struct Unfinished(NamedTempFile);

impl Unfinished {
    /// Beside its place, so that it can be renamed; with the usual rights for a new file.
    pub fn beside(place: &Path) -> io::Result<Self> {
        let mut files = files();
        let file = tempfile::Builder::new()
            .prefix(".rgrid-")
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(place.parent().unwrap_or(Path::new(".")))?;
        files.push(file.path().to_owned());
        Ok(Self(file))
    }

    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// Over whatever is there.
    pub fn replace(self, place: &Path) -> io::Result<()> {
        self.put(|file| file.persist(place))
    }

    /// Fails when something is there.
    pub fn place(self, place: &Path) -> io::Result<()> {
        self.put(|file| file.persist_noclobber(place))
    }

    fn put(self, persist: impl FnOnce(NamedTempFile) -> Result<File, PersistError>) -> io::Result<()> {
        let mut files = files();
        let path = self.0.path().to_owned();
        let done = persist(self.0);
        files.retain(|file| *file != path);
        done.map(|_: File| ()).map_err(|error| error.error)
    }
}
