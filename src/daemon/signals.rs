//! SIGTERM and SIGINT. The first signal stops the daemon in order, the second at once.

use std::thread;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// Exits without running the destructors of threads, because those of tasks panic without their runtime.
pub(crate) fn leave(code: i32) -> ! {
    signal_hook::low_level::exit(code)
}

/// Returns the number of signals received so far.
pub(crate) fn listen() -> anyhow::Result<watch::Receiver<u32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("installing the signal handler failed")?;
    let (sender, receiver) = watch::channel(0);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                sender.send_modify(|count| *count += 1);
            }
        })
        .context("starting the signal thread failed")?;
    Ok(receiver)
}
