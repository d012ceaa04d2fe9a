//! The options of a batch, which may also follow the script, its inputs and their output folders.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use glob::MatchOptions;

use crate::error::{CliError, Result};

#[derive(Args, Clone, Default)]
pub struct BatchOptions {
    /// Run the script once per matching file (quote the pattern: 'data/*.csv'). The file is uploaded and
    /// passed as the first argument, or in place of {}
    #[arg(long, value_name = "PATTERN", help_heading = "Several inputs")]
    pub batch: Vec<String>,
    /// With --batch: run at most this many at the same time
    #[arg(long, value_name = "N", requires = "batch", help_heading = "Several inputs",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_parallel: Option<usize>,
}

pub struct Split {
    pub options: BatchOptions,
    pub output_dir: Option<PathBuf>,
    pub command: Vec<OsString>,
}

/// The options that may follow the script.
#[derive(Parser)]
#[command(name = "rgrid run SCRIPT", disable_help_flag = true, disable_version_flag = true)]
struct TrailingOptions {
    #[command(flatten)]
    options: BatchOptions,
    #[arg(short, long)]
    output_dir: Option<PathBuf>,
    #[arg(short, long)]
    wait: bool,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Returns `None` if this is not a batch. Everything after the script is passed to it, including its own
/// `--batch 32`. Only `--batch` with a pattern directly after the script is an option of `rgrid`: a shell would
/// have expanded the pattern, so the user must have quoted it.
pub fn split(given: &BatchOptions, output_dir: Option<&Path>, command: &[OsString]) -> Option<Split> {
    if !given.batch.is_empty() {
        let output_dir = output_dir.map(Path::to_owned);
        return Some(Split { options: given.clone(), output_dir, command: command.to_vec() });
    }
    let (script, rest) = command.split_first().filter(|(_, rest)| starts_with_pattern(rest))?;
    let line = std::iter::once(OsStr::new("rgrid")).chain(rest.iter().map(OsString::as_os_str));
    let TrailingOptions { options, output_dir: chosen, wait: _, rest } = TrailingOptions::parse_from(line);
    let output_dir = chosen.or_else(|| output_dir.map(Path::to_owned));
    let command = std::iter::once(script.clone()).chain(rest).collect();
    Some(Split { options, output_dir, command })
}

/// `s.py --batch data/a.csv data/b.csv`: probably an unquoted pattern that the shell expanded.
pub fn was_pattern_expanded(command: &[OsString]) -> bool {
    let word = |at: usize| command.get(at).map(OsString::as_os_str);
    word(1) == Some(OsStr::new("--batch")) && word(2).is_some_and(|file| Path::new(file).is_file())
}

fn starts_with_pattern(arguments: &[OsString]) -> bool {
    let text = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    match text(0) {
        "--batch" => is_pattern(text(1)),
        other => other.strip_prefix("--batch=").is_some_and(is_pattern),
    }
}

/// The maximum length of a label's value in bytes.
const MAX_LABEL: usize = 255;

/// As in a shell, `*` matches neither hidden files nor `/`.
const SHELL_RULES: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Returns each matching file once, sorted within each pattern. Folders are ignored.
pub fn find(patterns: &[String]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let found = expand(pattern)?;
        if found.is_empty() {
            return Err(CliError::usage(format!("no file matches {pattern:?}")));
        }
        files.extend(found.into_iter().filter(|file| !files.contains(file)).collect::<Vec<_>>());
    }
    // An unreadable file is reported before anything is submitted.
    for file in &files {
        File::open(file).map_err(|error| CliError::unreadable(file, &error))?;
    }
    Ok(files)
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    // A file name may contain `*`, `?` or `[`.
    if Path::new(pattern).is_file() {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let paths = glob::glob_with(pattern, SHELL_RULES)
        .map_err(|error| CliError::usage(format!("invalid pattern {pattern:?}: {}", error.msg)))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| CliError::usage(format!("{error}")))?;
        files.extend(path.is_file().then_some(path));
    }
    Ok(files)
}

/// The label for an input. A long path is cut at the front, since its end identifies the file.
pub fn label(file: &Path) -> String {
    let text = file.display().to_string();
    let shown: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut cut = shown.len().saturating_sub(MAX_LABEL);
    while !shown.is_char_boundary(cut) {
        cut += 1;
    }
    shown.get(cut..).unwrap_or_default().to_owned()
}

