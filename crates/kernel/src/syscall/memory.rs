//! Address spaces: mmap, munmap, mprotect, brk.

use super::{Answer, Call};
use crate::file_tree::files as tree;
use crate::layout::{PAGE_SIZE, USER_END};
use crate::os::Os;
use crate::task::FileObject;
use core::ops::Range;
use files::{Errno, FileType, Seals};
use mm_generic::mm::MmUser;
use mm_generic::page_tables::PageTables;
use mm_generic::prot::Prot;
use mm_generic::user::MMAP_MIN_ADDR;
use mm_generic::vma::{Backing, Vma, VmaError, VmaFlags, VmaSet};

const MAP_SHARED: u64 = 1;
const MAP_PRIVATE: u64 = 2;
const MAP_SHARED_VALIDATE: u64 = 3;
const MAP_TYPE: u64 = 0xf;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_GROWSDOWN: u64 = 0x100;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

/// Highest address of a mapping that may lie anywhere: the stack's room is above (`mmap_base`).
const MMAP_BASE: u64 = USER_END - (128 << 20);

fn mm(call: &Call<'_>) -> Result<MmUser<Os>, Errno> {
    call.me.mm().ok_or(Errno::FAULT)
}

fn errno(error: &VmaError) -> Errno {
    match error {
        VmaError::Overlap { .. } => Errno::EXIST,
        VmaError::Unaligned { .. } | VmaError::Empty { .. } | VmaError::ObjectOverflow { .. } => {
            Errno::INVAL
        }
        _ => Errno::NOMEM,
    }
}

fn prot(bits: u64) -> Result<Prot, Errno> {
    /// `PROT_GROWSDOWN`, `PROT_GROWSUP`: accepted for what they are with.
    const GROWS: u64 = 0x0300_0000;
    if bits & !(7 | GROWS) != 0 {
        return Err(Errno::INVAL);
    }
    let mut prot = Prot::empty();
    prot.set(Prot::READ, bits & 1 != 0);
    prot.set(Prot::WRITE, bits & 2 != 0);
    prot.set(Prot::EXEC, bits & 4 != 0);
    Ok(prot)
}

fn round_up(len: u64) -> Result<u64, Errno> {
    match len.checked_next_multiple_of(PAGE_SIZE) {
        Some(len) if len <= USER_END => Ok(len),
        _ => Err(Errno::NOMEM),
    }
}

/// The pages of `len` bytes from `start`, which must be in the user half.
fn range(start: u64, len: u64) -> Result<Range<u64>, Errno> {
    if !start.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::INVAL);
    }
    let end = round_up(len)?.checked_add(start).filter(|&end| end <= USER_END);
    Ok(start..end.ok_or(Errno::NOMEM)?)
}

