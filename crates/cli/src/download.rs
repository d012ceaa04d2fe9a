//! Saves the output files of executions. File names are chosen by the script and not trusted: nothing is written outside
//! the folder, partially, or over an existing file.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use rgrid_api::{OutputFile, names};
use tempfile::{NamedTempFile, PersistError};

use crate::client::Client;
use crate::error::{CliError, Exit, Result};
use crate::output::Console;

/// Saves these files and passes the path of each to `on_saved`. A file that cannot be saved does not keep the others
/// from being saved.
pub fn save_outputs(
    client: &Client,
    id: &str,
    files: &[OutputFile],
    destination: &Destination,
    console: &Console,
    mut on_saved: impl FnMut(&str) -> Result,
) -> Result {
    if files.is_empty() {
        return Ok(());
    }
    let folder = destination.create()?;
    let may_be_saved = confirm_dotfiles(files, &folder, destination, console)?;
    let mut unsaved = Vec::new();
    for file in files {
        let saved = match may_be_saved || !folder.has_dotfile(&file.name) {
            true => destination.save(client, id, file),
            false => Err(Unsaved::Dotfile(file.name.clone())),
        };
        match saved {
            Ok(path) => on_saved(&path.display().to_string())?,
            // The next files would fail as well, for example because the server cannot be reached.
            Err(Unsaved::Failed(error)) if error.exit != Exit::Failure => {
                if let Err(others) = report_unsaved(unsaved, id, destination) {
                    console.error(&others);
                }
                return Err(error);
            }
            Err(reason) => unsaved.push(reason),
        }
    }
    report_unsaved(unsaved, id, destination)
}

/// Whether files that are hidden in a home directory may be saved, if there are any.
fn confirm_dotfiles(
    files: &[OutputFile],
    folder: &Folder,
    destination: &Destination,
    console: &Console,
) -> Result<bool> {
    let hidden: Vec<&str> =
        files.iter().map(|file| file.name.as_str()).filter(|name| folder.has_dotfile(name)).collect();
    if hidden.is_empty() || destination.dotfiles == Dotfiles::Save {
        return Ok(true);
    }
    let names = hidden.join(", ");
    console.confirm(&format!("Save hidden files in a home directory, which programs may trust ({names})?"))
}

/// Why a file was not saved.
#[derive(Debug)]
enum Unsaved {
    /// The path exists and has other content.
    Exists(PathBuf),
    /// The name of a file that is hidden in a home directory.
    Dotfile(String),
    Failed(CliError),
}

impl From<CliError> for Unsaved {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for Unsaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsaved::Exists(path) => write!(f, "{} already exists; not overwritten", path.display()),
            Unsaved::Dotfile(name) => write!(f, "{name} is a hidden file in a home directory; not saved"),
            Unsaved::Failed(error) => write!(f, "{error}"),
        }
    }
}

fn report_unsaved(unsaved: Vec<Unsaved>, id: &str, destination: &Destination) -> Result {
    let exists = unsaved.iter().any(|reason| matches!(reason, Unsaved::Exists(_)));
    let is_hidden = unsaved.iter().any(|reason| matches!(reason, Unsaved::Dotfile(_)));
    let error = match unsaved.as_slice() {
        [] => return Ok(()),
        [reason] => CliError::failure(reason.to_string()),
        several => CliError {
            details: several.iter().map(Unsaved::to_string).collect(),
            ..CliError::failure(format!("{} files were not saved:", several.len()))
        },
    };
    let (action, options) = match (exists, is_hidden) {
        (true, true) => ("save them", "--force --dotfiles"),
        (true, false) => ("overwrite", "--force"),
        (false, true) => ("save hidden files", "--dotfiles"),
        (false, false) => return Err(error),
    };
    let folder = destination.path();
    let is_here = folder == Path::new(".");
    let folder = if is_here { String::new() } else { format!(" -o {}", folder.display()) };
    Err(error.hint(format!(
        "{action} with `rgrid download {options}{folder} {id}`, or select another folder with -o DIR"
    )))
}

/// `1 file`, `3 files`.
pub fn count_files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// What happens to an existing file with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Replace,
}

