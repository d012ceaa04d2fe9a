//! Saving the files that a script left.

use std::path::Path;

use rgrid_api::OutputFile;

use crate::client::Server;
use crate::download::destination::{Destination, Existing, Saved};
use crate::error::Failure;

/// Saves each of them and tells its path. One that is in another's way does not keep the rest back.
pub fn save(
    server: &Server,
    id: &str,
    files: &[OutputFile],
    destination: &Destination,
    existing: Existing,
    mut tell: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut kept = Vec::new();
    for file in files {
        match destination.save(server, id, file, existing)? {
            Saved::Written(path) | Saved::Unchanged(path) => tell(&path.display().to_string())?,
            Saved::InTheWay(path) => kept.push(path.display().to_string()),
        }
    }
    in_the_way(kept, id, destination.folder())
}

fn in_the_way(mut kept: Vec<String>, id: &str, folder: &Path) -> Result<(), Failure> {
    let failure = match kept.len() {
        0 => return Ok(()),
        1 => Failure::failed(format!("{} is there already, and was kept", kept.remove(0))),
        count => Failure {
            details: kept,
            ..Failure::failed(format!("{count} files are there already, and were kept:"))
        },
    };
    let is_here = folder == Path::new(".");
    let into = if is_here { String::new() } else { format!(" -o {}", folder.display()) };
    Err(failure.hint(format!(
        "`rgrid download --force{into} {id}` replaces what is there; -o DIR names another folder"
    )))
}

/// `1 file`, `3 files`.
pub fn counted(files: &[OutputFile]) -> String {
    number(files.len())
}

pub fn number(files: usize) -> String {
    match files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_kept_are_named() {
        let (here, there) = (Path::new("."), Path::new("results"));
        assert_eq!(in_the_way(Vec::new(), "exec_1", here), Ok(()));
        let one = in_the_way(vec!["a".to_owned()], "exec_1", here).unwrap_err();
        assert_eq!(one.what, "a is there already, and was kept");
        assert!(one.hint.unwrap().starts_with("`rgrid download --force exec_1` replaces"));
        let two = in_the_way(vec!["a".to_owned(), "b".to_owned()], "exec_1", there).unwrap_err();
        assert_eq!(two.details, ["a", "b"]);
        assert!(two.hint.unwrap().starts_with("`rgrid download --force -o results exec_1` replaces"));
    }
}
