//! How long each phase of an execution took, as a bar and in words.

use maud::{Markup, html};
use rgrid_api::Phases;

use crate::http::dashboard::parts::took;

const WIDTH: f64 = 1000.0;
/// What took no time to speak of is seen all the same.
const LEAST: f64 = 6.0;

pub(crate) fn timeline(phases: &Phases) -> Markup {
    let known: Vec<(&str, &str, u64)> = [
        ("queued", "Waiting", phases.queued_ms),
        ("environment", "Requirements", phases.environment_ms),
        ("sandbox", "Sandbox", phases.sandbox_ms),
        ("script", "Script", phases.script_ms),
        ("recorded", "Recording", phases.recorded_ms),
    ]
    .into_iter()
    .filter_map(|(class, name, ms)| Some((class, name, ms?)))
    .collect();
    let widths = widths(&known.iter().map(|(_, _, ms)| *ms).collect::<Vec<_>>());
    let mut x = 0.0;
    html! {
        @if !known.is_empty() {
            section.timeline aria-labelledby="timeline" {
                h2 id="timeline" { "Timeline" }
                svg viewBox={ "0 0 " (WIDTH) " 14" } preserveAspectRatio="none" aria-hidden="true" {
                    @for ((class, _, _), width) in known.iter().zip(&widths) {
                        rect class={ "phase-" (class) } x=(format!("{x:.1}")) y="0" width=(format!("{:.1}", (width - 2.0).max(1.0))) height="14" rx="3" {}
                        ({ x += width; "" })
                    }
                }
                ol {
                    @for (class, name, ms) in &known {
                        li { span class={ "dot phase-" (class) } aria-hidden="true" {} (name) " " strong { (took(*ms)) } }
                    }
                }
            }
        }
    }
}

fn widths(times: &[u64]) -> Vec<f64> {
    let all = times.iter().sum::<u64>().max(1) as f64;
    let wanted: Vec<f64> = times.iter().map(|ms| (*ms as f64 / all * WIDTH).max(LEAST)).collect();
    let sum: f64 = wanted.iter().sum();
    wanted.into_iter().map(|width| width / sum * WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_and_nothing_vanishes() {
        let widths = widths(&[0, 1, 10_000]);
        assert!((widths.iter().sum::<f64>() - WIDTH).abs() < 0.01 && widths.iter().all(|width| *width > 5.0));
    }
}
