//! What exec must map: an ELF executable turned into a load plan.
//!
//! [`parse`] is pure. It knows no mm and touches no page, so exec runs it before the point of no
//! return: a malformed file costs the caller an error and the old mm stays as it was. What comes
//! out is checked once, here, and needs no second look: segments are disjoint, page-aligned, in
//! ascending order, inside user space, and every file byte they name exists.
//!
//! The model is Linux's `load_elf_binary` (fs/binfmt_elf.c) for static executables, `ET_EXEC` and
//! static-pie alike. Linux accepts much that cannot work and lets the new process die of it; where
//! the old one can still be told, this parser is stricter:
//!
//! - **Two segments on one page** are refused. Linux maps the later one over the earlier one, which
//!   silently loses the earlier one's rights and its bss on that page. No linker that follows the
//!   x86 psABI (maximum page size at least 4096) emits such a file.
//! - **Segments in any order** are accepted and sorted, although the specification wants them
//!   ascending. Linux accepts them too, and the order cannot matter once overlap is ruled out.
//! - **Past the file bytes of a segment** its last page is zero. Linux zeroes only what a bss
//!   claims and otherwise leaves the next file bytes visible. The bytes *before* a segment on its
//!   first page do show the file, as in Linux.
//! - **A segment cut off by the end of the file** is refused; Linux delivers SIGBUS on first touch.
//! - **The entry point** must lie in an executable segment; Linux delivers SIGSEGV.
//! - **`p_align`** of a static-pie is honoured for every segment: the bias is a multiple of the
//!   largest one.
//!
//! Section headers are never read, so a file stripped of them, or with garbage there, loads.

use alloc::vec::Vec;
use core::ops::Range;

use ::elf::abi;
use mm_generic::prot::Prot;

mod error;
mod header;
mod segments;

pub use error::ElfError;

/// Bytes of a page, of every geometry of both machines.
pub const PAGE_SIZE: u64 = 4096;

/// Most bytes of a program header table: 1170 headers (Elf64), 2048 (Elf32).
///
/// Linux's limit (`load_elf_phdrs`). Real programs have about a dozen headers; the limit bounds
/// the plan that a hostile file can make the kernel allocate.
pub const MAX_PHDR_BYTES: usize = 65536;

/// Longest interpreter path in bytes, with its NUL: `PATH_MAX`.
pub const MAX_INTERP_PATH: usize = 4096;

/// Word size of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// 4-byte words.
    Elf32,
    /// 8-byte words.
    Elf64,
}

impl Class {
    /// Bytes of a word, and of a pointer.
    #[must_use]
    pub const fn word(self) -> usize {
        match self {
            Class::Elf32 => 4,
            Class::Elf64 => 8,
        }
    }

    /// First address that a pointer cannot hold, if a `u64` can.
    #[must_use]
    pub const fn address_limit(self) -> Option<u64> {
        match self {
            Class::Elf32 => Some(1 << 32),
            Class::Elf64 => None,
        }
    }
}

/// Processor a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// IA-32, `EM_386`.
    I386,
    /// x86-64, `EM_X86_64`.
    X86_64,
}

/// The processes an executable may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Word size.
    pub class: Class,
    /// Processor.
    pub machine: Machine,
    /// Addresses that segments may use. Its start is what Linux calls `mmap_min_addr`; its end must
    /// leave room for the stack, which this plan does not know.
    pub user: Range<u64>,
    /// Lowest bias of a position-independent program. Ignored for `ET_EXEC`.
    pub pie_base: u64,
}

/// One mapping of the new mm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Addresses of the mapping, bias included; both ends are page-aligned, and it is never empty.
    pub range: Range<u64>,
    /// Rights, exactly as `p_flags` asks: a segment may be writable and executable, or have none.
    pub prot: Prot,
    /// Offset in the file of the byte at `range.start`, a multiple of the page size.
    pub file_offset: usize,
    /// Bytes of the file that appear from `range.start` on; zeroes follow to `range.end`.
    /// 0 for a segment that is all bss. Never longer than `range`, never past the end of the file.
    pub file_len: usize,
}

/// Everything exec must know of an executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadPlan {
    /// Address of the first instruction, bias included (`AT_ENTRY`).
    pub entry: u64,
    /// What was added to every address of the file: 0 for `ET_EXEC`.
    pub bias: u64,
    /// The mappings, ascending and disjoint; at least one.
    pub segments: Vec<Segment>,
    /// Address of the program header table in the new mm, bias included (`AT_PHDR`). `None` if no
    /// segment loads the whole table; Linux then passes 0.
    pub phdr: Option<u64>,
    /// Bytes of one program header (`AT_PHENT`).
    pub phentsize: u16,
    /// Number of program headers (`AT_PHNUM`).
    pub phnum: u16,
    /// Where the heap starts: end of the highest segment, page-aligned.
    pub brk_start: u64,
    /// Whether the stack must be executable. `PT_GNU_STACK` says; without one, yes on i386 and no
    /// on x86-64, as in Linux. (Linux then makes *every* readable mapping of an i386 program
    /// executable, `READ_IMPLIES_EXEC`; this plan does not go that far.)
    pub stack_exec: bool,
}

/// Turns the bytes of an executable into the plan for loading it.
///
/// `file` is the whole file. Nothing is allocated but the plan itself and, in the error, the path
/// of an interpreter.
///
/// # Errors
///
/// One variant of [`ElfError`] for each way a file can be malformed or not meant for `target`; a
/// file with several defects is refused for one of them. No input panics.
pub fn parse(file: &[u8], target: &Target) -> Result<LoadPlan, ElfError> {
    let header = header::parse(file, target)?;
    let table = header::locate_phdrs(file, &header, target.class)?;
    header::refuse_interpreter(file, &table)?;

    let bias = match header.e_type {
        abi::ET_DYN => segments::pie_bias(&table, target.pie_base)?,
        _ => 0,
    };
    let segments = segments::plan(file, &table, bias, target)?;
    let brk_start = segments.last().ok_or(ElfError::NoLoad)?.range.end;

    Ok(LoadPlan {
        entry: bias + segments::executable_entry(&table, header.e_entry)?,
        bias,
        segments,
        phdr: segments::phdr_address(&table, &header).map(|address| bias + address),
        phentsize: header.e_phentsize,
        phnum: header.e_phnum,
        brk_start,
        stack_exec: segments::wants_executable_stack(&table, target.machine),
    })
}
