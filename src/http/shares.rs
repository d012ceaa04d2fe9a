//! Shares: how much of a pool one client may use, so that the others always find room.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::http::middleware::rate_limit::Client;

/// The part of a pool that one client may use: a quarter, at least 1.
pub(crate) fn share_of(pool: u64) -> u64 {
    (pool / 4).max(1)
}

/// How many places of a pool each client holds. Clones share the count.
#[derive(Clone)]
pub(crate) struct Shares {
    max: usize,
    held: Held,
}

type Held = Arc<Mutex<HashMap<Client, usize>>>;

impl Shares {
    pub fn of(pool: usize) -> Self {
        let max = usize::try_from(share_of(pool as u64)).unwrap_or(pool);
        Self { max, held: Held::default() }
    }

    /// The most places that a client may hold.
    pub fn max(&self) -> usize {
        self.max
    }

    /// `None` if the client's share is used up.
    pub fn take(&self, client: Client) -> Option<Share> {
        let mut held = self.held.lock();
        let count = held.get(&client).copied().unwrap_or(0);
        if count >= self.max {
            return None;
        }
        held.insert(client.clone(), count + 1);
        Some(Share { client, held: Arc::clone(&self.held) })
    }
}

/// One place of a client's share. Dropping it returns the place.
pub(crate) struct Share {
    client: Client,
    held: Held,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        match held.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_client_holds_at_most_a_quarter_of_the_places() {
        let shares = Shares::of(9);
        let take = |number: u8| shares.take(Client::from_address(IpAddr::from([192, 0, 2, number])));
        let first = take(1).unwrap();
        let second = take(1).unwrap();
        assert!(take(1).is_none() && take(2).is_some());
        drop(first);
        let third = take(1).unwrap();
        assert!(take(1).is_none());
        drop((second, third));
        assert!(shares.held.lock().is_empty());
        assert_eq!((Shares::of(0).max(), Shares::of(3).max(), Shares::of(500).max()), (1, 1, 125));
    }
}
