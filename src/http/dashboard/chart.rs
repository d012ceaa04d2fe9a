//! The last hour as pictures: drawn on the server, as SVG that needs neither script nor style of its own.

use maud::{Markup, html};

use crate::store::{MINUTES, Minute};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Room on the right for the numbers of the scale.
const SCALE: f64 = 44.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 18.0;

/// How many ended in each minute: what went well, and upon it what did not.
pub(crate) fn throughput(hour: &[Minute]) -> Markup {
    let ended = |minute: &Minute| minute.completed + minute.failed + minute.cancelled;
    let most = hour.iter().map(ended).max().unwrap_or(0);
    let top = nice(most as f64);
    let all: i64 = hour.iter().map(ended).sum();
    let failed: i64 = hour.iter().map(|minute| minute.failed).sum();
    let label = format!(
        "Executions that ended in each minute of the last hour: {all} in all, {failed} failed, {most} at most"
    );
    let bar = |minute: &Minute, from: i64, count: i64, class: &str| {
        let height = count as f64 / top * plot();
        let below = from as f64 / top * plot();
        html! {
            @if count > 0 {
                rect class=(class) x=(number(x(minute.ago))) y=(number(TOP + plot() - below - height))
                    width=(number(step() - 1.5)) height=(number(height.max(1.0))) rx="1.5" {}
            }
        }
    };
    let bars = html! {
        @for minute in hour {
            (bar(minute, 0, minute.completed, "completed"))
            (bar(minute, minute.completed, minute.failed, "failed"))
            (bar(minute, minute.completed + minute.failed, minute.cancelled, "cancelled"))
        }
    };
    frame(&label, &scale(top, |value| format!("{value:.0}")), &bars)
}

/// From submission to end: the median, and what only one in twenty exceeds.
pub(crate) fn latency(hour: &[Minute]) -> Markup {
    let most = hour.iter().filter_map(|minute| minute.slow).fold(0.0, f64::max);
    let top = nice(most);
    let y = |seconds: f64| TOP + plot() - seconds / top * plot();
    let label = match hour.iter().filter_map(|minute| minute.median).reduce(f64::max) {
        Some(median) => format!(
            "Time from submission to end in the last hour: medians up to {median:.1} s, 95th percentile up to {most:.1} s"
        ),
        None => "Time from submission to end in the last hour: nothing ended".to_owned(),
    };
    let marks = html! {
        @for minute in hour {
            @if let (Some(median), Some(slow)) = (minute.median, minute.slow) {
                @let middle = x(minute.ago) + step() / 2.0;
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
            @for (ago, words) in [(MINUTES - 1, "1 h ago"), (MINUTES / 2, "30 min"), (0, "now")] {
                @let anchor = match ago { 0 => "end", 30 => "middle", _ => "start" };
                @let at = match ago { 0 => WIDTH - SCALE, _ => x(ago) };
                text class="tick" x=(number(at)) y=(number(HEIGHT - 4.0)) text-anchor=(anchor) { (words) }
            }
        }
    }
}

fn scale(top: f64, words: impl Fn(f64) -> String) -> Markup {
    html! {
        @for part in [0.0, 0.5, 1.0] {
            @let y = TOP + plot() * (1.0 - part);
            line class="grid" x1="0" x2=(number(WIDTH - SCALE)) y1=(number(y)) y2=(number(y)) {}
            @if part > 0.0 {
                text class="tick" x=(number(WIDTH - SCALE + 6.0)) y=(number(y + 4.0)) { (words(top * part)) }
            }
        }
    }
}

fn plot() -> f64 {
    HEIGHT - TOP - BOTTOM
}

fn step() -> f64 {
    (WIDTH - SCALE) / MINUTES as f64
}

fn x(ago: i64) -> f64 {
    (MINUTES - 1 - ago.clamp(0, MINUTES - 1)) as f64 * step()
}

/// The next of 1, 2, 5, 10, 20 … that is not below it; at least 2, so that half of it is a number too.
fn nice(most: f64) -> f64 {
    let mut top = 2.0;
    let mut factors = [2.5, 2.0, 2.0].into_iter().cycle();
    while top < most {
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
        let tops: Vec<f64> = [0.0, 2.0, 3.0, 6.0, 11.0, 30.0, 99.0].into_iter().map(nice).collect();
        assert_eq!(tops, [2.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn a_picture_says_in_words_what_it_shows() {
        let minute =
            Minute { ago: 3, completed: 5, failed: 1, cancelled: 0, median: Some(0.4), slow: Some(1.2) };
        let drawn = throughput(&[minute]).into_string();
        assert!(drawn.contains("6 in all, 1 failed") && drawn.matches("<rect").count() == 2, "{drawn}");
        assert!(latency(&[]).into_string().contains("nothing ended"));
    }
}
