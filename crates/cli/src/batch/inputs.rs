//! The files that a pattern names, and what each is called.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use crate::error::Failure;

/// A label's value has so many bytes at most.
const LABEL_MAX: usize = 255;

/// As in a shell: `*` finds no hidden files, and no `/`.
const LIKE_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// All files that these patterns name, each once, in the order of their names. Folders are passed over.
pub fn find(patterns: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for pattern in patterns {
        let found = matching(pattern)?;
        if found.is_empty() {
            return Err(Failure::usage(format!("no file is called like {pattern:?}")));
        }
        files.extend(found.into_iter().filter(|file| !files.contains(file)).collect::<Vec<_>>());
    }
    files.iter().try_for_each(|file| readable(file))?;
    Ok(files)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, Failure> {
    // A file may be called so itself.
    if Path::new(pattern).is_file() {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let paths = glob::glob_with(pattern, LIKE_A_SHELL)
        .map_err(|error| Failure::usage(format!("{pattern:?} is no pattern: {}", error.msg)))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| Failure::usage(format!("{error}")))?;
        files.extend(path.is_file().then_some(path));
    }
    Ok(files)
}

/// Told before anything is submitted.
fn readable(file: &Path) -> Result<(), Failure> {
    let opened = File::open(file).map(|_: File| ());
    opened.map_err(|error| Failure::usage(format!("{} can't be read: {error}", file.display())))
}

/// As a label: the end of a path that is too long, since that tells files apart.
pub fn label(file: &Path) -> String {
    let text = file.display().to_string();
    let shown: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut cut = shown.len().saturating_sub(LABEL_MAX);
    while !shown.is_char_boundary(cut) {
        cut += 1;
    }
    shown.get(cut..).unwrap_or_default().to_owned()
}

/// A folder for the files of each input: called by its name without the ending when no other has that, else by
/// its whole name, else by its path.
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
    fn each_input_has_a_folder_of_its_own() {
        assert_eq!(folder_names(&["data/a.csv", "data/b.csv"]), ["a", "b"]);
        assert_eq!(folder_names(&["d/a.csv", "d/a.txt", "d/b.csv"]), ["a.csv", "a.txt", "b"]);
        assert_eq!(folder_names(&["../x/a.csv", "y/a.csv", "c"]), ["x_a.csv", "y_a.csv", "c"]);
    }

    #[test]
    fn a_pattern_finds_files_in_order_and_no_folders() {
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
        let none = find(&[at("*.json")]).unwrap_err().what;
        assert!(none.starts_with("no file is called like ") && none.ends_with("*.json\""), "{none}");
        assert!(find(&[at("***")]).is_err());
    }

    #[test]
    fn a_long_path_is_labelled_by_its_end() {
        let label = label(Path::new(&format!("{}/ä\n.csv", "é".repeat(200))));
        assert!(label.ends_with("/ä\u{fffd}.csv") && label.len() <= LABEL_MAX);
        assert!(rgrid_api::names::check_label_value(&label).is_ok());
    }
}
