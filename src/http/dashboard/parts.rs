//! Small pieces that several pages show.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use rgrid_api::{Execution, Status};
use std::time::Duration;

use rgrid_api::units::format_duration;

/// The state in a word; its colour and its mark say the same once more.
pub(crate) fn badge(status: Status) -> Markup {
    html! { span class={ "badge " (status.as_str()) } { (status.as_str()) } }
}

/// The beginning of an id is the time; its end tells one from another.
pub(crate) fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

pub(crate) fn took(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}

/// How long ago, with the time itself for whoever points at it.
pub(crate) fn ago(time: &str) -> Markup {
    html! { time datetime=(time) title=(time) { (since(time)) } }
}

fn since(time: &str) -> String {
    let Ok(time) = time.parse::<DateTime<Utc>>() else { return time.to_owned() };
    let seconds = (Utc::now() - time).num_seconds().max(0);
    match seconds {
        0..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// How long it ran, or has been running.
pub(crate) fn duration(execution: &Execution) -> String {
    if let Some(ms) = execution.duration_ms {
        return took(ms);
    }
    let started = execution.started_at.as_deref().and_then(|time| time.parse::<DateTime<Utc>>().ok());
    let seconds = started.map_or(0, |start| (Utc::now() - start).num_seconds().max(0).unsigned_abs());
    if seconds == 0 { String::new() } else { format!("{}…", took(seconds * 1000)) }
}

pub(crate) fn labels(execution: &Execution) -> Markup {
    html! {
        @for (key, value) in &execution.labels {
            a.label title={ (key) "=" (value) } href={ "/?label=" (encoded(&format!("{key}={value}"))) } { (key) "=" (value) }
        }
    }
}

/// A value in a query.
pub(crate) fn encoded(text: &str) -> String {
    let pairs = [("v", text)];
    serde_urlencoded::to_string(pairs).unwrap_or_default().split_off(2)
}
