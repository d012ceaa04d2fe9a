//! Identifies the client of a request, and limits the requests of each with a token bucket in this process's memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use actix_web::{HttpMessage, HttpRequest};
use parking_lot::Mutex;

use crate::execution::KeyId;
use crate::http::ApiError;
use crate::settings::IpRange;

/// With more buckets than this, full ones are removed.
const BUCKETS_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    Key(KeyId),
    /// On a server without keys, or before the key is verified.
    Address(IpAddr),
}

impl Client {
    /// The client of a request that has passed the authentication. `None` on the host of a server without keys, where
    /// all programs belong together.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// An IPv6 client usually has a /64 network to itself, so its addresses count as one.
    pub fn from_address(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            IpAddr::V4(_) => address,
        })
    }
}

pub(crate) struct RateLimiter {
    /// Sustained requests per second; 0 means no limit.
    per_second: f64,
    /// Requests that may arrive at once.
    burst: f64,
    buckets: Mutex<HashMap<Client, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimiter {
    pub fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst: f64::from(burst.max(1)), buckets: Mutex::default() }
    }

    /// Takes one token; the error contains the time until the next one.
    pub fn take(&self, client: Client) -> Result<(), ApiError> {
        self.take_at(client, Instant::now())
    }

    fn take_at(&self, client: Client, now: Instant) -> Result<(), ApiError> {
        if self.per_second <= 0.0 {
            return Ok(());
        }
        let tokens = self.update(client, now, |tokens| if tokens >= 1.0 { tokens - 1.0 } else { tokens });
        let Some(retry_after) = self.until_next_token(tokens) else { return Ok(()) };
        let message = format!(
            "rate limit exceeded: at most {} requests per second ({} at once) are allowed per client \
             (http.rate_limit)",
            self.per_second, self.burst
        );
        Err(ApiError::RateLimited { message, retry_after })
    }

    /// The seconds until the client has a token; `None` if it has one now.
    pub fn wait(&self, client: &Client, now: Instant) -> Option<u64> {
        let tokens = self.buckets.lock().get(client).map_or(self.burst, |bucket| self.tokens(bucket, now));
        self.until_next_token(tokens)
    }

    /// Takes a token even if none is left, so that concurrent requests cannot exceed the rate for long.
    pub fn charge(&self, client: Client, now: Instant) {
        self.update(client, now, |tokens| (tokens - 1.0).max(-self.burst));
    }

    /// Returns the tokens before the change.
    fn update(&self, client: Client, now: Instant, change: impl Fn(f64) -> f64) -> f64 {
        let mut buckets = self.buckets.lock();
        if buckets.len() > BUCKETS_MAX {
            buckets.retain(|_, bucket| self.tokens(bucket, now) < self.burst);
        }
        let bucket = buckets.entry(client).or_insert(Bucket { tokens: self.burst, at: now });
        let before = self.tokens(bucket, now);
        *bucket = Bucket { tokens: change(before), at: now };
        before
    }

    fn until_next_token(&self, tokens: f64) -> Option<u64> {
        (tokens < 1.0).then(|| ((1.0 - tokens) / self.per_second).ceil().max(1.0) as u64)
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + elapsed * self.per_second).min(self.burst)
    }
}

/// The peer's address or, if the peer is a trusted proxy, the address that it forwarded. Any client can send this header,
/// so it is read from its end, as long as the sender of each entry is trusted.
pub(crate) fn client_address(request: &HttpRequest, trusted: &[IpRange]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let lines = request.headers().get_all("x-forwarded-for").filter_map(|line| line.to_str().ok());
    let forwarded: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    Some(forwarded_address(peer, &forwarded, trusted))
}

fn forwarded_address(peer: IpAddr, forwarded: &[&str], trusted: &[IpRange]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    for entry in forwarded.iter().rev() {
        let Some(address) = entry.parse().ok().filter(|_| is_trusted(nearest)) else { break };
        nearest = address;
    }
    nearest.to_canonical()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(number: u8) -> Client {
        Client::Address(IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn after_a_burst_requests_pass_at_the_rate() {
        let (limiter, start) = (RateLimiter::new(2.0, 3), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let take = |number, ms| limiter.take_at(client(number), at(ms)).is_ok();
        assert_eq!([0, 0, 0, 0].map(|ms| take(1, ms)), [true, true, true, false]);
        assert!(take(2, 0), "each client has its own bucket");
        assert_eq!([400, 600, 700, 1100].map(|ms| take(1, ms)), [false, true, false, true]);
    }

    #[test]
    fn the_error_contains_the_time_until_the_next_token() {
        let (limiter, now) = (RateLimiter::new(0.1, 1), Instant::now());
        limiter.take_at(client(1), now).unwrap();
        let error = limiter.take_at(client(1), now).unwrap_err();
        assert!(matches!(error, ApiError::RateLimited { retry_after: 10, .. }), "{error}");
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one_client() {
        let client = |address: &str| Client::from_address(address.parse().unwrap());
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::2"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn zero_means_no_limit_and_full_buckets_are_removed() {
        let unlimited = RateLimiter::new(0.0, 0);
        assert!((0..1000).all(|_| unlimited.take(client(1)).is_ok()));
        let (limiter, now) = (RateLimiter::new(1000.0, 1), Instant::now());
        for number in 0..=u32::try_from(BUCKETS_MAX).unwrap() + 1 {
            let client = Client::Address(IpAddr::from(number.to_be_bytes()));
            let _ = limiter.take_at(client, now + Duration::from_millis(u64::from(number)));
        }
        assert!(limiter.buckets.lock().len() < 10);
    }

    #[test]
    fn only_entries_of_trusted_proxies_are_used() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let cases: &[(&str, &[&str], &str)] = &[
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::1", &["1.2.3.4", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.2.3.4", "198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7", "unknown"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ];
        for (peer, forwarded, expected) in cases {
            let address = forwarded_address(peer.parse().unwrap(), forwarded, &trusted);
            assert_eq!(address.to_string(), *expected, "{peer} {forwarded:?}");
        }
    }
}
