//! Reads an execution's Server-Sent Events. `docs/events.md` specifies them.

use std::io::{BufRead, BufReader, Read};

use rgrid_api::{Execution, OutputEvent, StatusEvent};

use crate::client::parse_error;
use crate::error::Result;

pub enum Event {
    Status(StatusEvent),
    Output(OutputEvent),
    /// Without stdout and stderr.
    End(Box<Execution>),
    /// An event type that only a newer client knows.
    Unknown,
}

pub struct ReceivedEvent {
    /// A new connection that sends this ID continues after this event.
    pub id: String,
    pub event: Event,
}

/// The events of one connection. Its end does not mean that the execution has ended.
pub struct Events {
    lines: BufReader<Box<dyn Read>>,
    url: String,
}

#[derive(Default)]
struct Fields {
    id: String,
    event: String,
    data: String,
}

impl Events {
    pub(crate) fn new(body: Box<dyn Read>, url: &str) -> Self {
        Self { lines: BufReader::new(body), url: url.to_owned() }
    }

    /// `None` at the end of the connection. An incomplete line is dropped.
    fn next_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line).ok()?;
        let line = line.strip_suffix(b"\n")?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(String::from_utf8_lossy(line).into_owned())
    }
}

impl Iterator for Events {
    type Item = Result<ReceivedEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields::default();
        loop {
            let line = self.next_line()?;
            if !line.is_empty() {
                fields.add(&line);
            } else if !fields.data.is_empty() {
                return Some(fields.parse().map_err(|error| parse_error(&self.url, &error)));
            }
        }
    }
}

impl Fields {
    fn add(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.id = value.to_owned(),
            "event" => self.event = value.to_owned(),
            "data" if self.data.is_empty() => self.data = value.to_owned(),
            "data" => self.data.extend(["\n", value]),
            // Comments have an empty name.
            _ => {}
        }
    }

    fn parse(self) -> serde_json::Result<ReceivedEvent> {
        let event = match self.event.as_str() {
            "status" => Event::Status(serde_json::from_str(&self.data)?),
            "output" => Event::Output(serde_json::from_str(&self.data)?),
            "end" => Event::End(serde_json::from_str(&self.data)?),
            _ => Event::Unknown,
        };
        Ok(ReceivedEvent { id: self.id, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Vec<Result<ReceivedEvent>> {
        Events::new(Box::new(text.as_bytes()), "http://s").collect()
    }

    #[test]
    fn events_are_read_with_their_ids_and_unknown_fields_are_ignored() {
        let text = "retry: 1000\n: keep-alive\n\nid: 1-0-2-0\nevent: output\ndata: {\"stream\":\"stdout\",\r\ndata: \"text\":\"a\"}\nnew: x\n\nid:2\nevent:weather\ndata:fine\n\n";
        let events: Vec<ReceivedEvent> = parse(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(events.len(), 2);
        assert!(matches!(&events[0].event, Event::Output(output) if output.text == "a"));
        assert_eq!((events[0].id.as_str(), events[1].id.as_str()), ("1-0-2-0", "2"));
        assert!(matches!(events[1].event, Event::Unknown));
    }

    #[test]
    fn an_incomplete_event_is_dropped() {
        let whole = "id: 1\nevent: output\ndata: {\"stream\":\"stdout\",\"text\":\"a\"}\n\n";
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_empty(), "{cut}");
        }
    }

    #[test]
    fn an_invalid_event_is_an_error() {
        let error = parse("event: status\ndata: {}\n\n").remove(0).err().unwrap();
        assert!(error.message.starts_with("cannot parse the response from http://s"), "{error}");
    }
}
