//! A client for the HTTP API, with one method per call.

mod error;
mod events;
pub mod target;
mod transport;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use rgrid_api::server::WorkerList;
use rgrid_api::{Execution, ExecutionList, Health, Receipt, Retry, RuntimeList, Status, Stream};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;

use crate::batch::BatchId;
use crate::client::target::Target;
use crate::error::{CliError, Exit, Result};
use crate::output::Console;
pub use error::RetryMode;
use error::{Idempotency, RequestError, RetryPolicy};
pub use events::{Event, Events, ReceivedEvent};
use transport::{Request, Response, encode};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Far more than a server sends as one document.
const MAX_DOCUMENT: u64 = 1 << 30;
/// The most executions that the server returns at once.
const PAGE_SIZE: usize = 1000;

pub struct Client<'a> {
    target: Target,
    agent: Agent,
    retry: RetryPolicy<'a>,
    /// The server's clock: the `Date` of the last response.
    date: RefCell<Option<String>>,
    server_version: RefCell<Option<String>>,
}

pub struct Submitted {
    pub execution: Execution,
    /// The idempotency key was used before, and this is the first execution with it.
    pub existing: bool,
}

#[derive(Default)]
pub struct Executions {
    pub items: Vec<Execution>,
    /// The same executions as the server sent them.
    pub documents: Vec<Value>,
    pub next_cursor: Option<String>,
}

impl<'a> Client<'a> {
    pub fn new(target: Target, mode: RetryMode, console: &'a Console) -> Self {
        let agent = transport::agent(&target);
        let retry = RetryPolicy { mode, reached: Cell::new(false), console };
        Self { target, agent, retry, date: RefCell::default(), server_version: RefCell::default() }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn server_time(&self) -> Option<String> {
        self.date.borrow().clone()
    }

    /// Safe to repeat because of the idempotency key.
    pub fn submit(&self, body: &[u8], key: &str) -> Result<Submitted> {
        let path = "/api/v1/executions".to_owned();
        let request = Request { path, post: Some(body), idempotency_key: Some(key), ..Request::default() };
        let (status, value) = self.request(&request, Idempotency::Idempotent)?;
        Ok(Submitted { execution: self.parse(value)?, existing: status == 200 })
    }

    pub fn execution(&self, id: &str) -> Result<Execution> {
        self.parse(self.execution_document(id)?)
    }

    pub fn execution_document(&self, id: &str) -> Result<Value> {
        with_id(id, self.get(&execution_path(id)))
    }

    /// Returns the execution as soon as it has ended, or after this many seconds.
    pub fn execution_within(&self, id: &str, seconds: u64) -> Result<Execution> {
        let path = format!("{}?wait={seconds}", execution_path(id));
        let request = Request { path, wait: Duration::from_secs(seconds), ..Request::default() };
        self.parse(with_id(id, self.request(&request, Idempotency::Idempotent))?.1)
    }

    /// At most `limit` executions with these labels and this status, newest first.
    pub fn executions(
        &self,
        labels: &[(String, String)],
        status: Option<Status>,
        limit: usize,
    ) -> Result<Executions> {
        let mut found = Executions::default();
        loop {
            let left = limit.saturating_sub(found.items.len()).min(PAGE_SIZE);
            let mut path = format!("/api/v1/executions?limit={left}");
            let labels = labels.iter().map(|(key, value)| ("label", format!("{key}={value}")));
            let status = status.map(|status| ("status", status.to_string()));
            let cursor = found.next_cursor.take().map(|cursor| ("cursor", cursor));
            for (name, value) in labels.chain(status).chain(cursor) {
                path.push_str(&format!("&{name}={}", encode(&value)));
            }
            let (page, mut document): (ExecutionList, Value) = self.get_both(&path)?;
            if let Some(Value::Array(items)) = document.get_mut("items").map(Value::take) {
                found.documents.extend(items);
            }
            found.items.extend(page.items);
            found.next_cursor = page.next_cursor;
            if found.next_cursor.is_none() || found.items.len() >= limit {
                return Ok(found);
            }
        }
    }

    pub fn logs(&self, id: &str, stream: Stream) -> Result<String> {
        let request = get(format!("{}/logs?stream={stream}", execution_path(id)));
        let text = self.retry.run(Idempotency::Idempotent, || {
            let body = self.expect(&request, "text/plain")?.read(MAX_DOCUMENT)?;
            Ok(String::from_utf8_lossy(&body).into_owned())
        });
        with_id(id, text)
    }

    /// Events after the one with this ID, or all of them. If the connection is lost later, call this again.
    pub fn events(&self, id: &str, last_event_id: Option<&str>) -> Result<Events> {
        let path = format!("{}/events", execution_path(id));
        let request = Request { path, last_event_id, ..Request::default() };
        let response = self.retry.run(Idempotency::Idempotent, || self.expect(&request, "text/event-stream"));
        Ok(Events::new(with_id(id, response)?.into_reader(), &self.target.url))
    }

    pub fn receipt(&self, id: &str) -> Result<(Receipt, Value)> {
        with_id(id, self.get_both(&format!("{}/receipt", execution_path(id))))
    }

    pub fn cancel(&self, id: &str) -> Result<Execution> {
        let path = format!("{}/cancel", execution_path(id));
        let request = Request { path, post: Some(&[]), ..Request::default() };
        self.parse(with_id(id, self.request(&request, Idempotency::Idempotent))?.1)
    }

    /// Not safe to repeat after a lost response, which would create two executions.
    pub fn retry(&self, id: &str, secrets: BTreeMap<String, String>) -> Result<Execution> {
        let body = serde_json::to_vec(&Retry { secrets })
            .map_err(|error| CliError::failure(format!("cannot write the secrets as JSON: {error}")))?;
        let path = format!("{}/retry", execution_path(id));
        let request = Request { path, post: Some(&body), ..Request::default() };
        self.parse(with_id(id, self.request(&request, Idempotency::NotIdempotent))?.1)
    }

    /// Passes an output file's bytes to `consume`, which is called again if the transfer is interrupted.
    pub fn output<T>(
        &self,
        id: &str,
        name: &str,
        consume: impl Fn(&mut dyn Read) -> std::io::Result<T>,
    ) -> Result<T> {
        let segments: Vec<String> = name.split('/').map(encode).collect();
        let request = get(format!("{}/outputs/{}", execution_path(id), segments.join("/")));
        self.retry.run(Idempotency::Idempotent, || {
            let response = self.expect(&request, "application/octet-stream")?;
            consume(&mut response.into_reader())
                .map_err(|error| RequestError::from_transport(error.into(), &self.target))
        })
    }

    pub fn runtimes(&self) -> Result<(RuntimeList, Value)> {
        self.get_both("/api/v1/runtimes")
    }

    pub fn workers(&self) -> Result<WorkerList> {
        self.parse(self.get("/api/v1/workers")?)
    }

    pub fn health(&self) -> Result<Health> {
        self.parse(self.get("/healthz")?)
    }

    /// Also returns the report of a server that is not ready.
    pub fn readiness(&self) -> Result<Value> {
        let request = get("/readyz".to_owned());
        self.retry.run(Idempotency::Idempotent, || {
            let response = self.send(&request)?;
            match response.status {
                503 if response.is("application/json") => error::read_json(response, &self.target),
                _ => error::read_json(error::check_status(response, &self.target)?, &self.target),
            }
        })
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.request(&get(path.to_owned()), Idempotency::Idempotent).map(|(_, value)| value)
    }

    /// The parsed document and the document itself, for `--json`.
    fn get_both<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Value)> {
        let value = self.get(path)?;
        Ok((self.parse(value.clone())?, value))
    }

