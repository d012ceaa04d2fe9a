//! The open connections of the server.
//!
//! A connection is idle while no request is being answered on it. If there are too many, the one that has been idle the
//! longest is closed. An address may use only a share of all connections.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::net::{IpAddr, Shutdown};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use parking_lot::Mutex;
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

use crate::http::middleware::rate_limit::Client;
use crate::http::shares::share_of;
use crate::settings::{AuthMode, IpRange, Settings};

pub(crate) struct Connections {
    max: usize,
    share: usize,
    /// Addresses that speak for many clients.
    trusted: Vec<IpRange>,
    limit_loopback: bool,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Without those that are being closed.
    entries: HashMap<u64, Entry>,
    /// By the number of the moment since when they are idle.
    idle: BTreeMap<u64, u64>,
    by_client: HashMap<Client, usize>,
    /// Numbers connections and moments.
    counter: u64,
}

struct Entry {
    socket: Socket,
    client: Option<Client>,
    requests: usize,
    idle_since: u64,
}

impl Connections {
    pub fn new(settings: &Settings) -> Self {
        let max = settings.http.max_connections;
        Self {
            max,
            share: usize::try_from(share_of(max as u64)).unwrap_or(max),
            trusted: settings.http.trusted_proxies.clone(),
            limit_loopback: settings.auth.mode == AuthMode::Keys,
            open: Mutex::default(),
        }
    }

    /// Adds an accepted connection. `None` if it has been closed already.
    pub fn add(self: &Arc<Self>, stream: &TcpStream) -> Option<Connection> {
        let client = self.client(stream.peer_addr().ok()?.ip());
        let socket = SockRef::from(stream).try_clone().ok()?;
        let mut open = self.open.lock();
        let id = open.next_number();
        let entry = Entry { socket, client: client.clone(), requests: 0, idle_since: id };
        open.entries.insert(id, entry);
        open.idle.insert(id, id);
        if let Some(client) = client {
            let count = open.by_client.entry(client.clone()).or_default();
            *count += 1;
            // If all of its other connections are busy, this is the new one.
            if *count > self.share {
                open.close_oldest_idle(|entry, _| entry.client.as_ref() == Some(&client));
            }
        }
        // Makes room for the next one. If all are busy, the next one waits.
        if open.entries.len() >= self.max {
            open.close_oldest_idle(|_, other| other != id);
        }
        Some(Connection { id, connections: Arc::clone(self) })
    }

    /// `None` if the address has no limit.
    fn client(&self, address: IpAddr) -> Option<Client> {
        let address = address.to_canonical();
        let is_trusted = self.trusted.iter().any(|network| network.contains(address));
        let is_limited = !is_trusted && (self.limit_loopback || !address.is_loopback());
        is_limited.then(|| Client::from_address(address))
    }
}

impl Open {
    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn close_oldest_idle(&mut self, may_close: impl Fn(&Entry, u64) -> bool) {
        let matches = |id: &&u64| self.entries.get(id).is_some_and(|entry| may_close(entry, **id));
        let Some(id) = self.idle.values().find(matches).copied() else { return };
        if let Some(entry) = self.remove(id) {
            // actix sees the end of the connection and drops it.
            let _ = entry.socket.shutdown(Shutdown::Both);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.idle.remove(&entry.idle_since);
        if let Some(client) = &entry.client
            && let Some(count) = self.by_client.get_mut(client)
        {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(client);
            }
        }
        Some(entry)
    }

    fn begin_request(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.requests += 1;
            self.idle.remove(&entry.idle_since);
        }
    }

    fn end_request(&mut self, id: u64) {
        let now = self.next_number();
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.requests -= 1;
            if entry.requests == 0 {
                entry.idle_since = now;
                self.idle.insert(now, id);
            }
        }
    }
}

/// One connection, as long as actix has it.
pub(crate) struct Connection {
    id: u64,
    connections: Arc<Connections>,
}

impl Connection {
    pub fn begin_request(&self) -> Busy {
        self.connections.open.lock().begin_request(self.id);
        Busy { id: self.id, connections: Arc::clone(&self.connections) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.open.lock().remove(self.id);
    }
}

/// A request that is being answered.
pub(crate) struct Busy {
    id: u64,
    connections: Arc<Connections>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connections.open.lock().end_request(self.id);
    }
}

/// The body of a response, which keeps its connection busy until it has been sent.
pub(crate) struct BusyBody {
    body: BoxBody,
    _busy: Option<Busy>,
}

impl BusyBody {
    pub fn new(body: BoxBody, busy: Option<Busy>) -> Self {
        Self { body, _busy: busy }
    }
}

impl MessageBody for BusyBody {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.body.as_pin_mut().poll_next(context)
    }
}
