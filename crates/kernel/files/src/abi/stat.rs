//! `struct stat` and `struct statx`.

use super::fields::Fields;
use crate::{Metadata, Timespec};

/// Bytes in a `struct stat`.
pub const STAT_SIZE: usize = 144;

/// Bytes in a `struct statx`.
pub const STATX_SIZE: usize = 256;

/// `STATX_BASIC_STATS | STATX_BTIME`: all that [`Metadata`] has.
const STATX_MASK: u32 = 0xfff;

/// Makes a `struct stat` as x86-64 has it (`arch/x86/include/uapi/asm/stat.h`).
#[must_use]
pub fn stat(of: &Metadata) -> [u8; STAT_SIZE] {
    let time = |fields: Fields<STAT_SIZE>, offset, time: Timespec| {
        fields.u64(offset, time.seconds as u64).u64(offset + 8, time.nanoseconds.into())
    };
    let mut fields = Fields::new()
        .u64(0, of.device.to_dev())
        .u64(8, of.inode)
        .u64(16, of.links.into())
        .u32(24, of.mode)
        .u32(28, of.uid)
        .u32(32, of.gid)
        .u64(40, of.special.to_dev())
        .u64(48, of.size)
        .u64(56, Metadata::BLOCK_SIZE.into())
        .u64(64, of.blocks);
    fields = time(fields, 72, of.accessed);
    fields = time(fields, 88, of.modified);
    time(fields, 104, of.changed).finish()
}

/// Makes a `struct statx` (`include/uapi/linux/stat.h`) with the basic fields and the time of creation.
#[must_use]
pub fn statx(of: &Metadata) -> [u8; STATX_SIZE] {
    let time = |fields: Fields<STATX_SIZE>, offset, time: Timespec| {
        fields.u64(offset, time.seconds as u64).u32(offset + 8, time.nanoseconds)
    };
    let mut fields = Fields::new()
        .u32(0, STATX_MASK)
        .u32(4, Metadata::BLOCK_SIZE)
        .u32(16, of.links)
        .u32(20, of.uid)
        .u32(24, of.gid)
        // The mode has 16 bits here.
        .u16(28, of.mode as u16)
        .u64(32, of.inode)
        .u64(40, of.size)
        .u64(48, of.blocks);
    fields = time(fields, 64, of.accessed);
    fields = time(fields, 80, of.created);
    fields = time(fields, 96, of.changed);
    fields = time(fields, 112, of.modified);
    fields
        .u32(128, of.special.major)
        .u32(132, of.special.minor)
        .u32(136, of.device.major)
        .u32(140, of.device.minor)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceNumber;

    /// Every field has a value of its own.
    fn sample() -> Metadata {
        Metadata {
            device: DeviceNumber { major: 0, minor: 21 },
            inode: 0x1122_3344_5566,
            mode: 0o100_755,
            links: 3,
            uid: 1000,
            gid: 1001,
            special: DeviceNumber { major: 5, minor: 1 },
            size: 0x1_0000_0001,
            blocks: 0x80_0008,
            accessed: Timespec { seconds: 11, nanoseconds: 12 },
            modified: Timespec { seconds: 21, nanoseconds: 22 },
            changed: Timespec { seconds: 31, nanoseconds: 32 },
            created: Timespec { seconds: -1, nanoseconds: 42 },
        }
    }

    fn u64_at(bytes: &[u8], offset: usize) -> u64 {
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
    }

    fn u32_at(bytes: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
    }

    // The offsets were printed by a C program with offsetof() on x86-64 with glibc 2.36.
    #[test]
    fn stat_has_the_layout_of_x86_64() {
        let of = sample();
        let bytes = stat(&of);
        assert_eq!(u64_at(&bytes, 0), 21);
        assert_eq!(u64_at(&bytes, 8), of.inode);
        assert_eq!(u64_at(&bytes, 16), 3);
        assert_eq!([24, 28, 32, 36].map(|at| u32_at(&bytes, at)), [0o100_755, 1000, 1001, 0]);
        assert_eq!(
            [40, 48, 56, 64].map(|at| u64_at(&bytes, at)),
            [0x501, of.size, 4096, of.blocks]
        );
        let times = [72, 80, 88, 96, 104, 112].map(|at| u64_at(&bytes, at));
        assert_eq!(times, [11, 12, 21, 22, 31, 32]);
        assert!(bytes[120..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn statx_has_its_layout() {
        let of = sample();
        let bytes = statx(&of);
        assert_eq!([0, 4, 16, 20, 24].map(|at| u32_at(&bytes, at)), [0xfff, 4096, 3, 1000, 1001]);
        assert_eq!(u32_at(&bytes, 28), 0o100_755);
        assert_eq!([32, 40, 48].map(|at| u64_at(&bytes, at)), [of.inode, of.size, of.blocks]);
        let seconds = [64, 80, 96, 112].map(|at| u64_at(&bytes, at) as i64);
        assert_eq!(seconds, [11, -1, 31, 21]);
        let nanoseconds = [72, 88, 104, 120].map(|at| u32_at(&bytes, at));
        assert_eq!(nanoseconds, [12, 42, 32, 22]);
        assert_eq!([128, 132, 136, 140].map(|at| u32_at(&bytes, at)), [5, 1, 0, 21]);
    }

    /// The standard library of the host reads a `struct stat` of its own.
    #[test]
    fn the_host_agrees_about_a_real_file() {
        extern crate std;
        use std::os::unix::fs::MetadataExt;
        let real = std::fs::metadata("/dev/null").expect("the host has /dev/null");
        let special = DeviceNumber::from_dev(real.rdev());
        assert_eq!(special, DeviceNumber { major: 1, minor: 3 });
        assert_eq!(special.to_dev(), real.rdev());
    }
}
