//! The table of runtimes: what a script can run in, and how people call it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rgrid_api::names::edit_distance;
use serde::Deserialize;

/// One `[runtimes.<name>]` of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEntry {
    pub image: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The script's name and its arguments follow.
    pub command: Vec<String>,
    /// Without the dot.
    #[serde(default)]
    pub extensions: Vec<String>,
    #[serde(default)]
    pub default: bool,
    #[serde(default)]
    pub pull: PullPolicy,
}

/// Which tool installs requirements.
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
    /// Pull an image that is not there.
    #[default]
    Missing,
    /// Pull at each start of the daemon.
    Always,
    Never,
}

/// Nothing in the table is called so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRuntime {
    pub asked: String,
    pub nearest: Option<String>,
    pub known: Vec<String>,
}

/// The checked table.
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

    /// Sentences about what is wrong with the table; none when it is fine.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.entries.is_empty() {
            mistakes.push("runtimes: there must be one at least".to_owned());
        }
        let defaults = self.entries.values().filter(|entry| entry.default).count();
        if defaults > 1 {
            mistakes.push("runtimes: only one can be the default".to_owned());
        }
        for (name, entry) in &self.entries {
            if entry.command.is_empty() || entry.image.is_empty() {
                mistakes.push(format!("runtimes.{name}: needs an image and a command"));
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

    /// In the order in which people list versions: 3.9 before 3.10.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RuntimeEntry)> {
        let mut names: Vec<_> = self.entries.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
        names.sort_by_key(|(name, _)| (family_rank(name), natural_key(name)));
        names.into_iter()
    }

    /// The table's own name for what a user wrote.
    pub fn resolve(&self, asked: &str) -> Result<&str, UnknownRuntime> {
        let wanted = asked.to_ascii_lowercase();
        let fits = |name: &str, entry: &RuntimeEntry| name == wanted || entry.aliases.contains(&wanted);
        let found = self.entries.iter().find(|(name, entry)| fits(name, entry));
        found.map(|(name, _)| name.as_str()).ok_or_else(|| self.unknown(asked))
    }

    /// The runtime for a script that names none: by its file's ending, else by its first line (`#!/usr/bin/env node`).
    pub fn for_script(&self, script: &str, content: &str) -> &str {
        let ending = script.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        let chosen = ending.and_then(|ending| {
            self.entries.iter().find(|(_, entry)| entry.extensions.contains(&ending)).map(|(name, _)| name)
        });
        let by_first_line = || interpreter(content).and_then(|name| self.resolve(name).ok());
        chosen.map(String::as_str).or_else(by_first_line).unwrap_or(&self.default)
    }

    fn unknown(&self, asked: &str) -> UnknownRuntime {
        let names =
            || self.entries.iter().flat_map(|(name, entry)| std::iter::once(name).chain(&entry.aliases));
        let nearest = names()
            .map(|name| (edit_distance(asked, name), name))
            .filter(|(distance, name)| *distance <= name.len() / 3 + 1)
            // Of several that are as near, the newest.
            .min_by_key(|(distance, name)| (*distance, Reverse(natural_key(name))))
            .map(|(_, name)| name.clone());
        let known = self.iter().map(|(name, _)| name.to_owned()).collect();
        UnknownRuntime { asked: asked.to_owned(), nearest, known }
    }
}

/// Python first: it is what most scripts are written in.
fn family_rank(name: &str) -> u8 {
    if name.starts_with("python") { 0 } else { 1 }
}

/// Numbers compare as numbers.
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

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The program that a script's first line names.
fn interpreter(content: &str) -> Option<&str> {
    let mut words = content.lines().next()?.strip_prefix("#!")?.split_whitespace();
    match last_part(words.next()?) {
        "env" => words.find(|word| !word.starts_with('-') && !word.contains('=')).map(last_part),
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
    fn names_aliases_and_images_all_lead_there() {
        for asked in ["python:3.12", "python3.12", "3.12", "python:3.12-slim", "Python3.12"] {
            assert_eq!(table().resolve(asked), Ok("python:3.12"), "{asked}");
        }
        assert_eq!(table().resolve("python"), Ok("python:3.11"));
    }

    #[test]
    fn an_unknown_name_gets_its_nearest_match() {
        let unknown = table().resolve("pyton3.12").unwrap_err();
        assert_eq!(unknown.nearest.as_deref(), Some("python3.12"));
        assert!(unknown.known.contains(&"bash".to_owned()));
        assert_eq!(table().resolve("completely-else").unwrap_err().nearest, None);
    }

    #[test]
    fn the_ending_chooses_when_nothing_else_does() {
        assert_eq!(table().for_script("a.py", "#!/bin/sh"), "python:3.11");
        assert_eq!(table().for_script("a.js", ""), "node:20");
        assert_eq!(table().for_script("a.RB", ""), "ruby:3.3");
        assert_eq!(table().for_script("noending", ""), "python:3.11");
    }

    #[test]
    fn a_first_line_chooses_where_the_ending_does_not() {
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
    fn versions_are_listed_as_people_count() {
        let table = table();
        let names: Vec<_> = table.iter().map(|(name, _)| name).collect();
        assert_eq!(names[..4], ["python:3.9", "python:3.10", "python:3.11", "python:3.12"]);
    }
}
