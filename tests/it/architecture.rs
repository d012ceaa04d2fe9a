//! The layers of `ARCHITECTURE.md`: each folder may use those to its right, and nobody else knows
//! its libraries.

use std::fs;
use std::path::{Path, PathBuf};

/// Folder below `src/`, and the modules of the crate that it may use besides itself.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("commands", &["daemon", "http", "worker", "maintenance", "store", "sandbox", "execution", "settings"]),
    ("daemon", &["http", "worker", "maintenance", "store", "sandbox", "execution", "settings"]),
    ("maintenance", &["http", "worker", "store", "sandbox", "execution", "settings"]),
    ("http", &["store", "execution", "settings"]),
    ("worker", &["store", "sandbox", "execution", "settings"]),
    ("store", &["execution"]),
    ("sandbox", &["execution", "settings"]),
    ("settings", &[]),
    ("execution", &[]),
];

/// A library, and the only folders that know it.
const KNOWN_BY: [(&str, &[&str]); 9] = [
    ("diesel::", &["store"]),
    ("diesel_migrations::", &["store"]),
    ("bollard::", &["sandbox"]),
    ("actix_web::", &["http"]),
    ("actix::", &["worker", "daemon"]),
    ("rgrid_init::", &["sandbox", "worker", "execution"]),
    ("signal_hook::", &["daemon"]),
    ("maud::", &["http"]),
    ("ureq::", &["maintenance", "commands"]),
];

#[test]
fn imports_stay_within_their_layers() {
    let mut crossings = Vec::new();
    for (layer, allowed) in MAY_USE {
        for (path, line) in lines_of(&root().join("src").join(layer)) {
            let Some(module) = used_module(&line) else { continue };
            let known = MAY_USE.iter().any(|(name, _)| *name == module);
            if known && module != layer && !allowed.contains(&module.as_str()) {
                crossings.push(format!("{}: {layer} uses {module}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(crossings.is_empty(), "{}", crossings.join("\n"));
}

#[test]
fn each_library_is_known_in_its_place_alone() {
    let mut crossings = Vec::new();
    for (layer, _) in MAY_USE {
        for (path, line) in lines_of(&root().join("src").join(layer)) {
            for (library, places) in KNOWN_BY {
                if mentions(&line, library) && !places.contains(&layer) {
                    crossings.push(format!("{}: {layer} knows {library} {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(crossings.is_empty(), "{}", crossings.join("\n"));
}

#[test]
fn the_test_above_sees_a_crossing() {
    assert!(mentions("use diesel::prelude::*;", "diesel::"));
    assert!(!mentions("use rgrid_diesel::x;", "diesel::"));
    assert_eq!(used_module("    use crate::store::Store;").as_deref(), Some("store"));
}

#[test]
fn clients_and_the_init_know_nothing_of_the_daemon() {
    for (member, forbidden) in
        [("api", "rgridd"), ("cli", "rgridd"), ("init", "rgridd"), ("cli", "rgrid-init")]
    {
        let manifest = fs::read_to_string(root().join("crates").join(member).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains(&format!("\n{forbidden} =")), "{member} depends on {forbidden}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mentions(line: &str, library: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(library).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn used_module(line: &str) -> Option<String> {
    let code = line.split("//").next()?;
    let (_, rest) = code.split_once("crate::")?;
    Some(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

fn lines_of(folder: &Path) -> Vec<(PathBuf, String)> {
    let files = sources(folder);
    assert!(!files.is_empty(), "{} has no sources", folder.display());
    let lines = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        text.lines().map(|line| (path.clone(), line.to_owned())).collect::<Vec<_>>()
    };
    files.into_iter().flat_map(lines).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}
