//! `struct linux_dirent64`, many in a buffer.

use crate::{Errno, FileType};

/// Bytes before the name.
const HEADER_SIZE: usize = 19;

/// Fills the buffer of getdents64(2).
#[derive(Debug)]
pub struct DirentWriter<'a> {
    buffer: &'a mut [u8],
    written: usize,
    full: bool,
}

impl<'a> DirentWriter<'a> {
    /// Starts at the beginning of `buffer`.
    #[must_use]
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, written: 0, full: false }
    }

    /// Appends an entry and tells whether it fitted; `next` is where to seek to go on behind it. After
    /// the first one that does not fit, none does.
    #[must_use]
    pub fn push(&mut self, inode: u64, next: u64, kind: FileType, name: &[u8]) -> bool {
        // Records are aligned to eight bytes, and a name ends with NUL.
        let size = (HEADER_SIZE + name.len() + 1).next_multiple_of(8);
        let Some(record) = self
            .buffer
            .get_mut(self.written..)
            .and_then(|rest| rest.get_mut(..size))
            .filter(|_| !self.full && size <= usize::from(u16::MAX))
        else {
            self.full = true;
            return false;
        };
        record.fill(0);
        record[0..8].copy_from_slice(&inode.to_le_bytes());
        record[8..16].copy_from_slice(&next.to_le_bytes());
        record[16..18].copy_from_slice(&(size as u16).to_le_bytes());
        record[18] = kind.dirent();
        record[HEADER_SIZE..HEADER_SIZE + name.len()].copy_from_slice(name);
        self.written += size;
        true
    }

    /// Returns the bytes written: 0 at the end of the directory.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`] when there are entries and the buffer is too small for the first.
    pub const fn finish(self) -> Result<usize, Errno> {
        if self.full && self.written == 0 { Err(Errno::INVAL) } else { Ok(self.written) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_records_of_multiples_of_eight_bytes() {
        let mut buffer = [0xff; 64];
        let mut writer = DirentWriter::new(&mut buffer);
        assert!(writer.push(7, 1, FileType::Directory, b"."));
        assert!(writer.push(8, 2, FileType::Regular, b"12345"));
        assert!(!writer.push(9, 3, FileType::Regular, b"x"), "16 bytes are left, 24 needed");
        assert_eq!(writer.finish(), Ok(24 + 32));
        assert_eq!(buffer[..24], *b"\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x18\0\x04.\0\0\0\0");
        assert_eq!(buffer[40..56], *b"\x20\0\x0812345\0\0\0\0\0\0\0\0");
        assert_eq!(buffer[56], 0xff, "nothing is written behind the last record");
    }

    #[test]
    fn nothing_fits_after_something_did_not() {
        let mut buffer = [0; 24];
        let mut writer = DirentWriter::new(&mut buffer);
        assert!(!writer.push(1, 1, FileType::Regular, b"longer than that"));
        assert!(!writer.push(1, 1, FileType::Regular, b"a"), "or readers would miss an entry");
        assert_eq!(writer.finish(), Err(Errno::INVAL));
    }
}
