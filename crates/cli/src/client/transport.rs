//! One HTTP request and its response.

use std::io::{self, Read};
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

pub(crate) struct Transport {
    agent: Agent,
    base_url: String,
    authorization: Option<String>,
}

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

    pub fn stream<T>(self, consume: impl Fn(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        consume(&mut self.body.into_reader())
    }
}

impl Transport {
    pub fn new(target: &Target) -> Self {
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
        let authorization = target.key.as_ref().map(|(key, _)| format!("Bearer {key}"));
        Self { agent: config.build().into(), base_url: target.url.clone(), authorization }
    }

    pub fn send(&self, request: &Request) -> Result<Response, Error> {
        let url = format!("{}{}", self.base_url, request.path);
        let response = match request.post {
            None => self.prepare(self.agent.get(url), request).call(),
            Some([]) => self.prepare(self.agent.post(url), request).send_empty(),
            Some(body) => {
                let post = self.prepare(self.agent.post(url), request);
                post.header("content-type", "application/json").send(body)
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

    fn prepare<B>(&self, builder: RequestBuilder<B>, request: &Request) -> RequestBuilder<B> {
        let response_timeout = RESPONSE_TIMEOUT + request.wait;
        let read_timeout = response_timeout.max(STALL_TIMEOUT);
        let config = builder.config().timeout_recv_response(Some(response_timeout));
        let builder = config.timeout_per_read(Some(read_timeout)).build();
        let headers = [
            ("idempotency-key", request.idempotency_key),
            ("last-event-id", request.last_event_id),
            ("authorization", self.authorization.as_deref()),
        ];
        headers.into_iter().fold(builder, |builder, (name, value)| match value {
            Some(value) => builder.header(name, value),
            None => builder,
        })
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
