//! Human-readable durations and sizes.

use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Parses `90s`, `5m`, `1h 30m`, `250ms` or `1.5s`. A number without a unit is in seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}: write it like 90s, 5m or 1h30m");
    let mut rest: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(invalid()),
        };
        seconds += number.parse::<f64>().map_err(|_| invalid())? * scale;
        rest = tail.to_owned();
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// Formats a duration like `13ms`, `1.2s`, `5s`, `3m 20s` or `2h 5m`.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let tenths = (ms + 50) / 100;
    if tenths < 100 {
        return format!("{}s", with_tenths(tenths));
    }
    let seconds = (ms + 500) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => two_units(seconds / 60, "m", seconds % 60, "s"),
        _ => two_units(seconds / 3600, "h", seconds % 3600 / 60, "m"),
    }
}

fn two_units(big: u128, big_unit: &str, small: u128, small_unit: &str) -> String {
    match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit} {small}{small_unit}"),
    }
}

/// Parses a size in bytes: `512m`, `512MiB`, `1g`, `100KiB` or `4096`. As in Docker, the units are powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid size {text:?}: write it like 512m, 100KiB or 2g");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(invalid);
    }
    let bytes = number.parse::<f64>().map_err(|_| invalid())? * scale as f64;
    if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(invalid()) }
}

/// Formats a size like `12 B`, `100 KiB` or `3.1 MiB`.
pub fn format_size(bytes: u64) -> String {
    let (scale, unit) = match bytes {
        0..KIB => return format!("{bytes} B"),
        KIB..MIB => (KIB, "KiB"),
        MIB..GIB => (MIB, "MiB"),
        _ => (GIB, "GiB"),
    };
    let tenths = (bytes as f64 * 10.0 / scale as f64).round() as u128;
    format!("{} {unit}", with_tenths(tenths))
}

fn with_tenths(tenths: u128) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("90s"), Ok(90_000));
        assert_eq!(ms("5m"), Ok(300_000));
        assert_eq!(ms("1h 30m"), Ok(5_400_000));
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("1.5"), Ok(1500));
        for bad in ["", "s", "5x", "-5s", "1e300", "1.2.3s", "9".repeat(400).as_str()] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_formatted_as_in_the_contract() {
        let text = |ms| format_duration(Duration::from_millis(ms));
        assert_eq!(text(13), "13ms");
        assert_eq!(text(1200), "1.2s");
        assert_eq!(text(5012), "5s");
        assert_eq!(text(9960), "10s");
        assert_eq!(text(59_600), "1m");
        assert_eq!(text(200_000), "3m 20s");
        assert_eq!(text(7_500_000), "2h 5m");
    }

    #[test]
    fn sizes_are_parsed_and_formatted() {
        assert_eq!(parse_size("512m"), Ok(512 * MIB));
        assert_eq!(parse_size("100KiB"), Ok(100 * KIB));
        assert_eq!(parse_size("1.5g"), Ok(GIB + GIB / 2));
        assert_eq!(parse_size("4096"), Ok(4096));
        for bad in ["", "m", "1t", "-1", "99999999999g"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(format_size(100 * KIB), "100 KiB");
        assert_eq!(format_size(3_250_586), "3.1 MiB");
        assert_eq!(format_size(12), "12 B");
    }
}