pub(super) fn mmap(call: &Call<'_>) -> Answer {
    let (hint, len, flags) = (call.arg(0), call.arg(1), call.arg(3));
    let (prot, offset) = (prot(call.arg(2))?, call.arg(5));
    if len == 0 || !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::INVAL.into());
    }
    let len = round_up(len)?;
    let shared = match flags & MAP_TYPE {
        MAP_SHARED | MAP_SHARED_VALIDATE => true,
        MAP_PRIVATE => false,
        _ => return Err(Errno::INVAL.into()),
    };
    let backing = if flags & MAP_ANONYMOUS != 0 {
        Backing::Anonymous
    } else {
        let file = call.me.parts().fds().get(call.fd(4))?;
        let inode = file.inode().filter(|inode| inode.kind() == FileType::Regular);
        let inode = inode.ok_or(Errno::NODEV)?;
        if !file.flags().readable() {
            return Err(Errno::ACCES.into());
        }
        let forbids = inode.seals().is_ok_and(Seals::forbid_writing);
        let may_write = !shared || file.flags().writable() && !forbids;
        if prot.contains(Prot::WRITE) && !may_write {
            return Err(if forbids { Errno::PERM } else { Errno::ACCES }.into());
        }
        let path = file.path(tree()).unwrap_or_default().into();
        // Pages behind the file's end are there, and touching them is SIGBUS.
        let object = FileObject { inode: inode.clone(), path, may_write };
        Backing::Object { object, offset, len }
    };
    let mut vma_flags = VmaFlags::empty();
    vma_flags.set(VmaFlags::SHARED, shared);
    vma_flags.set(
        VmaFlags::GROWS_DOWN,
        flags & MAP_GROWSDOWN != 0 && matches!(backing, Backing::Anonymous),
    );
    let vma = |start| {
        Vma::new(start..start + len, prot, vma_flags, backing).map_err(|error| errno(&error))
    };
    let mm = mm(call)?;
    let mut space = mm.user();
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0 {
        let at = range(hint, len)?;
        if at.start < MMAP_MIN_ADDR {
            return Err(Errno::PERM.into());
        }
        let vma = vma(at.start)?;
        let result = if flags & MAP_FIXED_NOREPLACE != 0 {
            space.mmap(vma)
        } else {
            space.mmap_fixed(&mm, vma)
        };
        result.map_err(|error| errno(&error))?;
        return Ok(at.start);
    }
    // Above the limit of 47 bits only who asks for it is given anything, and nobody is asked here.
    let hint = (hint >= MMAP_MIN_ADDR)
        .then_some(hint)
        .filter(|hint| hint.checked_add(len).is_some_and(|end| end <= USER_END - PAGE_SIZE));
    let start = space
        .vmas()
        .find_gap(len, hint, MMAP_BASE)
        .or_else(|_| space.vmas().find_gap(len, None, USER_END))
        .map_err(|_| Errno::NOMEM)?;
    space.mmap(vma(start)?).map_err(|error| errno(&error))?;
    Ok(start)
}

pub(super) fn munmap(call: &Call<'_>) -> Answer {
    if call.arg(1) == 0 {
        return Err(Errno::INVAL.into());
    }
    let range = range(call.arg(0), call.arg(1)).map_err(|_| Errno::INVAL)?;
    let mm = mm(call)?;
    let limits = mm.user().vmas().limits();
    // What no mapping can be in is unmapped already.
    let range = range.start.max(limits.start)..range.end;
    if !range.is_empty() {
        mm.user().munmap(&mm, range).map_err(|error| errno(&error))?;
    }
    Ok(0)
}

pub(super) fn mprotect(call: &Call<'_>) -> Answer {
    let prot = prot(call.arg(2))?;
    if call.arg(1) == 0 {
        return Ok(0);
    }
    let range = range(call.arg(0), call.arg(1))?;
    let mm = mm(call)?;
    let mut space = mm.user();
    if prot.contains(Prot::WRITE) {
        // What was opened for reading, and is shared, stays as it is.
        let forbids = |vma: &Vma<FileObject>| match vma.backing() {
            Backing::Object { object, .. } => {
                !object.may_write && vma.start() < range.end && range.start < vma.end()
            }
            Backing::Anonymous => false,
        };
        if space.vmas().iter().any(forbids) {
            return Err(Errno::ACCES.into());
        }
    }
    space.mprotect(&mm, range, prot).map_err(|error| errno(&error))?;
    Ok(0)
}

/// Moves the end of the heap, and returns where it is: the new end, or the old one on failure.
pub(super) fn brk(call: &Call<'_>) -> Answer {
    let mm = mm(call)?;
    let memory = call.me.parts().memory();
    let mut heap = memory.heap.lock();
    let new = call.arg(0);
    if new < heap.start || new > MMAP_BASE {
        return Ok(heap.end);
    }
    let pages = |end: u64| end.next_multiple_of(PAGE_SIZE);
    let (old_end, new_end) = (pages(heap.end), pages(new));
    let mut space = mm.user();
    let moved = match old_end.cmp(&new_end) {
        core::cmp::Ordering::Equal => Ok(()),
        core::cmp::Ordering::Greater => space.munmap(&mm, new_end..old_end),
        // A mapping of its own that merges with what is there of the heap.
        core::cmp::Ordering::Less => Vma::new(
            old_end..new_end,
            Prot::READ | Prot::WRITE,
            VmaFlags::empty(),
            Backing::Anonymous,
        )
        .and_then(|vma| space.mmap(vma)),
    };
    if moved.is_ok() {
        heap.end = new;
    }
    Ok(heap.end)
}

