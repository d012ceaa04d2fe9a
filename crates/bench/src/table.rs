//! Markdown tables that are aligned for a terminal.

use std::fmt;

pub struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: String, head: &[&str]) -> Self {
        Self { title, head: head.iter().map(|cell| (*cell).to_owned()).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }

    fn width(&self, column: usize) -> usize {
        let all = self.rows.iter().chain([&self.head]);
        all.filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let line = |f: &mut fmt::Formatter<'_>, row: &[String]| {
            write!(f, "|")?;
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Names are aligned left, numbers right.
                if at == 0 { write!(f, " {cell:<width$} |")? } else { write!(f, " {cell:>width$} |")? }
            }
            writeln!(f)
        };
        line(f, &self.head)?;
        let rule = |(at, width): (usize, &usize)| {
            if at == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) }
        };
        line(f, &widths.iter().enumerate().map(rule).collect::<Vec<_>>())?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new("t".to_owned(), &["", "p50"]);
        table.row("docker run", ["268.5".to_owned()]);
        let expected = "t\n\n|            |   p50 |\n| ---------- | ----: |\n| docker run | 268.5 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
