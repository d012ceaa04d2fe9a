//! The name servers that sandboxes may reach although the firewall blocks their addresses.
//!
//! A sandbox asks Docker's resolver at 127.0.0.11. dockerd forwards the query, and either sends it from the network
//! namespace of the container, through the bridge and the firewall, or from the host's. Docker 20 to 25 use the host's only
//! for loopback addresses; later versions use it for all name servers of the host, but not for configured ones.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::net::Ipv4Addr;

const ENGINE_SETTINGS: &str = "/etc/docker/daemon.json";
/// The second one is systemd's, for containers of a host whose first one names only systemd's own name server.
const RESOLV_CONFS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// `configured` if there are any; otherwise those that Docker gives to containers on this host. They may change.
pub(super) fn name_servers(configured: &[Ipv4Addr]) -> BTreeSet<Ipv4Addr> {
    if !configured.is_empty() {
        return configured.iter().copied().collect();
    }
    let engine = read_to_string(ENGINE_SETTINGS).map(|text| of_engine(&text));
    let host = RESOLV_CONFS.into_iter().map(|path| read_to_string(path).map(|text| of_resolv_conf(&text)));
    let mut found = std::iter::once(engine).chain(host).filter_map(Result::ok);
    found.find(|servers| !servers.is_empty()).unwrap_or_default()
}

/// The name servers in the settings of dockerd.
fn of_engine(text: &str) -> BTreeSet<Ipv4Addr> {
    let settings: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let servers = settings.get("dns").and_then(serde_json::Value::as_array).into_iter().flatten();
    servers.filter_map(|server| server.as_str()?.parse().ok()).collect()
}

/// The name servers of the host, except for loopback addresses, which are not reached through the bridge.
fn of_resolv_conf(text: &str) -> BTreeSet<Ipv4Addr> {
    let line = |line: &str| -> Vec<Ipv4Addr> {
        // In a container, Docker lists them in a comment, where `host(…)` marks those that it asks from the host.
        let listed = line.strip_prefix("# ExtServers: [").and_then(|rest| rest.strip_suffix(']'));
        let named = line.strip_prefix("nameserver").filter(|rest| rest.starts_with([' ', '\t']));
        let servers = listed.or_else(|| named?.split_whitespace().next()).unwrap_or_default();
        servers.split_whitespace().filter_map(|server| server.parse().ok()).collect()
    };
    text.lines().flat_map(line).filter(|server| !server.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> BTreeSet<Ipv4Addr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn configured_name_servers_replace_those_of_the_host() {
        let configured = addresses(&["10.0.0.2", "10.0.0.3"]);
        assert_eq!(name_servers(&Vec::from_iter(configured.clone())), configured);
    }

    #[test]
    fn the_settings_of_dockerd_may_name_servers() {
        assert_eq!(of_engine(r#"{"dns": ["10.0.0.2", "fd00::2"], "mtu": 1400}"#), addresses(&["10.0.0.2"]));
        for none in ["", "{", "{}", "[]", r#"{"dns": "10.0.0.2"}"#] {
            assert_eq!(of_engine(none), addresses(&[]), "{none}");
        }
    }

    #[test]
    fn a_resolv_conf_names_servers_in_two_ways() {
        let host = "# nameserver 10.0.0.9\nsearch example.org\nnameserver 169.254.169.254\n\
            nameserver\t10.0.0.2 # the second\nnameserver fe80::1%eth0\nnameserver 127.0.0.53\nnameservers 10.0.0.8\n";
        assert_eq!(of_resolv_conf(host), addresses(&["10.0.0.2", "169.254.169.254"]));
        let container = "nameserver 127.0.0.11\noptions ndots:0\n\n# Based on host file: '/etc/resolv.conf'\n\
            # ExtServers: [host(10.0.0.7) 10.0.0.2 10.0.0.3]\n# Overrides: []\n";
        assert_eq!(of_resolv_conf(container), addresses(&["10.0.0.2", "10.0.0.3"]));
        assert_eq!(of_resolv_conf("nameserver 127.0.0.53\n"), addresses(&[]));
    }
}
