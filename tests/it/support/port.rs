//! Ports for servers that start later, or again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Where the ports begin that the kernel gives to whoever asks for any.
const EPHEMERAL: u16 = 32_768;
const FIRST: u16 = 12_000;

/// A port that is free, and stays so: the kernel gives it to nobody, and no other test of this process gets it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another process with tests begins elsewhere.
    let begin = (std::process::id() % u32::from(EPHEMERAL - FIRST)) as u16;
    loop {
        let number = begin + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + number % (EPHEMERAL - FIRST);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
