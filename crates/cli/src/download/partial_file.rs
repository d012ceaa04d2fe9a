//! Files that are being written. The signal handler removes them before this process exits, so that no partial
//! file remains.

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

/// Removes all partial files. No other one can be created while the guard exists.
pub fn remove_all() -> MutexGuard<'static, Vec<PathBuf>> {
    let files = files();
    for file in files.iter() {
        // There is nothing to do about a file that cannot be removed.
        let _ = std::fs::remove_file(file);
    }
    files
}

/// Removed on drop, unless it was persisted.
pub struct PartialFile(NamedTempFile);

impl PartialFile {
    /// In the folder of `path`, so that it can be renamed, and with the usual permissions of a new file.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let mut files = files();
        let file = tempfile::Builder::new()
            .prefix(".rgrid-")
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        files.push(file.path().to_owned());
        Ok(Self(file))
    }

    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// Replaces an existing file.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        self.persist(|file| file.persist(path))
    }

    /// Fails if the path exists.
    pub fn create(self, path: &Path) -> io::Result<()> {
        self.persist(|file| file.persist_noclobber(path))
    }

    fn persist(self, persist: impl FnOnce(NamedTempFile) -> Result<File, PersistError>) -> io::Result<()> {
        let mut files = files();
        let path = self.0.path().to_owned();
        let result = persist(self.0);
        files.retain(|file| *file != path);
        result.map(|_: File| ()).map_err(|error| error.error)
    }
}
