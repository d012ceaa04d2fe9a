//! Where a request comes from.

use std::net::IpAddr;

use actix_web::HttpRequest;

use crate::settings::Network;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address: the peer's, or what trusted proxies say of whom they speak for. Anybody can write
/// that header, so it is read from its end, and only as far as each one who wrote is trusted.
pub(crate) fn address(request: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let lines = request.headers().get_all(FORWARDED_FOR).filter_map(|line| line.to_str().ok());
    let told: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    Some(behind(peer, &told, trusted))
}

fn behind(peer: IpAddr, told: &[&str], trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    for next in told.iter().rev() {
        let Some(next) = next.parse().ok().filter(|_| is_trusted(nearest)) else { break };
        nearest = next;
    }
    nearest.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, told: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        behind(peer.parse().unwrap(), told, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(seen("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn a_proxy_is_believed_about_the_last_one_before_it_only() {
        assert_eq!(seen("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("::1", &["1.2.3.4", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4", "198.51.100.7", "10.0.0.2"]), "198.51.100.7");
    }

    #[test]
    fn nonsense_ends_the_way_back() {
        assert_eq!(seen("10.0.0.1", &["198.51.100.7", "unknown"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }
}
