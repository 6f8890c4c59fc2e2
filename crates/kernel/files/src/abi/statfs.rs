//! `struct statfs`.

use super::fields::Fields;

/// Bytes in a `struct statfs`.
pub const STATFS_SIZE: usize = 120;

/// What statfs(2) reports about a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statfs {
    /// The magic number of its kind.
    pub kind: u64,
    /// Size of a block in bytes.
    pub block_size: u64,
    /// Blocks there are.
    pub blocks: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Files there can be.
    pub files: u64,
    /// Files there can be besides those there are.
    pub free_files: u64,
}

impl Statfs {
    /// `TMPFS_MAGIC`.
    pub const TMPFS: u64 = 0x0102_1994;
    /// `PROC_SUPER_MAGIC`.
    pub const PROC: u64 = 0x9fa0;
    /// `PIPEFS_MAGIC`.
    pub const PIPEFS: u64 = 0x5049_5045;
}

/// Makes a `struct statfs` (`asm-generic/statfs.h`, 64 bits).
#[must_use]
pub fn statfs(of: &Statfs) -> [u8; STATFS_SIZE] {
    Fields::new()
        .u64(0, of.kind)
        .u64(8, of.block_size)
        .u64(16, of.blocks)
        .u64(24, of.free)
        .u64(32, of.free)
        .u64(40, of.files)
        .u64(48, of.free_files)
        // f_namelen, f_frsize, f_flags (ST_VALID | ST_NOATIME).
        .u64(64, crate::tree::NAME_MAX as u64)
        .u64(72, of.block_size)
        .u64(80, 0x0020 | 0x0400)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statfs_has_its_layout() {
        let bytes = statfs(&Statfs {
            kind: Statfs::TMPFS,
            block_size: 4096,
            blocks: 100,
            free: 60,
            files: 50,
            free_files: 40,
        });
        let words: alloc::vec::Vec<_> =
            bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
        assert_eq!(
            words,
            [0x0102_1994, 4096, 100, 60, 60, 50, 40, 0, 255, 4096, 0x420, 0, 0, 0, 0]
        );
    }
}
