//! A bar chart as SVG, readable on light and dark pages.

use std::fmt::{self, Write};

use crate::latency::Report;

const WIDTH: f64 = 720.0;
/// Space for the names.
const LEFT: f64 = 210.0;
/// Space for the numbers.
const RIGHT: f64 = 70.0;
const BAR: f64 = 18.0;
const GAP: f64 = 8.0;
const TOP: f64 = 44.0;

const RGRID: &str = "#2f81f7";
const OTHERS: &str = "#8b949e";

/// Horizontal bars of the medians.
pub fn latency(report: &Report) -> Result<String, fmt::Error> {
    let bars: Vec<_> = report.rows.iter().map(|row| (row.contender.as_str(), row.latency.p50)).collect();
    plot("Submission to result of print(\"hello\"), median", &bars)
}

fn plot(title: &str, bars: &[(&str, f64)]) -> Result<String, fmt::Error> {
    let mut svg = String::new();
    let height = TOP + bars.len() as f64 * (BAR + GAP) + GAP;
    let max = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#768390\">"
    )?;
    let title = escaped(title);
    writeln!(svg, "<title>{title}</title>")?;
    writeln!(svg, "<text x=\"8\" y=\"24\" font-size=\"15\" font-weight=\"600\">{title}</text>")?;
    for (number, (name, value)) in bars.iter().enumerate() {
        let y = TOP + number as f64 * (BAR + GAP);
        let (width, base) = ((WIDTH - LEFT - RIGHT) * value / max, y + BAR - 5.0);
        let (name, names_end) = (escaped(name), LEFT - 8.0);
        writeln!(svg, "<text x=\"{names_end}\" y=\"{base:.1}\" text-anchor=\"end\">{name}</text>")?;
        let fill = if name.contains("rgrid") { RGRID } else { OTHERS };
        writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\" fill=\"{fill}\"/>"
        )?;
        let x = LEFT + width + 6.0;
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{base:.1}\">{value:.1} ms</text>")?;
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width() {
        let svg = plot("a < b", &[("x", 10.0), ("y", 5.0)]).unwrap();
        assert!(svg.contains("width=\"440.0\"") && svg.contains("width=\"220.0\""), "{svg}");
        assert!(svg.contains("a &lt; b"));
    }
}
