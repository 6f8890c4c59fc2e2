//! The PVH start info: where a loader that enters a kernel in 32-bit mode put everything else.
//!
//! Source: Xen's `xen/include/public/arch-x86/hvm/start_info.h`. QEMU's `-kernel`, Firecracker and
//! cloud-hypervisor all use it. All addresses are physical.

use crate::bytes::{u32_at, u64_at};
use crate::ranges::Range;
use thiserror::Error;

/// The value of the first field: "xEn3" with the top bit of the `E` set.
pub const MAGIC: u32 = 0x336e_c578;

/// Bytes of a version 1 start info.
pub const START_INFO_SIZE: usize = 56;

/// Bytes of one entry of the module list.
pub const MODULE_SIZE: usize = 32;

/// Bytes of one entry of the memory map.
pub const MEMORY_MAP_ENTRY_SIZE: usize = 24;

/// The type of usable RAM in a memory map entry, as in E820.
const MEMORY_TYPE_RAM: u32 = 1;

/// Addresses of what the loader handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartInfo {
    /// Entries of the module list; module 0 is the initramfs.
    pub modules: u32,
    /// Physical address of the module list.
    pub module_list: u64,
    /// Physical address of the NUL-terminated command line; 0 when there is none.
    pub command_line: u64,
    /// Physical address of ACPI's RSDP; 0 when there is none.
    pub rsdp: u64,
    /// Physical address of the memory map.
    pub memory_map: u64,
    /// Entries of the memory map.
    pub memory_map_entries: u32,
}

/// Why a start info cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartInfoError {
    /// The structure is cut off.
    #[error("start info is {len} bytes, needs {START_INFO_SIZE}")]
    Truncated {
        /// Bytes there are.
        len: usize,
    },
    /// The kernel was not entered by a PVH loader.
    #[error("start info magic is {found:#x}, not {MAGIC:#x}: not entered by a PVH loader")]
    Magic {
        /// The value in place of the magic.
        found: u32,
    },
    /// Version 0 has no memory map, and this kernel has no other way to find RAM.
    #[error("start info version {found} has no memory map; the loader must provide version 1")]
    Version {
        /// The version found.
        found: u32,
    },
}

impl StartInfo {
    /// Parses the structure that EBX points to at the PVH entry.
    ///
    /// # Errors
    ///
    /// [`StartInfoError::Truncated`] when `bytes` is too short, [`StartInfoError::Magic`] when the
    /// first field is wrong, [`StartInfoError::Version`] when there is no memory map.
    pub fn parse(bytes: &[u8]) -> Result<Self, StartInfoError> {
        let truncated = StartInfoError::Truncated { len: bytes.len() };
        let field32 = |offset| u32_at(bytes, offset).ok_or(truncated);
        let field64 = |offset| u64_at(bytes, offset).ok_or(truncated);
        let magic = field32(0)?;
        if magic != MAGIC {
            return Err(StartInfoError::Magic { found: magic });
        }
        let version = field32(4)?;
        if version < 1 {
            return Err(StartInfoError::Version { found: version });
        }
        Ok(Self {
            modules: field32(12)?,
            module_list: field64(16)?,
            command_line: field64(24)?,
            rsdp: field64(32)?,
            memory_map: field64(40)?,
            memory_map_entries: field32(48)?,
        })
    }
}

/// Parses one entry of the module list into the physical range of the module.
///
/// `None` when `bytes` is short or the module's end overflows.
#[must_use]
pub fn module(bytes: &[u8]) -> Option<Range> {
    let start = u64_at(bytes, 0)?;
    let size = u64_at(bytes, 8)?;
    Some(Range { start, end: start.checked_add(size)? })
}

/// Yields the RAM in a memory map, in bytes as the loader gave it: neither sorted nor page-aligned.
///
/// Entries of other types, empty ones and ones whose end overflows are skipped: they describe
/// nothing a kernel may use.
pub fn ram(memory_map: &[u8]) -> impl Iterator<Item = Range> {
    memory_map.chunks_exact(MEMORY_MAP_ENTRY_SIZE).filter_map(|entry| {
        let start = u64_at(entry, 0)?;
        let size = u64_at(entry, 8)?;
        let kind = u32_at(entry, 16)?;
        let range = Range { start, end: start.checked_add(size)? };
        (kind == MEMORY_TYPE_RAM && size > 0).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn start_info(magic: u32, version: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [magic, version, 0, 1] {
            bytes.extend(field.to_le_bytes());
        }
        for field in [0x1000_u64, 0x2000, 0x3000, 0x4000] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(7_u32.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn fields_are_read_at_their_offsets() {
        let info = StartInfo::parse(&start_info(MAGIC, 1)).expect("valid");
        let expected = StartInfo {
            modules: 1,
            module_list: 0x1000,
            command_line: 0x2000,
            rsdp: 0x3000,
            memory_map: 0x4000,
            memory_map_entries: 7,
        };
        assert_eq!(info, expected);
    }

    #[test]
    fn another_loader_is_told_apart() {
        let bytes = start_info(0x2bad_b002, 1);
        assert_eq!(StartInfo::parse(&bytes), Err(StartInfoError::Magic { found: 0x2bad_b002 }));
    }

    #[test]
    fn version_0_is_refused() {
        let bytes = start_info(MAGIC, 0);
        assert_eq!(StartInfo::parse(&bytes), Err(StartInfoError::Version { found: 0 }));
    }

    #[test]
    fn every_truncation_is_reported() {
        let bytes = start_info(MAGIC, 1);
        for len in 0..52 {
            assert_eq!(StartInfo::parse(&bytes[..len]), Err(StartInfoError::Truncated { len }));
        }
    }

    #[test]
    fn only_ram_is_taken_from_the_memory_map() {
        let mut map = Vec::new();
        for (start, size, kind) in
            [(0_u64, 0x9fc00_u64, 1_u32), (0xf_0000, 0x1_0000, 2), (u64::MAX, 2, 1), (5, 0, 1)]
        {
            map.extend(start.to_le_bytes());
            map.extend(size.to_le_bytes());
            map.extend(kind.to_le_bytes());
            map.extend(0_u32.to_le_bytes());
        }
        let ranges: Vec<_> = ram(&map).collect();
        assert_eq!(ranges, [Range { start: 0, end: 0x9fc00 }]);
    }
}
