//! Metric families whose labels are given in the order of the family's label names.

use std::ops::Deref;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;

/// Label names, and the label values that are exported with zero before their first use: `increase()` does not see
/// the first increment of a series that appears with it.
pub(crate) struct Series {
    names: &'static [&'static str],
    initial: &'static [&'static [&'static str]],
}

pub(crate) const UNLABELLED: Series = Series { names: &[], initial: &[&[]] };

pub(crate) fn by(names: &'static [&'static str], initial: &'static [&'static [&'static str]]) -> Series {
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
    pub(crate) fn new(registry: &mut Registry, name: &str, help: &str, series: Series) -> Self {
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
pub(crate) struct Buckets(pub &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Histograms {
    pub(crate) fn new(
        registry: &mut Registry,
        name: &str,
        help: &str,
        series: Series,
        buckets: Buckets,
    ) -> Self {
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
    pub(crate) fn new(registry: &mut Registry, name: &str, help: &str) -> Self {
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
