//! A client for Server-Sent Events that returns each event as it arrives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

pub struct Events {
    lines: BufReader<Box<dyn Read + Send>>,
    pub status: u16,
}

impl Events {
    /// `behind` is sent as `Last-Event-ID`.
    pub fn open(base: &str, execution: &str, behind: Option<&str>) -> Self {
        let header = behind.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        Self::open_with_header(base, execution, &header)
    }

    pub fn with_key(base: &str, execution: &str, key: &str) -> Self {
        Self::open_with_header(base, execution, &format!("Authorization: Bearer {key}\r\n"))
    }

    /// `header` is empty or ends with a line break.
    fn open_with_header(base: &str, execution: &str, header: &str) -> Self {
        let address = base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // With HTTP/1.0, the body is not chunked and ends with the connection.
        write!(
            stream,
            "GET /api/v1/executions/{execution}/events HTTP/1.0\r\nHost: {address}\r\n{header}\r\n"
        )
        .unwrap();
        let mut lines = BufReader::new(Box::new(stream) as Box<dyn Read + Send>);
        let mut head = String::new();
        lines.read_line(&mut head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        while !head.trim().is_empty() {
            head.clear();
            lines.read_line(&mut head).unwrap();
        }
        Self { lines, status }
    }

    /// The rest of a body that is not an event stream.
    pub fn body(mut self) -> String {
        let mut body = String::new();
        self.lines.read_to_string(&mut body).unwrap();
        body
    }
}

/// Ends with the connection. Ignores comments and `retry`.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event { id: String::new(), name: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                None if line == "\n" && !event.name.is_empty() => return Some(event),
                _ => {}
            }
        }
    }
}
