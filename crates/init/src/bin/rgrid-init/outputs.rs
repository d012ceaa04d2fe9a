//! Output files: regular files of the script's user in the workspace.
//!
//! The script may have prepared the workspace to make the init read, open or wait for something else. So every step goes
//! from an open folder to a plain name with `O_NOFOLLOW` and `O_NONBLOCK`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::NixPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat};
use rgrid_init::{Limits, MAX_OUTPUTS, MAX_PIECE, Message, OutputFile};

use crate::sandbox::Sandbox;

const MAX_DEPTH: usize = 32;
const MAX_ENTRIES: usize = 100_000;
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 1024;
const MAX_REASONS: usize = 10;

/// A `Fetch` command.
pub struct OutputRequest {
    pub output: u32,
    pub offset: u64,
    pub max: u32,
}

/// The files, sorted by name, and sentences about files that were not kept. Must not be called while a process of the
/// script is alive.
pub fn collect(
    sandbox: &Sandbox,
    inputs: &BTreeSet<String>,
    limits: &Limits,
) -> (Vec<OutputFile>, Vec<String>) {
    let failed = |error| (Vec::new(), vec![format!("The output files could not be read: {error}.")]);
    sandbox.as_script(|| find(sandbox, inputs, limits)).unwrap_or_else(failed)
}

/// Reads a piece of one of `outputs`; the error is a sentence.
pub fn read(sandbox: &Sandbox, outputs: &[OutputFile], request: &OutputRequest) -> Result<Message, String> {
    let Some(output) = outputs.get(request.output as usize) else {
        return Err(format!("There is no output number {}.", request.output));
    };
    let read = || -> io::Result<Message> {
        let file = open_file(&sandbox.workspace, &output.name, sandbox.user)?;
        // No process is left to change the file, so the size is still valid.
        let left = output.size.saturating_sub(request.offset);
        let max = MAX_PIECE.min(usize::try_from(request.max).unwrap_or(MAX_PIECE));
        let mut content = vec![0; max.min(usize::try_from(left).unwrap_or(max))];
        file.read_exact_at(&mut content, request.offset)?;
        let last = content.len() as u64 >= left;
        Ok(Message::Piece { output: request.output, offset: request.offset, content, last })
    };
    let piece = sandbox.as_script(read)?;
    piece.map_err(|error| format!("The output {} could not be read: {error}.", quoted(&output.name)))
}

fn find(sandbox: &Sandbox, inputs: &BTreeSet<String>, limits: &Limits) -> (Vec<OutputFile>, Vec<String>) {
    let max_files = usize::try_from(limits.max_outputs).unwrap_or(MAX_OUTPUTS).min(MAX_OUTPUTS);
    let mut walk = Walk {
        owner: sandbox.user,
        inputs,
        max_files,
        files: BTreeMap::new(),
        excess_files: 0,
        left_out: Reasons::default(),
        entries: 0,
    };
    match open_folder(AT_FDCWD, &sandbox.workspace) {
        Ok(folder) => walk.folder(&folder, "", 1),
        Err(error) => walk.left_out.add(|| format!("The workspace could not be read: {error}.")),
    }
    let Walk { files, excess_files, mut left_out, .. } = walk;
    let mut room = limits.max_output_bytes;
    let mut kept = Vec::new();
    for (name, size) in files {
        if size > room {
            left_out.add(|| {
                let (name, size, max) = (quoted(&name), mib(size), mib(limits.max_output_bytes));
                format!("{name} ({size}) was not kept: all output files together may have {max}.")
            });
        } else if let Err(error) = open_file(&sandbox.workspace, &name, sandbox.user) {
            left_out.add(|| format!("{} could not be read: {error}.", quoted(&name)));
        } else {
            room -= size;
            kept.push(OutputFile { name, size });
        }
    }
    let mut left_out = left_out.into_sentences();
    if excess_files > 0 {
        left_out.push(format!("{excess_files} more files were not kept: the limit is {max_files}."));
    }
    (kept, left_out)
}

fn mib(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{bytes} bytes"),
        whole if whole % MIB == 0 => format!("{} MiB", whole / MIB),
        other => format!("{:.1} MiB", other as f64 / MIB as f64),
    }
}

struct Walk<'a> {
    /// Files of other users are not outputs. `None` in tests without root.
    owner: Option<u32>,
    inputs: &'a BTreeSet<String>,
    max_files: usize,
    /// The first `max_files` by name, with their sizes.
    files: BTreeMap<String, u64>,
    excess_files: u64,
    left_out: Reasons,
    entries: usize,
}

/// The first ten reasons and the number of further ones.
#[derive(Default)]
struct Reasons {
    sentences: Vec<String>,
    more: u64,
}

impl Reasons {
    fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.sentences.len() < MAX_REASONS {
            self.sentences.push(sentence());
        } else {
            self.more += 1;
        }
    }

    fn into_sentences(mut self) -> Vec<String> {
        if self.more > 0 {
            self.sentences.push(format!("{} more were not kept.", self.more));
        }
        self.sentences
    }
}