/// Tells whether something is mapped at every address of `range`.
fn is_covered(vmas: &VmaSet<FileObject>, range: &Range<u64>) -> bool {
    let mut at = range.start;
    while at < range.end {
        let Some(vma) = vmas.find(at) else { return false };
        at = vma.end();
    }
    true
}

/// `madvise`: most advice may be ignored. `MADV_DONTNEED` may not: the pages read as zeros afterwards.
pub(super) fn madvise(call: &Call<'_>) -> Answer {
    const DONTNEED: u64 = 4;
    const FREE: u64 = 8;
    /// Highest of the usual advice, and the machine check's, which is not for everybody.
    const LAST: u64 = 25;
    let advice = u64::from(call.arg(2) as u32);
    if advice > LAST || (5..=7).contains(&advice) {
        return Err(Errno::INVAL.into());
    }
    if call.arg(1) == 0 {
        return Ok(0);
    }
    let range = range(call.arg(0), call.arg(1)).map_err(|_| Errno::INVAL)?;
    let mm = mm(call)?;
    let mut space = mm.user();
    if !is_covered(space.vmas(), &range) {
        return Err(Errno::NOMEM.into());
    }
    if advice != DONTNEED && advice != FREE {
        return Ok(0);
    }
    // Mapped anew over themselves, the parts come back as they were at first.
    let mut at = range.start;
    while let Some(vma) = space.vmas().find(at).filter(|_| at < range.end) {
        let part = at..vma.end().min(range.end);
        at = part.end;
        if vma.flags().contains(VmaFlags::SHARED) {
            continue;
        }
        let backing = match vma.backing() {
            Backing::Anonymous => Backing::Anonymous,
            Backing::Object { object, offset, len } => {
                let skipped = (part.start - vma.start()).min(*len);
                Backing::Object {
                    object: object.clone(),
                    offset: offset + skipped,
                    len: (len - skipped).min(part.end - part.start),
                }
            }
        };
        let part = Vma::new(part, vma.prot(), vma.flags(), backing);
        part.and_then(|part| space.mmap_fixed(&mm, part)).map_err(|error| errno(&error))?;
    }
    Ok(0)
}

/// `mincore`: everything that is mapped is said to be there.
pub(super) fn mincore(call: &Call<'_>) -> Answer {
    let range = range(call.arg(0), call.arg(1))?;
    let pages = (range.end - range.start) / PAGE_SIZE;
    for page in 0..pages {
        crate::mm::user::copy_to_user(call.arg(2).wrapping_add(page), &[1])?;
    }
    Ok(0)
}

/// `msync`: what is stored to a shared mapping is in the file already.
pub(super) fn msync(call: &Call<'_>) -> Answer {
    const ASYNC: u64 = 1;
    const INVALIDATE: u64 = 2;
    const SYNC: u64 = 4;
    let flags = call.arg(2);
    if flags & !(ASYNC | INVALIDATE | SYNC) != 0 || flags & (ASYNC | SYNC) == ASYNC | SYNC {
        return Err(Errno::INVAL.into());
    }
    let range = range(call.arg(0), call.arg(1))?;
    if !is_covered(mm(call)?.user().vmas(), &range) {
        return Err(Errno::NOMEM.into());
    }
    Ok(0)
}

