//! The dashboard at `/`: pages made on the server, readable without JavaScript.
//!
//! All text goes through maud, which escapes it; the one script sets `textContent` alone. Nothing is inline, so the
//! Content-Security-Policy allows nothing but this server's own files. See `docs/decisions/0008-dashboard.md`.

mod actions;
mod chart;
mod execution;
mod layout;
mod overview;
mod parts;
mod reference;
mod timeline;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpResponse, Route, web};
use maud::Markup;

use crate::http::events;
use crate::http::middleware::auth;
use crate::http::problem::{ApiError, no_such_method};
use crate::http::server::Api;
use crate::store::Minute;

/// Nothing but this server's own files; no frames, no plug-ins, no forms to elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Whoever looks, the last hour is counted so often.
const HOUR_AGE: Duration = Duration::from_secs(5);

/// Pages at `/` and `/executions/…`, and what they are made of at `/assets/…`.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    let read = |path: &str, route: Route| {
        let resource = web::resource(path).route(route);
        resource.default_service(web::to(|asked| no_such_method(asked, "GET"))).wrap(from_fn(guarded))
    };
    let act = |path: &str, route: Route| {
        let resource = web::resource(path).route(route);
        resource.default_service(web::to(|asked| no_such_method(asked, "POST"))).wrap(from_fn(guarded))
    };
    let docs = web::resource("/docs").route(web::get().to(reference::show));
    let docs = docs.default_service(web::to(|asked| no_such_method(asked, "GET")));
    config
        .service(read("/", web::get().to(overview::page)))
        // What the server can do is open to all, as openapi.json is.
        .service(docs.wrap(from_fn(fenced)))
        .service(read("/executions/{id}", web::get().to(execution::page)))
        // The same as below /api/v1, where a browser's EventSource and links can reach it as they reach the page.
        .service(read("/executions/{id}/events", web::get().to(events::events)))
        .service(read("/executions/{id}/outputs/{name:.*}", web::get().to(crate::http::outputs::download)))
        .service(act("/executions/{id}/cancel", web::post().to(actions::cancel)))
        .service(act("/executions/{id}/retry", web::post().to(actions::retry)))
        .service(read("/assets/dashboard.css", web::get().to(|| asset("text/css; charset=utf-8", CSS))))
        .service(read("/assets/dashboard.js", web::get().to(|| asset("text/javascript; charset=utf-8", JS))))
        .service(read("/assets/icon.svg", web::get().to(|| asset("image/svg+xml", ICON))))
        .service(read("/favicon.ico", web::get().to(|| asset("image/svg+xml", ICON))));
}

const CSS: &str = include_str!("assets/dashboard.css");
const JS: &str = include_str!("assets/dashboard.js");
const ICON: &str = include_str!("assets/icon.svg");

async fn asset(kind: &'static str, content: &'static str) -> HttpResponse {
    HttpResponse::Ok().content_type(kind).body(content)
}

/// Everything of the dashboard comes through here. Where the server wants a key, browsers ask for it.
async fn guarded(
    api: web::Data<Api>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    Ok(with_fence(auth::guard_page(api, request, next).await?))
}

async fn fenced(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    Ok(with_fence(next.call(request).await?))
}

/// What a page may do and who may show it.
fn with_fence<B>(mut answer: ServiceResponse<B>) -> ServiceResponse<B> {
    let headers = answer.headers_mut();
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), same_origin.clone());
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), same_origin);
    answer
}

fn html(markup: Markup) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(markup.into_string())
}

/// The last hour, counted a moment ago at most.
#[derive(Default)]
pub(crate) struct Hour(Mutex<Option<(Instant, Vec<Minute>)>>);

impl Hour {
    async fn get(&self, api: &Api) -> Result<Vec<Minute>, ApiError> {
        if let Some((_, minutes)) = self.lock().as_ref().filter(|(at, _)| at.elapsed() < HOUR_AGE) {
            return Ok(minutes.clone());
        }
        let minutes = api.store.last_hour().await?;
        *self.lock() = Some((Instant::now(), minutes.clone()));
        Ok(minutes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Vec<Minute>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
