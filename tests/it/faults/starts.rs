//! Counts the starts of scripts from outside the system.

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::own_address;

/// The starts of all scripts that connect to this listener before they do anything else.
pub struct Starts {
    port: u16,
    seen: Arc<Mutex<HashMap<String, Vec<Instant>>>>,
}

impl Starts {
    pub fn listen() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let (port, seen) = (listener.local_addr().unwrap().port(), Arc::default());
        let starts = Self { port, seen: Arc::clone(&seen) };
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (mut connection, mut id) = (connection.unwrap(), String::new());
                connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                if connection.read_to_string(&mut id).is_ok() {
                    seen.lock().unwrap().entry(id).or_default().push(Instant::now());
                }
            }
        });
        starts
    }

    /// Those of one execution.
    pub fn of(&self, id: &str) -> Vec<Instant> {
        self.seen.lock().unwrap().get(id).cloned().unwrap_or_default()
    }

    /// Reports its start, prints `started`, and `ended` after some time.
    pub fn script(&self, seconds: f64) -> String {
        format!(
            "import os, socket, time\n\
             with socket.create_connection(({:?}, {}), 20) as s:\n    s.sendall(os.environ['RGRID_EXECUTION_ID'].encode())\n\
             print('started')\ntime.sleep({seconds})\nprint('ended')\n",
            own_address(),
            self.port
        )
    }
}
