//! The server: one method for each thing that it can be asked.

mod error;
mod events;
mod problem;
pub mod random;
mod retry;
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

use crate::batch::BatchId;
use crate::client::target::Target;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::output::console::Console;
use error::Trouble;
pub use events::{Event, Events, ReceivedEvent};
pub use retry::Patience;
use retry::{Persistence, Repeat};
use transport::{Answer, Request, Transport, encoded};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Far above what a server sends as one document.
const DOCUMENT_MAX: u64 = 1 << 30;
/// Executions in one answer: the most that a server gives.
pub const PAGE: usize = 1000;

pub struct Server<'a> {
    target: Target,
    transport: Transport,
    persistence: Persistence<'a>,
    /// The `Date` of the last answer: the server's clock.
    date: RefCell<Option<String>>,
    /// The server's, as the last answer had it.
    version: RefCell<Option<String>>,
}

/// What became of a submission.
pub struct Submitted {
    pub execution: Execution,
    /// The idempotency key was known: this is the first one.
    pub known: bool,
}

impl<'a> Server<'a> {
    pub fn new(target: Target, patience: Patience, console: &'a Console) -> Self {
        let transport = Transport::new(&target);
        let persistence = Persistence { patience, reached: Cell::new(false), console };
        Self { target, transport, persistence, date: RefCell::default(), version: RefCell::default() }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn clock(&self) -> Option<String> {
        self.date.borrow().clone()
    }

    /// Safe to repeat: the key tells the server that it is the same one.
    pub fn submit(&self, body: &[u8], key: &str) -> Result<Submitted, Failure> {
        let request = Request::post("/api/v1/executions").json(body).idempotency_key(key);
        let (status, value) = self.document(&request, Repeat::Freely)?;
        Ok(Submitted { execution: self.typed(value)?, known: status == 200 })
    }

    pub fn execution(&self, id: &str) -> Result<Execution, Failure> {
        self.typed(self.execution_document(id)?)
    }

    pub fn execution_document(&self, id: &str) -> Result<Value, Failure> {
        named(id, self.get(&execution_path(id)))
    }

    /// As soon as it has ended, or as it is after that many seconds.
    pub fn execution_within(&self, id: &str, seconds: u64) -> Result<Execution, Failure> {
        let request = Request::get(&format!("{}?wait={seconds}", execution_path(id)));
        let request = request.waiting(Duration::from_secs(seconds));
        self.typed(named(id, self.document(&request, Repeat::Freely))?.1)
    }

    pub fn executions(&self, query: &[(&str, String)]) -> Result<(ExecutionList, Value), Failure> {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let value = self.get(&format!("/api/v1/executions?{}", pairs.join("&")))?;
        Ok((self.typed(value.clone())?, value))
    }

    /// All that have these labels, and stand so; the newest first.
    pub fn all_executions(
        &self,
        labels: &[(String, String)],
        status: Option<Status>,
    ) -> Result<Vec<Execution>, Failure> {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(labels.iter().map(|(key, value)| ("label", format!("{key}={value}"))));
        query.extend(status.map(|status| ("status", status.to_string())));
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page: Vec<_> = query.iter().cloned().chain(cursor.map(|cursor| ("cursor", cursor))).collect();
            let (list, _) = self.executions(&page)?;
            found.extend(list.items);
            cursor = list.next_cursor;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// The stream as it stands.
    pub fn logs(&self, id: &str, stream: Stream) -> Result<String, Failure> {
        let request = Request::get(&format!("{}/logs?stream={stream}", execution_path(id)));
        let text = self.persistence.ask(Repeat::Freely, || {
            let body = self.expect(&request, "text/plain")?.read(DOCUMENT_MAX)?;
            Ok(String::from_utf8_lossy(&body).into_owned())
        });
        named(id, text)
    }

    /// What it does from now on, or behind the event of that id. The server is waited for; when the connection
    /// breaks later, it is asked again.
    pub fn events(&self, id: &str, behind: Option<&str>) -> Result<Events, Failure> {
        let request = Request::get(&format!("{}/events", execution_path(id))).last_event_id(behind);
        let answer =
            named(id, self.persistence.ask(Repeat::Freely, || self.expect(&request, "text/event-stream")))?;
        Ok(Events::new(answer.into_reader(), &self.target.url))
    }

    pub fn receipt(&self, id: &str) -> Result<(Receipt, Value), Failure> {
        let value = named(id, self.get(&format!("{}/receipt", execution_path(id))))?;
        Ok((self.typed(value.clone())?, value))
    }

    pub fn cancel(&self, id: &str) -> Result<Execution, Failure> {
        let request = Request::post(&format!("{}/cancel", execution_path(id)));
        self.typed(named(id, self.document(&request, Repeat::Freely))?.1)
    }

    /// Not safe to repeat when the answer was lost: there would be two.
    pub fn retry(&self, id: &str, secrets: BTreeMap<String, String>) -> Result<Execution, Failure> {
        let body = serde_json::to_vec(&Retry { secrets })
            .map_err(|error| Failure::failed(format!("the secrets can't be written as JSON: {error}")))?;
        let request = Request::post(&format!("{}/retry", execution_path(id))).json(&body);
        self.typed(named(id, self.document(&request, Repeat::UnlessTaken))?.1)
    }

    /// Hands the bytes of an output to `take`, which is called anew when they broke off.
    pub fn output<T>(
        &self,
        id: &str,
        name: &str,
        take: impl Fn(&mut dyn Read) -> std::io::Result<T>,
    ) -> Result<T, Failure> {
        let parts: Vec<String> = name.split('/').map(encoded).collect();
        let request = Request::get(&format!("{}/outputs/{}", execution_path(id), parts.join("/")));
        self.persistence.ask(Repeat::Freely, || {
            let answer = self.expect(&request, "application/octet-stream")?;
            answer.stream(&take).map_err(|error| error::of_transport(error.into(), &self.target))
        })
    }

    pub fn runtimes(&self) -> Result<(RuntimeList, Value), Failure> {
        let value = self.get("/api/v1/runtimes")?;
        Ok((self.typed(value.clone())?, value))
    }

    pub fn workers(&self) -> Result<(WorkerList, Value), Failure> {
        let value = self.get("/api/v1/workers")?;
        Ok((self.typed(value.clone())?, value))
    }

    /// Whether an RGrid lives there at all.
    pub fn health(&self) -> Result<Health, Failure> {
        self.typed(self.get("/healthz")?)
    }

    /// Whether it can serve; an unready server answers as well.
    pub fn readiness(&self) -> Result<Value, Failure> {
        let request = Request::get("/readyz");
        self.persistence.ask(Repeat::Freely, || {
            let answer = self.send(&request)?;
            match answer.status {
                503 if answer.is("application/json") => error::json(answer, &self.target),
                _ => error::json(error::refused(answer, &self.target)?, &self.target),
            }
        })
    }

    fn get(&self, path: &str) -> Result<Value, Failure> {
        self.document(&Request::get(path), Repeat::Freely).map(|(_, value)| value)
    }

    fn document(&self, request: &Request, repeat: Repeat) -> Result<(u16, Value), Failure> {
        self.persistence.ask(repeat, || {
            let answer = self.expect(request, "application/json")?;
            Ok((answer.status, error::json(answer, &self.target)?))
        })
    }

    fn expect(&self, request: &Request, media_type: &str) -> Result<Answer, Trouble> {
        let answer = self.send(request)?;
        // What a server of another version refuses in a request, or does not have.
        let may_be_too_new = matches!(answer.status, 405 | 415 | 422);
        let answer = error::refused(answer, &self.target).map_err(|trouble| match trouble {
            Trouble::Final(failure) if may_be_too_new => Trouble::Final(self.or_of_another_version(failure)),
            other => other,
        })?;
        if answer.is(media_type) { Ok(answer) } else { Err(error::foreign(&answer, &self.target)) }
    }

    fn send(&self, request: &Request) -> Result<Answer, Trouble> {
        let answer =
            self.transport.send(request).map_err(|error| error::of_transport(error, &self.target))?;
        self.persistence.reached.set(true);
        self.date.replace(answer.date.clone());
        self.version.replace(answer.version.clone());
        Ok(answer)
    }

    fn typed<T: DeserializeOwned>(&self, value: Value) -> Result<T, Failure> {
        serde_json::from_value(value)
            .map_err(|error| self.or_of_another_version(not_understood(&self.target.url, &error)))
    }

    /// The same failure; with the two versions as its hint, where they differ.
    fn or_of_another_version(&self, failure: Failure) -> Failure {
        match self.version.borrow().as_deref() {
            Some(theirs) if theirs != VERSION => failure.hint(format!(
                "the server is RGrid {theirs}, this is rgrid {VERSION}: use one version on both sides"
            )),
            _ => failure,
        }
    }
}

fn not_understood(url: &str, error: &serde_json::Error) -> Failure {
    Failure::failed(format!("the answer of {url} can't be understood: {error}"))
        .hint("`rgrid doctor` tells whether the server is fine")
}

/// The server does not repeat what it was asked for.
fn named<T>(id: &str, answer: Result<T, Failure>) -> Result<T, Failure> {
    answer.map_err(|failure| match failure.exit {
        Exit::NotFound => {
            let what = format!("{}: {id}", failure.what);
            match BatchId::of(id) {
                Some(batch) => Failure { what, ..failure }.hint(one_of(&batch)),
                None => Failure { what, ..failure },
            }
        }
        _ => failure,
    })
}

fn one_of(batch: &BatchId) -> String {
    format!(
        "list, wait, cancel and download take a batch; this wants one of its executions, as `rgrid list {batch}` shows"
    )
}

fn execution_path(id: &str) -> String {
    format!("/api/v1/executions/{}", encoded(id))
}
