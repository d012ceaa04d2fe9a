//! Archives in the form in which Docker takes files (POSIX ustar).

pub(crate) const BLOCK: usize = 512;

/// A file, or a folder without `content`. Names are short and ours.
pub(crate) struct Entry<'a> {
    pub name: &'a str,
    /// Number of the user and of the group.
    pub owner: u32,
    pub mode: u32,
    pub content: Option<&'a [u8]>,
}

pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        archive.extend(header(entry));
        archive.extend_from_slice(entry.content.unwrap_or_default());
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end an archive.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn header(entry: &Entry) -> Vec<u8> {
    let Entry { name, owner, mode, content } = entry;
    let kind = if content.is_some() { "0" } else { "5" };
    let fields: [(usize, String); 9] = [
        (0, (*name).to_owned()),
        (100, format!("{mode:07o}\0")),
        (108, format!("{owner:07o}\0")),
        (116, format!("{owner:07o}\0")),
        (124, format!("{:011o}\0", content.map_or(0, <[u8]>::len))),
        (136, "00000000000\0".to_owned()),
        // Counted as spaces while the sum is made.
        (148, " ".repeat(8)),
        (156, kind.to_owned()),
        (257, "ustar\x0000".to_owned()),
    ];
    let mut header = vec![0u8; BLOCK];
    for (at, text) in &fields {
        put(&mut header, *at, text);
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, &format!("{sum:06o}\0 "));
    header
}

fn put(header: &mut [u8], at: usize, text: &str) {
    for (place, byte) in header.iter_mut().skip(at).zip(text.bytes()) {
        *place = byte;
    }
}
