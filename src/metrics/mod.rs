//! Metrics of this process, for `/metrics`.
//!
//! Every layer may use this module; it uses none of them. Metrics of the deployment (queue, workers) are not kept
//! here: `http/metrics.rs` reads them from the database for each request.

use std::ops::Deref;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const PHASES: Buckets =
    Buckets(&[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0]);
const CALLS: Buckets =
    Buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0]);

const DOCKER_CALLS: &[&[&str]] = &[&["create"], &["attach"], &["start"], &["hello"]];

/// Declares the fields of [`Metrics`] with the arguments of their constructors.
macro_rules! metrics {
    ($($field:ident: $family:ident($($argument:expr),+ $(,)?);)+) => {
        pub struct Metrics {
            /// Contains all of the following; exported names have the prefix `rgrid_`.
            pub registry: Registry,
            $(pub $field: $family,)+
        }

        pub static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
            let mut registry = Registry::with_prefix("rgrid");
            Metrics { $($field: $family::new(&mut registry, $($argument),+),)+ registry }
        });
    };
}

metrics! {
    claims: Counters("claims", "Executions claimed by this worker", UNLABELLED);
    releases: Counters("releases", "Claims released before the execution ended", UNLABELLED);
    rescues: Counters("rescues", "Claims taken back from lost workers",
        by(&["becomes"], &[&["queued"], &["failed"], &["cancelled"]]));
    runs: Counters("runs", "Runs whose end was recorded",
        by(&["status", "failure_kind"], &[&["completed", ""], &["cancelled", ""], &["failed", "exit"],
            &["failed", "timeout"], &["failed", "out_of_memory"], &["failed", "install"], &["failed", "image"],
            &["failed", "output"], &["failed", "lost"], &["failed", "internal"]]));
    phases: Histograms("phase_seconds", "Duration of each phase of a run",
        by(&["phase"], &[&["queued"], &["environment"], &["sandbox"], &["script"]]), PHASES);
    output_bytes: Counters("output_bytes", "Bytes that scripts wrote to their output streams",
        by(&["stream"], &[&["stdout"], &["stderr"]]));
    slots: Gauge("slots", "Executions that this worker can run at the same time");
    running: Gauge("running", "Executions that this worker is running");
    parked: Gauge("parked", "Sandboxes that are ready for a job or being prepared");
    networks: Counters("sandbox_networks",
        "Sandboxes that joined a shared network or got their own; shared networks created and removed",
        by(&["what"], &[&["joined"], &["own"], &["made"], &["removed"]]));
    retries: Counters("retries", "Operations that were retried", by(&["what"], &[&["record"], &["hand_over"]]));
    panics: Counters("panics", "Panics that were caught",
        by(&["part"], &[&["run"], &["poller"], &["recorder"], &["keeper"]]));
    docker_calls: Histograms("docker_call_seconds", "Duration of calls to Docker", by(&["call"], DOCKER_CALLS), CALLS);
    docker_errors: Counters("docker_errors", "Calls to Docker that failed", by(&["call"], DOCKER_CALLS));
    store_waits: Histograms("store_wait_seconds", "Time that database operations waited for a connection",
        UNLABELLED, CALLS);
    store_calls: Histograms("store_call_seconds", "Time that database operations used a connection",
        UNLABELLED, CALLS);
    store_errors: Counters("store_errors", "Database operations that failed",
        by(&["kind"], &[&["unavailable"], &["busy"], &["no_room"], &["internal"], &["asked"]]));
    store_busy: Gauge("store_busy_connections", "Database connections in use");
    requests: Counters("http_requests", "HTTP requests",
        by(&["method", "route", "status"], &[&["GET", "/metrics", "200"]]));
    request_times: Histograms("http_request_seconds", "Time from the request to the head of its response",
        by(&["route"], &[&["/metrics"]]), CALLS);
    followers: Gauge("followers", "Connections that follow an execution");
    swept: Counters("retention_removed", "Items that the retention settings removed",
        by(&["what"], &[&["outputs"], &["executions"], &["contents"], &["environments"], &["images"]]));
    webhooks: Counters("webhooks", "Webhook calls", by(&["result"], &[&["taken"], &["failed"], &["given_up"]]));
}

/// Measures a call to Docker.
pub async fn docker_call<T, E>(call: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let start = Instant::now();
    let result = work.await;
    METRICS.docker_calls.observe(&[call], start.elapsed());
    if result.is_err() {
        METRICS.docker_errors.add(&[call], 1);
    }
    result
}

