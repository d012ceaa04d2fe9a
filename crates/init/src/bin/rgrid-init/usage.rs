//! Resources used by a job: CPU time, memory and network, and whether the kernel killed a process for memory.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// The container's own cgroup: version 2, then version 1.
const OOM_EVENTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
const MEMORY_PEAK: [&str; 2] =
    ["/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"];
const MEMORY_LIMIT: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// How often the limit was reached.
const LIMIT_EVENTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.failcnt"];

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

/// Peak memory of the container's cgroup. It cannot be reset between jobs, and Linux 5.18 and older do not report it in
/// version 2 of cgroups.
pub struct MemoryPeak {
    bytes: Option<u64>,
    limit_hits: Option<u64>,
}

impl MemoryPeak {
    pub fn now() -> Self {
        Self {
            bytes: first_of(MEMORY_PEAK, parse_number),
            limit_hits: first_of(LIMIT_EVENTS, parse_limit_hits),
        }
    }

    /// Peak since then, in bytes: the limit if it was reached, otherwise the container's peak if it has risen, otherwise
    /// that of the largest process.
    pub fn since(&self, largest_process: u64) -> u64 {
        self.until(&Self::now(), first_of(MEMORY_LIMIT, parse_number), largest_process)
    }

    fn until(&self, now: &Self, limit: Option<u64>, largest_process: u64) -> u64 {
        let risen = |before: Option<u64>, now| before.zip(now).is_some_and(|(before, now)| now > before);
        match (limit, now.bytes) {
            (Some(limit), _) if risen(self.limit_hits, now.limit_hits) => limit,
            (_, Some(peak)) if risen(self.bytes, now.bytes) => peak,
            (_, peak) => largest_process.min(peak.unwrap_or(u64::MAX)),
        }
    }
}

fn oom_kills() -> Option<u64> {
    first_of(OOM_EVENTS, parse_oom_kills)
}

/// The value in the first of the files that has one.
fn first_of(files: [&str; 2], parse: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    files.iter().find_map(|path| parse(&fs::read_to_string(path).ok()?))
}

fn parse_number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn parse_limit_hits(text: &str) -> Option<u64> {
    parse_number(text).or_else(|| text.lines().find_map(|line| parse_number(line.strip_prefix("max ")?)))
}

fn parse_oom_kills(events: &str) -> Option<u64> {
    events.lines().find_map(|line| parse_number(line.strip_prefix("oom_kill ")?))
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
    fn limit_hits_are_read_from_both_versions_of_cgroups() {
        for (text, expected) in
            [("12\n", Some(12)), ("low 0\nhigh 0\nmax 7\noom 2\n", Some(7)), ("low 0\n", None)]
        {
            assert_eq!(parse_limit_hits(text), expected, "{text}");
        }
    }

    #[test]
    fn the_peak_is_that_of_the_job() {
        let peak = |bytes, limit_hits| MemoryPeak { bytes, limit_hits };
        for (before, now, expected) in [
            (peak(Some(10), Some(0)), peak(Some(40), Some(0)), 40),
            // An earlier job needed more.
            (peak(Some(50), Some(0)), peak(Some(50), Some(0)), 30),
            (peak(Some(10), Some(0)), peak(Some(10), Some(0)), 10),
            (peak(Some(100), Some(3)), peak(Some(100), Some(4)), 100),
            (peak(None, Some(3)), peak(None, Some(4)), 100),
            (peak(None, Some(4)), peak(None, Some(4)), 30),
        ] {
            assert_eq!(before.until(&now, Some(100), 30), expected);
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
