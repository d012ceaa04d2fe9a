//! The webhook of a submission: whether it can be called at all.
//!
//! Where a name leads is checked when it is called, each time: it may lead elsewhere by then.

use std::net::IpAddr;

use actix_web::http::Uri;

use crate::execution::ip_ranges;
use crate::settings::Webhook;

const URL_MAX: usize = 2048;

pub(crate) fn check(url: &str, settings: &Webhook) -> Result<(), String> {
    if settings.secret.is_empty() {
        return Err("this server calls no webhooks: its webhook.secret is not set".to_owned());
    }
    let wrong =
        || format!("write it like https://example.org/ended, at most {URL_MAX} bytes, without a user");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    if !known || url.len() > URL_MAX || authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(wrong());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if !settings.allow_internal && !ip_ranges::is_public(address) => {
            Err(format!("{host} is not on the internet; the server's webhook.allow_internal would allow it"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_on_the_internet_are_taken() {
        let mut settings = crate::settings::load(None, []).unwrap().webhook;
        assert!(check("https://example.org/x", &settings).unwrap_err().contains("webhook.secret"));
        settings.secret = "s".to_owned();
        for good in ["https://example.org/x?y=z", "http://1.1.1.1:8080/"] {
            assert_eq!(check(good, &settings), Ok(()), "{good}");
        }
        let bad = [
            "",
            "example.org",
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://u:p@example.org/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://169.254.169.254/latest",
        ];
        for bad in bad {
            assert!(check(bad, &settings).is_err(), "{bad}");
        }
        settings.allow_internal = true;
        assert_eq!(check("http://127.0.0.1/", &settings), Ok(()));
    }
}
