//! The frame of all pages, and small elements that several pages use.

use std::time::Duration;

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};
use rgrid_api::units::format_duration;
use rgrid_api::{Execution, Status};

use crate::http::Api;
use crate::settings::AuthMode;

pub(crate) fn page(api: &Api, title: &str, main: &Markup) -> Markup {
    let failing: Vec<_> = api.readiness.checks().into_iter().filter(|check| !check.ok).collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · RGrid" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/dashboard.css";
                script src="/assets/dashboard.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.brand href="/" { img src="/assets/icon.svg" alt="" width="22" height="22"; "RGrid" }
                    span.version { "v" (env!("CARGO_PKG_VERSION")) }
                    // The script shows here whether the page is updated live.
                    span.live id="live-state" role="status" {}
                }
                @if !failing.is_empty() {
                    div.problems role="alert" {
                        @for check in &failing { p { strong { (check.name) } " " (check.detail) } }
                    }
                }
                main id="main" tabindex="-1" { (main) }
                footer {
                    a href="/metrics" { "Metrics" }
                    a href="/readyz" { "Health" }
                    a href="/docs" { "API" }
                    // The API does not accept the key that the browser sends for pages.
                    @if api.settings.auth.mode == AuthMode::None { a href="/api/v1/runtimes" { "Runtimes" } }
                }
            }
        }
    }
}

pub(crate) fn badge(status: Status) -> Markup {
    html! { span class={ "badge " (status.as_str()) } { (status.as_str()) } }
}

pub(crate) fn format_ms(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}

/// The time relative to now, with the exact time as a tooltip.
pub(crate) fn relative_time(time: &str) -> Markup {
    let relative = match time.parse::<DateTime<Utc>>() {
        Err(_) => time.to_owned(),
        Ok(parsed) => match (Utc::now() - parsed).num_seconds() {
            ..5 => "just now".to_owned(),
            seconds @ 5..60 => format!("{seconds} s ago"),
            seconds @ 60..3600 => format!("{} min ago", seconds / 60),
            seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
            seconds => format!("{} d ago", seconds / 86_400),
        },
    };
    html! { time datetime=(time) title=(time) { (relative) } }
}

/// The duration; for a running execution, the time since its start.
pub(crate) fn duration(execution: &Execution) -> String {
    if let Some(ms) = execution.duration_ms {
        return format_ms(ms);
    }
    let started = execution.started_at.as_deref().and_then(|time| time.parse::<DateTime<Utc>>().ok());
    let seconds = started.map_or(0, |start| (Utc::now() - start).num_seconds().max(0).unsigned_abs());
    if seconds == 0 { String::new() } else { format!("{}…", format_ms(seconds * 1000)) }
}

pub(crate) fn labels(execution: &Execution) -> Markup {
    html! {
        @for (key, value) in &execution.labels {
            @let label = format!("{key}={value}");
            a.label title=(label) href={ "/?label=" (query_value(&label)) } { (label) }
        }
    }
}

pub(crate) fn query_value(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
