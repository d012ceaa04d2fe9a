//! Distributions of durations.

use std::time::Duration;

use serde::Serialize;

/// Durations in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distribution {
    pub count: usize,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Distribution {
    pub fn of(durations: &[Duration]) -> Self {
        let mut ms: Vec<f64> = durations.iter().map(|d| d.as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        Self {
            count: ms.len(),
            p50: quantile(&ms, 0.5),
            p90: quantile(&ms, 0.9),
            p99: quantile(&ms, 0.99),
            max: ms.last().copied().unwrap_or(f64::NAN),
        }
    }
}

/// The nearest rank, so that every quantile is a measured value.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let rank = (at * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let durations: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let distribution = Distribution::of(&durations);
        assert_eq!(
            (distribution.p50, distribution.p90, distribution.p99, distribution.max),
            (50.0, 90.0, 99.0, 100.0)
        );
        assert!(Distribution::of(&[]).p50.is_nan());
    }
}
