//! Where things lie in the kernel's half of the address space.
//!
//! The map is the same with four and with five levels: all of it lies in the top 128 TiB, which under
//! LA57 is the last slot of the PML5.
//!
//! | from                  | what                                                          |
//! |-----------------------|---------------------------------------------------------------|
//! | `0`                   | user half                                                     |
//! | `0xffff_8880_0000_0000` | direct map of all RAM                                       |
//! | `0xffff_ffff_8000_0000` | kernel image (`KERNEL_BASE` + physical address)             |
//! | `0xffff_ffff_ff00_0000` | fixed mappings of device registers                          |

/// Bytes of a page and of a frame.
pub const PAGE_SIZE: u64 = 4096;

/// Bits of an offset into a page.
pub const PAGE_SHIFT: u32 = 12;

/// First address that user space may not use. The last page below the hole stays unmapped, so that
/// the instruction after a `syscall` always has a canonical address (see `cpu/trap.s`).
pub const USER_END: u64 = 0x0000_7fff_ffff_f000;

/// Virtual address of physical address 0 in the direct map.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;

/// Bytes the direct map may grow to.
pub const DIRECT_MAP_SIZE: u64 = 64 << 40;

/// Virtual address of physical address 0 in the mapping of the kernel image; as in `kernel.ld`.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

/// First page of the fixed mappings.
pub const FIXMAP: u64 = 0xffff_ffff_ff00_0000;

/// Physical memory the boot page tables reach, in bytes. See `boot/entry.s`.
pub const BOOT_MAP_SIZE: u64 = 4 << 30;

/// Returns the address of physical `address` in the direct map.
#[must_use]
pub const fn phys_to_virt(address: u64) -> *mut u8 {
    (DIRECT_MAP + address) as *mut u8
}

/// The image's sections, as `kernel.ld` placed them.
pub mod image {
    use super::KERNEL_BASE;
    use handover::ranges::Range;

    macro_rules! section {
        ($(#[$doc:meta])* $name:ident, $start:ident, $end:ident, $base:expr) => {
            $(#[$doc])*
            #[must_use]
            pub fn $name() -> Range {
                unsafe extern "C" {
                    static $start: u8;
                    static $end: u8;
                }
                Range {
                    start: (&raw const $start) as u64 - $base,
                    end: (&raw const $end) as u64 - $base,
                }
            }
        };
    }

    section!(
        /// Returns the physical range of the boot code and its page tables.
        boot, __boot_start, __boot_end, 0
    );
    section!(
        /// Returns the physical range of the code.
        text, __text_start, __text_end, KERNEL_BASE
    );
    section!(
        /// Returns the physical range of the constants.
        rodata, __rodata_start, __rodata_end, KERNEL_BASE
    );
    section!(
        /// Returns the physical range of the variables.
        data, __data_start, __data_end, KERNEL_BASE
    );
}
