//! What this process counts and measures, for `/metrics`.
//!
//! Every layer may use it; it uses none. Numbers that belong to the deployment (the queue, the workers) are
//! not kept here but read from the database when they are asked for.

mod families;
mod text;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use families::{Counters, Gauge, Histograms, Raised};
pub use text::Text;

/// Upper bounds in seconds.
const PHASES: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
const CALLS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0];

pub struct Metrics {
    pub claims: Counters,
    pub releases: Counters,
    pub rescues: Counters,
    pub runs: Counters,
    pub phases: Histograms,
    pub output_bytes: Counters,
    pub slots: Gauge,
    pub running: Gauge,
    pub parked: Gauge,
    pub networks: Counters,
    pub retries: Counters,
    pub panics: Counters,
    pub docker_calls: Histograms,
    pub docker_errors: Counters,
    pub store_waits: Histograms,
    pub store_calls: Histograms,
    pub store_errors: Counters,
    pub store_busy: Gauge,
    pub requests: Counters,
    pub request_times: Histograms,
    pub followers: Gauge,
    pub swept: Counters,
    pub webhooks: Counters,
}

/// Of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    claims: Counters::new("rgrid_claims_total", "Executions claimed by this worker", &[]),
    releases: Counters::new("rgrid_releases_total", "ActiveClaims given back unfinished", &[]),
    rescues: Counters::new(
        "rgrid_rescues_total",
        "ActiveClaims of lost workers that were taken back",
        &["becomes"],
    ),
    runs: Counters::new("rgrid_runs_total", "Runs whose end was recorded", &["status", "failure_kind"]),
    phases: Histograms::new("rgrid_phase_seconds", "How long each phase of a run took", &["phase"], PHASES),
    output_bytes: Counters::new("rgrid_output_bytes_total", "Bytes of text that scripts wrote", &["stream"]),
    slots: Gauge::new("rgrid_slots", "Executions at once that this worker may run"),
    running: Gauge::new("rgrid_running", "Executions that this worker runs"),
    parked: Gauge::new("rgrid_parked", "Sandboxes that are ready for their job, or on their way there"),
    networks: Counters::new(
        "rgrid_sandbox_networks_total",
        "Sandboxes that joined a network or got one of their own; networks to join that were made and removed",
        &["what"],
    ),
    retries: Counters::new("rgrid_retries_total", "Work that was tried again", &["what"]),
    panics: Counters::new("rgrid_panics_total", "Panics that were caught", &["part"]),
    docker_calls: Histograms::new("rgrid_docker_call_seconds", "How long Docker took", &["call"], CALLS),
    docker_errors: Counters::new(
        "rgrid_docker_errors_total",
        "Calls that Docker failed or refused",
        &["call"],
    ),
    store_waits: Histograms::new(
        "rgrid_store_wait_seconds",
        "How long work waited for a connection",
        &[],
        CALLS,
    ),
    store_calls: Histograms::new("rgrid_store_call_seconds", "How long work had a connection", &[], CALLS),
    store_errors: Counters::new("rgrid_store_errors_total", "Database work that failed", &["kind"]),
    store_busy: Gauge::new("rgrid_store_busy_connections", "Connections in use"),
    requests: Counters::new("rgrid_http_requests_total", "Requests answered", &["method", "route", "status"]),
    request_times: Histograms::new(
        "rgrid_http_request_seconds",
        "From request to the head of its answer",
        &["route"],
        CALLS,
    ),
    followers: Gauge::new("rgrid_followers", "Connections that follow an execution"),
    swept: Counters::new("rgrid_retention_removed_total", "What the retention's rules removed", &["what"]),
    webhooks: Counters::new("rgrid_webhooks_total", "Webhook calls", &["result"]),
});

impl Metrics {
    pub fn write(&self, text: &mut Text) {
        let counters = [
            &self.claims,
            &self.releases,
            &self.rescues,
            &self.runs,
            &self.output_bytes,
            &self.networks,
            &self.retries,
            &self.panics,
            &self.docker_errors,
            &self.store_errors,
            &self.requests,
            &self.swept,
            &self.webhooks,
        ];
        counters.into_iter().for_each(|family| family.write(text));
        let gauges = [&self.slots, &self.running, &self.parked, &self.store_busy, &self.followers];
        gauges.into_iter().for_each(|gauge| gauge.write(text));
        let histograms =
            [&self.phases, &self.docker_calls, &self.store_waits, &self.store_calls, &self.request_times];
        histograms.into_iter().for_each(|family| family.write(text));
    }
}

/// Measures a call to Docker.
pub async fn docker_call<T, E>(call: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let begun = Instant::now();
    let result = work.await;
    METRICS.docker_calls.observe(&[call], begun.elapsed());
    if result.is_err() {
        METRICS.docker_errors.add(&[call], 1);
    }
    result
}

/// One phase of a run, when it is known.
pub fn phase(name: &'static str, took: Option<Duration>) {
    if let Some(took) = took {
        METRICS.phases.observe(&[name], took);
    }
}