/// What happens to files that are hidden in a home directory, such as `.bashrc` and `.ssh/authorized_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dotfiles {
    /// Ask; without a terminal, do not save them.
    Ask,
    Save,
}

pub struct Destination {
    /// As the user selected it.
    folder: PathBuf,
    /// Below the folder, and not selected by the user.
    subfolder: Option<String>,
    pub existing: Existing,
    pub dotfiles: Dotfiles,
}

impl Destination {
    /// The folder does not have to exist.
    pub fn new(folder: &Path) -> Result<Self> {
        match fs::metadata(folder) {
            Ok(metadata) if !metadata.is_dir() => {
                Err(CliError::usage(format!("{} is not a folder", folder.display())))
            }
            _ => Ok(Self {
                folder: folder.to_owned(),
                subfolder: None,
                existing: Existing::Keep,
                dotfiles: Dotfiles::Ask,
            }),
        }
    }

    /// A folder in this one, named after an input of a batch.
    pub fn subfolder(&self, name: &str) -> Result<Self> {
        let check = names::check_file_name(name);
        check.map_err(|cause| CliError::failure(format!("cannot create a folder for an input: {cause}")))?;
        let Destination { folder, existing, dotfiles, .. } = self;
        Ok(Self {
            folder: folder.clone(),
            subfolder: Some(name.to_owned()),
            existing: *existing,
            dotfiles: *dotfiles,
        })
    }

    fn path(&self) -> PathBuf {
        match &self.subfolder {
            Some(name) => self.folder.join(name),
            None => self.folder.clone(),
        }
    }

    fn create(&self) -> Result<Folder> {
        let path = self.path();
        let create = || -> io::Result<Folder> {
            fs::create_dir_all(&path)?;
            Ok(Folder { selected: self.folder.canonicalize()?, path: path.canonicalize()?, homes: homes() })
        };
        create().map_err(|error| CliError::unwritable(&path, &error))
    }

    /// Downloads a file and returns its path.
    fn save(&self, client: &Client, id: &str, file: &OutputFile) -> Result<PathBuf, Unsaved> {
        let path = self.create_parents(&file.name)?;
        let downloaded = client.output(id, &file.name, |reader| copy(reader, PartialFile::beside(&path)));
        let (content, size) = downloaded?.map_err(|error| CliError::unwritable(&path, &error))?;
        if size != file.size {
            let OutputFile { name, size: expected, .. } = file;
            let message = format!("{name:?} has {size} bytes instead of {expected}; try again");
            return Err(CliError::failure(message).into());
        }
        match persist(content, &path, self.existing) {
            Ok(true) => Ok(path),
            Ok(false) => Err(Unsaved::Exists(path)),
            Err(error) => Err(CliError::unwritable(&path, &error).into()),
        }
    }

    /// Returns the path for an output of this name and creates its folders.
    fn create_parents(&self, name: &str) -> Result<PathBuf> {
        let parts: Vec<&str> = name.split('/').collect();
        for part in &parts {
            let check = names::check_file_name(part);
            check.map_err(|cause| CliError::failure(format!("cannot save the output {name:?}: {cause}")))?;
        }
        let mut path = self.path();
        let (last, folders) = parts.split_last().unwrap_or((&name, &[]));
        for folder in folders {
            path.push(folder);
            create_folder(&path)?;
        }
        Ok(path.join(last))
    }
}

/// An existing folder, with absolute paths without links.
struct Folder {
    selected: PathBuf,
    path: PathBuf,
    homes: Vec<PathBuf>,
}

impl Folder {
    /// Whether a file of this name would be hidden in a home directory. A hidden folder that the user selected is not
    /// the script's choice.
    fn has_dotfile(&self, name: &str) -> bool {
        let path = self.path.join(name);
        self.homes.iter().any(|home| {
            let first = path.strip_prefix(home).ok().and_then(|inside| inside.components().next());
            let Some(Component::Normal(first)) = first else { return false };
            first.as_encoded_bytes().starts_with(b".") && !self.selected.starts_with(home.join(first))
        })
    }
}

/// The home directories of this user and of the accounts of this machine.
fn homes() -> Vec<PathBuf> {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_accounts = accounts.lines().filter_map(|line| line.split(':').nth(5)).map(PathBuf::from);
    let homes = std::env::home_dir().into_iter().chain(of_accounts);
    homes.filter(|home| home.is_absolute()).filter_map(|home| home.canonicalize().ok()).collect()
}

