//! What a daemon accepts from an init. A script that has taken over its init can send any message, so the daemon checks
//! every length, count and number here before it uses one.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::{
    Event, Exit, ExitReason, JobStep, Limits, MAX_OUTPUTS, MAX_PIECE, MAX_SMALL_EVENTS, MAX_TAIL, MAX_TEXT,
    Message, OutputFile, Stream, StreamEnd,
};

/// Maximum number of events of a sandbox.
const MAX_EVENTS: u64 = 1 << 31;
/// No stream, file or time is larger.
const MAX_NUMBER: u64 = 1 << 56;
/// Maximum size of a sentence, in bytes.
const MAX_SENTENCE: usize = 4096;
/// Maximum number of sentences in [`Exit::outputs_left_out`].
const MAX_LEFT_OUT: usize = 64;
/// Maximum size of the path of an output file, in bytes.
const MAX_PATH: usize = 1024;
/// A text event may be this much shorter than [`MAX_TEXT`] and still be full.
const ROOM_IN_FULL_TEXT: usize = 4;

/// Something that no init sends unless a script controls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox sent {0}, which its init never does")]
pub struct Violation(&'static str);

impl Violation {
    /// A complete frame without a message.
    pub const UNDECODABLE: Self = Self("a message that cannot be decoded");
}

fn require(holds: bool, otherwise: &'static str) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(otherwise)) }
}

/// Checks everything that does not depend on the job.
pub fn check_message(message: &Message) -> Result<(), Violation> {
    match message {
        Message::Hello { job, .. } => job.as_deref().map_or(Ok(()), check_sentence),
        Message::Event { seq, event } => {
            require((1..=MAX_EVENTS).contains(seq), "an impossible event number")?;
            check_event(event)
        }
        Message::Piece { content, .. } => {
            require(content.len() <= MAX_PIECE, "a piece of a file that is too large")
        }
        Message::Refused { reason } => check_sentence(reason),
        Message::Renewed => Ok(()),
    }
}

fn check_event(event: &Event) -> Result<(), Violation> {
    match event {
        Event::Started { .. } => Ok(()),
        Event::Output { text, .. } => {
            require((1..=MAX_TEXT).contains(&text.len()), "output of an invalid size")?;
            check_text(text)
        }
        Event::Exit(exit) => check_exit(exit),
    }
}

fn check_exit(exit: &Exit) -> Result<(), Violation> {
    match &exit.reason {
        ExitReason::Exited { code } | ExitReason::SetupFailed { code } => {
            require((0..=255).contains(code), "an impossible exit code")?;
        }
        ExitReason::Signalled { signal } => require((0..=127).contains(signal), "an impossible signal")?,
        ExitReason::CouldNotStart { reason } => check_sentence(reason)?,
        ExitReason::TimedOut
        | ExitReason::OutOfMemory
        | ExitReason::Cancelled
        | ExitReason::SetupTimedOut => {}
    }
    let numbers = [exit.setup_ms, exit.wall_ms, exit.cpu_ms, exit.peak_memory_bytes];
    require(numbers.iter().all(|number| *number <= MAX_NUMBER), "an impossible time or size")?;
    for StreamEnd { total, tail } in [&exit.stdout, &exit.stderr, &exit.install] {
        require(*total <= MAX_NUMBER && tail.len() <= MAX_TAIL, "the end of a stream with an invalid size")?;
        check_text(tail)?;
    }
    require(exit.outputs.len() <= MAX_OUTPUTS, "too many output files")?;
    for OutputFile { name, size } in &exit.outputs {
        require((1..=MAX_PATH).contains(&name.len()), "an output file with an invalid name")?;
        require(*size <= MAX_NUMBER, "an output file of an impossible size")?;
    }
    require(exit.outputs_left_out.len() <= MAX_LEFT_OUT, "too many sentences")?;
    exit.outputs_left_out.iter().try_for_each(|sentence| check_sentence(sentence))
}

/// Postgres stores no NUL.
fn check_text(text: &str) -> Result<(), Violation> {
    require(!text.contains('\0'), "a NUL byte")
}

/// Sentences are shown in errors and logs.
fn check_sentence(sentence: &str) -> Result<(), Violation> {
    require(sentence.len() <= MAX_SENTENCE, "a sentence that is too long")?;
    require(!sentence.chars().any(char::is_control), "a sentence with a control character")
}

/// Whether the output files are within the limits of their job.
pub fn check_outputs(outputs: &[OutputFile], limits: &Limits) -> Result<(), Violation> {
    let size = outputs.iter().try_fold(0u64, |size, file| size.checked_add(file.size));
    let is_allowed = size.is_some_and(|size| size <= limits.max_output_bytes)
        && u32::try_from(outputs.len()).is_ok_and(|count| count <= limits.max_outputs);
    require(is_allowed, "more output files than allowed")
}

/// Checks the events of a job by its limits.
#[derive(Clone, Debug)]
pub struct EventCheck {
    output_limit: u64,
    /// Number of the last event; `None` if it is unknown.
    last: Option<u64>,
    /// The daemon has stored the events up to this one.
    stored: u64,
    /// Bytes of text of each stream.
    stdout: u64,
    stderr: u64,
    install: u64,
    setup_started: bool,
    script_started: bool,
}

impl EventCheck {
    /// `last` is the last event of the sandbox before this job.
    pub fn new(output_limit: u64, last: u64) -> Self {
        Self {
            output_limit,
            last: Some(last),
            stored: last,
            stdout: 0,
            stderr: 0,
            install: 0,
            setup_started: false,
            script_started: false,
        }
    }

    /// For a job of another daemon, whose earlier events are stored. Its limit is not known and may be higher than this
    /// daemon's.
    pub fn adopted() -> Self {
        const OUTPUT_LIMIT: u64 = 64 << 20;
        Self { last: None, ..Self::new(OUTPUT_LIMIT, 0) }
    }

    /// The daemon has stored the events up to this one.
    pub fn stored(&mut self, upto: u64) {
        self.stored = self.stored.max(upto);
    }

    /// Call it once for each new event, in their order.
    pub fn event(&mut self, seq: u64, event: &Event) -> Result<(), Violation> {
        match self.last {
            Some(last) => require(Some(seq) == last.checked_add(1), "an event out of order")?,
            None => self.stored = seq.saturating_sub(1),
        }
        self.last = Some(seq);
        require(seq.saturating_sub(self.stored) <= self.max_pending(), "too many small events")?;
        match event {
            Event::Started { step } => {
                let started = match step {
                    JobStep::Setup => &mut self.setup_started,
                    JobStep::Script => &mut self.script_started,
                };
                require(!std::mem::replace(started, true), "a second start")
            }
            Event::Output { stream, text } => {
                let limit = self.output_limit;
                let received = match stream {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                    Stream::Install => &mut self.install,
                };
                *received = received.saturating_add(text.len() as u64);
                require(*received <= limit, "more output than its limit")
            }
            Event::Exit(exit) => {
                let tails = [&exit.stdout, &exit.stderr, &exit.install].map(|end| end.tail.len() as u64);
                require(
                    tails.iter().all(|tail| *tail <= self.output_limit / 2),
                    "the end of a stream that is too long",
                )
            }
        }
    }

    /// With more small events than that, the init waits until they are stored or full.
    fn max_pending(&self) -> u64 {
        let full_texts = 3 * (self.output_limit / (MAX_TEXT - ROOM_IN_FULL_TEXT) as u64 + 1);
        2 * MAX_SMALL_EVENTS as u64 + full_texts
    }
}

/// An output file as its pieces arrive.
#[derive(Debug)]
pub struct Download {
    output: u32,
    size: u64,
    content: Vec<u8>,
}

impl Download {
    /// Memory is reserved as pieces arrive, because the size is only what the sandbox announced.
    pub fn new(output: u32, size: u64) -> Self {
        Self { output, size, content: Vec::new() }
    }

    pub fn offset(&self) -> u64 {
        self.content.len() as u64
    }

    /// Adds a piece and returns whether the file is complete, or `None` for a piece that answers an earlier request.
    pub fn add(
        &mut self,
        output: u32,
        offset: u64,
        piece: &[u8],
        last: bool,
    ) -> Result<Option<bool>, Violation> {
        if output != self.output || offset != self.offset() {
            return Ok(None);
        }
        let received = self.offset() + piece.len() as u64;
        require(received <= self.size, "more of a file than it announced")?;
        require(
            if last { received == self.size } else { !piece.is_empty() },
            "less of a file than it announced",
        )?;
        self.content.extend_from_slice(piece);
        Ok(Some(last))
    }

    pub fn into_content(self) -> Vec<u8> {
        self.content
    }
}

pub(crate) fn output_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OutputFile>, D::Error> {
    at_most::<D, OutputFile, MAX_OUTPUTS>(deserializer)
}

pub(crate) fn sentences<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    at_most::<D, String, MAX_LEFT_OUT>(deserializer)
}

