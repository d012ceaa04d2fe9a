//! Bar charts as SVG, readable on light and dark pages.

use std::fmt;

use crate::{latency, throughput};

const WIDTH: f64 = 720.0;
/// Space for the names.
const LEFT: f64 = 210.0;
/// Space for the numbers.
const RIGHT: f64 = 70.0;
const BAR: f64 = 18.0;
const GAP: f64 = 8.0;
const TOP: f64 = 44.0;

/// Horizontal bars.
pub struct Plot {
    title: &'static str,
    unit: &'static str,
    /// Names and values.
    bars: Vec<(String, f64)>,
}

const RGRID: &str = "#2f81f7";
const OTHERS: &str = "#8b949e";

pub fn latency(report: &latency::Report) -> Plot {
    let bars = report.rows.iter().map(|row| (row.contender.clone(), row.latency.p50)).collect();
    Plot { title: "Submission to result of print(\"hello\"), median", unit: "ms", bars }
}

pub fn throughput(report: &throughput::Report) -> Plot {
    let mut bars = Vec::new();
    for row in &report.rows {
        for (name, rate) in [("docker run", &row.docker_run), ("rgrid", &row.rgrid)] {
            bars.push((format!("{name}, {} at once", row.parallel), rate.per_second));
        }
    }
    Plot { title: "Fresh sandboxes per second", unit: "/s", bars }
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = TOP + self.bars.len() as f64 * (BAR + GAP) + GAP;
        let max = self.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#768390\">"
        )?;
        let title = escaped(self.title);
        writeln!(f, "<title>{title}</title>")?;
        writeln!(f, "<text x=\"8\" y=\"24\" font-size=\"15\" font-weight=\"600\">{title}</text>")?;
        for (number, (name, value)) in self.bars.iter().enumerate() {
            let y = TOP + number as f64 * (BAR + GAP);
            let (width, base) = ((WIDTH - LEFT - RIGHT) * value / max, y + BAR - 5.0);
            let (name, names_end) = (escaped(name), LEFT - 8.0);
            writeln!(f, "<text x=\"{names_end}\" y=\"{base:.1}\" text-anchor=\"end\">{name}</text>")?;
            let fill = if name.contains("rgrid") { RGRID } else { OTHERS };
            writeln!(
                f,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\" fill=\"{fill}\"/>"
            )?;
            let (x, unit) = (LEFT + width + 6.0, self.unit);
            writeln!(f, "<text x=\"{x:.1}\" y=\"{base:.1}\">{value:.1} {unit}</text>")?;
        }
        writeln!(f, "</svg>")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width() {
        let bars = vec![("x".to_owned(), 10.0), ("y".to_owned(), 5.0)];
        let plot = Plot { title: "a < b", unit: "ms", bars };
        let svg = plot.to_string();
        assert!(svg.contains("width=\"440.0\"") && svg.contains("width=\"220.0\""), "{svg}");
        assert!(svg.contains("a &lt; b"));
    }
}
