//! What a daemon must not leave behind or pile up.

use std::fs;
use std::time::Duration;

use crate::support::{Daemon, wait_until};

/// What a daemon holds at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Holdings {
    pub descriptors: usize,
    pub threads: usize,
    pub memory: u64,
}

impl Daemon {
    pub fn holdings(&self) -> Holdings {
        let proc = format!("/proc/{}", self.pid());
        let status = fs::read_to_string(format!("{proc}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        Holdings {
            descriptors: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
            threads: field("Threads:") as usize,
            memory: field("VmRSS:") * 1024,
        }
    }

    /// Waits until it holds no more than before, give or take what a pool keeps open for a while.
    pub fn assert_holds_no_more_than(&self, before: Holdings) {
        const DESCRIPTORS: usize = 16;
        // tokio keeps idle threads for ten seconds.
        const THREADS: usize = 4;
        wait_until("descriptors and threads go back to what they were", Duration::from_secs(60), || {
            let now = self.holdings();
            let fine = now.descriptors <= before.descriptors + DESCRIPTORS
                && now.threads <= before.threads + THREADS;
            fine.then_some(())
        });
    }
}
