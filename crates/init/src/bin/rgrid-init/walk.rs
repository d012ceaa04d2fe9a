//! Finding files below the workspace without ever following a link, and opening one of them again.
//!
//! What lies there was made by a script that may want the init to read, open or wait for something else: so
//! each step goes from an open folder to a plain name, `O_NOFOLLOW` and `O_NONBLOCK`, and nothing but
//! regular files of the script's own user is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::NixPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat};

const MAX_DEPTH: usize = 32;
const MAX_ENTRIES: usize = 100_000;
const MAX_PART: usize = 255;
const MAX_PATH: usize = 1024;
const MAX_SENTENCES: usize = 10;

pub struct Walk<'a> {
    /// Files of other users are no outputs; `None` in tests without root.
    pub owner: Option<u32>,
    pub inputs: &'a BTreeSet<String>,
    pub max_files: usize,
    pub files: BTreeMap<String, u64>,
    /// Files that had no place among the first `max_files`.
    pub further: u64,
    pub left_out: LeftOut,
    entries: usize,
}

/// Sentences about what was left out; beyond the tenth only how many there would be.
#[derive(Default)]
pub struct LeftOut {
    sentences: Vec<String>,
    more: u64,
}

impl LeftOut {
    pub fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.sentences.len() < MAX_SENTENCES {
            self.sentences.push(sentence());
        } else {
            self.more += 1;
        }
    }

    pub fn into_sentences(mut self) -> Vec<String> {
        if self.more > 0 {
            self.sentences.push(format!("{} more were left out.", self.more));
        }
        self.sentences
    }
}

impl<'a> Walk<'a> {
    pub fn new(owner: Option<u32>, inputs: &'a BTreeSet<String>, max_files: usize) -> Self {
        let (files, left_out) = (BTreeMap::new(), LeftOut::default());
        Self { owner, inputs, max_files, files, further: 0, left_out, entries: 0 }
    }

    pub fn workspace(&mut self, workspace: &Path) {
        match open_folder(AT_FDCWD, workspace) {
            Ok(folder) => self.folder(&folder, "", 1),
            Err(error) => self.left_out.add(|| format!("The workspace could not be read: {error}.")),
        }
    }

    fn folder(&mut self, folder: &OwnedFd, prefix: &str, depth: usize) {
        let listing = folder.try_clone().map(Dir::from_fd);
        let Ok(Ok(mut listing)) = listing else {
            return self.left_out.add(|| format!("The folder {} could not be listed.", shown(prefix)));
        };
        for entry in listing.iter().filter_map(Result::ok) {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                if self.entries == MAX_ENTRIES + 1 {
                    self.left_out.add(|| format!("Nothing was looked at after {MAX_ENTRIES} files."));
                }
                return;
            }
            self.entry(folder, name, prefix, depth);
        }
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CStr, prefix: &str, depth: usize) {
        let path = match join(prefix, name) {
            Ok(path) => path,
            Err(why) => {
                let name = name.to_string_lossy();
                return self.left_out.add(|| format!("{} was left out: {why}.", shown(&name)));
            }
        };
        let Ok(stat) = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) else {
            return self.left_out.add(|| format!("{} could not be looked at.", shown(&path)));
        };
        match kind(&stat) {
            SFlag::S_IFREG => self.file(&path, &stat),
            SFlag::S_IFDIR if name == c"__pycache__" => {}
            SFlag::S_IFDIR if depth >= MAX_DEPTH => {
                self.left_out.add(|| format!("{} lies too deep and was left out.", shown(&path)));
            }
            SFlag::S_IFDIR => match open_folder(folder, name) {
                Ok(inner) => self.folder(&inner, &path, depth + 1),
                Err(error) => self.left_out.add(|| format!("{} could not be read: {error}.", shown(&path))),
            },
            other => self.left_out.add(|| format!("{} was left out: it is {}.", shown(&path), a_kind(other))),
        }
    }

    fn file(&mut self, path: &str, stat: &FileStat) {
        if self.inputs.contains(path) || !owned_by(stat, self.owner) {
            return;
        }
        self.files.insert(path.to_owned(), u64::try_from(stat.st_size).unwrap_or(0));
        if self.files.len() > self.max_files {
            self.files.pop_last();
            self.further += 1;
        }
    }
}

/// Opens a file that a walk has found, and tells its size.
pub fn open_file(workspace: &Path, path: &str, owner: Option<u32>) -> Result<(File, u64), Errno> {
    let mut folder = open_folder(AT_FDCWD, workspace)?;
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        folder = open_folder(&folder, part)?;
    }
    let file = open_readable(&folder, name, OFlag::empty())?;
    let stat = fstat(&file)?;
    if kind(&stat) != SFlag::S_IFREG || !owned_by(&stat, owner) {
        return Err(Errno::EINVAL);
    }
    Ok((file.into(), u64::try_from(stat.st_size).unwrap_or(0)))
}

/// One that its owner closed to himself is opened again.
pub fn open_folder<P: NixPath + ?Sized>(parent: impl AsFd, name: &P) -> Result<OwnedFd, Errno> {
    open_readable(parent, name, OFlag::O_DIRECTORY)
}

fn open_readable<P: NixPath + ?Sized>(parent: impl AsFd, name: &P, flags: OFlag) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match openat(&parent, name, flags, Mode::empty()) {
        Err(Errno::EACCES) => {
            // The script took its own right to read away; its user may give it back.
            fchmodat(&parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            openat(&parent, name, flags, Mode::empty())
        }
        result => result,
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn owned_by(stat: &FileStat, owner: Option<u32>) -> bool {
    owner.is_none_or(|owner| stat.st_uid == owner)
}

fn join(prefix: &str, name: &CStr) -> Result<String, &'static str> {
    let name = name.to_str().map_err(|_| "its name is not UTF-8")?;
    if name.chars().any(char::is_control) {
        return Err("its name has control characters");
    }
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    if name.len() > MAX_PART || path.len() > MAX_PATH {
        return Err("its name is too long");
    }
    Ok(path)
}

fn a_kind(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a named pipe",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFBLK | SFlag::S_IFCHR => "a device",
        _ => "no regular file",
    }
}

/// A name for a sentence: escaped and not too long.
pub fn shown(name: &str) -> String {
    let (mut short, rest) = (name.chars().take(80).collect::<String>(), name.chars().nth(80));
    if rest.is_some() {
        short.push('…');
    }
    format!("`{}`", short.escape_debug())
}
