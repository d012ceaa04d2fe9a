//! System V IPC objects, which outlive the processes that made them: shared memory, semaphores, message queues.

use std::fs;

use nix::libc;

use crate::host::Host;

#[derive(Clone, Copy)]
enum Kind {
    Memory,
    Semaphores,
    Messages,
}

const KINDS: [Kind; 3] = [Kind::Memory, Kind::Semaphores, Kind::Messages];

/// Of the container's own IPC namespace; so only within one. The error is a sentence.
pub fn remove_all(host: &Host) -> Result<(), String> {
    for kind in KINDS {
        let objects = list(kind)?;
        if objects.is_empty() {
            continue;
        }
        // Only who made an object may remove it.
        host.as_script(|| objects.into_iter().for_each(|id| remove(kind, id)))?;
        if !list(kind)?.is_empty() {
            return Err(format!("Not all of {} could be removed.", kind.table()));
        }
    }
    Ok(())
}

impl Kind {
    fn table(self) -> &'static str {
        match self {
            Kind::Memory => "/proc/sysvipc/shm",
            Kind::Semaphores => "/proc/sysvipc/sem",
            Kind::Messages => "/proc/sysvipc/msg",
        }
    }
}

fn list(kind: Kind) -> Result<Vec<i32>, String> {
    let table = kind.table();
    let text = fs::read_to_string(table).map_err(|error| format!("{table} can't be read: {error}."))?;
    ids(&text).ok_or_else(|| format!("{table} is not understood."))
}

/// The second column, below a line of titles.
fn ids(table: &str) -> Option<Vec<i32>> {
    let lines = table.lines().skip(1).filter(|line| !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

#[expect(unsafe_code, reason = "nix knows nothing of System V")]
fn remove(kind: Kind, id: i32) {
    // SAFETY: IPC_RMID takes a number and reads or writes no memory of ours; the last argument is not looked at.
    // Whether it worked, the next look at the table tells.
    let _ = unsafe {
        match kind {
            Kind::Memory => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
            Kind::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
            Kind::Messages => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_understood() {
        let table = "       key      shmid perms                  size  cpid\n         0          0   600   4096     7\n
 -12345      32769  1600   4096     8\n";
        assert_eq!(ids(table), Some(vec![0, 32769]));
        assert_eq!(ids("       key      semid perms      nsems\n"), Some(vec![]));
        assert_eq!(ids("key semid\nsomething else\n"), None);
    }

    #[test]
    fn this_kernel_has_them_all() {
        assert!(KINDS.into_iter().all(|kind| list(kind).is_ok()));
    }
}
