//! The files that a script left in its workspace.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::FileExt;

use rgrid_init::{Limits, MAX_OUTPUTS, MAX_PIECE, Message, OutputFile};

use crate::host::Host;
use crate::walk::{Walk, open_file, shown};

pub struct Found {
    /// Sorted by name.
    pub files: Vec<OutputFile>,
    /// Sentences.
    pub left_out: Vec<String>,
}

/// A piece that the daemon asks for.
pub struct Wanted {
    pub output: u32,
    pub offset: u64,
    pub max: u32,
}

/// Only when no process of the script is alive.
pub fn collect(host: &Host, inputs: &BTreeSet<String>, limits: &Limits) -> Found {
    host.as_script(|| find(host, inputs, limits)).unwrap_or_else(|reason| Found {
        files: Vec::new(),
        left_out: vec![format!("The outputs could not be read: {reason}.")],
    })
}

/// A piece of `outputs`, opened again with the same care; the error is a sentence.
pub fn read(host: &Host, outputs: &[OutputFile], wanted: &Wanted) -> Result<Message, String> {
    let index = wanted.output as usize;
    let Some(output) = outputs.get(index) else {
        return Err(format!("There is no output number {index}."));
    };
    host.as_script(|| piece(host, output, wanted))?
        .map_err(|error| format!("The output {} could not be read: {error}.", shown(&output.name)))
}

fn find(host: &Host, inputs: &BTreeSet<String>, limits: &Limits) -> Found {
    let most = usize::try_from(limits.max_outputs).unwrap_or(MAX_OUTPUTS).min(MAX_OUTPUTS);
    let mut walk = Walk::new(host.user, inputs, most);
    walk.workspace(&host.workspace);
    let Walk { files, further, mut left_out, .. } = walk;
    let mut room = limits.max_output_bytes;
    let mut kept = Vec::new();
    for (name, size) in files {
        if size > room {
            left_out.add(|| too_large(&name, size, limits.max_output_bytes));
        } else if let Err(error) = open_file(&host.workspace, &name, host.user) {
            left_out.add(|| format!("{} could not be read: {error}.", shown(&name)));
        } else {
            room -= size;
            kept.push(OutputFile { name, size });
        }
    }
    let mut left_out = left_out.into_sentences();
    if further > 0 {
        left_out.push(format!("{further} more files were left out: {most} are kept at most."));
    }
    Found { files: kept, left_out }
}

fn too_large(name: &str, size: u64, most: u64) -> String {
    let (name, size, most) = (shown(name), in_words(size), in_words(most));
    format!("{name} ({size}) was left out: all outputs together may have {most}.")
}

fn in_words(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{bytes} bytes"),
        whole if whole % MIB == 0 => format!("{} MiB", whole / MIB),
        other => format!("{:.1} MiB", other as f64 / MIB as f64),
    }
}

fn piece(host: &Host, output: &OutputFile, wanted: &Wanted) -> io::Result<Message> {
    let (file, _) = open_file(&host.workspace, &output.name, host.user)?;
    // The size that was told holds: nobody is left to change the file.
    let left = output.size.saturating_sub(wanted.offset);
    let most = MAX_PIECE.min(usize::try_from(wanted.max).unwrap_or(MAX_PIECE));
    let mut content = vec![0; most.min(usize::try_from(left).unwrap_or(most))];
    file.read_exact_at(&mut content, wanted.offset)?;
    let last = content.len() as u64 >= left;
    Ok(Message::Piece { output: wanted.output, offset: wanted.offset, content, last })
}
