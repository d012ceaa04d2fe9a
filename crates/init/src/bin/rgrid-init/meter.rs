//! What a run used, and whether the kernel killed for memory.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// cgroup v2, then v1. A container sees its own cgroup there.
const OOM_EVENTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
const PEAKS: [&str; 2] = ["/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"];

/// Counts from when it was made.
pub struct Meter {
    oom_kills: Option<u64>,
    cpu: Duration,
}

impl Meter {
    pub fn start() -> Self {
        Self { oom_kills: oom_kills(), cpu: cpu() }
    }

    pub fn saw_oom_kill(&self) -> bool {
        self.oom_kills.zip(oom_kills()).is_some_and(|(before, now)| now > before)
    }

    /// Of all processes that have ended and were taken leave of.
    pub fn cpu(&self) -> Duration {
        cpu().saturating_sub(self.cpu)
    }
}

/// The most memory that the container ever had, which can't be set back.
pub struct Peak(Option<u64>);

impl Peak {
    pub fn so_far() -> Self {
        Self(PEAKS.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()))
    }

    /// Of what has run since: the container's when it has risen, else nobody can tell but that of the largest process.
    pub fn since(&self, largest_process: u64) -> u64 {
        match (self.0, Self::so_far().0) {
            (Some(before), Some(now)) if now > before => now,
            (_, now) => largest_process.min(now.unwrap_or(u64::MAX)),
        }
    }
}

fn oom_kills() -> Option<u64> {
    OOM_EVENTS.iter().find_map(|path| oom_kills_in(&fs::read_to_string(path).ok()?))
}

fn oom_kills_in(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn cpu() -> Duration {
    children().map_or(Duration::ZERO, |usage| time(usage.user_time()) + time(usage.system_time()))
}

fn children() -> Option<Usage> {
    getrusage(UsageWho::RUSAGE_CHILDREN).ok()
}

fn time(value: TimeVal) -> Duration {
    let seconds = u64::try_from(value.tv_sec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(value.tv_usec()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_cgroup_are_understood() {
        assert_eq!(oom_kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(oom_kills_in("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(oom_kills_in("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