/// Records the duration of one phase of a run, if it is known.
pub fn phase(name: &'static str, took: Option<Duration>) {
    if let Some(took) = took {
        METRICS.phases.observe(&[name], took);
    }
}

type Labels = Vec<(&'static str, String)>;

/// Label names, and the label values that are exported with zero before their first use: `increase()` does not see
/// the first increment of a series that appears with it.
struct Series {
    names: &'static [&'static str],
    initial: &'static [&'static [&'static str]],
}

const UNLABELLED: Series = Series { names: &[], initial: &[&[]] };

fn by(names: &'static [&'static str], initial: &'static [&'static [&'static str]]) -> Series {
    Series { names, initial }
}

impl Series {
    fn labels(&self, values: &[&str]) -> Labels {
        self.names.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect()
    }

    fn register<M, C: MetricConstructor<M>>(&self, family: &Family<Labels, M, C>) {
        for values in self.initial {
            drop(family.get_or_create(&self.labels(values)));
        }
    }
}

pub struct Counters {
    series: Series,
    family: Family<Labels, Counter>,
}

impl Counters {
    /// `name` has neither the registry's prefix nor the suffix `_total`.
    fn new(registry: &mut Registry, name: &str, help: &str, series: Series) -> Self {
        let family = Family::default();
        series.register(&family);
        registry.register(name, help, family.clone());
        Self { series, family }
    }

    pub fn add(&self, labels: &[&str], count: u64) {
        self.family.get_or_create(&self.series.labels(labels)).inc_by(count);
    }
}

pub struct Histograms {
    series: Series,
    family: Family<Labels, Histogram, Buckets>,
}

/// Upper bounds in seconds.
#[derive(Debug, Clone, Copy)]
struct Buckets(pub &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Histograms {
    fn new(registry: &mut Registry, name: &str, help: &str, series: Series, buckets: Buckets) -> Self {
        let family = Family::new_with_constructor(buckets);
        series.register(&family);
        registry.register(name, help, family.clone());
        Self { series, family }
    }

    pub fn observe(&self, labels: &[&str], took: Duration) {
        self.family.get_or_create(&self.series.labels(labels)).observe(took.as_secs_f64());
    }
}

#[derive(Debug, Clone, Default)]
pub struct Gauge(gauge::Gauge);

impl Gauge {
    fn new(registry: &mut Registry, name: &str, help: &str) -> Self {
        let gauge = Self::default();
        registry.register(name, help, gauge.0.clone());
        gauge
    }

    /// Adds one until the result is dropped.
    pub fn raise(&self) -> Raised {
        self.0.inc();
        Raised(self.0.clone())
    }
}

impl Deref for Gauge {
    type Target = gauge::Gauge;

    fn deref(&self) -> &gauge::Gauge {
        &self.0
    }
}

pub struct Raised(gauge::Gauge);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text;

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn buckets_are_cumulative_and_labels_escaped() {
        let mut registry = Registry::with_prefix("rgrid");
        let family = Histograms::new(&mut registry, "t", "help", by(&["phase"], &[]), Buckets(&[0.1, 1.0]));
        for ms in [50, 100, 500, 5000] {
            family.observe(&["a\"b\\c\nd"], Duration::from_millis(ms));
        }
        let text = text(&registry);
        let label = r#"phase="a\"b\\c\nd""#;
        for line in [
            format!("rgrid_t_bucket{{{label},le=\"0.1\"}} 2"),
            format!("rgrid_t_bucket{{{label},le=\"1\"}} 3"),
            format!("rgrid_t_bucket{{{label},le=\"+Inf\"}} 4"),
            format!("rgrid_t_count{{{label}}} 4"),
        ] {
            assert!(text.contains(&line), "{line} is missing:\n{text}");
        }
    }

    /// Without a first series the encoder leaves out the whole family.
    #[test]
    fn every_family_is_exported_before_its_first_use() {
        let text = text(&METRICS.registry);
        let types = text.lines().filter(|line| line.starts_with("# TYPE rgrid_"));
        assert_eq!(types.count(), 23, "{text}");
        assert!(text.contains("# TYPE rgrid_claims_total counter\nrgrid_claims_total "), "{text}");
    }

    #[test]
    fn a_raised_gauge_falls_when_the_guard_is_dropped() {
        let gauge = Gauge::new(&mut Registry::default(), "g", "help");
        let raised = gauge.raise();
        assert_eq!(gauge.get(), 1);
        drop(raised);
        assert_eq!(gauge.get(), 0);
    }
}
