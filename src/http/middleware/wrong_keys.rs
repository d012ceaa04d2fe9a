//! Limits how often each address can try keys that are wrong, before they are looked up.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

use crate::execution::{Key, KeyId};
use crate::http::ApiError;
use crate::http::middleware::rate_limit::{Client, RateLimiter};

/// Rejected keys per second and address, and how many at once.
const PER_SECOND: f64 = 1.0;
const BURST: u32 = 50;

pub(crate) struct WrongKeyLimiter {
    rejected: RateLimiter,
    /// The digests of the keys that were valid at their last use. Clients that use them are never limited, because other
    /// clients may share their address, for example behind a proxy.
    known: Mutex<HashMap<KeyId, [u8; 32]>>,
}

impl WrongKeyLimiter {
    pub fn new() -> Self {
        Self { rejected: RateLimiter::new(PER_SECOND, BURST), known: Mutex::default() }
    }

    /// Fails if too many keys from this address were wrong. Must be called before the key is looked up.
    pub fn check(&self, key: &Key, from: &Client) -> Result<(), ApiError> {
        self.check_at(key, from, Instant::now())
    }

    fn check_at(&self, key: &Key, from: &Client, now: Instant) -> Result<(), ApiError> {
        let is_known = self.known.lock().get(key.id()).is_some_and(|digest| key.matches(digest));
        match self.rejected.wait(from, now) {
            Some(retry_after) if !is_known => {
                let message = "too many wrong API keys from this address".to_owned();
                Err(ApiError::RateLimited { message, retry_after })
            }
            _ => Ok(()),
        }
    }

    pub fn accepted(&self, key: &Key) {
        self.known.lock().insert(key.id().clone(), key.digest());
    }

    /// Counts a key that is unknown, revoked or expired.
    pub fn rejected(&self, key: &Key, from: Client) {
        self.rejected_at(key, from, Instant::now());
    }

    fn rejected_at(&self, key: &Key, from: Client, now: Instant) {
        let mut known = self.known.lock();
        if known.get(key.id()).is_some_and(|digest| key.matches(digest)) {
            known.remove(key.id());
        }
        drop(known);
        self.rejected.charge(from, now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    fn address(number: u8) -> Client {
        Client::from_address(IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn after_many_wrong_keys_an_address_must_wait_but_keys_in_use_still_work() {
        let (limiter, now) = (WrongKeyLimiter::new(), Instant::now());
        let [wrong, good, other] = [1, 2, 3].map(|n| Key::from_random([n; 6], [n; 32]));
        limiter.accepted(&good);
        let may = |key: &Key, from, now| limiter.check_at(key, &address(from), now).is_ok();
        for _ in 0..BURST {
            assert!(may(&wrong, 1, now));
            limiter.rejected_at(&wrong, address(1), now);
        }
        assert!(!may(&wrong, 1, now) && !may(&other, 1, now));
        assert!(may(&good, 1, now), "a key in use");
        assert!(
            !may(&Key::from_random([2; 6], [9; 32]), 1, now),
            "the ID of a key in use with another secret"
        );
        assert!(may(&wrong, 2, now), "another address");
        assert!(may(&wrong, 1, now + Duration::from_secs(1)));
        limiter.rejected_at(&good, address(1), now);
        assert!(!may(&good, 1, now), "a key that was revoked");
    }

    #[test]
    fn concurrent_wrong_keys_lengthen_the_wait_to_a_limit() {
        let (limiter, now) = (WrongKeyLimiter::new(), Instant::now());
        let wrong = Key::from_random([1; 6], [1; 32]);
        for _ in 0..1000 {
            limiter.rejected_at(&wrong, address(1), now);
        }
        let refused = limiter.check_at(&wrong, &address(1), now).unwrap_err();
        assert!(matches!(refused, ApiError::RateLimited { retry_after: 51, .. }), "{refused}");
    }
}