/// `mremap`: makes a mapping shorter or longer, and moves it if it may and must.
///
/// Pages of a file that is shared are found again; those of anonymous memory are copied, as far as the program has touched them.
pub(super) fn mremap(call: &Call<'_>) -> Answer {
    const MAY_MOVE: u64 = 1;
    const FIXED: u64 = 2;
    let [start, old_len, new_len, flags, to] = core::array::from_fn(|n| call.arg(n));
    if flags & !(MAY_MOVE | FIXED) != 0 || flags == FIXED || new_len == 0 {
        return Err(Errno::INVAL.into());
    }
    let old = range(start, old_len).map_err(|_| Errno::INVAL)?;
    let new_len = round_up(new_len)?;
    if old.is_empty() {
        // Linux makes a second mapping of shared memory of it.
        return Err(Errno::INVAL.into());
    }
    let mm = mm(call)?;
    let mut space = mm.user();
    let vma = space.vmas().find(old.start).cloned().ok_or(Errno::FAULT)?;
    let old_size = old.end - old.start;
    if flags & FIXED == 0 && new_len <= old_size {
        if new_len < old_size {
            space.munmap(&mm, old.start + new_len..old.end).map_err(|error| errno(&error))?;
        }
        return Ok(old.start);
    }
    if vma.end() < old.end {
        return Err(Errno::FAULT.into());
    }
    let is_shared = vma.flags().contains(VmaFlags::SHARED);
    if vma.has_object() != is_shared {
        // Of a private mapping of a file, pages would have to be told apart; of shared memory without one, found again.
        return Err(Errno::NOMEM.into());
    }
    // What shows at `range` what `vma` shows from `skip` bytes on.
    let make = |range: Range<u64>, skip: u64| {
        let backing = match vma.backing() {
            Backing::Anonymous => Backing::Anonymous,
            Backing::Object { object, offset, .. } => Backing::Object {
                object: object.clone(),
                offset: offset + skip,
                len: range.end - range.start,
            },
        };
        Vma::new(range, vma.prot(), vma.flags(), backing)
    };
    if flags & FIXED == 0 && vma.end() == old.end && old.start + new_len <= USER_END {
        // In place, if there is room behind.
        let longer = make(old.end..old.start + new_len, old.end - vma.start());
        let longer = longer.and_then(|vma| space.mmap(vma));
        if longer.is_ok() {
            return Ok(old.start);
        }
    }
    if flags & MAY_MOVE == 0 {
        return Err(Errno::NOMEM.into());
    }
    let new = if flags & FIXED != 0 {
        let new = range(to, new_len).map_err(|_| Errno::INVAL)?;
        if new.start < old.end && old.start < new.end {
            return Err(Errno::INVAL.into());
        }
        if new.start < MMAP_MIN_ADDR {
            return Err(Errno::PERM.into());
        }
        new
    } else {
        let start = space.vmas().find_gap(new_len, None, MMAP_BASE).map_err(|_| Errno::NOMEM)?;
        start..start + new_len
    };
    if is_shared {
        // The pages are the file's, and come back when they are touched.
        let moved = make(new.clone(), old.start - vma.start());
        moved.and_then(|vma| space.mmap_fixed(&mm, vma)).map_err(|error| errno(&error))?;
        space.munmap(&mm, old).map_err(|error| errno(&error))?;
        return Ok(new.start);
    }
    // Written through the kernel, whatever the rights are in the end.
    let rights = Prot::READ | Prot::WRITE;
    let target = Vma::new(new.clone(), rights, vma.flags(), Backing::Anonymous);
    target.and_then(|vma| space.mmap_fixed(&mm, vma)).map_err(|error| errno(&error))?;
    if !vma.prot().contains(Prot::READ) {
        space.mprotect(&mm, old.clone(), Prot::READ).map_err(|error| errno(&error))?;
    }
    for offset in (0..old_size.min(new_len)).step_by(PAGE_SIZE as usize) {
        let mut page = [0; PAGE_SIZE as usize];
        // SAFETY: the root is live, and the lock of its user half is held.
        let leaf = unsafe { mm.init_mm().tables().lookup(mm.root(), old.start + offset) };
        if leaf.is_none() {
            continue;
        }
        let copied = space
            .read_bytes(&mm, old.start + offset, &mut page)
            .and_then(|()| space.write_bytes(&mm, new.start + offset, &page));
        if copied.is_err() {
            space.munmap(&mm, new).map_err(|error| errno(&error))?;
            return Err(Errno::NOMEM.into());
        }
    }
    if vma.prot() != rights {
        space.mprotect(&mm, new.clone(), vma.prot()).map_err(|error| errno(&error))?;
    }
    space.munmap(&mm, old).map_err(|error| errno(&error))?;
    Ok(new.start)
}
