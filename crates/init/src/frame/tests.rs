use proptest::prelude::*;

use super::*;
use crate::{Command, Event, InitState, Job, Limits, Message, Setup, Stream};

fn token() -> Token {
    Token::from_random(*b"a session token!")
}

type Items<T> = Vec<Received<T>>;

/// All decoded items, without errors.
fn decode<T: DeserializeOwned>(bytes: &[u8], chunk: usize) -> Items<T> {
    let mut decoder = Decoder::new(token());
    let mut items = Vec::new();
    for piece in bytes.chunks(chunk.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => {}
            }
        }
    }
    items
}

fn connection(commands: &[Command]) -> Vec<u8> {
    let mut bytes = token().as_bytes().to_vec();
    commands.iter().for_each(|command| bytes.extend(encode(command).unwrap()));
    bytes
}

fn received(commands: Vec<Command>) -> Items<Command> {
    std::iter::once(Received::Connected).chain(commands.into_iter().map(Received::Frame)).collect()
}

#[test]
fn a_frame_is_length_payload_newline() {
    let frame = encode(&Command::Ack { upto: 5 }).unwrap();
    assert_eq!(frame, [2, 0, 0, 0, 3, 5, b'\n']);
}

#[test]
fn everything_before_the_token_is_dropped() {
    assert_eq!(decode::<Command>(&encode(&Command::Stop).unwrap(), 100), []);
}

#[test]
fn after_a_length_over_the_limit_everything_is_dropped_until_the_next_token() {
    let mut decoder = Decoder::<Command>::new(token());
    decoder.push(token().as_bytes());
    decoder.push(&u32::MAX.to_le_bytes());
    decoder.push(&encode(&Command::Stop).unwrap());
    assert_eq!(decoder.next().unwrap(), Some(Received::Connected));
    assert!(matches!(decoder.next(), Err(FrameError::TooLarge(_))));
    assert_eq!(decoder.next().unwrap(), None);
    decoder.push(&connection(&[Command::Cancel]));
    assert_eq!(decoder.next().unwrap(), Some(Received::Connected));
    assert_eq!(decoder.next().unwrap(), Some(Received::Frame(Command::Cancel)));
}

#[test]
fn a_message_over_the_limit_is_not_encoded() {
    let content = vec![0; MAX_FRAME];
    let file = Command::File { name: "big".into(), offset: 0, content };
    assert!(matches!(encode(&file), Err(FrameError::TooLarge(_))));
}

/// Without the trailer, the first bytes of the token would become the end of the file.
#[test]
fn a_torn_frame_followed_by_a_token_is_dropped() {
    let file = Command::File { name: "data".into(), offset: 0, content: vec![b'x'; 50] };
    let whole = connection(&[file]);
    for missing in 1..20 {
        let torn = &whole[..whole.len() - missing];
        let bytes = [torn, &connection(&[Command::Cancel])].concat();
        let expected = [received(vec![]), received(vec![Command::Cancel])].concat();
        for chunk in [1, 7, 1000] {
            assert_eq!(decode::<Command>(&bytes, chunk), expected, "missing {missing}, chunk {chunk}");
        }
    }
}

#[test]
fn a_token_with_a_repetitive_prefix_is_found() {
    let token = Token::parse(&format!("{}b", "a".repeat(31))).unwrap();
    let mut decoder = Decoder::<Command>::new(token.clone());
    decoder.push(b"aaaaa");
    decoder.push(token.as_bytes());
    assert_eq!(decoder.next().unwrap(), Some(Received::Connected));
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any::<u64>().prop_map(|after| Command::Resume { after }),
        any::<u64>().prop_map(|upto| Command::Ack { upto }),
        (".*", any::<u64>(), any::<Vec<u8>>()).prop_map(|(name, offset, content)| Command::File {
            name,
            offset,
            content
        }),
        any::<(u32, u64, u32)>().prop_map(|(output, offset, max)| Command::Fetch { output, offset, max }),
        (".*", any::<Vec<String>>(), any::<Vec<(String, String)>>(), any::<u64>()).prop_map(run),
        Just(Command::Cancel),
        Just(Command::Stop),
        any::<u64>().prop_map(|upto| Command::Renew { upto }),
    ]
}

fn run((id, argv, env, timeout_ms): (String, Vec<String>, Vec<(String, String)>, u64)) -> Command {
    let limits = Limits { timeout_ms, grace_ms: 1, output_limit: 2, max_outputs: 3, max_output_bytes: 4 };
    let setup = Setup { argv: argv.clone(), env: env.clone(), timeout_ms };
    let setup = (timeout_ms % 2 == 0).then_some(setup);
    Command::Run(Job { id, setup, argv, secrets: env.clone(), env, limits })
}

fn message() -> impl Strategy<Value = Message> {
    let output = |(seq, text)| Message::Event { seq, event: Event::Output { stream: Stream::Stderr, text } };
    prop_oneof![
        any::<(u16, Option<String>)>().prop_map(|(version, job)| Message::Hello {
            version,
            state: InitState::Running,
            job
        }),
        any::<(u64, String)>().prop_map(output),
        any::<(u32, u64, Vec<u8>, bool)>().prop_map(|(output, offset, content, last)| Message::Piece {
            output,
            offset,
            content,
            last
        }),
        ".*".prop_map(|reason| Message::Refused { reason }),
        Just(Message::Renewed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn commands_round_trip_in_any_chunks(
        commands in proptest::collection::vec(command(), 0..5), chunk in 1usize..400,
    ) {
        prop_assert_eq!(decode::<Command>(&connection(&commands), chunk), received(commands));
    }

    #[test]
    fn messages_round_trip(message in message(), chunk in 1usize..100) {
        let bytes = [token().as_bytes().to_vec(), encode(&message).unwrap()].concat();
        prop_assert_eq!(decode(&bytes, chunk), vec![Received::Connected, Received::Frame(message)]);
    }

    #[test]
    fn a_connection_torn_anywhere_does_not_affect_the_next_one(
        old in proptest::collection::vec(command(), 0..4), keep in any::<prop::sample::Index>(),
        new in proptest::collection::vec(command(), 0..4), chunk in 1usize..400,
    ) {
        let torn = connection(&old);
        let torn = &torn[..keep.index(torn.len() + 1)];
        let items = decode::<Command>(&[torn, &connection(&new)].concat(), chunk);
        let expected = received(new);
        prop_assert!(items.ends_with(&expected));
        let before = &items[..items.len() - expected.len()];
        prop_assert!(received(old).starts_with(before));
    }

    #[test]
    fn garbage_never_panics_and_never_hides_a_connection(
        garbage: Vec<u8>, connected: bool, chunk in 1usize..50,
    ) {
        let start = if connected { connection(&[]) } else { vec![] };
        let items = decode::<Command>(&[&start[..], &garbage, &connection(&[Command::Stop])].concat(), chunk);
        prop_assert!(items.ends_with(&received(vec![Command::Stop])));
    }
}
