//! A TCP proxy between a daemon and Postgres, which can cut, stall and heal the way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Nothing goes through, and nobody is told.
    Stalled,
    /// What is open is torn, what comes is refused.
    Cut,
}

struct State {
    way: Way,
    streams: Vec<TcpStream>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// To a server that listens on that port of this host.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { way: Way::Open, streams: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                serve(&served, client, port);
            }
        });
        Self { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn cut(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.way = Way::Cut;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    pub fn stall(&self) {
        self.set(Way::Stalled);
    }

    pub fn heal(&self) {
        self.set(Way::Open);
    }

    fn set(&self, way: Way) {
        self.shared.state.lock().unwrap().way = way;
        self.shared.changed.notify_all();
    }
}

fn serve(shared: &Arc<Shared>, client: TcpStream, port: u16) {
    let mut state = shared.state.lock().unwrap();
    if state.way == Way::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let pairs = [(&client, &server), (&server, &client)];
    for (from, to) in pairs {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let shared = Arc::clone(shared);
        thread::spawn(move || carry(&shared, from, to));
    }
    state.streams.extend([client, server]);
}

fn carry(shared: &Shared, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let state = shared.state.lock().unwrap();
        let state = shared.changed.wait_while(state, |state| state.way == Way::Stalled).unwrap();
        let way = state.way;
        drop(state);
        if way == Way::Cut || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
