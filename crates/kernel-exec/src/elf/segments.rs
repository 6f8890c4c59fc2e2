//! What does it map? The `PT_LOAD` headers and what follows from them.

use alloc::vec::Vec;
use core::ops::Range;

use ::elf::abi;
use ::elf::segment::ProgramHeader;
use mm_generic::prot::Prot;

use super::header::{Header, Table};
use super::{Class, ElfError, Machine, PAGE_SIZE, Segment, Target};

/// The segments that occupy memory, with their index in the table.
///
/// A `PT_LOAD` of no size maps nothing and constrains nothing; linker scripts leave them behind.
fn loads<'file>(table: &Table<'file>) -> impl Iterator<Item = (usize, ProgramHeader)> {
    let is_load = |phdr: &ProgramHeader| {
        phdr.p_type == abi::PT_LOAD && (phdr.p_memsz != 0 || phdr.p_filesz != 0)
    };
    table.iter().enumerate().filter(move |(_, phdr)| is_load(phdr))
}

/// Chooses the bias of a position-independent program: `pie_base`, rounded up until every segment
/// is as aligned as it asks to be.
pub(super) fn pie_bias(table: &Table<'_>, pie_base: u64) -> Result<u64, ElfError> {
    let mut align = PAGE_SIZE;
    for (index, phdr) in loads(table) {
        align = align.max(checked_align(index, &phdr)?);
    }
    pie_base.checked_next_multiple_of(align).ok_or(ElfError::NoAlignedBase { pie_base, align })
}

/// `p_align`, where 0 means the same as 1: none.
fn checked_align(index: usize, phdr: &ProgramHeader) -> Result<u64, ElfError> {
    match phdr.p_align {
        0 => Ok(1),
        align if align.is_power_of_two() => Ok(align),
        align => Err(ElfError::BadAlign { index, align }),
    }
}

/// Checks every segment by itself, then all of them against each other.
pub(super) fn plan(
    file: &[u8],
    table: &Table<'_>,
    bias: u64,
    target: &Target,
) -> Result<Vec<Segment>, ElfError> {
    let count = loads(table).count();
    let mut segments = Vec::new();
    segments
        .try_reserve_exact(count)
        .map_err(|_| ElfError::OutOfMemory { bytes: count * size_of::<Segment>() })?;
    for (index, phdr) in loads(table) {
        segments.push(plan_segment(file, index, &phdr, bias, target)?);
    }

    segments.sort_unstable_by_key(|segment| segment.range.start);
    match segments.windows(2).find(|pair| pair[1].range.start < pair[0].range.end) {
        None => Ok(segments),
        Some(pair) => {
            Err(ElfError::Overlap { lower: pair[0].range.clone(), upper: pair[1].range.clone() })
        }
    }
}

fn plan_segment(
    file: &[u8],
    index: usize,
    phdr: &ProgramHeader,
    bias: u64,
    target: &Target,
) -> Result<Segment, ElfError> {
    let &ProgramHeader {
        p_vaddr: vaddr, p_memsz: memsz, p_offset: offset, p_filesz: filesz, ..
    } = phdr;

    checked_align(index, phdr)?;
    if filesz > memsz {
        return Err(ElfError::FileszExceedsMemsz { index, filesz, memsz });
    }

    let range = page_range(bias, vaddr, memsz, target.class).ok_or(ElfError::AddressOverflow {
        index,
        vaddr,
        memsz,
    })?;
    if range.start < target.user.start || range.end > target.user.end {
        return Err(ElfError::OutsideUser { index, range, user: target.user.clone() });
    }

    // Without file bytes `p_offset` means nothing; linkers leave any value there.
    let (file_offset, file_len) = if filesz == 0 {
        (0, 0)
    } else {
        let end =
            offset.checked_add(filesz).ok_or(ElfError::OffsetOverflow { index, offset, filesz })?;
        let file_end = usize::try_from(end)
            .ok()
            .filter(|&end| end <= file.len())
            .ok_or(ElfError::TruncatedSegment { index, end, file_len: file.len() })?;
        if vaddr % PAGE_SIZE != offset % PAGE_SIZE {
            return Err(ElfError::Misaligned { index, vaddr, offset });
        }
        // No cast below loses bits: both numbers are at most `file_end`.
        let file_offset = (offset - offset % PAGE_SIZE) as usize;
        (file_offset, file_end - file_offset)
    };

    Ok(Segment { range, prot: prot(phdr.p_flags), file_offset, file_len })
}

/// The pages of `memsz` bytes at `bias + vaddr`, or `None` if a pointer cannot hold their end.
fn page_range(bias: u64, vaddr: u64, memsz: u64, class: Class) -> Option<Range<u64>> {
    let start = bias.checked_add(vaddr)?;
    let end = start.checked_add(memsz)?.checked_next_multiple_of(PAGE_SIZE)?;
    let fits = class.address_limit().is_none_or(|limit| end <= limit);
    fits.then_some(start - start % PAGE_SIZE..end)
}

fn prot(flags: u32) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, flags & abi::PF_R != 0);
    prot.set(Prot::WRITE, flags & abi::PF_W != 0);
    prot.set(Prot::EXEC, flags & abi::PF_X != 0);
    prot
}

/// The entry point, if an executable segment contains it. Adding the bias cannot overflow then.
pub(super) fn executable_entry(table: &Table<'_>, entry: u64) -> Result<u64, ElfError> {
    loads(table)
        .filter(|(_, phdr)| phdr.p_flags & abi::PF_X != 0)
        .any(|(_, phdr)| entry.checked_sub(phdr.p_vaddr).is_some_and(|at| at < phdr.p_memsz))
        .then_some(entry)
        .ok_or(ElfError::EntryNotExecutable { entry })
}

/// Where the program header table is in memory, without bias: in the segment that loads its bytes.
///
/// As in Linux since 5.18, which no longer assumes that the first segment starts at the start of
/// the file; the last segment wins if two load the same bytes. `PT_PHDR` is not asked: it may name
/// an address that no segment loads.
pub(super) fn phdr_address(table: &Table<'_>, header: &Header) -> Option<u64> {
    let table_bytes = u64::from(header.e_phentsize) * u64::from(header.e_phnum);
    let loaded_at = |phdr: ProgramHeader| {
        let at = header.e_phoff.checked_sub(phdr.p_offset)?;
        let whole = at.checked_add(table_bytes)? <= phdr.p_filesz;
        whole.then(|| phdr.p_vaddr + at)
    };
    loads(table).filter_map(|(_, phdr)| loaded_at(phdr)).last()
}

/// What the last `PT_GNU_STACK` says, or the machine's default.
pub(super) fn wants_executable_stack(table: &Table<'_>, machine: Machine) -> bool {
    match table.iter().filter(|phdr| phdr.p_type == abi::PT_GNU_STACK).last() {
        Some(phdr) => phdr.p_flags & abi::PF_X != 0,
        None => machine == Machine::I386,
    }
}
