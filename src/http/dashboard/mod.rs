//! The dashboard at `/`: pages rendered on the server, readable without JavaScript.
//!
//! maud escapes all text, and the only script sets nothing but `textContent`. Nothing is inline, so the
//! Content-Security-Policy allows only this server's own files. See `docs/decisions/0008-dashboard.md`.

mod chart;
mod execution;
mod layout;
mod overview;
mod reference;

use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, post};
use actix_web::{Error, HttpResponse};
use maud::Markup;
use parking_lot::Mutex;

use crate::http::middleware::auth::require_key_for_page;
use crate::http::server::{get, resource};
use crate::http::{Api, ApiError, events, outputs};
use crate::store::Minute;

/// Only this server's own files; no frames, no plug-ins, no forms that post elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const CSS: (&str, &str) = ("text/css; charset=utf-8", include_str!("assets/dashboard.css"));
const JS: (&str, &str) = ("text/javascript; charset=utf-8", include_str!("assets/dashboard.js"));
const ICON: (&str, &str) = ("image/svg+xml", include_str!("assets/icon.svg"));

/// The last hour is queried at most this often, no matter how many clients look at it.
const LAST_HOUR_AGE: Duration = Duration::from_secs(5);

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let asset = |(kind, content): (&'static str, &'static str)| {
        vec![("GET", get().to(move || async move { HttpResponse::Ok().content_type(kind).body(content) }))]
    };
    let endpoints = [
        ("/", vec![("GET", get().to(overview::page))]),
        ("/executions/{id}", vec![("GET", get().to(execution::page))]),
        // The same as below /api/v1, but links and EventSource can only use the browser's own authentication.
        ("/executions/{id}/events", vec![("GET", get().to(events::events))]),
        ("/executions/{id}/outputs/{name:.*}", vec![("GET", get().to(outputs::download))]),
        ("/executions/{id}/cancel", vec![("POST", post().to(execution::cancel))]),
        ("/executions/{id}/retry", vec![("POST", post().to(execution::retry))]),
        ("/assets/dashboard.css", asset(CSS)),
        ("/assets/dashboard.js", asset(JS)),
        ("/assets/icon.svg", asset(ICON)),
        ("/favicon.ico", asset(ICON)),
    ];
    for endpoint in endpoints {
        let page = resource(endpoint).wrap(from_fn(require_key_for_page));
        config.service(page.wrap(from_fn(add_security_headers)));
    }
    // Needs no key, like openapi.json.
    let docs = resource(("/docs", vec![("GET", get().to(reference::page))]));
    config.service(docs.wrap(from_fn(add_security_headers)));
}

async fn add_security_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = next.call(request).await?.map_into_boxed_body();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Ok(response)
}

fn html_response(markup: Markup) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(markup.into_string())
}

/// The executions that ended in each minute of the last hour.
#[derive(Default)]
pub(crate) struct LastHourCache(Mutex<Option<(Instant, Vec<Minute>)>>);

impl LastHourCache {
    async fn get(&self, api: &Api) -> Result<Vec<Minute>, ApiError> {
        let cached = self.0.lock().clone();
        if let Some((_, minutes)) = cached.filter(|(at, _)| at.elapsed() < LAST_HOUR_AGE) {
            return Ok(minutes);
        }
        let minutes = api.store.last_hour().await?;
        let entry = Some((Instant::now(), minutes.clone()));
        *self.0.lock() = entry;
        Ok(minutes)
    }
}
