//! A tar.gz in memory. Pure.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

/// The size of a block of a tar archive.
const BLOCK: usize = 512;

/// The longest path that fits the header of an entry.
const MAX_PATH: usize = 100;

/// Files that become an archive.
#[derive(Default)]
pub(super) struct Archive {
    files: Vec<(String, Vec<u8>)>,
}

// === impl Archive ===

impl Archive {
    /// Adds a file. A path that is too long is cut at its begin, which says less than its end.
    pub(super) fn add(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        let from = path.ceil_char_boundary(path.len().saturating_sub(MAX_PATH));
        self.files.push((path[from..].to_owned(), content.into()));
    }

    /// The archive. Every file has this time, in seconds since 1970.
    pub(super) fn bytes(&self, time: i64) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut write = |bytes: &[u8]| encoder.write_all(bytes).expect("a Vec takes every write");
        for (path, content) in &self.files {
            write(&header(path, content.len(), time));
            write(content);
            write(&vec![0; content.len().next_multiple_of(BLOCK) - content.len()]);
        }
        write(&[0; 2 * BLOCK]);
        encoder.finish().expect("a Vec takes every write")
    }
}

/// <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06>
fn header(path: &str, size: usize, time: i64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |offset: usize, text: &str| {
        header[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, path);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, &format!("{:011o}\0", time.max(0)));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_file_stands_behind_its_header_in_whole_blocks() {
        let mut archive = Archive::default();
        archive.add("a/b.txt", "hello");
        let long = format!("{}/end", "ü".repeat(80));
        archive.add(&long, vec![b'x'; BLOCK]);
        let mut tar = Vec::new();
        let bytes = archive.bytes(0);
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut tar).expect("it is gzip");
        assert_eq!(tar.len(), (1 + 1 + 1 + 1 + 2) * BLOCK);
        assert!(tar.starts_with(b"a/b.txt\0") && tar[BLOCK..].starts_with(b"hello\0"));
        assert_eq!(&tar[124..136], b"00000000005\0");
        let name = String::from_utf8_lossy(&tar[2 * BLOCK..2 * BLOCK + MAX_PATH]).into_owned();
        assert!(name.trim_end_matches('\0').ends_with("ü/end"), "{name}");
        assert!(
            tar[5 * BLOCK..].iter().all(|byte| *byte == 0) || tar[4 * BLOCK..].iter().all(|byte| *byte == 0)
        );
    }
}
