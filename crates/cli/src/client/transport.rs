//! One HTTP request and its response.

use std::io::Read;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Error, RequestBuilder};

use crate::client::target::Target;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the last byte of the request to the first byte of the response, in addition to a requested `wait`.
/// Short, so that a request whose response was lost is soon repeated.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two parts of a body, in either direction.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// RFC 3986: all characters except the unreserved ones.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Default)]
pub(crate) struct Request<'a> {
    pub path: String,
    /// The JSON of a POST, which may be empty; `None` for a GET.
    pub post: Option<&'a [u8]>,
    pub idempotency_key: Option<&'a str>,
    pub last_event_id: Option<&'a str>,
    /// How long the server may wait before it responds.
    pub wait: Duration,
}

pub(crate) struct Response {
    pub status: u16,
    /// In lower case and without parameters.
    pub media_type: String,
    pub retry_after: Option<Duration>,
    pub date: Option<String>,
    /// Sent by RGrid servers only.
    pub version: Option<String>,
    body: Body,
}

impl Response {
    pub fn is(&self, media_type: &str) -> bool {
        self.media_type == media_type
    }

    pub fn read(mut self, limit: u64) -> Result<Vec<u8>, Error> {
        self.body.with_config().limit(limit).read_to_vec()
    }

    pub fn into_reader(self) -> Box<dyn Read> {
        Box::new(self.body.into_reader())
    }
}

pub(crate) fn agent(target: &Target) -> Agent {
    // The system's certificates may include a company's own authority.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("rgrid/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_write(Some(STALL_TIMEOUT));
    if target.is_loopback() {
        config = config.proxy(None);
    }
    config.build().into()
}

impl Request<'_> {
    pub fn send(&self, agent: &Agent, target: &Target) -> Result<Response, Error> {
        let url = format!("{}{}", target.url, self.path);
        let response = match self.post {
            None => self.prepare(agent.get(url), target).call(),
            Some([]) => self.prepare(agent.post(url), target).send_empty(),
            Some(body) => {
                self.prepare(agent.post(url), target).header("content-type", "application/json").send(body)
            }
        }?;
        let (parts, body) = response.into_parts();
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let media_type = header("content-type").unwrap_or_default();
        Ok(Response {
            status: parts.status.as_u16(),
            media_type: media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            retry_after: header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs),
            date: header("date").map(str::to_owned),
            version: header("x-rgrid-version").map(str::to_owned),
            body,
        })
    }

    fn prepare<B>(&self, builder: RequestBuilder<B>, target: &Target) -> RequestBuilder<B> {
        let response_timeout = RESPONSE_TIMEOUT + self.wait;
        let config = builder.config().timeout_recv_response(Some(response_timeout));
        let builder = config.timeout_per_read(Some(response_timeout.max(STALL_TIMEOUT))).build();
        let authorization = target.key.as_ref().map(|(key, _)| format!("Bearer {key}"));
        let headers = [
            ("idempotency-key", self.idempotency_key),
            ("last-event-id", self.last_event_id),
            ("authorization", authorization.as_deref()),
        ];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        headers.fold(builder, |builder, (name, value)| builder.header(name, value))
    }
}

/// Encodes one segment of a path, or a value of a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_change_the_structure_of_a_path() {
        assert_eq!(encode("exec_01jd"), "exec_01jd");
        assert_eq!(encode("../a b?c#d%ä"), "..%2Fa%20b%3Fc%23d%25%C3%A4");
    }
}
