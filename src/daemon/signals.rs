//! SIGTERM and SIGINT, in one place: the first asks to stop, the second to stop at once.

use std::thread;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// Ends the process without the destructors of its threads: a runtime that was left as it stood has tasks among them,
/// and those panic without it.
pub(crate) fn leave(code: i32) -> ! {
    signal_hook::low_level::exit(code)
}

/// How often it was asked to stop.
pub(crate) fn listen() -> anyhow::Result<watch::Receiver<u32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("signals can't be handled")?;
    let (sender, receiver) = watch::channel(0);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                sender.send_modify(|count| *count += 1);
            }
        })
        .context("the thread for signals can't be started")?;
    Ok(receiver)
}
