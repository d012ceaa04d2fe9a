//! An open server trusts whoever reaches it. The browser of somebody on the same host reaches it too, for any page
//! it shows, so what a foreign page asks is refused: known by what the browser says of the page that asks, and by the
//! name under which the server was asked for (a foreign name that was pointed at this address: DNS rebinding).

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

use crate::http::problem::ApiError;

/// Sent by browsers alone, and not to be set by a page.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// `changes`: the request would change something. `by_any_name`: this server is meant to be asked by names that it
/// doesn't know, because it listens beyond loopback or a proxy stands in front.
pub(crate) fn refuse(request: &HttpRequest, changes: bool, by_any_name: bool) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = text(headers, &HOST);
    if !by_any_name && !host.is_none_or(is_of_this_host) {
        let host = host.unwrap_or_default();
        return Err(ApiError::Foreign(format!(
            "this server is open to its own host, and {host} is not its name"
        )));
    }
    if changes && is_from_another_page(headers, host) {
        return Err(ApiError::Foreign("a page of another site may not change anything here".to_owned()));
    }
    Ok(())
}

fn is_from_another_page(headers: &HeaderMap, host: Option<&str>) -> bool {
    match (text(headers, &SEC_FETCH_SITE), text(headers, &ORIGIN)) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, authority)| authority) != host,
        (None, None) => false,
    }
}

/// An address can't be pointed elsewhere, and `localhost` is never asked of a DNS server (RFC 6761).
fn is_of_this_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let name = name.to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    // One that is no text is a name of nobody.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn is_refused(changes: bool, headers: &[(&'static str, &str)]) -> bool {
        let request =
            headers.iter().fold(TestRequest::default(), |request, header| request.insert_header(*header));
        refuse(&request.to_http_request(), changes, false).is_err()
    }

    #[test]
    fn its_own_names_are_addresses_and_localhost() {
        for host in
            ["127.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:80", "rgrid.localhost:80", "10.0.0.7"]
        {
            assert!(!is_refused(false, &[("host", host)]), "{host}");
        }
        for host in ["example.com", "example.com:8080", "localhost.example.com", "127.0.0.1.nip.io:80", ""] {
            assert!(is_refused(false, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_may_change_nothing() {
        let host = ("host", "127.0.0.1:8080");
        for site in ["cross-site", "same-site", "?"] {
            assert!(is_refused(true, &[host, ("sec-fetch-site", site)]), "{site}");
        }
        assert!(is_refused(true, &[host, ("origin", "https://example.com")]));
        assert!(is_refused(true, &[host, ("origin", "null")]));
        // A link from elsewhere may be followed.
        assert!(!is_refused(false, &[host, ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn its_own_pages_and_clients_that_are_no_browsers_may() {
        let host = ("host", "127.0.0.1:8080");
        for site in ["same-origin", "none"] {
            assert!(!is_refused(true, &[host, ("sec-fetch-site", site)]), "{site}");
        }
        assert!(!is_refused(true, &[host, ("origin", "http://127.0.0.1:8080")]));
        assert!(!is_refused(true, &[host]));
    }
}
