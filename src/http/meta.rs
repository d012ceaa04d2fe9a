//! What the server tells of itself: health, runtimes, workers.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use chrono::SecondsFormat;
use rgrid_api::server::{Check, Worker, WorkerList};
use rgrid_api::{Health, Runtime, RuntimeList};

use crate::http::middleware::client_address;
use crate::http::openapi::Refused;
use crate::http::problem::ApiError;
use crate::http::server::Api;
use crate::settings::AuthMode;

/// A database that needs longer does not serve anybody.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The process lives
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = Health)))]
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(health("ok", Vec::new()))
}

/// It can serve, or why not
///
/// Without a key, so that a load balancer can ask. Whoever is not on this host learns what is wrong, but not
/// the words, which may name addresses.
#[utoipa::path(
    get, path = "/readyz", tag = "server", responses((status = 200, body = Health), (status = 503, body = Health))
)]
pub(crate) async fn readyz(api: Data<Api>, request: HttpRequest) -> HttpResponse {
    let mut checks = vec![database(&api).await];
    checks.extend(api.readiness.checks());
    let here = client_address::address(&request, &api.settings.http.trusted_proxies)
        .is_some_and(|ip| ip.is_loopback());
    if api.settings.auth.mode == AuthMode::Keys && !here {
        checks.iter_mut().for_each(|check| check.detail.clear());
    }
    if checks.iter().all(|check| check.ok) {
        HttpResponse::Ok().json(health("ok", checks))
    } else {
        HttpResponse::ServiceUnavailable().json(health("unavailable", checks))
    }
}

async fn database(api: &Api) -> Check {
    let answered = tokio::time::timeout(DATABASE_TIMEOUT, api.store.ping()).await;
    let (ok, detail) = match answered {
        Ok(Ok(())) => (true, "answers".to_owned()),
        Ok(Err(error)) => (false, error.to_string()),
        Err(_) => (false, format!("no answer within {}s", DATABASE_TIMEOUT.as_secs())),
    };
    Check { name: "database".to_owned(), ok, detail }
}

fn health(status: &str, checks: Vec<Check>) -> Health {
    Health { status: status.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), checks }
}

/// What scripts can run in
#[utoipa::path(
    get, path = "/api/v1/runtimes", tag = "server", responses((status = 200, body = RuntimeList), Refused)
)]
pub(crate) async fn runtimes(api: Data<Api>) -> HttpResponse {
    let runtime = |(name, entry): (&str, &crate::settings::RuntimeEntry)| Runtime {
        name: name.to_owned(),
        image: entry.image.clone(),
        aliases: entry.aliases.clone(),
        extensions: entry.extensions.clone(),
        default: name == api.runtimes.default_name(),
    };
    HttpResponse::Ok().json(RuntimeList { items: api.runtimes.iter().map(runtime).collect() })
}

/// Who runs scripts
#[utoipa::path(
    get, path = "/api/v1/workers", tag = "server", responses((status = 200, body = WorkerList), Refused)
)]
pub(crate) async fn workers(api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let worker = |row: crate::store::WorkerRow| Worker {
        labels: row.labels(),
        id: row.id,
        name: row.name,
        slots: row.slots.unsigned_abs(),
        running: row.running.unsigned_abs(),
        started_at: time(row.started_at),
        last_seen: time(row.last_seen),
        draining: row.draining,
    };
    let items = api.store.workers().await?.into_iter().map(worker).collect();
    Ok(HttpResponse::Ok().json(WorkerList { items }))
}
