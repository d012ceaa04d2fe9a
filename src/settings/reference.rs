//! The settings as a page: made from the commented defaults, so that there is one text to keep true.

use std::fmt::Write;

use crate::settings::DEFAULTS;

const HEAD: &str = "\
# Settings

Made by `rgridd settings --markdown` from `config/default.toml`; a test keeps it true. A value is looked for in this order, the
last one wins: defaults, `--config FILE` (or `RGRID_CONFIG`), the environment, flags. Durations: `250ms`, `90s`, `5m`, `1h`,
`90d`. Sizes: `100KiB`, `512MiB`, `2g`. A wrong setting stops the start with its name, where its value stands and what is allowed.
";

/// One `key = value` with the comment before it.
struct Setting<'a> {
    key: &'a str,
    value: &'a str,
    words: String,
}

pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut comment: Vec<&str> = Vec::new();
    let mut section = String::new();
    // The text in front of all settings is about the file itself.
    for line in DEFAULTS.lines().skip_while(|line| !line.trim().is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            begin(&mut page, name, &mut comment);
        } else if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim());
        } else if let Some((key, value)) = line.split_once(" = ") {
            if section.is_empty() {
                page.push_str(&table());
            }
            let words = comment.join(" ");
            comment.clear();
            row(&mut page, &section, &Setting { key, value, words });
        } else {
            comment.clear();
        }
    }
    page
}

fn begin(page: &mut String, section: &str, comment: &mut Vec<&str>) {
    let runtime = section.starts_with("runtimes.");
    if runtime && page.contains("## runtimes") {
        comment.clear();
    } else {
        let title = if runtime { "runtimes" } else { section };
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n");
        if !comment.is_empty() {
            let _ = write!(page, "\n{}\n", comment.join(" "));
            comment.clear();
        }
        page.push_str(&table());
    }
}

fn table() -> String {
    "\n| setting | default | environment | |\n| --- | --- | --- | --- |\n".to_owned()
}

fn row(page: &mut String, section: &str, setting: &Setting) {
    let name = if section.is_empty() { setting.key.to_owned() } else { format!("{section}.{}", setting.key) };
    // A runtime's name is no name of a variable.
    let variable = match section {
        "" => format!("`RGRID_{}`", setting.key.to_uppercase()),
        runtime if runtime.starts_with("runtimes.") => String::new(),
        section => format!("`RGRID_{}__{}`", section.to_uppercase(), setting.key.to_uppercase()),
    };
    let words = setting.words.replace('|', "\\|");
    let _ = writeln!(page, "| `{name}` | `{}` | {variable} | {words} |", setting.value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_its_row_and_its_words() {
        let page = markdown();
        let row = page.lines().find(|line| line.starts_with("| `worker.lease` ")).unwrap();
        assert!(row.contains("`\"30s\"` | `RGRID_WORKER__LEASE` | How long a claim stays valid"), "{row}");
        assert!(page.contains("| `data_dir` | `\"\"` | `RGRID_DATA_DIR` |"));
        let settings = DEFAULTS.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), settings);
    }
}