/// Decodes a list of at most `MAX` items: a few bytes each in a frame would become a lot of memory.
fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Items<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = sequence.next_element()? {
                if items.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Items::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, InitState, Received, Token, encode};

    const LIMIT: u64 = 100_000;

    fn exit(change: impl FnOnce(&mut Exit)) -> Event {
        let mut exit = Exit::new(ExitReason::Exited { code: 0 });
        change(&mut exit);
        Event::Exit(exit)
    }

    fn file(name: &str, size: u64) -> OutputFile {
        OutputFile { name: name.to_owned(), size }
    }

    fn output(text: &str) -> Event {
        Event::Output { stream: Stream::Stdout, text: text.to_owned() }
    }

    #[test]
    fn what_an_init_sends_is_accepted() {
        let ended = exit(|exit| {
            exit.reason = ExitReason::Signalled { signal: 9 };
            exit.outputs = vec![file("plots/a.png", 1 << 30)];
            exit.outputs_left_out = vec!["`link` was not kept: it is a symbolic link.".to_owned()];
            exit.stdout = StreamEnd { total: 1 << 40, tail: "x".repeat(50_000) };
        });
        let events = [Event::Started { step: JobStep::Script }, output(&"x".repeat(MAX_TEXT)), ended];
        let mut check = EventCheck::new(LIMIT, 4);
        for (seq, event) in (5..).zip(events) {
            assert_eq!(check.event(seq, &event), Ok(()));
            assert_eq!(check_message(&Message::Event { seq, event }), Ok(()));
        }
        let job = Some("exec_1/1".to_owned());
        let hello = Message::Hello { version: 4, state: InitState::Running, job };
        assert_eq!(check_message(&hello), Ok(()));
    }

    #[test]
    fn lengths_and_numbers_beyond_all_limits_are_violations() {
        let events = [
            output(""),
            output("a\0"),
            output(&"x".repeat(MAX_TEXT + 1)),
            exit(|exit| exit.reason = ExitReason::Exited { code: -1 }),
            exit(|exit| exit.reason = ExitReason::Signalled { signal: i32::MAX }),
            exit(|exit| exit.reason = ExitReason::CouldNotStart { reason: "x".repeat(5000) }),
            exit(|exit| exit.wall_ms = u64::MAX),
            exit(|exit| exit.stdout.total = u64::MAX),
            exit(|exit| exit.install.tail = "x".repeat(MAX_TAIL + 1)),
            exit(|exit| exit.stderr.tail = "\0".to_owned()),
            exit(|exit| exit.outputs = vec![file("a", 1); MAX_OUTPUTS + 1]),
            exit(|exit| exit.outputs = vec![file(&"a".repeat(1025), 1)]),
            exit(|exit| exit.outputs = vec![file("a", u64::MAX)]),
            exit(|exit| exit.outputs_left_out = vec![String::new(); MAX_LEFT_OUT + 1]),
            exit(|exit| exit.outputs_left_out = vec!["a\nb".to_owned()]),
        ];
        let events = events.into_iter().map(|event| Message::Event { seq: 1, event });
        let others = [
            Message::Event { seq: 0, event: output("a") },
            Message::Event { seq: u64::MAX, event: output("a") },
            Message::Piece { output: 0, offset: 0, content: vec![0; MAX_PIECE + 1], last: true },
            Message::Refused { reason: "x".repeat(5000) },
        ];
        for message in events.chain(others) {
            assert!(check_message(&message).is_err(), "{message:?}");
        }
    }

    #[test]
    fn output_above_the_limit_of_the_job_is_a_violation() {
        let mut check = EventCheck::new(LIMIT, 0);
        assert_eq!(check.event(1, &output(&"x".repeat(60_000))), Ok(()));
        let stderr = Event::Output { stream: Stream::Stderr, text: "x".repeat(60_000) };
        assert_eq!(check.event(2, &stderr), Ok(()));
        assert!(check.event(3, &output(&"x".repeat(60_000))).is_err());
        let tail = exit(|exit| exit.stdout = StreamEnd { total: 1 << 20, tail: "x".repeat(50_001) });
        assert!(EventCheck::new(LIMIT, 0).event(1, &tail).is_err());
    }

    #[test]
    fn events_have_no_gaps_and_each_step_starts_once() {
        let started = Event::Started { step: JobStep::Script };
        for seq in [0, 1, 3, u64::MAX] {
            assert!(EventCheck::new(LIMIT, 1).event(seq, &started).is_err(), "{seq}");
        }
        let mut check = EventCheck::new(LIMIT, u64::MAX);
        assert!(check.event(0, &started).is_err());
        let mut check = EventCheck::adopted();
        assert_eq!(check.event(77, &started), Ok(()));
        assert!(check.event(78, &started).is_err());
        assert!(check.event(80, &output("a")).is_err());
    }

    #[test]
    fn small_events_must_be_stored_before_more_arrive() {
        let mut check = EventCheck::new(LIMIT, 0);
        let pending = (1..).take_while(|seq| check.event(*seq, &output("a")).is_ok()).count();
        assert!((MAX_SMALL_EVENTS..3 * MAX_SMALL_EVENTS).contains(&pending), "{pending}");
        let mut check = EventCheck::new(LIMIT, 0);
        for seq in 1..50_000 {
            assert_eq!(check.event(seq, &output("a")), Ok(()));
            check.stored(seq - 1);
        }
    }

    #[test]
    fn output_files_are_limited_in_number_and_total_size() {
        let limits =
            Limits { timeout_ms: 1, grace_ms: 1, output_limit: 1, max_outputs: 2, max_output_bytes: 10 };
        assert_eq!(check_outputs(&[file("a", 4), file("b", 6)], &limits), Ok(()));
        for outputs in [
            vec![file("a", 1 << 40)],
            vec![file("a", 4), file("b", 7)],
            vec![file("a", 1); 3],
            vec![file("a", u64::MAX), file("b", u64::MAX)],
        ] {
            assert!(check_outputs(&outputs, &limits).is_err(), "{outputs:?}");
        }
    }

    #[test]
    fn a_file_has_exactly_the_announced_size() {
        let mut download = Download::new(1, 5);
        assert_eq!(download.add(1, 0, b"abc", false), Ok(Some(false)));
        assert_eq!(download.add(1, 0, b"abc", false), Ok(None));
        assert_eq!(download.add(0, 3, b"de", true), Ok(None));
        assert!(download.add(1, 3, b"def", true).is_err());
        assert!(download.add(1, 3, b"d", true).is_err());
        assert!(download.add(1, 3, b"", false).is_err());
        assert_eq!(download.add(1, 3, b"de", true), Ok(Some(true)));
        assert_eq!(download.into_content(), b"abcde");
        // Announcing a file reserves nothing.
        assert_eq!(Download::new(0, 1 << 40).content.capacity(), 0);
        assert_eq!(Download::new(0, 0).add(0, 0, b"", true), Ok(Some(true)));
    }

    #[test]
    fn a_list_in_a_frame_is_limited_before_it_is_decoded() {
        let token = Token::from_random([7; 16]);
        let decode = |outputs: usize, left_out: usize| {
            let event = exit(|exit| {
                exit.outputs = vec![file("", 0); outputs];
                exit.outputs_left_out = vec![String::new(); left_out];
            });
            let mut decoder = Decoder::<Message>::new(token.clone());
            decoder.push(token.as_bytes());
            decoder.push(&encode(&Message::Event { seq: 1, event }).unwrap());
            assert_eq!(decoder.next().unwrap(), Some(Received::Connected));
            decoder.next().is_ok()
        };
        assert!(decode(MAX_OUTPUTS, MAX_LEFT_OUT));
        assert!(!decode(MAX_OUTPUTS + 1, 0) && !decode(0, MAX_LEFT_OUT + 1) && !decode(1 << 20, 0));
    }
}
