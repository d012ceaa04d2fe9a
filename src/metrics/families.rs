//! Counters, gauges and histograms, each with its labels.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metrics::Text;

/// Label values, in the order of the family's names.
type Key = Vec<String>;

pub struct Counters {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    values: Mutex<BTreeMap<Key, u64>>,
}

impl Counters {
    pub(crate) fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        // One without labels is there from the beginning, so that a rate over it is.
        let first = if labels.is_empty() { BTreeMap::from([(Vec::new(), 0)]) } else { BTreeMap::new() };
        Self { name, help, labels, values: Mutex::new(first) }
    }

    pub fn add(&self, labels: &[&str], count: u64) {
        *lock(&self.values).entry(key(labels)).or_default() += count;
    }

    pub(crate) fn write(&self, text: &mut Text) {
        text.head(self.name, self.help, "counter");
        for (key, value) in lock(&self.values).iter() {
            text.line(self.name, self.labels, key, *value as f64);
        }
    }
}

pub struct Gauge {
    name: &'static str,
    help: &'static str,
    value: AtomicI64,
}

impl Gauge {
    pub(crate) fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, value: AtomicI64::new(0) }
    }

    pub fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// One more until the answer is dropped.
    pub fn raise(&'static self) -> Raised {
        self.value.fetch_add(1, Ordering::Relaxed);
        Raised(self)
    }

    pub(crate) fn write(&self, text: &mut Text) {
        text.head(self.name, self.help, "gauge");
        text.line(self.name, &[], &[], self.value.load(Ordering::Relaxed) as f64);
    }
}

pub struct Raised(&'static Gauge);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.value.fetch_sub(1, Ordering::Relaxed);
    }
}

pub struct Histograms {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    bounds: &'static [f64],
    values: Mutex<BTreeMap<Key, Observed>>,
}

#[derive(Default)]
struct Observed {
    /// Of each bound, how many were not above it and above the one before.
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histograms {
    pub(crate) fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Self {
        Self { name, help, labels, bounds, values: Mutex::default() }
    }

    pub fn observe(&self, labels: &[&str], took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        let mut values = lock(&self.values);
        let observed = values.entry(key(labels)).or_default();
        observed.counts.resize(self.bounds.len(), 0);
        if let Some(count) = observed.counts.get_mut(bucket) {
            *count += 1;
        }
        observed.count += 1;
        observed.sum += seconds;
    }

    pub(crate) fn write(&self, text: &mut Text) {
        text.head(self.name, self.help, "histogram");
        let (bucket, sum, count) =
            (format!("{}_bucket", self.name), format!("{}_sum", self.name), format!("{}_count", self.name));
        let with_bound: Vec<&str> = self.labels.iter().copied().chain(["le"]).collect();
        for (key, observed) in lock(&self.values).iter() {
            let mut below = 0;
            let finite =
                self.bounds.iter().zip(&observed.counts).map(|(bound, count)| (bound.to_string(), *count));
            for (bound, more) in finite.chain([("+Inf".to_owned(), 0)]) {
                below += more;
                let value = if bound == "+Inf" { observed.count } else { below };
                let labels: Vec<String> = key.iter().cloned().chain([bound]).collect();
                text.line(&bucket, &with_bound, &labels, value as f64);
            }
            text.line(&sum, self.labels, key, observed.sum);
            text.line(&count, self.labels, key, observed.count as f64);
        }
    }
}

fn key(labels: &[&str]) -> Key {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_the_last_holds_all() {
        let family = Histograms::new("t", "help", &["phase"], &[0.1, 1.0]);
        for ms in [50, 100, 500, 5000] {
            family.observe(&["script"], Duration::from_millis(ms));
        }
        let mut text = Text::default();
        family.write(&mut text);
        let expected = "# HELP t help\n# TYPE t histogram\nt_bucket{phase=\"script\",le=\"0.1\"} 2\n\
            t_bucket{phase=\"script\",le=\"1\"} 3\nt_bucket{phase=\"script\",le=\"+Inf\"} 4\n\
            t_sum{phase=\"script\"} 5.65\nt_count{phase=\"script\"} 4\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn a_counter_without_labels_is_there_before_it_counts() {
        let counter = Counters::new("c_total", "help", &[]);
        let mut text = Text::default();
        counter.write(&mut text);
        assert!(text.into_string().ends_with("c_total 0\n"));
    }
}
