//! How often each client may ask: a bucket of tokens for each, in this process's memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::execution::KeyId;
use crate::http::problem::ApiError;

/// Above this many, buckets that are full again are forgotten.
const REMEMBERED: usize = 10_000;

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    Key(KeyId),
    /// Where there are no keys.
    Address(IpAddr),
}

pub(crate) struct Rates {
    /// Requests a second in the long run; 0: as many as come.
    per_second: f64,
    /// Requests at once.
    burst: f64,
    buckets: Mutex<HashMap<Client, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    pub fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst: f64::from(burst.max(1)), buckets: Mutex::default() }
    }

    /// Takes one token, or says when there will be one.
    pub fn take(&self, client: Client) -> Result<(), ApiError> {
        self.take_at(client, Instant::now())
    }

    fn take_at(&self, client: Client, now: Instant) -> Result<(), ApiError> {
        if self.per_second <= 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > REMEMBERED {
            buckets.retain(|_, bucket| self.filled(bucket, now) < self.burst);
        }
        let bucket = buckets.entry(client).or_insert(Bucket { tokens: self.burst, at: now });
        bucket.tokens = self.filled(bucket, now);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - bucket.tokens) / self.per_second).ceil().max(1.0);
        let words = format!(
            "more than {} requests a second ({} at once) from this client; the limit is http.rate_limit",
            self.per_second, self.burst
        );
        Err(ApiError::TooFast { words, retry_after: wait as u64 })
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(number: u8) -> Client {
        Client::Address(IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn a_burst_is_let_through_and_then_as_many_as_the_rate() {
        let (rates, begun) = (Rates::new(2.0, 3), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        let take = |who, ms| rates.take_at(client(who), at(ms)).is_ok();
        assert_eq!([0, 0, 0, 0].map(|ms| take(1, ms)), [true, true, true, false]);
        assert!(take(2, 0), "another client has a bucket of its own");
        assert_eq!([400, 600, 700, 1100].map(|ms| take(1, ms)), [false, true, false, true]);
    }

    #[test]
    fn the_answer_says_when_to_come_back() {
        let (rates, now) = (Rates::new(0.1, 1), Instant::now());
        rates.take_at(client(1), now).unwrap();
        let refused = rates.take_at(client(1), now).unwrap_err();
        assert!(matches!(refused, ApiError::TooFast { retry_after: 10, .. }), "{refused}");
    }

    #[test]
    fn no_limit_is_no_limit_and_strangers_do_not_pile_up() {
        let free = Rates::new(0.0, 0);
        assert!((0..1000).all(|_| free.take(client(1)).is_ok()));
        let (rates, now) = (Rates::new(1000.0, 1), Instant::now());
        for number in 0..=u32::try_from(REMEMBERED).unwrap() + 1 {
            let who = Client::Address(IpAddr::from(number.to_be_bytes()));
            let _ = rates.take_at(who, now + Duration::from_millis(u64::from(number)));
        }
        assert!(rates.buckets.lock().unwrap().len() < 10);
    }
}
