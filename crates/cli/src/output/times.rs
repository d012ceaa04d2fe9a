//! Formats the API's times for people.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use rgrid_api::units::format_duration;

/// `2025-11-15 16:30:00` in local time. An invalid time is returned unchanged.
pub fn local(rfc3339: &str) -> String {
    match DateTime::parse_from_rfc3339(rfc3339) {
        Ok(time) => time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// `3 minutes ago`.
pub fn relative(rfc3339: &str) -> String {
    match parse(rfc3339) {
        Some(time) => ago(Utc::now().signed_duration_since(time).num_seconds()),
        None => rfc3339.to_owned(),
    }
}

/// `None` if a time is invalid, or `to` is before `from`.
pub fn between(from: &str, to: &str) -> Option<Duration> {
    parse(to)?.signed_duration_since(parse(from)?).to_std().ok()
}

/// The time since then by this machine's clock.
pub fn since(rfc3339: &str) -> Option<Duration> {
    Utc::now().signed_duration_since(parse(rfc3339)?).to_std().ok()
}

pub fn milliseconds(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}

/// The API uses RFC 3339, and HTTP's `Date` header RFC 2822.
fn parse(time: &str) -> Option<DateTime<Utc>> {
    let parsed = DateTime::parse_from_rfc3339(time).or_else(|_| DateTime::parse_from_rfc2822(time));
    parsed.ok().map(|time| time.with_timezone(&Utc))
}

/// The clocks of client and server may differ, so the future counts as `just now`.
fn ago(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..=1 => return "just now".to_owned(),
        2..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shown_in_their_largest_unit() {
        let texts = [-5, 1, 59, 60, 7199, 90_000, 200_000].map(ago);
        assert_eq!(
            texts,
            [
                "just now",
                "just now",
                "59 seconds ago",
                "1 minute ago",
                "1 hour ago",
                "1 day ago",
                "2 days ago"
            ]
        );
    }

    #[test]
    fn a_local_time_has_no_zone_and_no_fraction() {
        let text = local("2025-11-15T16:30:00.123Z");
        assert_eq!((text.len(), text.get(16..19)), (19, Some(":00")));
        assert_eq!(local("soon"), "soon");
    }

    #[test]
    fn a_negative_duration_is_none() {
        let (early, late) = ("2025-11-15T16:30:00Z", "2025-11-15T16:30:05.500Z");
        assert_eq!(between(early, late), Some(Duration::from_millis(5500)));
        assert_eq!(between(late, early), None);
    }
}