    fn request(&self, request: &Request, idempotency: Idempotency) -> Result<(u16, Value)> {
        self.retry.run(idempotency, || {
            let response = self.expect(request, "application/json")?;
            Ok((response.status, error::read_json(response, &self.target)?))
        })
    }

    fn expect(&self, request: &Request, media_type: &str) -> Result<Response, RequestError> {
        let response = self.send(request)?;
        // A server of another version may not support a request, or a field of it.
        let may_be_unsupported = matches!(response.status, 405 | 415 | 422);
        let response = error::check_status(response, &self.target).map_err(|error| match error {
            RequestError::Permanent(error) if may_be_unsupported => {
                RequestError::Permanent(self.with_version_hint(error))
            }
            other => other,
        })?;
        if response.is(media_type) { Ok(response) } else { Err(error::not_rgrid(&response, &self.target)) }
    }

    fn send(&self, request: &Request) -> Result<Response, RequestError> {
        let response = request.send(&self.agent, &self.target);
        let response = response.map_err(|error| RequestError::from_transport(error, &self.target))?;
        self.retry.reached.set(true);
        self.date.replace(response.date.clone());
        self.server_version.replace(response.version.clone());
        Ok(response)
    }

    fn parse<T: DeserializeOwned>(&self, value: Value) -> Result<T> {
        serde_json::from_value(value)
            .map_err(|error| self.with_version_hint(parse_error(&self.target.url, &error)))
    }

    fn with_version_hint(&self, error: CliError) -> CliError {
        match self.server_version.borrow().as_deref() {
            Some(server) if server != VERSION => error.hint(format!(
                "the server is RGrid {server} and this is rgrid {VERSION}; use the same version for both"
            )),
            _ => error,
        }
    }
}

fn parse_error(url: &str, error: &serde_json::Error) -> CliError {
    CliError::failure(format!("cannot parse the response from {url}: {error}"))
        .hint("check the server with `rgrid doctor`")
}

/// Adds the ID to a "not found" error, since the server does not repeat it.
fn with_id<T>(id: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| {
        if error.exit != Exit::NotFound {
            return error;
        }
        let error = CliError { message: format!("{error}: {id}"), ..error };
        match BatchId::parse(id) {
            Some(batch) => error.hint(format!(
                "this command needs the ID of one execution; list those of the batch with `rgrid list {batch}`"
            )),
            None => error,
        }
    })
}

fn get(path: String) -> Request<'static> {
    Request { path, ..Request::default() }
}

fn execution_path(id: &str) -> String {
    format!("/api/v1/executions/{}", encode(id))
}
