//! Saves the output files of executions.

pub mod destination;
pub mod partial_file;

use std::path::Path;

use rgrid_api::OutputFile;

use crate::client::Client;
use crate::error::CliError;
use destination::{Destination, Existing, Saved};

/// Saves these files and passes the path of each to `on_saved`. A file that already exists does not keep the
/// others from being saved.
pub fn save_outputs(
    client: &Client,
    id: &str,
    files: &[OutputFile],
    destination: &Destination,
    existing: Existing,
    mut on_saved: impl FnMut(&str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut conflicts = Vec::new();
    for file in files {
        match destination.save(client, id, file, existing)? {
            Saved::Written(path) | Saved::Unchanged(path) => on_saved(&path.display().to_string())?,
            Saved::Conflict(path) => conflicts.push(path.display().to_string()),
        }
    }
    report_conflicts(conflicts, id, destination.folder())
}

fn report_conflicts(mut paths: Vec<String>, id: &str, folder: &Path) -> Result<(), CliError> {
    let error = match paths.len() {
        0 => return Ok(()),
        1 => CliError::failure(format!("{} already exists; not overwritten", paths.remove(0))),
        count => CliError {
            details: paths,
            ..CliError::failure(format!("{count} files already exist; not overwritten:"))
        },
    };
    let option = match folder == Path::new(".") {
        true => String::new(),
        false => format!(" -o {}", folder.display()),
    };
    Err(error.hint(format!(
        "overwrite with `rgrid download --force{option} {id}`, or select another folder with -o DIR"
    )))
}

/// `1 file`, `3 files`.
pub fn count_files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_not_overwritten_are_named() {
        let (here, there) = (Path::new("."), Path::new("results"));
        assert_eq!(report_conflicts(Vec::new(), "exec_1", here), Ok(()));
        let one = report_conflicts(vec!["a".to_owned()], "exec_1", here).unwrap_err();
        assert_eq!(one.message, "a already exists; not overwritten");
        assert!(one.hint.unwrap().starts_with("overwrite with `rgrid download --force exec_1`"));
        let two = report_conflicts(vec!["a".to_owned(), "b".to_owned()], "exec_1", there).unwrap_err();
        assert_eq!(two.details, ["a", "b"]);
        assert!(two.hint.unwrap().contains("`rgrid download --force -o results exec_1`"));
    }
}
