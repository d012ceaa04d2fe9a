//! Values of settings in the form that people write them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration such as `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Period(pub Duration);

/// How long something is kept: a duration such as `90d`, or `forever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub Option<Duration>);

/// A size such as `100KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Bytes(pub u64);

/// An address to listen at, such as `127.0.0.1:8080` or `localhost:0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Listen {
    pub fn is_loopback(&self) -> bool {
        self.0.ip().is_loopback()
    }
}

/// From the environment a bare number comes as a number, not as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Whole(u64),
    Broken(f64),
}

impl Written {
    fn text(self) -> String {
        match self {
            Written::Text(text) => text,
            Written::Whole(number) => number.to_string(),
            Written::Broken(number) => number.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(deserializer)?.text();
        let duration = rgrid_api::units::parse_duration(&text).map_err(de::Error::custom)?;
        if duration.is_zero() { Err(de::Error::custom("must be longer than 0s")) } else { Ok(Self(duration)) }
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(deserializer)?.text();
        if text == "forever" {
            return Ok(Self(None));
        }
        let duration = rgrid_api::units::parse_duration(&text)
            .map_err(|words| de::Error::custom(format!("{words}, or `forever`")))?;
        Ok(Self(Some(duration)))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(deserializer)?.text();
        rgrid_api::units::parse_size(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{text:?} is no address; write it like 127.0.0.1:8080"));
        let mut addresses = text.to_socket_addrs().map_err(|_| wrong())?;
        addresses.next().map(Self).ok_or_else(wrong)
    }
}
