//! Checks the layers of `ARCHITECTURE.md`: which folders of `src/` may import which others, and which libraries.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `src/` and the modules that it may import. `metrics` may be imported everywhere.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("commands", &["daemon", "http", "worker", "maintenance", "store", "sandbox", "execution", "settings"]),
    ("daemon", &["http", "worker", "maintenance", "store", "sandbox", "execution", "settings"]),
    ("maintenance", &["worker", "store", "sandbox", "execution", "settings"]),
    ("http", &["store", "execution", "settings"]),
    ("worker", &["store", "sandbox", "execution", "settings"]),
    ("store", &["execution"]),
    ("sandbox", &["execution", "settings"]),
    ("settings", &[]),
    ("metrics", &[]),
    ("execution", &[]),
];

/// A library and the only folders that may import it.
const LIBRARIES: [(&str, &[&str]); 12] = [
    ("diesel::", &["store"]),
    ("diesel_migrations::", &["store"]),
    ("r2d2::", &["store"]),
    ("bollard::", &["sandbox"]),
    ("actix_web::", &["http"]),
    ("actix::", &["worker", "daemon"]),
    ("rgrid_init::", &["sandbox", "worker", "execution"]),
    ("signal_hook::", &["daemon"]),
    ("maud::", &["http"]),
    ("prometheus_client::", &["metrics", "http"]),
    ("hmac::", &["maintenance"]),
    ("ureq::", &["maintenance", "commands"]),
];

#[test]
fn imports_stay_within_their_layers() {
    let mut violations = Vec::new();
    for (layer, allowed) in MAY_USE {
        for (path, line) in lines_of(&root().join("src").join(layer)) {
            // A group at the root of the crate would hide which layers it imports.
            if line.contains("crate::{") {
                violations.push(format!("{}: split this group: {}", path.display(), line.trim()));
            }
            let Some(module) = used_module(&line) else { continue };
            let known = module != "metrics" && MAY_USE.iter().any(|(name, _)| *name == module);
            if known && module != layer && !allowed.contains(&module.as_str()) {
                violations.push(format!("{}: {layer} imports {module}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn libraries_are_imported_only_in_their_folders() {
    let mut violations = Vec::new();
    for (layer, _) in MAY_USE {
        for (path, line) in lines_of(&root().join("src").join(layer)) {
            for (library, folders) in LIBRARIES {
                if mentions(&line, library) && !folders.contains(&layer) {
                    violations.push(format!(
                        "{}: {layer} imports {library}: {}",
                        path.display(),
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn violations_are_detected() {
    assert!(mentions("use diesel::prelude::*;", "diesel::"));
    assert!(!mentions("use rgrid_diesel::x;", "diesel::"));
    assert_eq!(used_module("    use crate::store::Store;").as_deref(), Some("store"));
}

#[test]
fn clients_and_the_init_do_not_depend_on_the_daemon() {
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
    assert!(!files.is_empty(), "{} contains no Rust files", folder.display());
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
