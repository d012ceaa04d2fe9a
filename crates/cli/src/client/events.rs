//! An execution's Server-Sent Events, read one by one as they come. `docs/events.md` has the rules.

use std::io::{BufRead, BufReader, Read};

use rgrid_api::{Execution, OutputEvent, StatusEvent};
use serde::de::DeserializeOwned;

use crate::error::Failure;

pub enum Event {
    Status(StatusEvent),
    Output(OutputEvent),
    /// Without its stdout and stderr.
    End(Box<Execution>),
    /// Of a newer server.
    Other,
}

pub struct ReceivedEvent {
    /// Named on a new connection, it brings what follows.
    pub id: String,
    pub event: Event,
}

/// The events of one connection. They end when the connection does, which says nothing of the execution.
pub struct Events {
    lines: BufReader<Box<dyn Read>>,
    url: String,
}

/// The fields of an event, as far as they have come.
#[derive(Default)]
struct Fields {
    id: String,
    name: String,
    data: String,
}

impl Events {
    pub(crate) fn new(body: Box<dyn Read>, url: &str) -> Self {
        Self { lines: BufReader::new(body), url: url.to_owned() }
    }

    /// None at the end, and when the connection broke: half a line is no line.
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line).ok()?;
        let line = line.strip_suffix(b"\n")?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(String::from_utf8_lossy(line).into_owned())
    }
}

impl Iterator for Events {
    type Item = Result<ReceivedEvent, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields::default();
        loop {
            let line = self.line()?;
            if !line.is_empty() {
                fields.take(&line);
            } else if !fields.data.is_empty() {
                return Some(fields.told().map_err(|error| crate::client::not_understood(&self.url, &error)));
            }
        }
    }
}

impl Fields {
    /// Comments have no name.
    fn take(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.id = value.to_owned(),
            "event" => self.name = value.to_owned(),
            "data" if self.data.is_empty() => self.data = value.to_owned(),
            "data" => self.data.extend(["\n", value]),
            _ => {}
        }
    }

    fn told(self) -> serde_json::Result<ReceivedEvent> {
        let event = match self.name.as_str() {
            "status" => Event::Status(read(&self.data)?),
            "output" => Event::Output(read(&self.data)?),
            "end" => Event::End(read(&self.data)?),
            _ => Event::Other,
        };
        Ok(ReceivedEvent { id: self.id, event })
    }
}

fn read<T: DeserializeOwned>(data: &str) -> serde_json::Result<T> {
    serde_json::from_str(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &'static str) -> Vec<Result<ReceivedEvent, Failure>> {
        Events::new(Box::new(text.as_bytes()), "http://s").collect()
    }

    #[test]
    fn events_are_read_with_their_ids_and_the_rest_is_passed_over() {
        let text = "retry: 1000\n: keep-alive\n\nid: 1-0-2-0\nevent: output\ndata: {\"stream\":\"stdout\",\r\ndata: \"text\":\"a\"}\nnew: x\n\nid:2\nevent:weather\ndata:fine\n\n";
        let all: Vec<ReceivedEvent> = told(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert!(matches!(&all[0].event, Event::Output(output) if output.text == "a"));
        assert_eq!((all[0].id.as_str(), all[1].id.as_str()), ("1-0-2-0", "2"));
        assert!(matches!(all[1].event, Event::Other));
    }

    #[test]
    fn half_an_event_is_none() {
        let whole = "id: 1\nevent: output\ndata: {\"stream\":\"stdout\",\"text\":\"a\"}\n\n";
        for cut in 0..whole.len() {
            assert!(told(&whole[..cut]).is_empty(), "{cut}");
        }
    }

    #[test]
    fn what_can_not_be_understood_is_told() {
        let failure = told("event: status\ndata: {}\n\n").remove(0).err().unwrap();
        assert!(failure.what.starts_with("the answer of http://s can't be understood"), "{failure}");
    }
}
