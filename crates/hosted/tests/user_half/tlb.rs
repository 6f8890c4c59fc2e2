//! The worst TLBs there are: they never forget an entry that they are not told to forget.
//!
//! A CPU caches what `hosted::mmu` finds, per root, with all rights that the tables granted at that time, and
//! remembers the tables it has walked through, as paging-structure caches do. In PAE mode it keeps the
//! four top-level entries from the first use of a root on (SDM 4.4.1). There are [`CPUS`] CPUs, so that one can have
//! what another one's fault has replaced.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hosted::frames::HostFrames;
use hosted::mmu::{Access, MmuKind, PageFault, Reason, translate};
use kernel_sync::atomic::Ordering;
use mm_generic::frames::{Frame, Frames, PAGE_SIZE};

use super::path::path;

/// CPUs that a test can run a program on.
pub(crate) const CPUS: usize = 2;

#[derive(Clone, Copy)]
struct Entry {
    phys: u64,
    write: bool,
    exec: bool,
}

#[derive(Default)]
struct Tlb {
    entries: BTreeMap<u64, Entry>,
    tables: BTreeSet<Frame>,
    pdptes: Option<[u64; 4]>,
}

/// What each CPU remembers of one root.
type Tlbs = [Tlb; CPUS];

thread_local! {
    static TLBS: RefCell<BTreeMap<Frame, Tlbs>> = const { RefCell::new(BTreeMap::new()) };
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Runs programs on CPU number `cpu` from now on.
pub(crate) fn run_on(cpu: usize) {
    CPU.set(cpu);
}

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
        let tlb = &mut tlbs.entry(root).or_default()[CPU.get()];
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
        tlb.tables.extend(path(frames, kind, root, addr).into_iter().map(|(table, _)| table));
        Ok(phys)
    })
}

/// Forgets the entries of `range` on every CPU. Nothing that is remembered may be free yet.
pub(crate) fn flush(frames: &HostFrames, root: Frame, range: Range<u64>) {
    TLBS.with_borrow_mut(|tlbs| {
        for tlb in tlbs.get_mut(&root).into_iter().flatten() {
            for table in std::mem::take(&mut tlb.tables) {
                assert_ne!(frames.count(table), 0, "{table:?} was freed before the flush");
            }
            tlb.pdptes = None;
            tlb.entries.retain(|page, entry| {
                if !range.contains(page) {
                    return true;
                }
                let frame = Frame::at(entry.phys).unwrap();
                assert_ne!(
                    frames.count(frame),
                    0,
                    "{page:#x} shows a frame freed before the flush"
                );
                false
            });
        }
    });
}

/// Asserts that the tables still grant all that any TLB remembers of `root`.
pub(crate) fn assert_no_stale_entry(frames: &HostFrames, kind: MmuKind, root: Frame) {
    TLBS.with_borrow(|tlbs| {
        for (page, entry) in tlbs.get(&root).into_iter().flatten().flat_map(|tlb| &tlb.entries) {
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

/// Asserts that the user half of `root` was flushed to the last entry and the last table, and forgets the
/// root: the CPUs have loaded others.
pub(crate) fn retire(root: Frame) {
    let tlbs = TLBS.with_borrow_mut(|tlbs| tlbs.remove(&root));
    for tlb in tlbs.into_iter().flatten() {
        let left = (tlb.entries.len(), tlb.tables.len());
        assert_eq!(left, (0, 0), "pages and tables of an mm that was torn down without a flush");
    }
}

fn read_pdptes(frames: &HostFrames, root: Frame) -> [u64; 4] {
    let table = frames.table64(root);
    std::array::from_fn(|index| table[index].load(Ordering::Acquire))
}
