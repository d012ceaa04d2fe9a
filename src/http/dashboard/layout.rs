//! What all pages share.

use maud::{DOCTYPE, Markup, html};

use crate::http::server::Api;
use crate::settings::AuthMode;

pub(crate) fn page(api: &Api, title: &str, main: &Markup) -> Markup {
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
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/" { img src="/assets/icon.svg" alt="" width="22" height="22"; "RGrid" }
                    span.version { "v" (env!("CARGO_PKG_VERSION")) }
                    // Filled by the script: whether the page is kept up to date.
                    span.live id="live-state" role="status" {}
                }
                (troubles(api))
                main id="main" tabindex="-1" { (main) }
                footer {
                    a href="/metrics" { "Metrics" }
                    a href="/readyz" { "Health" }
                    a href="/docs" { "API" }
                    // A browser's key is for the pages alone.
                    @if api.settings.auth.mode == AuthMode::None { a href="/api/v1/runtimes" { "Runtimes" } }
                }
            }
        }
    }
}

/// What keeps this server from serving.
fn troubles(api: &Api) -> Markup {
    let failing: Vec<_> = api.readiness.checks().into_iter().filter(|check| !check.ok).collect();
    html! {
        @if !failing.is_empty() {
            div.trouble role="alert" {
                @for check in &failing { p { strong { (check.name) } " " (check.detail) } }
            }
        }
    }
}
