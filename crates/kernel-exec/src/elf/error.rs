//! Why a file cannot become a load plan, with the numbers that say so.
//!
//! Every variant is a refusal before the point of no return: exec fails, the old mm stays. A kernel
//! maps [`ElfError::OutOfMemory`] to `ENOMEM` and all others to `ENOEXEC`.

use alloc::vec::Vec;
use core::ops::Range;

/// A refused executable.
///
/// `index` is always the position in the program header table, counted from 0. Addresses and
/// ranges of segments include the load bias.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The file ends inside the file header, 52 bytes (Elf32) or 64 (Elf64).
    #[error("the file has {have} bytes, its ELF header needs {need}")]
    TruncatedHeader {
        /// Length of the file in bytes.
        have: usize,
        /// Bytes the header needs.
        need: usize,
    },
    /// The file does not start with `\x7fELF`: some other format, a script for instance.
    #[error("magic {found:02x?} is not ELF")]
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The file's word size is not the target's (`EI_CLASS`; 1 is 32-bit, 2 is 64-bit).
    #[error("ELF class {found}, the target has {expected}")]
    WrongClass {
        /// `EI_CLASS` of the file.
        found: u8,
        /// `EI_CLASS` of the target.
        expected: u8,
    },
    /// The file is not little-endian (`EI_DATA` is not 1).
    #[error("ELF byte order {found} is not little-endian (1)")]
    WrongEndian {
        /// `EI_DATA` of the file.
        found: u8,
    },
    /// `EI_VERSION` or `e_version` is not 1, the only version there is.
    #[error("ELF version {found} is not 1")]
    WrongVersion {
        /// The version that is not 1.
        found: u32,
    },
    /// The file is for another processor.
    #[error("ELF machine {found}, the target is {expected}")]
    WrongMachine {
        /// `e_machine` of the file.
        found: u16,
        /// `e_machine` of the target.
        expected: u16,
    },
    /// The file is neither `ET_EXEC` (2) nor `ET_DYN` (3): an object file, a core dump.
    #[error("ELF type {found} is neither ET_EXEC (2) nor ET_DYN (3)")]
    WrongType {
        /// `e_type` of the file.
        found: u16,
    },
    /// `e_phentsize` is not the size of a program header of this class.
    #[error("program headers of {found} bytes, this class has {expected}")]
    WrongPhentsize {
        /// `e_phentsize` of the file.
        found: u16,
        /// Size of a program header in bytes: 32 (Elf32) or 56 (Elf64).
        expected: u16,
    },
    /// There is no program header: an object file dressed as an executable.
    #[error("no program headers")]
    NoPhdrs,
    /// The program header table is larger than [`MAX_PHDR_BYTES`](super::MAX_PHDR_BYTES).
    #[error("{phnum} program headers, the limit is {limit}")]
    TooManyPhdrs {
        /// `e_phnum` of the file; 0xffff (`PN_XNUM`) means "more than fits here".
        phnum: u16,
        /// Most headers accepted for this class.
        limit: u16,
    },
    /// The program header table does not lie wholly within the file.
    #[error("{bytes} bytes of program headers at offset {offset:#x} of a file of {file_len} bytes")]
    TruncatedPhdrs {
        /// `e_phoff` of the file.
        offset: u64,
        /// Size of the table in bytes.
        bytes: usize,
        /// Length of the file in bytes.
        file_len: usize,
    },
    /// The file asks for a dynamic linker. Only static executables are loaded: relink it.
    #[error("the program needs the interpreter {}", path.escape_ascii())]
    NeedsInterpreter {
        /// The path without its NUL, shorter than [`MAX_INTERP_PATH`](super::MAX_INTERP_PATH).
        path: Vec<u8>,
    },
    /// `PT_INTERP` is outside the file, empty, longer than
    /// [`MAX_INTERP_PATH`](super::MAX_INTERP_PATH), or has no NUL at its end.
    #[error("interpreter path of {filesz} bytes at offset {offset:#x} is not a path")]
    BadInterpreter {
        /// `p_offset` of the header.
        offset: u64,
        /// `p_filesz` of the header.
        filesz: u64,
    },
    /// A segment has more bytes in the file than in memory.
    #[error("segment {index}: {filesz:#x} bytes in the file, only {memsz:#x} in memory")]
    FileszExceedsMemsz {
        /// Index of the program header.
        index: usize,
        /// `p_filesz` of the header.
        filesz: u64,
        /// `p_memsz` of the header.
        memsz: u64,
    },
    /// A segment's end, with bias and rounded up to a page, is past the addresses of this class.
    #[error("segment {index}: {memsz:#x} bytes at {vaddr:#x} run past the address space")]
    AddressOverflow {
        /// Index of the program header.
        index: usize,
        /// `p_vaddr` of the header, without bias.
        vaddr: u64,
        /// `p_memsz` of the header.
        memsz: u64,
    },
    /// The end of a segment's bytes in the file does not fit 64 bits.
    #[error("segment {index}: {filesz:#x} bytes at file offset {offset:#x} overflow")]
    OffsetOverflow {
        /// Index of the program header.
        index: usize,
        /// `p_offset` of the header.
        offset: u64,
        /// `p_filesz` of the header.
        filesz: u64,
    },
    /// A segment's bytes run past the end of the file: a download or copy cut short.
    #[error("segment {index} ends at file offset {end:#x}, the file at {file_len:#x}")]
    TruncatedSegment {
        /// Index of the program header.
        index: usize,
        /// File offset just past the segment's last byte.
        end: u64,
        /// Length of the file in bytes.
        file_len: usize,
    },
    /// Address and file offset differ modulo the page size, so no file page can be mapped there.
    #[error("segment {index}: address {vaddr:#x} and file offset {offset:#x} differ modulo a page")]
    Misaligned {
        /// Index of the program header.
        index: usize,
        /// `p_vaddr` of the header, without bias.
        vaddr: u64,
        /// `p_offset` of the header.
        offset: u64,
    },
    /// `p_align` is neither 0 nor a power of two.
    #[error("segment {index}: alignment {align:#x} is not a power of two")]
    BadAlign {
        /// Index of the program header.
        index: usize,
        /// `p_align` of the header.
        align: u64,
    },
    /// `pie_base` cannot be rounded up to the file's largest `p_align`.
    #[error("no address at or above {pie_base:#x} is aligned to {align:#x}")]
    NoAlignedBase {
        /// Where position-independent programs were to go.
        pie_base: u64,
        /// Largest `p_align` of the file.
        align: u64,
    },
    /// A segment leaves the addresses that the target allows.
    #[error("segment {index} at {range:#x?} is outside user space {user:#x?}")]
    OutsideUser {
        /// Index of the program header.
        index: usize,
        /// Pages of the segment.
        range: Range<u64>,
        /// Addresses that the target allows.
        user: Range<u64>,
    },
    /// Two segments overlap, or share a page.
    #[error("segments at {lower:#x?} and {upper:#x?} share a page")]
    Overlap {
        /// Pages of the segment that starts lower.
        lower: Range<u64>,
        /// Pages of the other segment.
        upper: Range<u64>,
    },
    /// No `PT_LOAD` has a size: there is nothing to run.
    #[error("no loadable segment")]
    NoLoad,
    /// The entry point lies in no executable segment.
    #[error("entry point {entry:#x} is in no executable segment")]
    EntryNotExecutable {
        /// `e_entry` of the file, without bias.
        entry: u64,
    },
    /// The kernel has no memory for the plan. Nothing is wrong with the file.
    #[error("no memory for {bytes} bytes of load plan")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}
