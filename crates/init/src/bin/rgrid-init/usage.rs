//! Resources used by a job: CPU time, memory and network, and whether the kernel killed a process for memory.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// The container's own cgroup: version 2, then version 1.
const OOM_EVENTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
const MEMORY_PEAK: [&str; 2] =
    ["/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"];

/// CPU time and out-of-memory kills since it was created.
pub struct UsageMeter {
    oom_kills: Option<u64>,
    cpu: Duration,
}

impl UsageMeter {
    pub fn start() -> Self {
        Self { oom_kills: oom_kills(), cpu: cpu_of_children() }
    }

    pub fn saw_oom_kill(&self) -> bool {
        self.oom_kills.zip(oom_kills()).is_some_and(|(before, now)| now > before)
    }

    /// Of all processes that have been reaped.
    pub fn cpu(&self) -> Duration {
        cpu_of_children().saturating_sub(self.cpu)
    }
}

/// Peak memory of the container's cgroup, in bytes. It cannot be reset between jobs.
pub struct MemoryPeak(Option<u64>);

impl MemoryPeak {
    pub fn now() -> Self {
        Self(MEMORY_PEAK.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()))
    }

    /// Peak since then: the container's if it has risen, otherwise that of the largest process.
    pub fn since(&self, largest_process: u64) -> u64 {
        match (self.0, Self::now().0) {
            (Some(before), Some(now)) if now > before => now,
            (_, now) => largest_process.min(now.unwrap_or(u64::MAX)),
        }
    }
}

fn oom_kills() -> Option<u64> {
    OOM_EVENTS.iter().find_map(|path| parse_oom_kills(&fs::read_to_string(path).ok()?))
}

fn parse_oom_kills(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn cpu_of_children() -> Duration {
    let duration = |time: TimeVal| {
        Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
    };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
    usage.map_or(Duration::ZERO, |usage| duration(usage.user_time()) + duration(usage.system_time()))
}

/// The kernel's counters of the network namespace: all of IPv4, including TCP and UDP over IPv6, and of IPv6 only the
/// packets sent, because neighbor announcements arrive without any activity of the job. `None` if unreadable.
#[derive(PartialEq, Eq)]
pub struct NetworkCounters(Option<String>);

impl NetworkCounters {
    pub fn now() -> Self {
        // The file is missing if the kernel has no IPv6.
        let ipv6 = fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
        Self(fs::read_to_string("/proc/net/snmp").ok().map(|ipv4| select_counters(&ipv4, &ipv6)))
    }

    /// Whether any packet was sent or received since then; also true if that is unknown.
    pub fn have_changed(&self) -> bool {
        self.0.is_none() || *self != Self::now()
    }
}

fn select_counters(ipv4: &str, ipv6: &str) -> String {
    let sent = ipv6.lines().filter(|line| line.split_whitespace().next() == Some("Ip6OutRequests"));
    ipv4.lines().chain(sent).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn oom_kills_are_read_from_both_versions_of_cgroups() {
        for (events, expected) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", Some(3)),
            ("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n", Some(1)),
            ("oom_kill_disable 0\nunder_oom 0\n", None),
        ] {
            assert_eq!(parse_oom_kills(events), expected, "{events}");
        }
    }

    #[test]
    fn received_ipv6_packets_alone_are_not_traffic_of_the_job() {
        let before = select_counters("Ip: 1 2", "Ip6InReceives \t5\nIp6OutRequests \t7\n");
        assert_eq!(before, select_counters("Ip: 1 2", "Ip6InReceives \t6\nIp6OutRequests \t7\n"));
        assert_ne!(before, select_counters("Ip: 1 2", "Ip6InReceives \t5\nIp6OutRequests \t8\n"));
        assert_ne!(before, select_counters("Ip: 1 3", "Ip6InReceives \t5\nIp6OutRequests \t7\n"));
    }

    #[test]
    fn one_local_packet_is_traffic() {
        let before = NetworkCounters::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert!(before.have_changed());
    }

    #[test]
    fn unreadable_counters_count_as_traffic() {
        assert!(NetworkCounters(None).have_changed());
    }
}
