//! `/metrics`: what this process counted, and how the deployment stands.

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::web::Data;
use std::time::Duration;

use crate::http::openapi::Refused;
use crate::http::server::Api;
use crate::metrics::{METRICS, Text};

/// A database that is away does not keep the rest from being told.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Numbers for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"), Refused)
)]
pub(crate) async fn metrics(api: Data<Api>) -> HttpResponse {
    let mut text = Text::default();
    text.head("rgrid_info", "The daemon that answers", "gauge");
    text.line("rgrid_info", &["version"], &[env!("CARGO_PKG_VERSION").to_owned()], 1.0);
    METRICS.write(&mut text);
    deployment(&api, &mut text).await;
    process(&mut text);
    HttpResponse::Ok().content_type(Text::CONTENT_TYPE).body(text.into_string())
}

/// The same from each daemon: add them up with `max`.
async fn deployment(api: &Api, text: &mut Text) {
    let asked = async {
        Ok::<_, crate::store::StoreError>((api.store.queue_depth().await?, api.store.workers().await?))
    };
    let answer = tokio::time::timeout(DATABASE_TIMEOUT, asked).await.ok().and_then(Result::ok);
    text.gauge("rgrid_database_up", "1 when the database answers", if answer.is_some() { 1.0 } else { 0.0 });
    let Some((queue, workers)) = answer else { return };
    text.gauge("rgrid_queue_depth", "Executions that wait", queue.queued as f64);
    text.gauge(
        "rgrid_queue_oldest_seconds",
        "How long the first of them has waited",
        queue.oldest_ms as f64 / 1000.0,
    );
    let alive: Vec<_> = workers.iter().filter(|worker| !worker.draining).collect();
    text.gauge("rgrid_workers", "Workers that claim", alive.len() as f64);
    let slots: i64 = alive.iter().map(|worker| i64::from(worker.slots)).sum();
    text.gauge("rgrid_deployment_slots", "Slots of all workers that claim", slots as f64);
    let running: i64 = workers.iter().map(|worker| worker.running).sum();
    text.gauge("rgrid_deployment_running", "Executions that run", running as f64);
}

/// As Prometheus' own clients name them. Linux tells it in /proc; elsewhere it is left out.
fn process(text: &mut Text) {
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        if let Some(kib) = resident.and_then(|kib| kib.parse::<f64>().ok()) {
            text.gauge("process_resident_memory_bytes", "Memory in use", kib * 1024.0);
        }
        let threads =
            status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse::<f64>().ok());
        if let Some(threads) = threads {
            text.gauge("process_threads", "Threads", threads);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Open file descriptors", open.count() as f64);
    }
}

/// Counts an answer under its route's pattern: a path that somebody made up is no label of its own.
pub(crate) fn answered<B: MessageBody>(answer: &ServiceResponse<B>, took: Duration) {
    let route = answer.request().match_pattern().unwrap_or_else(|| "none".to_owned());
    let method = match answer.request().method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH") => known,
        _ => "other",
    };
    METRICS.requests.add(&[method, &route, answer.status().as_str()], 1);
    METRICS.request_times.observe(&[&route], took);
}
