//! What stat(2) tells about a file.

use crate::Timespec;

/// The kind of a file, in the upper bits of `st_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FileType {
    /// A pipe.
    Fifo = 0o010_000,
    /// A character device.
    Character = 0o020_000,
    /// A directory.
    Directory = 0o040_000,
    /// A regular file.
    Regular = 0o100_000,
    /// A symbolic link.
    Symlink = 0o120_000,
    /// A socket.
    Socket = 0o140_000,
}

impl FileType {
    /// The bits of `st_mode` that hold the type: `S_IFMT`.
    pub const MASK: u32 = 0o170_000;

    /// Reads the type from a mode; `None` for a type that no file here has (block devices).
    #[must_use]
    pub const fn of(mode: u32) -> Option<Self> {
        Some(match mode & Self::MASK {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::Character,
            0o040_000 => Self::Directory,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// Returns the type as `d_type` of a directory entry has it.
    #[must_use]
    pub const fn dirent(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// A device number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// Decodes a `dev_t` as mknod(2) takes it.
    #[must_use]
    pub const fn from_dev(dev: u64) -> Self {
        Self {
            major: ((dev >> 8) & 0xfff | (dev >> 32) & 0xffff_f000) as u32,
            minor: (dev & 0xff | (dev >> 12) & 0xffff_ff00) as u32,
        }
    }

    /// Encodes the number as `st_dev` and `st_rdev` have it.
    #[must_use]
    pub const fn to_dev(self) -> u64 {
        let (major, minor) = (self.major as u64, self.minor as u64);
        minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
    }
}

/// Everything stat(2) reports. [`abi::stat`](crate::abi::stat) and [`abi::statx`](crate::abi::statx)
/// turn it into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The file system.
    pub device: DeviceNumber,
    /// Inode number, unique within the file system.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Names the file has; for a directory 2 and one for each subdirectory.
    pub links: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// What a device node stands for.
    pub special: DeviceNumber,
    /// Bytes in a regular file or in a link's target.
    pub size: u64,
    /// Memory the file occupies, in units of 512 bytes.
    pub blocks: u64,
    /// Last access, as set by utimensat(2): reads do not change it (`noatime`).
    pub accessed: Timespec,
    /// Last change of the contents.
    pub modified: Timespec,
    /// Last change of anything.
    pub changed: Timespec,
    /// Creation.
    pub created: Timespec,
}

impl Metadata {
    /// The size in which reads and writes are best done, in bytes.
    pub const BLOCK_SIZE: u32 = 4096;

    /// Makes the metadata of what is made up on the spot: no size, no times.
    pub(crate) const fn synthetic(
        device: DeviceNumber,
        inode: u64,
        kind: FileType,
        permissions: u32,
    ) -> Self {
        let epoch = Timespec { seconds: 0, nanoseconds: 0 };
        Self {
            device,
            inode,
            mode: kind as u32 | permissions,
            links: if matches!(kind, FileType::Directory) { 2 } else { 1 },
            uid: 0,
            gid: 0,
            special: DeviceNumber { major: 0, minor: 0 },
            size: 0,
            blocks: 0,
            accessed: epoch,
            modified: epoch,
            changed: epoch,
            created: epoch,
        }
    }

    /// Returns the kind of file; `None` for a mode that no file here has.
    #[must_use]
    pub const fn file_type(&self) -> Option<FileType> {
        FileType::of(self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn device_numbers_are_encoded_as_linux_does() {
        assert_eq!(DeviceNumber { major: 1, minor: 3 }.to_dev(), 0x103);
        assert_eq!(DeviceNumber { major: 5, minor: 1 }.to_dev(), 0x501);
        assert_eq!(DeviceNumber { major: 259, minor: 0x12345 }.to_dev(), 0x1231_0345);
    }

    proptest! {
        #[test]
        fn device_numbers_come_back(major: u32, minor: u32) {
            let number = DeviceNumber { major, minor };
            prop_assert_eq!(DeviceNumber::from_dev(number.to_dev()), number);
        }
    }

    #[test]
    fn types_are_read_from_modes() {
        assert_eq!(FileType::of(0o100_755), Some(FileType::Regular));
        assert_eq!(FileType::of(0o060_600), None, "block device");
        assert_eq!(FileType::Symlink.dirent(), 10);
        assert_eq!(FileType::Directory.dirent(), 4);
    }
}
