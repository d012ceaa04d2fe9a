//! `/metrics`: what this process counted, and the state of the deployment.

use std::time::Duration;

use actix_web::{HttpResponse, body::MessageBody, dev::ServiceResponse, web::Data};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::http::{Api, ApiError, CommonErrors, HttpResult};
use crate::metrics::METRICS;
use crate::store::StoreError;

/// Without the database, the rest is exported after this time.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Metrics in Prometheus' text format
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"), CommonErrors)
)]
pub(crate) async fn metrics(api: Data<Api>) -> HttpResult {
    let mut now = Registry::default();
    now.register("rgrid", "The daemon that answers", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    deployment(&api, &mut now).await;
    process(&mut now);
    let mut text = String::new();
    for registry in [&now, &METRICS.registry] {
        prometheus_text::encode(&mut text, registry)
            .map_err(|error| ApiError::Internal(format!("cannot encode the metrics: {error}")))?;
    }
    Ok(HttpResponse::Ok().content_type(prometheus_text::CONTENT_TYPE).body(text))
}

/// Every daemon exports the same values: aggregate them with `max`.
async fn deployment(api: &Api, registry: &mut Registry) {
    let query = async { Ok::<_, StoreError>((api.store.queue_depth().await?, api.store.workers().await?)) };
    let answer = tokio::time::timeout(DATABASE_TIMEOUT, query).await.ok().and_then(Result::ok);
    let mut gauge = |name, help, value: i64| registry.register(name, help, ConstGauge::new(value));
    gauge("rgrid_database_up", "1 if the database answers", i64::from(answer.is_some()));
    let Some((queue, workers)) = answer else { return };
    let claiming = || workers.iter().filter(|worker| !worker.draining);
    gauge("rgrid_queue_depth", "Queued executions", queue.queued);
    gauge("rgrid_workers", "Workers that claim executions", claiming().count() as i64);
    let slots = claiming().map(|worker| i64::from(worker.slots)).sum();
    gauge("rgrid_deployment_slots", "Slots of all workers that claim executions", slots);
    let running = workers.iter().map(|worker| worker.running).sum();
    gauge("rgrid_deployment_running", "Running executions", running);
    let oldest = ConstGauge::new(queue.oldest_ms as f64 / 1000.0);
    registry.register(
        "rgrid_queue_oldest_seconds",
        "Time that the oldest queued execution has waited",
        oldest,
    );
}

/// Named as by Prometheus' own clients. Read from /proc, which only Linux has.
fn process(registry: &mut Registry) {
    let mut gauge = |name, help, value: i64| registry.register(name, help, ConstGauge::new(value));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| -> Option<i64> {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?.trim();
        value.trim_end_matches(" kB").parse().ok()
    };
    if let Some(kib) = field("VmRSS:") {
        gauge("process_resident_memory_bytes", "Resident memory", kib * 1024);
    }
    if let Some(threads) = field("Threads:") {
        gauge("process_threads", "Threads", threads);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge("process_open_fds", "Open file descriptors", open.count() as i64);
    }
}

/// Counts a response under its route's pattern, so that made-up paths create no series.
pub(crate) fn count_response<B: MessageBody>(response: &ServiceResponse<B>, took: Duration) {
    let route = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
    let method = match response.request().method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH") => known,
        _ => "other",
    };
    METRICS.requests.add(&[method, &route, response.status().as_str()], 1);
    METRICS.request_times.observe(&[&route], took);
}