/// Uses an existing folder, but not a link, which could lead outside.
fn create_folder(path: &Path) -> Result {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) => {
            let kind = if metadata.is_symlink() { "a symbolic link" } else { "not a folder" };
            Err(CliError::failure(format!("cannot save files in {}, which is {kind}", path.display())))
        }
        Err(_) => fs::create_dir(path).map_err(|error| CliError::unwritable(path, &error)),
    }
}

type Copied = io::Result<(PartialFile, u64)>;

/// The outer error is one of reading, which is retried; the inner one is one of writing.
fn copy(reader: &mut dyn Read, file: io::Result<PartialFile>) -> io::Result<Copied> {
    let mut file = match file {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let (mut buffer, mut size) = (vec![0; 64 * 1024], 0);
    loop {
        let count = reader.read(&mut buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(file.file().flush().map(|()| (file, size)));
        }
        size += count as u64;
        if let Err(error) = file.file().write_all(chunk) {
            return Ok(Err(error));
        }
    }
}

/// Returns false if a file with other content exists and was kept.
fn persist(mut content: PartialFile, path: &Path, existing: Existing) -> io::Result<bool> {
    match existing {
        // Replaces a link itself, not its target.
        Existing::Replace => content.persist(|file| file.persist(path)).map(|()| true),
        Existing::Keep if has_same_content(content.file(), path)? => Ok(true),
        Existing::Keep => match content.persist(|file| file.persist_noclobber(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            result => result.map(|()| true),
        },
    }
}

fn has_same_content(new: &mut File, path: &Path) -> io::Result<bool> {
    let existing = fs::symlink_metadata(path);
    if !existing.is_ok_and(|old| old.is_file() && new.metadata().is_ok_and(|new| new.len() == old.len())) {
        return Ok(false);
    }
    let (mut old_bytes, mut new_bytes) = (Vec::new(), Vec::new());
    new.rewind()?;
    new.read_to_end(&mut new_bytes)?;
    // A file that cannot be read counts as different.
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut old_bytes));
    Ok(read.is_ok() && old_bytes == new_bytes)
}

static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn files() -> MutexGuard<'static, Vec<PathBuf>> {
    FILES.lock()
}

/// Removes all partial files. No other one can be created while the guard exists.
pub fn remove_partial_files() -> MutexGuard<'static, Vec<PathBuf>> {
    let files = files();
    for file in files.iter() {
        // There is nothing to do about a file that cannot be removed.
        let _ = std::fs::remove_file(file);
    }
    files
}

/// Removed on drop, unless it was persisted.
struct PartialFile(NamedTempFile);

impl PartialFile {
    /// In the folder of `path`, so that it can be renamed, and with the usual permissions of a new file.
    fn beside(path: &Path) -> io::Result<Self> {
        let mut files = files();
        let file = tempfile::Builder::new()
            .prefix(".rgrid-")
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        files.push(file.path().to_owned());
        Ok(Self(file))
    }

    fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    fn persist(self, persist: impl FnOnce(NamedTempFile) -> Result<File, PersistError>) -> io::Result<()> {
        let mut files = files();
        let path = self.0.path().to_owned();
        let result = persist(self.0);
        files.retain(|file| *file != path);
        result.map(|_: File| ()).map_err(|error| error.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_not_saved_are_named_with_the_options_that_save_them() {
        let (here, there) = (Path::new("."), Path::new("results"));
        let report = |unsaved, folder: &Path| {
            report_unsaved(unsaved, "exec_1", &Destination::new(folder).unwrap())
                .map_err(|e| (e.hint.clone(), e))
        };
        assert!(report(Vec::new(), here).is_ok());
        let (hint, one) = report(vec![Unsaved::Exists("a".into())], here).unwrap_err();
        assert_eq!(one.message, "a already exists; not overwritten");
        assert!(hint.unwrap().starts_with("overwrite with `rgrid download --force exec_1`"));
        let (hint, one) = report(vec![Unsaved::Dotfile(".bashrc".to_owned())], here).unwrap_err();
        assert_eq!(one.message, ".bashrc is a hidden file in a home directory; not saved");
        assert!(hint.unwrap().starts_with("save hidden files with `rgrid download --dotfiles exec_1`"));
        let failed = || Unsaved::Failed(CliError::failure("cannot save the output \"..\""));
        let (hint, one) = report(vec![failed()], here).unwrap_err();
        assert_eq!((hint, one.message.as_str()), (None, "cannot save the output \"..\""));
        let three = vec![failed(), Unsaved::Exists("a".into()), Unsaved::Dotfile(".b".to_owned())];
        let (hint, three) = report(three, there).unwrap_err();
        assert_eq!((three.message.as_str(), three.details.len()), ("3 files were not saved:", 3));
        assert!(hint.unwrap().contains("`rgrid download --force --dotfiles -o results exec_1`"));
    }

    #[test]
    fn a_dotfile_is_hidden_in_a_home_directory_and_not_in_a_selected_folder() {
        let home = PathBuf::from("/home/me");
        for (selected, path, name, expected) in [
            ("/home/me", "/home/me", ".bashrc", true),
            ("/home/me", "/home/me", ".ssh/authorized_keys", true),
            ("/home/me", "/home/me", "..", false),
            ("/home", "/home", "me/.profile", true),
            ("/home/me", "/home/me/.ssh", "authorized_keys", true),
            ("/home/me", "/home/me", "a/.hidden", false),
            ("/home/me/results", "/home/me/results", ".hidden", false),
            ("/home/me/.cache/results", "/home/me/.cache/results", ".hidden", false),
            ("/srv", "/srv", ".hidden", false),
            ("/home/me2", "/home/me2", ".hidden", false),
        ] {
            let folder = Folder { selected: selected.into(), path: path.into(), homes: vec![home.clone()] };
            assert_eq!(folder.has_dotfile(name), expected, "{path} {name}");
        }
    }

    #[test]
    fn the_folder_of_an_input_is_below_the_selected_one() {
        let folder = tempfile::tempdir().unwrap();
        let destination = Destination::new(folder.path()).unwrap();
        for name in ["", "..", "/etc", "a/..", "../x"] {
            assert!(destination.subfolder(name).is_err(), "{name:?}");
        }
        assert_eq!(destination.subfolder("a").unwrap().path(), folder.path().join("a"));
    }

    fn content(text: &str, folder: &Path) -> PartialFile {
        let beside = PartialFile::beside(&folder.join("x"));
        let (file, size) = copy(&mut text.as_bytes(), beside).unwrap().unwrap();
        assert_eq!(size, text.len() as u64);
        file
    }

    #[test]
    fn no_name_escapes_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let destination = Destination::new(folder.path()).unwrap();
        for name in
            ["../x", "/etc/passwd", "a/../../x", "", "a//b", "a/", ".", "a/./b", "a\0", "a\nb", "\x1b[2J"]
        {
            assert!(destination.create_parents(name).is_err(), "{name:?}");
        }
        assert_eq!(destination.create_parents("plots/a.png").unwrap(), folder.path().join("plots/a.png"));
        assert!(folder.path().join("plots").is_dir());
    }

    #[test]
    fn no_link_escapes_the_folder() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        let error = Destination::new(folder.path()).unwrap().create_parents("link/a").unwrap_err();
        assert!(error.message.ends_with("which is a symbolic link"), "{error}");

        fs::write(outside.path().join("target"), "old").unwrap();
        let last = folder.path().join("a");
        std::os::unix::fs::symlink(outside.path().join("target"), &last).unwrap();
        let persist_over = |existing| persist(content("new", folder.path()), &last, existing).unwrap();
        assert!(!persist_over(Existing::Keep));
        assert!(persist_over(Existing::Replace));
        assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "old");
    }

    #[test]
    fn an_existing_file_is_kept_unless_it_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let persist_text = |text, existing| persist(content(text, folder.path()), &path, existing).unwrap();
        assert!(persist_text("one", Existing::Keep));
        assert!(persist_text("one", Existing::Keep));
        assert!(!persist_text("two", Existing::Keep));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert!(persist_text("two", Existing::Replace));
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        // No partial file remains.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_not_a_destination() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Destination::new(file.path()).is_err());
    }
}
