//! Information about the server: health, runtimes and workers.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use rgrid_api::server::{Check, Worker, WorkerList};
use rgrid_api::{Health, Runtime, RuntimeList};

use crate::http::middleware::rate_limit::client_address;
use crate::http::{Api, CommonErrors, HttpResult};
use crate::settings::AuthMode;

/// A database that needs longer is not usable.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The results of the daemon's checks, for `/readyz`.
#[derive(Default)]
pub struct Readiness {
    state: Mutex<ReadinessState>,
}

#[derive(Default)]
struct ReadinessState {
    draining: bool,
    checks: BTreeMap<String, Result<String, String>>,
}

impl Readiness {
    /// `Ok` contains what the check found, `Err` what is wrong and how to fix it.
    pub fn set(&self, name: &str, result: Result<String, String>) {
        self.state.lock().checks.insert(name.to_owned(), result);
    }

    /// From now on, this process accepts no new work.
    pub fn set_draining(&self) {
        self.state.lock().draining = true;
    }

    pub(crate) fn checks(&self) -> Vec<Check> {
        let state = self.state.lock();
        let check = |(name, result): (&String, &Result<String, String>)| Check {
            name: name.clone(),
            ok: result.is_ok(),
            detail: result.clone().unwrap_or_else(|error| error),
        };
        let draining = state.draining.then(|| Check {
            name: "draining".to_owned(),
            ok: false,
            detail: "this server is stopping; use another one or try again in a moment".to_owned(),
        });
        state.checks.iter().map(check).chain(draining).collect()
    }
}

/// Check whether the process is alive
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = Health)))]
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(health("ok", Vec::new()))
}

/// Check whether the server can serve requests
///
/// Needs no key, so that load balancers can use it. On a server with keys, clients on other hosts do not get the
/// details, which may contain addresses.
#[utoipa::path(
    get, path = "/readyz", tag = "server", responses((status = 200, body = Health), (status = 503, body = Health))
)]
pub(crate) async fn readyz(api: Data<Api>, request: HttpRequest) -> HttpResponse {
    let (ok, detail) = match tokio::time::timeout(DATABASE_TIMEOUT, api.store.ping()).await {
        Ok(Ok(())) => (true, "answers".to_owned()),
        Ok(Err(error)) => (false, error.to_string()),
        Err(_) => (false, format!("no answer within {}s", DATABASE_TIMEOUT.as_secs())),
    };
    let mut checks = vec![Check { name: "database".to_owned(), ok, detail }];
    checks.extend(api.readiness.checks());
    let is_local =
        client_address(&request, &api.settings.http.trusted_proxies).is_some_and(|ip| ip.is_loopback());
    if api.settings.auth.mode == AuthMode::Keys && !is_local {
        checks.iter_mut().for_each(|check| check.detail.clear());
    }
    if checks.iter().all(|check| check.ok) {
        HttpResponse::Ok().json(health("ok", checks))
    } else {
        HttpResponse::ServiceUnavailable().json(health("unavailable", checks))
    }
}

fn health(status: &str, checks: Vec<Check>) -> Health {
    Health { status: status.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), checks }
}

/// List the runtimes
#[utoipa::path(
    get, path = "/api/v1/runtimes", tag = "server", responses((status = 200, body = RuntimeList), CommonErrors)
)]
pub(crate) async fn runtimes(api: Data<Api>) -> HttpResponse {
    let items = api.runtimes.iter().map(|(name, entry)| Runtime {
        name: name.to_owned(),
        image: entry.image.clone(),
        aliases: entry.aliases.clone(),
        extensions: entry.extensions.clone(),
        default: name == api.runtimes.default_name(),
    });
    HttpResponse::Ok().json(RuntimeList { items: items.collect() })
}

/// List the workers
#[utoipa::path(
    get, path = "/api/v1/workers", tag = "server", responses((status = 200, body = WorkerList), CommonErrors)
)]
pub(crate) async fn workers(api: Data<Api>) -> HttpResult {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let items = api.store.workers().await?.into_iter().map(|row| Worker {
        labels: row.labels(),
        firewall: row.firewall(),
        id: row.id,
        name: row.name,
        slots: row.slots.unsigned_abs(),
        running: row.running.unsigned_abs(),
        started_at: time(row.started_at),
        last_seen: time(row.last_seen),
        draining: row.draining,
        engine_problem: row.engine_problem,
        firewall_problem: row.firewall_problem,
    });
    Ok(HttpResponse::Ok().json(WorkerList { items: items.collect() }))
}
