//! Clients at the same time, a thread each.

use anyhow::anyhow;

/// What each of them gives.
pub fn at_once<T: Send>(
    count: usize,
    client: impl Fn() -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..count).map(|_| scope.spawn(&client)).collect();
        let ended =
            clients.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("a client panicked"))));
        ended.collect()
    })
}