/// The output folder of each input: its name without the extension if that is unique, otherwise its name if that
/// is unique, otherwise its path.
pub fn folder_names(inputs: &[&str]) -> Vec<String> {
    let stems: Vec<String> = inputs.iter().map(|input| part(input, Path::file_stem)).collect();
    let names: Vec<String> = inputs.iter().map(|input| part(input, Path::file_name)).collect();
    let paths = inputs.iter().map(|input| input.trim_start_matches(['.', '/']).replace('/', "_"));
    let (once_stem, once_name) = (counted(&stems), counted(&names));
    let choose =
        |((stem, name), path): ((&String, &String), String)| match (once_stem.get(stem), once_name.get(name))
        {
            (Some(1), _) => stem.clone(),
            (_, Some(1)) => name.clone(),
            _ => path,
        };
    stems.iter().zip(&names).zip(paths).map(choose).collect()
}

fn part(input: &str, of: fn(&Path) -> Option<&OsStr>) -> String {
    of(Path::new(input)).unwrap_or(OsStr::new(input)).to_string_lossy().into_owned()
}

fn counted(names: &[String]) -> BTreeMap<&String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_after_script(line: &[&str]) -> Option<Split> {
        let command: Vec<OsString> = line.iter().map(OsString::from).collect();
        split(&BatchOptions::default(), None, &command)
    }

    #[test]
    fn a_pattern_directly_after_the_script_makes_a_batch() {
        let line = ["s.py", "--batch", "d/*.csv", "--max-parallel", "3", "-o", "out", "x", "-o", "y"];
        let split = split_after_script(&line).unwrap();
        assert_eq!(
            (split.options.batch.as_slice(), split.options.max_parallel),
            (&["d/*.csv".to_owned()][..], Some(3))
        );
        assert_eq!(split.output_dir.as_deref(), Some(Path::new("out")));
        assert_eq!(split.command, ["s.py", "x", "-o", "y"]);
        let split = split_after_script(&["s.py", "--batch=a?", "--verbose", "{}", "--batch", "32"]).unwrap();
        assert_eq!(split.command, ["s.py", "--verbose", "{}", "--batch", "32"]);
    }

    #[test]
    fn an_expanded_pattern_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let expanded =
            |word: &OsStr| was_pattern_expanded(&["s.py".into(), "--batch".into(), word.to_owned()]);
        assert!(
            expanded(file.path().as_os_str())
                && !expanded(OsStr::new("32"))
                && !was_pattern_expanded(&["s.py".into()])
        );
    }

    #[test]
    fn any_other_argument_after_the_script_is_passed_to_it() {
        for line in [
            &["s.py", "--batch", "32"][..],
            &["s.py", "--batch"],
            &["s.py", "x", "--batch", "*.csv"],
            &["s.py"],
        ] {
            assert!(split_after_script(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn each_input_has_its_own_folder() {
        assert_eq!(folder_names(&["data/a.csv", "data/b.csv"]), ["a", "b"]);
        assert_eq!(folder_names(&["d/a.csv", "d/a.txt", "d/b.csv"]), ["a.csv", "a.txt", "b"]);
        assert_eq!(folder_names(&["../x/a.csv", "y/a.csv", "c"]), ["x_a.csv", "y_a.csv", "c"]);
    }

    #[test]
    fn a_pattern_finds_files_in_order_but_no_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", ".hidden.csv", "c.txt", "[x].csv"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("d.csv")).unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let names = |patterns: &[&str]| -> Vec<String> {
            let found = find(&patterns.iter().map(|pattern| at(pattern)).collect::<Vec<_>>()).unwrap();
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(&["*.csv"]), ["[x].csv", "a.csv", "b.csv"]);
        assert_eq!(names(&["c.txt", "?.csv", "a.csv", "[x].csv"]), ["c.txt", "a.csv", "b.csv", "[x].csv"]);
        let none = find(&[at("*.json")]).unwrap_err().message;
        assert!(none.starts_with("no file matches ") && none.ends_with("*.json\""), "{none}");
        assert!(find(&[at("***")]).is_err());
    }

    #[test]
    fn the_label_of_a_long_path_is_its_end() {
        let label = label(Path::new(&format!("{}/ä\n.csv", "é".repeat(200))));
        assert!(label.ends_with("/ä\u{fffd}.csv") && label.len() <= MAX_LABEL);
        assert!(rgrid_api::names::check_label_value(&label).is_ok());
    }
}
