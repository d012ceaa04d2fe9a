//! An init that sends arbitrary messages: the daemon accepts no more than its limits. Run it with `scripts/fuzz daemon`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rgrid_init::{
    Decoder, Download, Event, EventCheck, MAX_OUTPUTS, MAX_TEXT, Message, Received, Token, check_message,
    check_outputs,
};

const LIMIT: u64 = 1000;
const SIZE: u64 = 100;

fuzz_target!(|input: (bool, Vec<Vec<u8>>)| {
    let (adopted, payloads) = input;
    let token = Token::from_random([7; 16]);
    let mut decoder = Decoder::<Message>::new(token.clone());
    decoder.push(token.as_bytes());
    for payload in &payloads {
        let length = u32::try_from(payload.len()).expect("a small input");
        decoder.push(&[&length.to_le_bytes()[..], payload, b"\n"].concat());
    }
    let limits = rgrid_init::Limits {
        timeout_ms: 1,
        grace_ms: 1,
        output_limit: LIMIT,
        max_outputs: 3,
        max_output_bytes: SIZE,
    };
    let mut check = if adopted { EventCheck::adopted() } else { EventCheck::new(LIMIT, 0) };
    let (mut text, mut last, mut download) = (0, None, Some(Download::new(0, SIZE)));
    while let Ok(Some(received)) = decoder.next() {
        let Received::Frame(message) = received else { continue };
        if check_message(&message).is_err() {
            return;
        }
        match message {
            Message::Event { seq, event } => {
                if check.event(seq, &event).is_err() {
                    return;
                }
                assert!(last.is_none_or(|last: u64| seq == last + 1));
                last = Some(seq);
                match event {
                    Event::Started { .. } => {}
                    Event::Output { text: new, .. } => {
                        assert!(new.len() <= MAX_TEXT && !new.contains('\0'));
                        text += new.len() as u64;
                        assert!(adopted || text <= 3 * LIMIT);
                    }
                    Event::Exit(exit) => {
                        assert!(exit.outputs.len() <= MAX_OUTPUTS);
                        if check_outputs(&exit.outputs, &limits).is_ok() {
                            let size: u64 = exit.outputs.iter().map(|file| file.size).sum();
                            assert!(size <= SIZE && exit.outputs.len() <= 3);
                        }
                    }
                }
            }
            Message::Piece { output, offset, content, last } => {
                let Some(file) = &mut download else { continue };
                match file.add(output, offset, &content, last) {
                    Ok(Some(true)) => {
                        let content = download.take().map(Download::into_content);
                        assert_eq!(content.map(|content| content.len() as u64), Some(SIZE));
                    }
                    Ok(_) => assert!(file.offset() <= SIZE),
                    Err(_) => return,
                }
            }
            Message::Hello { .. } | Message::Refused { .. } | Message::Renewed => {}
        }
    }
});
