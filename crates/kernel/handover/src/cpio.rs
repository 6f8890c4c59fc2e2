//! The initramfs: a cpio archive in the "newc" format, indexed by path.
//!
//! Source: Linux's `Documentation/driver-api/early-userspace/buffer-format.rst`. An entry is a
//! header of 110 bytes (a magic and thirteen fields of eight hexadecimal digits), the NUL-terminated
//! name, and the data, the last two padded to a multiple of four bytes. The archive ends with an
//! entry named `TRAILER!!!`; archives may follow each other, with zeros between them.

use alloc::collections::BTreeMap;
use thiserror::Error;

const HEADER_SIZE: usize = 110;
const FIELD_SIZE: usize = 8;
const TRAILER: &str = "TRAILER!!!";

/// Why an archive cannot be read. Offsets are in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CpioError {
    /// The archive ends inside an entry.
    #[error("cpio archive of {len} bytes is cut off in the entry at offset {offset}")]
    Truncated {
        /// Where the entry starts.
        offset: usize,
        /// Bytes in the archive.
        len: usize,
    },
    /// An entry starts with neither `070701` nor `070702`.
    #[error("cpio entry at offset {offset} has magic {magic:?}; only the newc format is known")]
    Magic {
        /// Where the entry starts.
        offset: usize,
        /// Its first six bytes.
        magic: [u8; 6],
    },
    /// A header field has something else than hexadecimal digits.
    #[error("cpio entry at offset {offset}: header field {field} is not hexadecimal")]
    Field {
        /// Where the entry starts.
        offset: usize,
        /// Which of the thirteen fields, counted from 0.
        field: usize,
    },
    /// A name is empty, not UTF-8, or not ended by NUL.
    #[error("cpio entry at offset {offset} has an unusable name")]
    Name {
        /// Where the entry starts.
        offset: usize,
    },
}

/// One file, directory or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Path as the archive has it, not normalised.
    pub name: &'a str,
    /// Inode number within the archive; entries that share one are hard links.
    pub inode: u32,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Hard links.
    pub links: u32,
    /// Time of modification, in seconds of the Unix epoch.
    pub mtime: u32,
    /// Contents of a file, or the target of a symbolic link.
    pub data: &'a [u8],
}

/// Reads entry after entry; ends after an error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    archive: &'a [u8],
    offset: usize,
}

impl<'a> Entries<'a> {
    /// Starts at the beginning of `archive`.
    #[must_use]
    pub const fn new(archive: &'a [u8]) -> Self {
        Self { archive, offset: 0 }
    }

