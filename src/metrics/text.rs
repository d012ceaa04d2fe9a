//! Prometheus' text format, version 0.0.4.

/// Of `/metrics`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Default)]
pub struct Text(String);

impl Text {
    pub const CONTENT_TYPE: &str = CONTENT_TYPE;

    pub fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub fn line(&mut self, name: &str, labels: &[&str], values: &[String], value: f64) {
        let pairs: Vec<String> = labels
            .iter()
            .zip(values)
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        self.0.push_str(&format!("{name}{labels} {value}\n"));
    }

    /// A gauge that was read just now.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.line(name, &[], &[], value);
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_break_out() {
        let mut text = Text::default();
        text.line("m", &["route"], &["a\"b\\c\nd".to_owned()], 1.0);
        assert_eq!(text.into_string(), "m{route=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
