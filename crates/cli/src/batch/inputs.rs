//! Finds a batch's inputs and names their output folders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use crate::error::CliError;

/// The maximum length of a label's value in bytes.
const MAX_LABEL: usize = 255;

/// As in a shell, `*` matches neither hidden files nor `/`.
const SHELL_RULES: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Returns each matching file once, sorted within each pattern. Folders are ignored.
pub fn find(patterns: &[String]) -> Result<Vec<PathBuf>, CliError> {
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

fn expand(pattern: &str) -> Result<Vec<PathBuf>, CliError> {
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