    /// Reads the entry at the current offset, trailers included, and moves behind it.
    fn read(&mut self) -> Result<Entry<'a>, CpioError> {
        let offset = self.offset;
        let truncated = CpioError::Truncated { offset, len: self.archive.len() };
        let header = self.archive.get(offset..offset + HEADER_SIZE).ok_or(truncated)?;
        let magic: [u8; 6] = *header.first_chunk().ok_or(truncated)?;
        if &magic != b"070701" && &magic != b"070702" {
            return Err(CpioError::Magic { offset, magic });
        }
        let field = |field: usize| {
            let at = magic.len() + field * FIELD_SIZE;
            core::str::from_utf8(&header[at..at + FIELD_SIZE])
                .ok()
                // from_str_radix would take a sign.
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or(CpioError::Field { offset, field })
        };
        let (file_size, name_size) = (field(6)? as usize, field(11)? as usize);
        let name_start = offset + HEADER_SIZE;
        let name_end = name_start.checked_add(name_size).ok_or(truncated)?;
        let data_start = pad(name_end).ok_or(truncated)?;
        let data_end = data_start.checked_add(file_size).ok_or(truncated)?;
        let name = self.archive.get(name_start..name_end).ok_or(truncated)?;
        let data = self.archive.get(data_start..data_end).ok_or(truncated)?;
        let name = name
            .strip_suffix(b"\0")
            .and_then(|name| core::str::from_utf8(name).ok())
            .filter(|name| !name.is_empty())
            .ok_or(CpioError::Name { offset })?;
        self.offset = pad(data_end).ok_or(truncated)?;
        Ok(Entry {
            name,
            inode: field(0)?,
            mode: field(1)?,
            uid: field(2)?,
            gid: field(3)?,
            links: field(4)?,
            mtime: field(5)?,
            data,
        })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, CpioError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Zeros pad archives to whatever block size their writer liked.
            let rest = self.archive.get(self.offset..)?;
            self.offset += rest.iter().position(|&byte| byte != 0)?;
            match self.read() {
                Ok(entry) if entry.name == TRAILER => {}
                Ok(entry) => return Some(Ok(entry)),
                Err(error) => {
                    self.offset = self.archive.len();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Rounds up to a multiple of four.
fn pad(offset: usize) -> Option<usize> {
    Some(offset.checked_add(3)? & !3)
}

/// All entries of an archive by normalised path: no leading `/` or `./`; the root is the empty path.
#[derive(Clone, Debug, Default)]
pub struct Initramfs<'a> {
    entries: BTreeMap<&'a str, Entry<'a>>,
}

impl<'a> Initramfs<'a> {
    /// Indexes `archive`. Where a path occurs more than once, the last entry counts, as in Linux.
    ///
    /// # Errors
    ///
    /// The first [`CpioError`] met.
    pub fn parse(archive: &'a [u8]) -> Result<Self, CpioError> {
        let mut entries = BTreeMap::new();
        for entry in Entries::new(archive) {
            let entry = entry?;
            entries.insert(normalise(entry.name), entry);
        }
        Ok(Self { entries })
    }

    /// Finds an entry by path, absolute or relative to the root.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry<'a>> {
        self.entries.get(normalise(path))
    }

    /// Yields normalised paths and entries in the order of the paths, so parents precede children.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Entry<'a>)> {
        self.entries.iter().map(|(&path, entry)| (path, entry))
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Strips what makes one path look like several: leading `/` and `./`, trailing `/`, a lone `.`.
fn normalise(path: &str) -> &str {
    let mut rest = path.trim_end_matches('/');
    loop {
        let stripped = rest.trim_start_matches('/');
        let stripped = stripped.strip_prefix("./").unwrap_or(stripped);
        if stripped == rest {
            return if rest == "." { "" } else { rest };
        }
        rest = stripped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn append(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
        let (size, name_size) = (data.len(), name.len() + 1);
        let fields = [7, mode, 1, 2, 1, 99, size as u32, 0, 0, 0, 0, name_size as u32, 0];
        archive.extend(b"070701");
        for field in fields {
            archive.extend(format!("{field:08X}").bytes());
        }
        archive.extend(name.bytes());
        archive.push(0);
        while !archive.len().is_multiple_of(4) {
            archive.push(0);
        }
        archive.extend(data);
        while !archive.len().is_multiple_of(4) {
            archive.push(0);
        }
    }

    fn sample() -> Vec<u8> {
        let mut archive = Vec::new();
        append(&mut archive, ".", 0o40755, b"");
        append(&mut archive, "./bin/sh", 0o100_755, b"\x7fELF!");
        append(&mut archive, "init", 0o120_777, b"bin/sh");
        append(&mut archive, TRAILER, 0, b"");
        archive
    }

    #[test]
    fn files_are_found_by_any_spelling_of_their_path() {
        let archive = sample();
        let files = Initramfs::parse(&archive).expect("valid");
        for path in ["bin/sh", "/bin/sh", "./bin/sh", "/./bin/sh/"] {
            assert_eq!(files.get(path).map(|entry| entry.data), Some(&b"\x7fELF!"[..]), "{path}");
        }
        assert_eq!(files.get("/").map(|entry| entry.mode), Some(0o40755));
        assert_eq!(files.get("init").map(|entry| (entry.uid, entry.gid)), Some((1, 2)));
        assert!(files.get("bin").is_none());
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn archives_follow_each_other_and_the_last_entry_counts() {
        let mut archive = sample();
        archive.resize(archive.len() + 512, 0);
        append(&mut archive, "bin/sh", 0o100_755, b"new");
        append(&mut archive, TRAILER, 0, b"");
        let files = Initramfs::parse(&archive).expect("valid");
        assert_eq!(files.get("bin/sh").map(|entry| entry.data), Some(&b"new"[..]));
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn every_truncation_inside_an_entry_is_an_error() {
        let archive = sample();
        let whole = Entries::new(&archive).count();
        for len in 1..archive.len() {
            let good = Entries::new(&archive[..len]).filter(Result::is_ok).count();
            let bad = Entries::new(&archive[..len]).filter(Result::is_err).count();
            assert!(good <= whole && bad <= 1, "cut at {len}");
            // Only whole entries and their padding may be followed by nothing.
            assert!(bad == 1 || len % 4 == 0 || archive[len..].iter().take(4).any(|&b| b == 0));
        }
    }

    #[test]
    fn other_formats_and_bad_digits_are_named() {
        let mut archive = sample();
        archive[5] = b'7';
        let found = Initramfs::parse(&archive).map(|_| ());
        assert_eq!(found, Err(CpioError::Magic { offset: 0, magic: *b"070707" }));
        let mut archive = sample();
        archive[6] = b'+';
        let found = Initramfs::parse(&archive).map(|_| ());
        assert_eq!(found, Err(CpioError::Field { offset: 0, field: 0 }));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(junk in proptest::collection::vec(any::<u8>(), 0..600), at in 0_usize..300) {
            let _ = Initramfs::parse(&junk);
            let mut archive = sample();
            let end = (at + junk.len()).min(archive.len());
            if at < end {
                archive[at..end].copy_from_slice(&junk[..end - at]);
            }
            let _ = Initramfs::parse(&archive);
        }
    }
}
