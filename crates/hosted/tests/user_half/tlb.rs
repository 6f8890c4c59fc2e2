//! The worst TLB there is: it never forgets an entry that it is not told to forget.
//!
//! It caches what `hosted::mmu` finds, per root, with all rights that the tables granted at that time. In PAE
//! mode it keeps the four top-level entries from the first use of a root on, as processors do (SDM 4.4.1).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use hosted::frames::HostFrames;
use hosted::mmu::{Access, MmuKind, PageFault, Reason, translate};
use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};

#[derive(Clone, Copy)]
struct Entry {
    phys: u64,
    write: bool,
    exec: bool,
}

#[derive(Default)]
struct Tlb {
    entries: BTreeMap<u64, Entry>,
    pdptes: Option<[u64; 4]>,
}

thread_local!(static TLBS: RefCell<BTreeMap<Frame, Tlb>> = const { RefCell::new(BTreeMap::new()) });

/// Translates a user address for `access`, from the TLB if it can.
pub(crate) fn access(
    frames: &HostFrames,
    kind: MmuKind,
    root: Frame,
    addr: u64,
    access: Access,
) -> Result<u64, PageFault> {
    assert!(access.user, "this TLB is for user addresses");
    TLBS.with_borrow_mut(|tlbs| {
        let tlb = tlbs.entry(root).or_default();
        let page = addr - addr % PAGE_SIZE;
        if let Some(entry) = tlb.entries.get(&page) {
            if (!access.write || entry.write) && (!access.exec || entry.exec) {
                return Ok(entry.phys + addr % PAGE_SIZE);
            }
            // A fault drops the entry it was raised from (SDM 4.10.4.1).
            tlb.entries.remove(&page);
        }
        if kind == MmuKind::Pae && addr < 1 << 32 {
            let pdptes = tlb.pdptes.get_or_insert_with(|| read_pdptes(frames, root));
            let entry = pdptes[(addr >> 30) as usize];
            if entry & 1 == 0 {
                return Err(PageFault { level: 3, entry, reason: Reason::NotPresent });
            }
        }
        let walk = |access| translate(frames, kind, root.phys(), addr, access);
        let phys = walk(access)?;
        let entry = Entry {
            phys: phys - phys % PAGE_SIZE,
            write: walk(Access::USER_WRITE).is_ok(),
            exec: walk(Access::USER_EXEC).is_ok(),
        };
        tlb.entries.insert(page, entry);
        Ok(phys)
    })
}

/// Forgets the entries of `range`. No frame that they show may be free yet.
pub(crate) fn flush(frames: &HostFrames, root: Frame, range: Range<u64>) {
    TLBS.with_borrow_mut(|tlbs| {
        let Some(tlb) = tlbs.get_mut(&root) else { return };
        tlb.pdptes = None;
        tlb.entries.retain(|page, entry| {
            if !range.contains(page) {
                return true;
            }
            let frame = Frame::at(entry.phys).unwrap();
            assert_ne!(frames.count(frame), 0, "the frame of {page:#x} was freed before the flush");
            false
        });
    });
}

/// Asserts that the tables still grant all that the TLB remembers of `root`.
pub(crate) fn assert_no_stale_entry(frames: &HostFrames, kind: MmuKind, root: Frame) {
    TLBS.with_borrow(|tlbs| {
        for (page, entry) in tlbs.get(&root).iter().flat_map(|tlb| &tlb.entries) {
            let walk = |access| translate(frames, kind, root.phys(), *page, access);
            assert_eq!(walk(Access::USER_READ), Ok(entry.phys), "stale entry for {page:#x}");
            assert!(
                !entry.write || walk(Access::USER_WRITE).is_ok(),
                "stale right to store for {page:#x}"
            );
            assert!(
                !entry.exec || walk(Access::USER_EXEC).is_ok(),
                "stale right to execute for {page:#x}"
            );
        }
    });
}

/// Asserts that the user half of `root` was flushed to the last entry, and forgets the root: the CPU
/// has loaded another.
pub(crate) fn retire(root: Frame) {
    let tlb = TLBS.with_borrow_mut(|tlbs| tlbs.remove(&root));
    let left = tlb.map_or(0, |tlb| tlb.entries.len());
    assert_eq!(left, 0, "an mm was torn down without flushing {left} pages");
}

fn read_pdptes(frames: &HostFrames, root: Frame) -> [u64; 4] {
    let table = frames.table64(root);
    std::array::from_fn(|index| table[index].load(Ordering::Acquire))
}
