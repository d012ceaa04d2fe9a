//! Types for single values, parsed from the form in which people write them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use rgrid_api::{names, units};
use serde::{Deserialize, Deserializer, de};

/// A duration longer than zero, such as `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Period(pub Duration);

/// How long something is kept: a duration such as `90d`, or `forever` (`None`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub Option<Duration>);

/// A size such as `100KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Bytes(pub u64);

/// An address to listen on, such as `127.0.0.1:8080` or `localhost:0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Listen {
    pub fn is_loopback(&self) -> bool {
        self.0.ip().is_loopback()
    }
}

/// An IP address or a network in CIDR notation, such as `10.0.0.0/8`, without the bits of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange(IpNet);

impl IpRange {
    /// An IPv4 address that is mapped into IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for IpRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network: IpNet| Self(network.trunc())).map_err(|_| {
            format!("{text:?} is not an IP address or network; use a form like 10.0.0.1 or 10.0.0.0/8")
        })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Labels as a table (`{ gpu = "true" }`) or as text for an environment variable (`gpu=true,zone=eu`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pairs = text.trim().trim_start_matches('{').trim_end_matches('}').split(',').map(str::trim);
        let labels = pairs.filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
            None => Err(format!("{pair:?} is not a label; use a form like gpu=true,zone=eu")),
        });
        Self::checked(labels.collect::<Result<_, _>>()?)
    }
}

impl Labels {
    fn checked(labels: BTreeMap<String, String>) -> Result<Self, String> {
        if labels.len() > names::WORKER_LABELS_MAX {
            return Err(format!("{} labels; the maximum is {}", labels.len(), names::WORKER_LABELS_MAX));
        }
        for (key, value) in &labels {
            names::check_label_key(key)?;
            names::check_label_value(value)?;
        }
        Ok(Self(labels))
    }
}

/// TOML and environment variables can hold a number or a boolean where text is meant, as in `gpu = true`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Boolean(bool),
    Integer(i64),
    Float(f64),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(text),
            Scalar::Boolean(value) => value.fmt(f),
            Scalar::Integer(number) => number.fmt(f),
            Scalar::Float(number) => number.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Source {
            Text(String),
            Table(BTreeMap<String, Scalar>),
        }
        let labels = match Source::deserialize(deserializer) {
            Ok(Source::Table(table)) => {
                Self::checked(table.into_iter().map(|(key, value)| (key, value.to_string())).collect())
            }
            Ok(Source::Text(text)) => text.parse(),
            Err(_) => Err("not a table of labels; use a form like { gpu = \"true\" }".to_owned()),
        };
        labels.map_err(de::Error::custom)
    }
}

/// Deserializes each type from the text of a scalar.
macro_rules! deserialize_from_text {
    ($($kind:ident: $parse:expr;)+) => { $(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(&str) -> Result<Self, String> = $parse;
                parse(&Scalar::deserialize(deserializer)?.to_string()).map_err(de::Error::custom)
            }
        }
    )+ };
}

deserialize_from_text! {
    Period: |text| match units::parse_duration(text)? {
        Duration::ZERO => Err("must be longer than 0s".to_owned()),
        duration => Ok(Self(duration)),
    };
    Lifetime: |text| match units::parse_duration(text) {
        _ if text == "forever" => Ok(Self(None)),
        Ok(duration) => Ok(Self(Some(duration))),
        Err(message) => Err(format!("{message}, or `forever`")),
    };
    Bytes: |text| units::parse_size(text).map(Self);
    Listen: |text| {
        let address = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        address.map(Self).ok_or_else(|| format!("{text:?} is not an address; use a form like 127.0.0.1:8080"))
    };
    IpRange: str::parse;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ip_range_contains_the_addresses_of_its_network() {
        let contains =
            |range: &str, address: &str| range.parse::<IpRange>().unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
        assert!(contains("::/0", "fe80::1"));
        for invalid in ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/x", "example.org"] {
            assert!(invalid.parse::<IpRange>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn durations_sizes_and_lifetimes_accept_text_and_bare_numbers() {
        let period = |value| serde_json::from_value::<Period>(value).ok().map(|period| period.0.as_millis());
        assert_eq!(period(json!("1m 30s")), Some(90_000));
        assert_eq!(period(json!(2)), Some(2000));
        assert_eq!(period(json!(0.5)), Some(500));
        assert_eq!([json!("0s"), json!("soon"), json!([1])].map(period), [None; 3]);

        let lifetime = |value| serde_json::from_value::<Lifetime>(value).map(|lifetime| lifetime.0);
        assert_eq!(lifetime(json!("forever")).unwrap(), None);
        assert_eq!(lifetime(json!("1d")).unwrap(), Some(Duration::from_secs(86_400)));
        assert!(lifetime(json!("never")).unwrap_err().to_string().contains("forever"));

        let bytes = |value| serde_json::from_value::<Bytes>(value).ok().map(|bytes| bytes.0);
        assert_eq!([json!("2KiB"), json!(512), json!("much")].map(bytes), [Some(2048), Some(512), None]);
    }

    fn labels(value: serde_json::Value) -> Result<Vec<(String, String)>, String> {
        serde_json::from_value::<Labels>(value)
            .map(|labels| labels.0.into_iter().collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_a_table_or_a_line_of_text() {
        let expected = Ok(vec![("gpu".into(), "true".into()), ("zone".into(), "eu".into())]);
        assert_eq!(labels(json!({ "gpu": true, "zone": "eu" })), expected);
        assert_eq!(labels(json!("gpu=true, zone=eu")), expected);
        assert_eq!(labels(json!("{ gpu=true, zone=eu }")), expected);
        assert_eq!(labels(json!("")), Ok(Vec::new()));
    }

    #[test]
    fn an_invalid_label_is_named() {
        assert_eq!(
            labels(json!("gpu")),
            Err("\"gpu\" is not a label; use a form like gpu=true,zone=eu".to_owned())
        );
        assert!(labels(json!({ "a b": "x" })).unwrap_err().contains("a b"));
        let many: BTreeMap<String, String> = (0..9).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(labels(json!(many)), Err("9 labels; the maximum is 8".to_owned()));
    }
}
