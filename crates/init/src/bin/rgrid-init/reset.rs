//! Removes everything that a job left in its sandbox, so that another job of the same owner can use it.
//!
//! Processes come first, because they could undo the other steps. If anything cannot be removed in time, the sandbox
//! must end.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::{Dir, Entry, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, renameat};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{UnlinkatFlags, getpid, unlinkat};

use crate::outputs::open_folder;
use crate::program::kill_all;
use crate::sandbox::Sandbox;

/// For all steps together. Starting a new sandbox takes less.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The error is a sentence.
pub fn reset(sandbox: &mut Sandbox) -> Result<(), String> {
    let deadline = Instant::now() + TIMEOUT;
    kill_all(deadline)?;
    for path in std::iter::once(&sandbox.workspace).chain(&sandbox.scratch) {
        empty_folder(path, sandbox, deadline)?;
    }
    // Outside a container (in tests) this would remove the objects of the whole machine.
    if getpid().as_raw() == 1 {
        remove_ipc_objects(sandbox)?;
    }
    sandbox.take_next_user()
}

fn empty_folder(path: &Path, sandbox: &Sandbox, deadline: Instant) -> Result<(), String> {
    let failed = |error: Errno| format!("{} could not be emptied: {error}.", path.display());
    let top = match open_folder(AT_FDCWD, path) {
        Err(Errno::ENOENT) => return Ok(()),
        result => result.map_err(failed)?,
    };
    let mut cleaner = FolderCleaner { top: &top, deadline, moved: 0 };
    // Only the script's user can remove its files, because the init lacks the capability to override permissions.
    sandbox.as_script(|| cleaner.remove_all())?.map_err(failed)?;
    // The input files are left, which belong to the init.
    cleaner.remove_files().map_err(failed)?;
    match list(&top).map_err(failed)?.iter().any(|entry| is_not_dots(&entry)) {
        false => Ok(()),
        true => Err(format!("{} could not be emptied.", path.display())),
    }
}

/// Empties a folder without following links. A script may have nested folders without end, closed them to itself or
/// created more files than fit into memory. So only one subfolder is open at a time, and its own subfolders are moved to
/// the top.
struct FolderCleaner<'a> {
    top: &'a OwnedFd,
    deadline: Instant,
    /// Number of folders moved, for their new names.
    moved: u64,
}

enum Removal {
    Removed,
    NotPermitted,
    IsFolder,
}

impl FolderCleaner<'_> {
    /// Repeats until nothing more can be removed, because a listing may miss entries that were moved up.
    fn remove_all(&mut self) -> Result<(), Errno> {
        loop {
            let mut removed_any = false;
            for entry in list(self.top)?.iter().filter(is_not_dots) {
                let entry = entry?;
                match self.remove_file(self.top, &entry)? {
                    Removal::Removed => removed_any = true,
                    Removal::NotPermitted => {}
                    Removal::IsFolder => {
                        self.remove_folder(entry.file_name())?;
                        removed_any = true;
                    }
                }
            }
            if !removed_any {
                return Ok(());
            }
        }
    }

    fn remove_files(&self) -> Result<(), Errno> {
        for entry in list(self.top)?.iter().filter(is_not_dots) {
            self.remove_file(self.top, &entry?)?;
        }
        Ok(())
    }

    /// Removes a folder at the top, after moving its subfolders to the top.
    fn remove_folder(&mut self, name: &CStr) -> Result<(), Errno> {
        let folder = open_folder(self.top, name)?;
        fchmod(&folder, Mode::S_IRWXU)?;
        for entry in list(&folder)?.iter().filter(is_not_dots) {
            let entry = entry?;
            if let Removal::IsFolder = self.remove_file(&folder, &entry)? {
                self.move_to_top(&folder, entry.file_name())?;
            }
        }
        match unlinkat(self.top, name, UnlinkatFlags::RemoveDir) {
            // The listing missed an entry; the next round removes it.
            Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn move_to_top(&mut self, folder: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        // Moving a folder changes its `..`, so it must be writable.
        fchmodat(folder, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
        loop {
            self.check_deadline()?;
            self.moved += 1;
            match renameat(folder, name, self.top, format!(".rgrid-moved-{}", self.moved).as_str()) {
                // The script may have used this name.
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
                result => return result,
            }
        }
    }

    fn remove_file(&self, folder: &OwnedFd, entry: &Entry) -> Result<Removal, Errno> {
        self.check_deadline()?;
        if entry.file_type() == Some(Type::Directory) {
            return Ok(Removal::IsFolder);
        }
        match unlinkat(folder, entry.file_name(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(Removal::Removed),
            Err(Errno::EISDIR) => Ok(Removal::IsFolder),
            // It belongs to the init, or it was listed twice.
            Err(Errno::EPERM | Errno::EACCES | Errno::ENOENT) => Ok(Removal::NotPermitted),
            Err(error) => Err(error),
        }
    }

    fn check_deadline(&self) -> Result<(), Errno> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(Errno::ETIMEDOUT) }
    }
}

/// Lists the folder from the beginning, regardless of earlier reads.
fn list(folder: &OwnedFd) -> Result<Dir, Errno> {
    open_folder(folder.as_fd(), c".").and_then(Dir::from_fd)
}

fn is_not_dots(entry: &Result<Entry, Errno>) -> bool {
    entry.as_ref().map_or(true, |entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
}

type RemoveIpc = fn(i32) -> i32;

/// The tables of System V IPC objects, which outlive the processes that created them, with the call that removes one.
#[expect(unsafe_code, reason = "nix does not support System V IPC")]
// SAFETY: IPC_RMID takes a number and accesses no memory of this process; the last argument is ignored.
const IPC_TABLES: [(&str, RemoveIpc); 3] = [
    ("/proc/sysvipc/shm", |id| unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) }),
    ("/proc/sysvipc/sem", |id| unsafe { libc::semctl(id, 0, libc::IPC_RMID) }),
    ("/proc/sysvipc/msg", |id| unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) }),
];

/// Removes all objects of the container's IPC namespace.
fn remove_ipc_objects(sandbox: &Sandbox) -> Result<(), String> {
    for (table, remove) in IPC_TABLES {
        // Only the creator of an object may remove it. Errors show up when the table is read again.
        let ids = ipc_objects(table)?;
        sandbox.as_script(|| ids.into_iter().for_each(|id| _ = remove(id)))?;
        if !ipc_objects(table)?.is_empty() {
            return Err(format!("Some objects in {table} could not be removed."));
        }
    }
    Ok(())
}

fn ipc_objects(table: &str) -> Result<Vec<i32>, String> {
    let text = fs::read_to_string(table).map_err(|error| format!("{table} could not be read: {error}."))?;
    parse_ids(&text).ok_or_else(|| format!("{table} has an unknown format."))
}

/// The second column, below a header line.
fn parse_ids(table: &str) -> Option<Vec<i32>> {
    let lines = table.lines().skip(1).filter(|line| !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_kernel_are_parsed() {
        let table = "       key      shmid perms                  size  cpid\n         0          0   600   4096     7\n
 -12345      32769  1600   4096     8\n";
        assert_eq!(parse_ids(table), Some(vec![0, 32769]));
        assert_eq!(parse_ids("       key      semid perms      nsems\n"), Some(vec![]));
        assert_eq!(parse_ids("key semid\nsomething else\n"), None);
    }

    #[test]
    fn this_kernel_has_all_tables() {
        assert!(IPC_TABLES.iter().all(|(table, _)| ipc_objects(table).is_ok()));
    }
}
