//! The address of the client that sent a request.

use std::net::IpAddr;

use actix_web::HttpRequest;

use crate::settings::IpRange;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The peer's address or, if the peer is a trusted proxy, the address that it forwarded. Any client can send this header,
/// so it is read from its end, as long as the sender of each entry is trusted.
pub(crate) fn client_address(request: &HttpRequest, trusted: &[IpRange]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let lines = request.headers().get_all(FORWARDED_FOR).filter_map(|line| line.to_str().ok());
    let forwarded: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    Some(forwarded_address(peer, &forwarded, trusted))
}

fn forwarded_address(peer: IpAddr, forwarded: &[&str], trusted: &[IpRange]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    for entry in forwarded.iter().rev() {
        let Some(address) = entry.parse().ok().filter(|_| is_trusted(nearest)) else { break };
        nearest = address;
    }
    nearest.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_of_trusted_proxies_are_used() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let cases: &[(&str, &[&str], &str)] = &[
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::1", &["1.2.3.4", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.2.3.4", "198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7", "unknown"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ];
        for (peer, forwarded, expected) in cases {
            let address = forwarded_address(peer.parse().unwrap(), forwarded, &trusted);
            assert_eq!(address.to_string(), *expected, "{peer} {forwarded:?}");
        }
    }
}
