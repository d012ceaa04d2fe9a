//! One HTTP request and its answer.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Error, RequestBuilder};

use crate::client::target::Target;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request's last byte to the answer's first one, besides a `wait` that is asked for. Short
/// enough that a question whose answer was lost is asked once more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two pieces of a body, in either direction.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Transport {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

pub(crate) struct Request {
    path: String,
    /// None: a GET.
    post: Option<Vec<u8>>,
    idempotency_key: Option<String>,
    last_event_id: Option<String>,
    answer_timeout: Duration,
}

impl Request {
    pub fn get(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            post: None,
            idempotency_key: None,
            last_event_id: None,
            answer_timeout: ANSWER_TIMEOUT,
        }
    }

    /// The server takes that much time before it answers.
    pub fn waiting(self, wait: Duration) -> Self {
        Self { answer_timeout: ANSWER_TIMEOUT + wait, ..self }
    }

    pub fn post(path: &str) -> Self {
        Self { post: Some(Vec::new()), ..Self::get(path) }
    }

    pub fn json(self, body: &[u8]) -> Self {
        Self { post: Some(body.to_vec()), ..self }
    }

    pub fn last_event_id(self, id: Option<&str>) -> Self {
        Self { last_event_id: id.map(str::to_owned), ..self }
    }

    pub fn idempotency_key(self, key: &str) -> Self {
        Self { idempotency_key: Some(key.to_owned()), ..self }
    }
}

pub(crate) struct Answer {
    pub status: u16,
    /// Without its parameters, in lower case.
    pub media_type: String,
    pub retry_after: Option<Duration>,
    pub date: Option<String>,
    /// The server's, if it is an RGrid.
    pub version: Option<String>,
    body: Body,
}

impl Answer {
    pub fn is(&self, media_type: &str) -> bool {
        self.media_type == media_type
    }

    pub fn read(mut self, limit: u64) -> Result<Vec<u8>, Error> {
        self.body.with_config().limit(limit).read_to_vec()
    }

    /// As it comes.
    pub fn into_reader(self) -> Box<dyn Read> {
        Box::new(self.body.into_reader())
    }

    pub fn stream<T>(self, take: impl Fn(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        take(&mut self.body.into_reader())
    }
}

impl Transport {
    pub fn new(target: &Target) -> Self {
        // The system's certificates: a company's own authority counts.
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
        Self { agent: config.build().into(), base: target.url.clone(), authorization }
    }

    pub fn send(&self, request: &Request) -> Result<Answer, Error> {
        let url = format!("{}{}", self.base, request.path);
        let answer = match &request.post {
            None => self.prepared(self.agent.get(url), request).call(),
            Some(body) => {
                let post = self.prepared(self.agent.post(url), request);
                let post = with(post, "idempotency-key", request.idempotency_key.as_deref());
                match body.as_slice() {
                    [] => post.send_empty(),
                    body => post.header("content-type", "application/json").send(body),
                }
            }
        }?;
        let (parts, body) = answer.into_parts();
        let header = |name| header(&parts.headers, name);
        let media_type = header("content-type").unwrap_or_default();
        Ok(Answer {
            status: parts.status.as_u16(),
            media_type: media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            retry_after: header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs),
            date: header("date").map(str::to_owned),
            version: header("x-rgrid-version").map(str::to_owned),
            body,
        })
    }
}

impl Transport {
    fn prepared<B>(&self, builder: RequestBuilder<B>, request: &Request) -> RequestBuilder<B> {
        let read_timeout = request.answer_timeout.max(STALL_TIMEOUT);
        let config = builder.config().timeout_recv_response(Some(request.answer_timeout));
        let builder = config.timeout_per_read(Some(read_timeout)).build();
        let builder = with(builder, "last-event-id", request.last_event_id.as_deref());
        with(builder, "authorization", self.authorization.as_deref())
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn with<B>(builder: RequestBuilder<B>, name: &str, value: Option<&str>) -> RequestBuilder<B> {
    match value {
        Some(value) => builder.header(name, value),
        None => builder,
    }
}

/// For one part of a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let byte = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_leaves_its_place_in_the_path() {
        assert_eq!(encoded("exec_01jd"), "exec_01jd");
        assert_eq!(encoded("../a b?c#d%ä"), "..%2Fa%20b%3Fc%23d%25%C3%A4");
    }
}
