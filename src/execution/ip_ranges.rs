//! Distinguishes addresses on the public internet from all others.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

/// The IANA's registry of special-purpose addresses (RFC 6890), and Azure's host (168.63.129.16). Of IPv6, only 2000::/3 is allocated to the internet, and
/// parts of it lead elsewhere: protocols such as Teredo, documentation, and 6to4.
const SPECIAL: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 \
    192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 \
    240.0.0.0/4 ::/3 4000::/2 8000::/1 2001::/23 2001:db8::/32 2002::/16 3fff::/16";

static SPECIAL_RANGES: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| SPECIAL.split(' ').filter_map(|range| range.parse().ok()).collect());

/// Whether the address can only belong to a host on the internet, and not to this host or a private network.
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !SPECIAL_RANGES.iter().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_parsed() {
        assert_eq!(SPECIAL_RANGES.len(), SPECIAL.split(' ').count());
    }

    #[test]
    fn only_addresses_on_the_internet_are_public() {
        let not_public = "0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 168.63.129.16 169.254.169.254 172.16.0.1 \
            172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 \
            203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 \
            64:ff9b::7f00:1 2001::1 2001:db8::1 2002:7f00:1:: 3fff::1 fc00::1 fd00::1 fe80::1 ff02::1";
        for address in not_public.split_whitespace() {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let public = "1.1.1.1 9.255.255.255 100.128.0.1 93.184.216.34 172.32.0.1 198.20.0.1 2001:200::1 \
            2606:4700::1111 2a00:1450:4001::1 ::ffff:1.1.1.1";
        for address in public.split_whitespace() {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
