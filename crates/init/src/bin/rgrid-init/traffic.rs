//! Whether anything has gone through the network namespace, by the kernel's own counters.

use std::fs;

/// Everything of IPv4, and TCP, UDP and ICMP of both: packets, connections, errors.
const IPV4: &str = "/proc/net/snmp";
const IPV6: &str = "/proc/net/snmp6";
/// Neighbours' announcements come in by themselves; what is said here goes out first, also to oneself.
const IPV6_SAID: &str = "Ip6OutRequests";

/// The counters at a moment. `None`: they can't be read, and nobody knows.
#[derive(PartialEq, Eq)]
pub struct Traffic(Option<String>);

impl Traffic {
    pub fn now() -> Self {
        // A kernel without IPv6 has no such file, and nothing to count.
        let ipv6 = fs::read_to_string(IPV6).unwrap_or_default();
        Self(fs::read_to_string(IPV4).ok().map(|ipv4| counters(&ipv4, &ipv6)))
    }

    /// True also when that can't be told.
    pub fn has_grown(&self) -> bool {
        self.0.is_none() || *self != Self::now()
    }
}

fn counters(ipv4: &str, ipv6: &str) -> String {
    let said = ipv6.lines().filter(|line| line.split_whitespace().next() == Some(IPV6_SAID));
    ipv4.lines().chain(said).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn neighbours_announcements_are_not_ones_own_traffic() {
        let before = counters("Ip: 1 2", "Ip6InReceives \t5\nIp6OutRequests \t7\n");
        assert_eq!(before, counters("Ip: 1 2", "Ip6InReceives \t6\nIp6OutRequests \t7\n"));
        assert_ne!(before, counters("Ip: 1 2", "Ip6InReceives \t5\nIp6OutRequests \t8\n"));
        assert_ne!(before, counters("Ip: 1 3", "Ip6InReceives \t5\nIp6OutRequests \t7\n"));
    }

    #[test]
    fn one_packet_to_oneself_is_seen() {
        let before = Traffic::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert!(before.has_grown());
    }

    #[test]
    fn what_can_not_be_told_counts_as_used() {
        assert!(Traffic(None).has_grown());
    }
}
