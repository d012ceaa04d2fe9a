//! Frames of the conversation with the init: one line of output, and a full piece of a file.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rgrid_init::{Decoder, Event, MAX_TEXT, Message, Stream, Token, encode};

fn message(bytes: usize) -> Message {
    Message::Event { seq: 1, event: Event::Output { stream: Stream::Stdout, text: "x".repeat(bytes) } }
}

fn codec(criterion: &mut Criterion) {
    let token = Token::from_random([7; 16]);
    for (name, bytes) in [("a line", 80), ("a full piece", MAX_TEXT)] {
        let message = message(bytes);
        let frame = encode(&message).unwrap();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function("encode", |bencher| bencher.iter(|| encode(black_box(&message)).unwrap()));
        let mut wire = token.as_str().as_bytes().to_vec();
        wire.extend_from_slice(&frame);
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                let mut decoder = Decoder::<Message>::new(token.clone());
                decoder.push(black_box(&wire));
                decoder.next().unwrap()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