impl Walk<'_> {
    fn folder(&mut self, folder: &OwnedFd, prefix: &str, depth: usize) {
        let listing = folder.try_clone().map(Dir::from_fd);
        let Ok(Ok(mut listing)) = listing else {
            return self.left_out.add(|| format!("The folder {} could not be listed.", quoted(prefix)));
        };
        for entry in listing.iter().filter_map(Result::ok) {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                if self.entries == MAX_ENTRIES + 1 {
                    self.left_out.add(|| format!("Only the first {MAX_ENTRIES} files were considered."));
                }
                return;
            }
            self.entry(folder, name, prefix, depth);
        }
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CStr, prefix: &str, depth: usize) {
        let path = match join(prefix, name) {
            Ok(path) => path,
            Err(reason) => {
                let name = name.to_string_lossy();
                return self.left_out.add(|| format!("{} was not kept: {reason}.", quoted(&name)));
            }
        };
        let Ok(stat) = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) else {
            return self.left_out.add(|| format!("{} could not be examined.", quoted(&path)));
        };
        let kind = match file_type(&stat) {
            SFlag::S_IFREG => return self.file(path, &stat),
            SFlag::S_IFDIR if name == c"__pycache__" => return,
            SFlag::S_IFDIR if depth >= MAX_DEPTH => {
                let sentence = || format!("{} was not kept: it is nested too deeply.", quoted(&path));
                return self.left_out.add(sentence);
            }
            SFlag::S_IFDIR => match open_folder(folder, name) {
                Ok(inner) => return self.folder(&inner, &path, depth + 1),
                Err(error) => {
                    return self.left_out.add(|| format!("{} could not be read: {error}.", quoted(&path)));
                }
            },
            SFlag::S_IFLNK => "a symbolic link",
            SFlag::S_IFIFO => "a named pipe",
            SFlag::S_IFSOCK => "a socket",
            SFlag::S_IFBLK | SFlag::S_IFCHR => "a device",
            _ => "not a regular file",
        };
        self.left_out.add(|| format!("{} was not kept: it is {kind}.", quoted(&path)));
    }

    fn file(&mut self, path: String, stat: &FileStat) {
        if self.inputs.contains(&path) || !owned_by(stat, self.owner) {
            return;
        }
        self.files.insert(path, u64::try_from(stat.st_size).unwrap_or(0));
        if self.files.len() > self.max_files {
            self.files.pop_last();
            self.excess_files += 1;
        }
    }
}

/// Opens a file below the workspace without following any link.
fn open_file(workspace: &Path, path: &str, owner: Option<u32>) -> Result<File, Errno> {
    let mut folder = open_folder(AT_FDCWD, workspace)?;
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        folder = open_folder(&folder, part)?;
    }
    let file = open_readable(&folder, name, OFlag::empty())?;
    let stat = fstat(&file)?;
    if file_type(&stat) != SFlag::S_IFREG || !owned_by(&stat, owner) {
        return Err(Errno::EINVAL);
    }
    Ok(file.into())
}

pub fn open_folder<P: NixPath + ?Sized>(parent: impl AsFd, name: &P) -> Result<OwnedFd, Errno> {
    open_readable(parent, name, OFlag::O_DIRECTORY)
}

fn open_readable<P: NixPath + ?Sized>(parent: impl AsFd, name: &P, flags: OFlag) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match openat(&parent, name, flags, Mode::empty()) {
        Err(Errno::EACCES) => {
            // The script may have removed its own permissions; as the owner, the init can restore them.
            fchmodat(&parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            openat(&parent, name, flags, Mode::empty())
        }
        result => result,
    }
}

fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn owned_by(stat: &FileStat, owner: Option<u32>) -> bool {
    owner.is_none_or(|owner| stat.st_uid == owner)
}

fn join(prefix: &str, name: &CStr) -> Result<String, &'static str> {
    let name = name.to_str().map_err(|_| "its name is not UTF-8")?;
    if name.chars().any(char::is_control) {
        return Err("its name contains control characters");
    }
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    if name.len() > MAX_NAME || path.len() > MAX_PATH {
        return Err("its name is too long");
    }
    Ok(path)
}

/// A name for a sentence: escaped, at most 80 characters.
fn quoted(name: &str) -> String {
    let ellipsis = name.chars().nth(80).map(|_| '…');
    let short: String = name.chars().take(80).chain(ellipsis).collect();
    format!("`{}`", short.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_names_are_rejected_with_a_reason() {
        let long = std::ffi::CString::new("x".repeat(256)).unwrap();
        let deep = "x/".repeat(511) + "x";
        for (prefix, name, expected) in [
            ("", c"plot.png", Ok("plot.png".to_owned())),
            ("plots", c"a.png", Ok("plots/a.png".to_owned())),
            ("", c"\xff", Err("its name is not UTF-8")),
            ("", c"a\nb", Err("its name contains control characters")),
            ("", &long, Err("its name is too long")),
            (&deep, c"abc", Err("its name is too long")),
        ] {
            assert_eq!(join(prefix, name), expected, "{prefix} {name:?}");
        }
    }

    #[test]
    fn only_the_first_ten_reasons_are_listed() {
        let mut reasons = Reasons::default();
        (0..12).for_each(|number| reasons.add(|| format!("{number}.")));
        let sentences = reasons.into_sentences();
        assert_eq!((sentences.len(), sentences[10].as_str()), (11, "2 more were not kept."));
    }

    #[test]
    fn names_and_sizes_are_readable() {
        assert_eq!(quoted("a`\n"), "`a`\\n`");
        assert_eq!(quoted(&"ä".repeat(90)), format!("`{}…`", "ä".repeat(80)));
        assert_eq!([100, 2 << 20, 3 << 19].map(mib), ["100 bytes", "2 MiB", "1.5 MiB"]);
    }
}
