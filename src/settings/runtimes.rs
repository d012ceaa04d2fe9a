//! The table of runtimes: the images that scripts can run in, with their names and aliases.

use std::{cmp::Reverse, collections::BTreeMap};

use rgrid_api::names::edit_distance;
use serde::Deserialize;

/// One `[runtimes.<name>]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEntry {
    pub image: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The script's path and its arguments are appended.
    pub command: Vec<String>,
    /// File extensions without the dot.
    #[serde(default)]
    pub extensions: Vec<String>,
    #[serde(default)]
    pub default: bool,
    #[serde(default)]
    pub pull: PullPolicy,
}

/// Determines the tool that installs requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecosystem {
    Python,
    Other,
}

impl RuntimeEntry {
    pub fn ecosystem(&self) -> Ecosystem {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        if program.starts_with("python") { Ecosystem::Python } else { Ecosystem::Other }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Pull the image if it is not present.
    #[default]
    Missing,
    /// Pull whenever the daemon starts.
    Always,
    Never,
}

#[derive(Debug, Clone)]
pub struct RuntimeTable {
    entries: BTreeMap<String, RuntimeEntry>,
    default: String,
}

impl RuntimeTable {
    pub(crate) fn new(entries: BTreeMap<String, RuntimeEntry>) -> Self {
        let chosen = entries.iter().find(|(_, entry)| entry.default).or_else(|| entries.iter().next());
        let default = chosen.map(|(name, _)| name.clone()).unwrap_or_default();
        Self { entries, default }
    }

    /// One message per invalid entry.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.entries.is_empty() {
            mistakes.push("runtimes: at least one runtime is required".to_owned());
        }
        let defaults = self.entries.values().filter(|entry| entry.default).count();
        if defaults > 1 {
            mistakes.push("runtimes: only one runtime can have default = true".to_owned());
        }
        for (name, entry) in &self.entries {
            if entry.command.is_empty() || entry.image.is_empty() {
                mistakes.push(format!("runtimes.{name}: image and command are required"));
            }
        }
        mistakes
    }

    pub fn default_name(&self) -> &str {
        &self.default
    }

    pub fn get(&self, name: &str) -> Option<&RuntimeEntry> {
        self.entries.get(name)
    }

    /// Sorted with Python first and versions in numeric order: 3.9 before 3.10.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RuntimeEntry)> {
        let mut names: Vec<_> = self.entries.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
        names.sort_by_key(|(name, _)| (!name.starts_with("python"), natural_key(name)));
        names.into_iter()
    }

    /// Finds a runtime by its name or an alias, ignoring case. The error message suggests the nearest name.
    pub fn resolve(&self, requested: &str) -> Result<&str, String> {
        let wanted = requested.to_ascii_lowercase();
        let mut entries = self.entries.iter();
        let found = entries.find(|(name, entry)| **name == wanted || entry.aliases.contains(&wanted));
        found.map(|(name, _)| name.as_str()).ok_or_else(|| self.unknown(requested))
    }

    /// Selects a runtime by the script's file extension, then by its shebang line, then the default.
    pub fn for_script(&self, script: &str, content: &str) -> &str {
        let extension = script.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        let by_extension = extension.and_then(|extension| {
            self.entries.iter().find(|(_, entry)| entry.extensions.contains(&extension)).map(|(name, _)| name)
        });
        let by_shebang = || interpreter(content).and_then(|name| self.resolve(name).ok());
        by_extension.map(String::as_str).or_else(by_shebang).unwrap_or(&self.default)
    }

    fn unknown(&self, requested: &str) -> String {
        let names = self.entries.iter().flat_map(|(name, entry)| std::iter::once(name).chain(&entry.aliases));
        let nearest = names
            .map(|name| (edit_distance(requested, name), name))
            .filter(|(distance, name)| *distance <= name.len() / 3 + 1)
            // Of several equally close names, suggest the newest version.
            .min_by_key(|(distance, name)| (*distance, Reverse(natural_key(name))))
            .map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"));
        let requested: String = requested.chars().take(60).collect();
        let known = self.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        format!("unknown runtime {requested:?}{nearest} (available: {known})")
    }
}

/// Splits a name into text and numbers, so that numbers compare numerically.
fn natural_key(name: &str) -> Vec<(String, u64)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(text_end);
        let number_end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(number_end);
        key.push((text.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    key
}

/// The program that the script's shebang line names.
fn interpreter<'a>(content: &'a str) -> Option<&'a str> {
    let mut words = content.lines().next()?.strip_prefix("#!")?.split_whitespace();
    let base_name = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    match base_name(words.next()?) {
        "env" => words.find(|word| !word.starts_with('-') && !word.contains('=')).map(base_name),
        name => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RuntimeTable {
        crate::settings::load(None, []).unwrap().runtimes()
    }

    #[test]
    fn a_runtime_is_found_by_name_alias_and_image() {
        for name in ["python:3.12", "python3.12", "3.12", "python:3.12-slim", "Python3.12"] {
            assert_eq!(table().resolve(name), Ok("python:3.12"), "{name}");
        }
        assert_eq!(table().resolve("python"), Ok("python:3.11"));
    }

    #[test]
    fn an_unknown_name_suggests_the_closest_match() {
        let unknown = table().resolve("pyton3.12").unwrap_err();
        assert!(unknown.starts_with("unknown runtime \"pyton3.12\"; did you mean python3.12? (available: "));
        assert!(unknown.contains("bash"));
        assert!(!table().resolve("completely-else").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn the_file_extension_selects_the_runtime() {
        assert_eq!(table().for_script("a.py", "#!/bin/sh"), "python:3.11");
        assert_eq!(table().for_script("a.js", ""), "node:20");
        assert_eq!(table().for_script("a.RB", ""), "ruby:3.3");
        assert_eq!(table().for_script("noending", ""), "python:3.11");
    }

    #[test]
    fn the_shebang_line_selects_the_runtime_of_a_file_without_extension() {
        for (first, expected) in [
            ("#!/bin/bash\n", "bash"),
            ("#!/usr/bin/env -S node --no-warnings\n", "node:20"),
            ("#! /usr/bin/python3.12 -u\nprint(1)", "python:3.12"),
            ("#!/usr/bin/env python3\r\n", "python:3.11"),
            ("#!/usr/bin/perl\n", "python:3.11"),
            ("#!\n", "python:3.11"),
            ("# no /bin/bash\n", "python:3.11"),
        ] {
            assert_eq!(table().for_script("noending", first), expected, "{first}");
        }
    }

    #[test]
    fn versions_are_listed_in_numeric_order() {
        let table = table();
        let names: Vec<_> = table.iter().map(|(name, _)| name).collect();
        assert_eq!(names[..4], ["python:3.9", "python:3.10", "python:3.11", "python:3.12"]);
    }
}
