//! Protects a server without keys from web pages.
//!
//! Such a server trusts everyone who can reach it, and a browser on the same host can reach it on behalf of any page that
//! it shows. Requests of other sites are recognised by the headers that browsers send about the page, and by the host
//! name of the request (DNS rebinding: a foreign name that resolves to this address).

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

use crate::http::ApiError;

/// Set by browsers only; a page cannot set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// `changes`: the method is unsafe. `any_name`: clients may use host names that this server does not know.
pub(crate) fn check(request: &HttpRequest, changes: bool, any_name: bool) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = text(headers, &HOST);
    if let Some(foreign) = host.filter(|host| !any_name && !is_local_name(host)) {
        return Err(ApiError::CrossOrigin(format!(
            "host name {foreign} rejected: this server answers only to the names of its own host"
        )));
    }
    if changes && is_from_another_site(headers, host) {
        return Err(ApiError::CrossOrigin(
            "cross-origin request rejected: other sites may not change anything here".to_owned(),
        ));
    }
    Ok(())
}

fn is_from_another_site(headers: &HeaderMap, host: Option<&str>) -> bool {
    match (text(headers, &SEC_FETCH_SITE), text(headers, &ORIGIN)) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, authority)| authority) != host,
        (None, None) => false,
    }
}

/// IP addresses cannot be rebound, and `localhost` is never resolved by a DNS server (RFC 6761).
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let name = name.to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

/// A value that is not text becomes `?`, which matches no name.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const HERE: (&str, &str) = ("host", "127.0.0.1:8080");

    fn is_rejected(changes: bool, headers: &[(&'static str, &str)]) -> bool {
        let request =
            headers.iter().fold(TestRequest::default(), |request, header| request.insert_header(*header));
        check(&request.to_http_request(), changes, false).is_err()
    }

    #[test]
    fn only_addresses_and_localhost_are_names_of_this_host() {
        let own =
            ["127.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:80", "rgrid.localhost:80", "10.0.0.7"];
        for host in own {
            assert!(!is_rejected(false, &[("host", host)]), "{host}");
        }
        for host in ["example.com", "example.com:8080", "localhost.example.com", "127.0.0.1.nip.io:80", ""] {
            assert!(is_rejected(false, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_may_change_nothing() {
        for site in ["cross-site", "same-site", "?"] {
            assert!(is_rejected(true, &[HERE, ("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["https://example.com", "null"] {
            assert!(is_rejected(true, &[HERE, ("origin", origin)]), "{origin}");
        }
        assert!(!is_rejected(false, &[HERE, ("sec-fetch-site", "cross-site")]), "a link from another site");
    }

    #[test]
    fn the_servers_own_pages_and_clients_other_than_browsers_may_change_things() {
        for site in ["same-origin", "none"] {
            assert!(!is_rejected(true, &[HERE, ("sec-fetch-site", site)]), "{site}");
        }
        assert!(!is_rejected(true, &[HERE, ("origin", "http://127.0.0.1:8080")]));
        assert!(!is_rejected(true, &[HERE]));
    }
}
