//! The smallest zip that Python reads: nothing is compressed.

pub fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let offset = archive.len() as u32;
        let entry = entry(name, content.as_bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(&entry);
        archive.extend(name.as_bytes());
        archive.extend(content.as_bytes());
        // The same once more, with what only the directory says: no comment, disk 0, a plain file of mode 0644.
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&entry);
        directory.extend([0u8; 6]);
        directory.extend(((0o100_644u32) << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, begin, size) = (files.len() as u16, archive.len() as u32, directory.len() as u32);
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\x00\x00\x00\x00");
    archive.extend(count.to_le_bytes());
    archive.extend(count.to_le_bytes());
    archive.extend(size.to_le_bytes());
    archive.extend(begin.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

/// From "version needed" to the length of the extra field.
fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u32).to_le_bytes();
    let mut entry = Vec::new();
    // Version 2.0, no flags, stored, 1980-01-01 00:00.
    entry.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
    entry.extend(crc32(content).to_le_bytes());
    entry.extend(size);
    entry.extend(size);
    entry.extend((name.len() as u16).to_le_bytes());
    entry.extend([0, 0]);
    entry
}

fn crc32(content: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !content.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
