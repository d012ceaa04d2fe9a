//! Charts of the last hour, rendered on the server as SVG without script or inline style.

use maud::{Markup, html};

use crate::store::{MINUTES, Minute};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Space on the right for the numbers of the scale.
const SCALE_WIDTH: f64 = 44.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 18.0;
const PLOT: f64 = HEIGHT - TOP - BOTTOM;
const STEP: f64 = (WIDTH - SCALE_WIDTH) / MINUTES as f64;

/// Executions that ended in each minute, stacked by status.
pub(crate) fn throughput(minutes: &[Minute]) -> Markup {
    let ended = |minute: &Minute| minute.completed + minute.failed + minute.cancelled;
    let max = minutes.iter().map(ended).max().unwrap_or(0);
    let top = scale_end(max as f64);
    let total: i64 = minutes.iter().map(ended).sum();
    let failed: i64 = minutes.iter().map(|minute| minute.failed).sum();
    let label = format!(
        "Executions that ended in the last hour: {total} in total, {failed} failed, at most {max} per minute"
    );
    let bar = |minute: &Minute, from: i64, count: i64, class: &str| {
        let height = count as f64 / top * PLOT;
        let below = from as f64 / top * PLOT;
        html! {
            @if count > 0 {
                rect class=(class) x=(number(x(minute.ago))) y=(number(TOP + PLOT - below - height))
                    width=(number(STEP - 1.5)) height=(number(height.max(1.0))) rx="1.5" {}
            }
        }
    };
    let bars = html! {
        @for minute in minutes {
            (bar(minute, 0, minute.completed, "completed"))
            (bar(minute, minute.completed, minute.failed, "failed"))
            (bar(minute, minute.completed + minute.failed, minute.cancelled, "cancelled"))
        }
    };
    frame(&label, &scale(top, |value| format!("{value:.0}")), &bars)
}

/// Time from submission to end: median and 95th percentile.
pub(crate) fn latency(minutes: &[Minute]) -> Markup {
    let max = minutes.iter().filter_map(|minute| minute.slow).fold(0.0, f64::max);
    let top = scale_end(max);
    let y = |seconds: f64| TOP + PLOT - seconds / top * PLOT;
    let label = match minutes.iter().filter_map(|minute| minute.median).reduce(f64::max) {
        Some(median) => format!(
            "Time from submission to end in the last hour: medians up to {median:.1} s, 95th percentile up to {max:.1} s"
        ),
        None => "Time from submission to end in the last hour: no executions ended".to_owned(),
    };
    let marks = html! {
        @for minute in minutes {
            @if let (Some(median), Some(slow)) = (minute.median, minute.slow) {
                @let middle = x(minute.ago) + STEP / 2.0;
                line class="range" x1=(number(middle)) x2=(number(middle)) y1=(number(y(slow))) y2=(number(y(median))) {}
                circle class="slow" cx=(number(middle)) cy=(number(y(slow))) r="1.8" {}
                circle class="median" cx=(number(middle)) cy=(number(y(median))) r="2.6" {}
            }
        }
    };
    frame(&label, &scale(top, seconds), &marks)
}

fn frame(label: &str, scale: &Markup, marks: &Markup) -> Markup {
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) preserveAspectRatio="none" {
            title { (label) }
            (scale)
            (marks)
            @for (ago, text) in [(MINUTES - 1, "1 h ago"), (MINUTES / 2, "30 min"), (0, "now")] {
                @let anchor = match ago { 0 => "end", 30 => "middle", _ => "start" };
                @let at = match ago { 0 => WIDTH - SCALE_WIDTH, _ => x(ago) };
                text class="tick" x=(number(at)) y=(number(HEIGHT - 4.0)) text-anchor=(anchor) { (text) }
            }
        }
    }
}

fn scale(top: f64, format: impl Fn(f64) -> String) -> Markup {
    html! {
        @for part in [0.0, 0.5, 1.0] {
            @let y = TOP + PLOT * (1.0 - part);
            line class="grid" x1="0" x2=(number(WIDTH - SCALE_WIDTH)) y1=(number(y)) y2=(number(y)) {}
            @if part > 0.0 {
                text class="tick" x=(number(WIDTH - SCALE_WIDTH + 6.0)) y=(number(y + 4.0)) { (format(top * part)) }
            }
        }
    }
}

fn x(ago: i64) -> f64 {
    (MINUTES - 1 - ago.clamp(0, MINUTES - 1)) as f64 * STEP
}

/// The smallest of 2, 5, 10, 20, 50 … that is at least `max`.
fn scale_end(max: f64) -> f64 {
    let mut top = 2.0;
    let mut factors = [2.5, 2.0, 2.0].into_iter().cycle();
    while top < max {
        top *= factors.next().unwrap_or(2.0);
    }
    top
}

fn seconds(value: f64) -> String {
    match value {
        value if value >= 120.0 => format!("{:.0} min", value / 60.0),
        value if value.fract() > 0.01 => format!("{value:.1} s"),
        value => format!("{value:.0} s"),
    }
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        let tops: Vec<f64> = [0.0, 2.0, 3.0, 6.0, 11.0, 30.0, 99.0].into_iter().map(scale_end).collect();
        assert_eq!(tops, [2.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn a_chart_has_a_text_alternative() {
        let minute =
            Minute { ago: 3, completed: 5, failed: 1, cancelled: 0, median: Some(0.4), slow: Some(1.2) };
        let svg = throughput(&[minute]).into_string();
        assert!(svg.contains("6 in total, 1 failed") && svg.matches("<rect").count() == 2, "{svg}");
        assert!(latency(&[]).into_string().contains("no executions ended"));
    }
}
