//! Decodes arbitrary bytes in arbitrary chunks, before and after the token, in both directions and as output of a script.
//! Run it with `scripts/fuzz decoder`.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use rgrid_init::{Command, Decoder, Message, Received, TextDecoder, Token, encode};
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (chunk, connected, bytes) = input;
    let chunk = usize::from(chunk).max(1);
    // No prefix of this token is also its suffix. Otherwise it could be found partly in the bytes before it, which
    // happens to a random token only if a connection breaks within the token.
    let token = Token::from_random([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    decode::<Command>(&token, connected, bytes, chunk, &Command::Stop);
    decode::<Command>(&token, connected, bytes, chunk, &Command::Renew { upto: u64::MAX });
    decode::<Message>(&token, connected, bytes, chunk, &Message::Renewed);
    decode::<Message>(&token, connected, bytes, chunk, &Message::Refused { reason: String::new() });
    decode_text(bytes, chunk);
});

/// A complete connection is decoded regardless of the bytes before it.
fn decode<T>(token: &Token, connected: bool, bytes: &[u8], chunk: usize, last: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let mut decoder = Decoder::<T>::new(token.clone());
    if connected {
        decoder.push(token.as_bytes());
    }
    bytes.chunks(chunk).for_each(|piece| decoder.push(piece));
    decoder.push(token.as_bytes());
    decoder.push(&encode(last).expect("a small message"));
    let mut received = None;
    loop {
        match decoder.next() {
            Ok(Some(item)) => received = Some(item),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    match received {
        Some(Received::Frame(message)) => assert_eq!(&message, last),
        other => panic!("the last item is {other:?}"),
    }
}

fn decode_text(bytes: &[u8], chunk: usize) {
    let mut decoder = TextDecoder::new();
    let mut text: String = bytes.chunks(chunk).map(|piece| decoder.push(piece)).collect();
    text.push_str(&decoder.finish());
    assert_eq!(text, String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}"));
}
